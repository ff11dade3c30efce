"""Name what can go wrong at CDSE and other sources, so that servers on loopback can do it by script.

A *fault* is a kind, a place (token, catalogue, download, node or trace; listing or object of a bucket), and a number of
times. Each kind is one of

    refusals    a refusal instead of the right answer, anywhere
    records     a change to the records of the catalogue
    pages       a wrong page of the catalogue
    grants      a wrong token
    redirects   a redirect to a place that must not get the token
    streams     the right zip, sent badly
    objects     a wrong answer for an object of a bucket
    listings    a wrong page of a bucket's listing
    traces      a trace that is signed badly, or says something else than what is signed
    ranges      a wrong answer to a request that continues a partial file
    zips        another zip than the right one, sent well
"""

from __future__ import annotations

import io
import random
import threading
import time
import uuid
import warnings
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

Record = dict[str, Any]
_HTML = b"<html><head><title>503 Service Unavailable</title></head><body>No server is available.</body></html>"
_WAF = b'{"error": "WAF", "message": "Rate limit exceeded", "status": 429}'
_SESSIONS = b'{"trace-id": "b0a3", "code": "DAT-ZIP-100", "message": "Max session number exceeded"}'


PAGES = ("cut json", "small pages", "same page again", "endless pages")
GRANTS = ("hang", "no refresh token", "short life")
REDIRECTS = ("redirect loop", "redirect to port", "redirect to http", "redirect to foreign host")
STREAMS = (
    "short",
    "no length",
    "no length, early end",
    "chunked",
    "chunked and cut",
    "reset",
    "stall",
    "crawl",
)
RANGES = ("range ignored", "range 416", "range shifted", "range misstated", "range of another total")
OBJECTS = ("no hash", "range of another version")
"""Faults of a bucket's objects only."""
LISTINGS = ("fewer keys than counted", "truncated without a token", "listing elsewhere")
"""Faults of a bucket's listing only."""
TRACES = (
    "wrong signature",
    "changed message",
    "expired certificate",
    "no certificate",
    "other product signed",
    "other event signed",
    "other contents outside",
    "other algorithm",
    "unsigned",
)
"""Faults of traces only."""


@dataclass(frozen=True)
class Fault:
    """A fault of `kind` in `where`, `times` times (None: always), for one product (name or id) or for all.

    `where` is token, download, node, trace, listing, object or catalogue; within the catalogue, list means only queries
    for many names, and deleted those for deleted products. With a `chance` below 1 it happens at random.
    """

    where: str
    kind: str
    times: int | None = 1
    product: str = ""
    chance: float = 1.0

    def __post_init__(self) -> None:
        known = KINDS.union(OBJECTS, LISTINGS, TRACES)
        if self.kind not in known:
            raise ValueError(f"no such fault: {self.kind!r}; there are {sorted(known)}")


@dataclass(frozen=True)
class Refusal:
    """An HTTP answer: status, body, type, further headers."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


def _error(error: str, description: str) -> bytes:
    return f'{{"error": "{error}", "error_description": "{description}"}}'.encode()


def refusal(fault: Fault | None) -> Refusal | None:
    """Return the answer that a fault stands for, if it is a refusal."""
    if fault and fault.kind == "429 date":
        return Refusal(429, _WAF, headers=(("Retry-After", formatdate(time.time() + 1, usegmt=True)),))
    return REFUSALS.get(fault.kind) if fault else None


REFUSALS = {
    "400 not set up": Refusal(400, _error("invalid_grant", "Account is not fully set up")),
    "400 too old": Refusal(400, _error("invalid_grant", "Token is not active")),
    "401": Refusal(401, b'{"code": "DAT-ZIP-109", "message": "The provided token is expired"}'),
    "401 signature": Refusal(401, b'{"detail": "Expired signature!"}'),
    "401 wrong credentials": Refusal(401, _error("invalid_grant", "Invalid user credentials")),
    "403": Refusal(403, b'{"detail": "Forbidden"}'),
    "403 sessions": Refusal(403, _error("access_denied", "Session limit exceeded")),
    "404": Refusal(404, b'{"detail": "Not Found"}'),
    "422": Refusal(422, b'{"code": "DAT-ZIP-111", "message": "Product id is malformed"}'),
    "429": Refusal(429, _WAF),
    "429 sessions": Refusal(429, _SESSIONS),
    "429 seconds": Refusal(429, _WAF, headers=(("Retry-After", "1"),)),
    "429 date": Refusal(429, _WAF),
    "429 absurd": Refusal(429, _WAF, headers=(("Retry-After", "86400000"),)),
    "500": Refusal(500, b'{"detail": "Internal Server Error"}'),
    "502": Refusal(502, _HTML, "text/html"),
    "503": Refusal(503, _HTML, "text/html"),
    "504": Refusal(504),
    "html": Refusal(200, _HTML, "text/html"),
    "json": Refusal(200, b'{"detail": "Something went wrong"}'),
    "empty body": Refusal(200, b"", "application/zip"),
}


class Script:
    """The faults still to come, in order; all threads of the server take from it."""

    def __init__(self, faults: Iterable[Fault], seed: int = 0) -> None:
        self._faults = list(faults)
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def take(self, where: Sequence[str], about: Sequence[str] = (), *, resuming: bool = False) -> Fault | None:
        """Return the fault for this request. Kinds that begin with "range" wait for a Range request."""
        with self._lock:
            for position, fault in enumerate(self._faults):
                fits = fault.where in where and (not fault.product or fault.product in about)
                fits = fits and (resuming or not fault.kind.startswith("range")) and fault.times != 0
                if fits and self._random.random() < fault.chance:
                    left = None if fault.times is None else fault.times - 1
                    self._faults[position] = replace(fault, times=left)
                    return fault
        return None


def another_id(record: Record) -> str:
    """Return an id for a second product like this one, always the same."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, record["Id"]))


def _two_ids(records: list[Record]) -> list[Record]:
    later = [{**one, "Id": another_id(one), "PublicationDate": "2030-01-01T00:00:00.000Z"} for one in records]
    return [*records, *later]


RECORDS: dict[str, Callable[[list[Record]], list[Record]]] = {
    "empty": lambda records: [],
    "two ids": _two_ids,
    "two ids alike": lambda records: [*records, *({**one, "Id": another_id(one)} for one in records)],
    "other id": lambda records: [{**one, "Id": another_id(one)} for one in records],
    "offline": lambda records: [{**one, "Online": False} for one in records],
    "unknown length": lambda records: [{**one, "ContentLength": 0, "Checksum": []} for one in records],
    "wrong checksum": lambda records: [
        {**one, "Checksum": [{"Value": "0" * 32, "Algorithm": "MD5"}]} for one in records
    ],
    "blake3 only": lambda records: [
        {**one, "Checksum": [entry for entry in one["Checksum"] if entry["Algorithm"] == "BLAKE3"]} for one in records
    ],
}

Entry = tuple[zipfile.ZipInfo, bytes]


def changed_zip(path: Path, kind: str) -> bytes:
    """Return the zip at `path` with the change that `kind` stands for."""
    whole = path.read_bytes()
    if kind in _BYTES:
        return _BYTES[kind](whole)
    with zipfile.ZipFile(path) as archive:
        entries = [(info, archive.read(info)) for info in archive.infolist()]
    changed = io.BytesIO()
    with zipfile.ZipFile(changed, "w") as archive, warnings.catch_warnings(action="ignore"):
        for info, data in _ENTRIES[kind](entries):
            archive.writestr(_named(info.filename, info.external_attr), data)
    return changed.getvalue()


def _named(name: str, attributes: int = 0o644 << 16) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = attributes
    return info


def _with(name: str, attributes: int = 0o644 << 16) -> Callable[[list[Entry]], list[Entry]]:
    """Return a change that adds a member; `{top}` in its name is the product's folder."""

    def change(entries: list[Entry]) -> list[Entry]:
        info = _named(name.format(top=_top(entries)), attributes)
        return [*entries, (info, b"/etc/passwd")]

    return change


def _top(entries: list[Entry]) -> str:
    return entries[0][0].filename.split("/")[0]


def _renamed(entries: list[Entry]) -> list[Entry]:
    """Return the same files under the name of a product sensed in another year."""
    top = _top(entries)
    other = top.replace("_MSIL1C_201", "_MSIL1C_202")
    return [(_named(info.filename.replace(top, other, 1), info.external_attr), data) for info, data in entries]


def _images(entries: list[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry[0].filename.endswith(".jp2")]


def _changed_image(entries: list[Entry]) -> list[Entry]:
    image = _images(entries)[-1]
    return [(info, data[::-1] if info is image[0] else data) for info, data in entries]


def _flipped(whole: bytes) -> bytes:
    middle = len(whole) // 2
    return whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]


_BYTES: dict[str, Callable[[bytes], bytes]] = {
    "flipped bit": _flipped,
    "no end": lambda whole: whole[: whole.rindex(b"PK\5\6")],
    "trailing junk": lambda whole: whole + b"<!-- served in 0.3 s -->",
}
_ENTRIES: dict[str, Callable[[list[Entry]], list[Entry]]] = {
    "no folders": lambda entries: [entry for entry in entries if not entry[0].is_dir()],
    "extra previews": _with("{top}/preview/map-overlay.html"),
    "other product": _renamed,
    "changed image": _changed_image,
    "missing member": lambda entries: [entry for entry in entries if entry is not _images(entries)[0]],
    "duplicate member": lambda entries: [*entries, _images(entries)[0]],
    "escaping path": _with("../escaped.txt"),
    "escaping inner path": _with("{top}/../../escaped.txt"),
    "absolute name": _with("/escaped.txt"),
    "symbolic link": _with("{top}/link", 0o120777 << 16),
}
ZIPS = frozenset([*_BYTES, *_ENTRIES])
KINDS = ZIPS.union(REFUSALS, RECORDS, PAGES, GRANTS, REDIRECTS, STREAMS, RANGES)
"""Faults of CDSE; a bucket has those of `OBJECTS` besides."""


def sample_faults(catalogue: Iterable[Record]) -> list[Fault]:
    """Return the faults of the sample run: one product fails once with a page of HTML, another breaks off in
    mid-stream.
    """
    names = sorted(record["Name"] for record in catalogue if record.get("File"))
    kinds = ("503", "short")
    return [Fault("download", kind, product=name) for kind, name in zip(kinds, names, strict=False)]
