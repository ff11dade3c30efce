"""Read CDSE's traces, which record a product's files with their BLAKE3 when CDSE made or copied it.

The interface is documented, and needs no login. Products of 2017 may have a trace of a copy only, or none. A trace is
signed; the signature is not checked here, since that needs a package that is not installed, and the record says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from ben_luigi.domain.answers import refusal, snippet
from ben_luigi.domain.cdse.http import Client, again, plain
from ben_luigi.domain.errors import TransientError
from ben_luigi.domain.names import ProductName

NONE = "no trace"
_EVENTS = ("CREATE", "COPY")
_HASH = re.compile(r"[0-9a-f]{64}")
_UNSIGNED = "its signature was not checked: that needs the Python package cryptography, which is not installed"


@dataclass(frozen=True)
class Trace:
    """BLAKE3 of a product's files by path, hexadecimal; `note` says which trace it is, or why there is none."""

    hashes: Mapping[str, str] = field(default_factory=dict)
    note: str = NONE


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
    try:
        traces = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise TransientError(plain(address), expected="a list of traces", found=snippet(body)) from error
    if not isinstance(traces, list):
        raise TransientError(plain(address), expected="a list of traces", found=snippet(body))
    usable = [one for one in traces if isinstance(one, dict) and _hashes(one, product)]
    if not usable:
        return Trace()
    best = min(usable, key=lambda one: (_EVENTS.index(one["event"]), _later_first(one)))
    note = f"{best['event']} of {str(best.get('timestamp'))[:40]}; {_UNSIGNED}"
    return Trace(_hashes(best, product), note)


def _later_first(trace: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(-ord(character) for character in str(trace.get("timestamp")))


def _hashes(trace: Mapping[str, Any], product: ProductName) -> dict[str, str]:
    """Return the hashes of files in a trace of this product; none if the trace is of another kind."""
    facts = trace.get("product")
    if trace.get("event") not in _EVENTS or trace.get("hash_algorithm") != "BLAKE3" or not isinstance(facts, dict):
        return {}
    contents = facts.get("contents")
    if facts.get("name") not in (str(product), f"{product}.zip") or not isinstance(contents, list):
        return {}
    found = {}
    for one in contents:
        path, value = (str(one.get(key, "")) for key in ("path", "hash")) if isinstance(one, dict) else ("", "")
        if _HASH.fullmatch(value.lower()):
            found[path.removeprefix("/").removeprefix(f"{product}/")] = value.lower()
    return found
