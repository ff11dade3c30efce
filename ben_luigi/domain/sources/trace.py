"""Read CDSE's traces, which record a product's files with their BLAKE3 when CDSE made or copied it.

The interface is documented, and needs no login. Products of 2017 may have a trace of a copy only, or none. A trace is
signed: only what its signed message says counts, and only if the signature fits the certificate that comes with it.
No chain of certificates to a trust anchor comes with a trace, and its time is not in its message: a note says so with
each trace. Traces of 2024 are known whose certificate, of a public authority, had expired a month before: they have a
rung of their own.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from ben_luigi.domain import signatures
from ben_luigi.domain.answers import one_line, refusal, snippet
from ben_luigi.domain.cdse.http import Client, again, plain
from ben_luigi.domain.errors import TransientError
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.sources.proof import EXPIRED_TRACE, SIGNED_TRACE

NONE = "no trace"
_EVENTS = ("CREATE", "COPY")
_ALGORITHM = "RSA-SHA256"
_HASH = re.compile(r"[0-9a-f]{64}")
_MOST_NAME = 120
_NOT_ESTABLISHED = (
    "not established: who its issuer is, since no chain to a trust anchor comes with it, "
    "and the time, which is not signed"
)


@dataclass(frozen=True)
class Trace:
    """BLAKE3 of a product's files by path, hexadecimal, if their signature holds, and the rung of the proof.

    `note` says which trace it is, what was checked of it, and what was not; or why nothing counts.
    """

    hashes: Mapping[str, str] = field(default_factory=dict)
    note: str = NONE
    rung: str = SIGNED_TRACE

    def expected(self, path: str) -> tuple[str, str, str] | None:
        """Return rung, algorithm and value for one file; None if the trace does not have it."""
        return (self.rung, "blake3", self.hashes[path]) if path in self.hashes else None


def fetch(client: Client, url: str, product: ProductName) -> Trace:
    """Return the trace of a product at the service `url`: that of its making, else of a copy. Raise SourceError."""
    address = f"{url}/traces/name/{product}.zip"

    def once() -> Trace:
        response = client.open("GET", address)
        body = client.body(response)
        if response.status_code == HTTPStatus.NOT_FOUND:
            return Trace()
        if response.status_code != HTTPStatus.OK:
            raise refusal(f"GET {plain(address)}", response.status_code, response.headers, body, section="cdse")
        return _read(body, product, address)

    return again(client.patience, once, lambda error, pause_s: None)


def _read(body: bytes, product: ProductName, address: str) -> Trace:
    """Return the best trace: one whose certificate was valid before others, CREATE before COPY, the latest first."""
    try:
        traces = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise TransientError(plain(address), expected="a list of traces", found=snippet(body)) from error
    if not isinstance(traces, list):
        raise TransientError(plain(address), expected="a list of traces", found=snippet(body))
    usable = [one for one in traces if isinstance(one, dict) and _is_usable(one)]
    usable.sort(key=lambda one: (_EVENTS.index(one["event"]), _later_first(one)))
    found = [_checked(one, product) for one in usable]
    return min(found, key=lambda one: (not one.hashes, one.rung != SIGNED_TRACE), default=Trace())


def _later_first(trace: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(-ord(character) for character in str(trace.get("timestamp")))


def _is_usable(trace: Mapping[str, Any]) -> bool:
    return trace.get("event") in _EVENTS and trace.get("hash_algorithm") == "BLAKE3"


def _checked(trace: Mapping[str, Any], product: ProductName) -> Trace:
    """Return what the signed message of a trace proves; without hashes if its signature or message is not right."""
    what = f"{trace['event']} of {one_line(str(trace.get('timestamp')))[:40]}"
    try:
        when = _time(trace)
        message, signer = _signed(trace)
        hashes = _hashes(message, str(trace["event"]), product)
    except ValueError as error:
        return Trace(note=f"{what}; it counts as no proof: {error}")
    is_valid = signer.is_valid_at(when)
    validity = "valid" if is_valid else f"not valid ({signer.start:%Y-%m-%d} to {signer.end:%Y-%m-%d})"
    names = f"{_short(signer.subject)}, issued by {_short(signer.issuer)}"
    note = f"{what}; signed by the key of {names}, {validity} at that time; {_NOT_ESTABLISHED}"
    return Trace(hashes, note, SIGNED_TRACE if is_valid else EXPIRED_TRACE)


def _short(name: str) -> str:
    return one_line(name)[:_MOST_NAME]


def _time(trace: Mapping[str, Any]) -> datetime:
    try:
        when = datetime.fromisoformat(str(trace.get("timestamp")))
    except ValueError:
        raise ValueError("it states no time") from None
    return when.replace(tzinfo=when.tzinfo or UTC)


def _signed(trace: Mapping[str, Any]) -> tuple[Mapping[str, Any], signatures.Signer]:
    """Return the signed message, and who signed it. Raise ValueError with what is wrong."""
    made = trace.get("signature")
    if not isinstance(made, dict) or not all(made.get(key) for key in ("message", "signature", "certificate")):
        raise ValueError("it is not signed")
    if made.get("algorithm") != _ALGORITHM:
        raise ValueError(f"it is signed by {one_line(str(made.get('algorithm')))[:40]}, not by {_ALGORITHM}")
    message = str(made["message"])
    try:
        signature, certificate = (base64.b64decode(str(made[key])) for key in ("signature", "certificate"))
    except ValueError:
        raise ValueError("its signature or certificate is not base64") from None
    signer = signatures.verify(message.encode("utf-8", "surrogatepass"), signature, certificate)
    try:
        content = json.loads(message)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ValueError("its signed message is not a JSON object")
    return content, signer


def _hashes(message: Mapping[str, Any], event: str, product: ProductName) -> dict[str, str]:
    """Return the hashes in a signed message, which must be about this product. Raise ValueError."""
    name, contents = message.get("name"), message.get("contents")
    if name not in (str(product), f"{product}.zip"):
        raise ValueError(f"its signed message is about {_short(str(name))}, another product")
    if message.get("event") != event:
        raise ValueError(f"its signed message says {one_line(str(message.get('event')))[:40]}")
    found = {}
    for one in contents if isinstance(contents, list) else []:
        path, value = (str(one.get(key, "")) for key in ("path", "hash")) if isinstance(one, dict) else ("", "")
        if _HASH.fullmatch(value.lower()):
            found[path.removeprefix("/").removeprefix(f"{product}/")] = value.lower()
    if not found:
        raise ValueError("its signed message lists no files with hashes")
    return found
