"""Prove that a file of a product is the one that ESA made, by a ladder of rungs with names.

    manifest             its checksum in the product's own `manifest.safe`
    signed trace         its BLAKE3 in CDSE's trace of the product, whose signature fits its certificate
    trace signed by an   the same, by a certificate that was not valid at the time that the trace states
    expired certificate
    object store         the hash that the bucket states: the transfer was correct
    unproven             nothing to compare it with

The manifest decides: a file that contradicts it is damaged, whatever an object store states.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

MANIFEST, OBJECT_STORE, UNPROVEN = "manifest", "object store", "unproven"
SIGNED_TRACE, EXPIRED_TRACE = "signed trace", "trace signed by an expired certificate"
RUNGS = (MANIFEST, SIGNED_TRACE, EXPIRED_TRACE, OBJECT_STORE, UNPROVEN)
_PAGES = (".xml", ".html", ".gml", ".xsd", ".safe", ".dim")
_CASTAGNOLI = 0x82F63B78  # the polynomial of CRC-32C, reflected (RFC 3720, appendix B.4)


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


def _crc32c_table() -> list[int]:
    table = []
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (_CASTAGNOLI if number & 1 else 0)
        table.append(number)
    return table


class Crc32c:
    """CRC-32C without a package of its own: slow, but only small files have no MD5.

    >>> crc = Crc32c()
    >>> crc.update(b"123456789")
    >>> crc.hexdigest()
    'e3069283'
    """

    _TABLE = _crc32c_table()

    def __init__(self) -> None:
        self._crc = 0xFFFFFFFF

    def update(self, data: bytes, /) -> None:
        """Take the next bytes."""
        crc, table = self._crc, self._TABLE
        for byte in data:
            crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
        self._crc = crc

    def hexdigest(self) -> str:
        """Return the checksum of all bytes, hexadecimal."""
        return f"{self._crc ^ 0xFFFFFFFF:08x}"


def new_hash(algorithm: str) -> Any:
    """Return a new hash of hashlib, BLAKE3 or CRC-32C."""
    if algorithm == "crc32c":
        return Crc32c()
    if algorithm == "blake3":
        return importlib.import_module("blake3").blake3()
    return hashlib.new(algorithm, usedforsecurity=False)


@dataclass(frozen=True)
class Expected:
    """What is known about a file's content: its hash by the manifest, by the trace and by the object store.

    Each is a pair of algorithm and hexadecimal value, or None; that by the trace begins with the name of its rung.
    """

    manifest: tuple[str, str] | None = None
    trace: tuple[str, str, str] | None = None
    stated: Mapping[str, str] | None = None

    @property
    def rungs(self) -> list[tuple[str, str, str]]:
        """Return what to compare, the highest rung first: its name, algorithm and value."""
        found = [(MANIFEST, *self.manifest)] if self.manifest else []
        found += [self.trace] if self.trace else []
        stated = self.stated or {}
        # CRC-32C counts only where there is no MD5, since it protects against accidents only, and is slower here.
        algorithm = "md5" if "md5" in stated else "crc32c" if "crc32c" in stated and not found else ""
        return [*found, *([(OBJECT_STORE, algorithm, stated[algorithm])] if algorithm else [])]


class Check:
    """The hashes of a stream, and what they prove."""

    def __init__(self, expected: Expected) -> None:
        self._rungs = expected.rungs
        algorithms = dict.fromkeys(algorithm for _, algorithm, _ in self._rungs)
        self._hashes: dict[str, _Hash] = {algorithm: new_hash(algorithm) for algorithm in algorithms or ("md5",)}

    def update(self, chunk: bytes) -> None:
        """Take the next bytes."""
        for each in self._hashes.values():
            each.update(chunk)

    @property
    def digest(self) -> str:
        """Return the hash that identifies the content, as `md5:<hexadecimal>`: that of the highest rung, or else its
        MD5.
        """
        algorithm = next(iter(self._hashes))
        return f"{algorithm}:{self._hashes[algorithm].hexdigest()}"

    def result(self) -> Result:
        """Return what is proven."""
        found = {algorithm: each.hexdigest() for algorithm, each in self._hashes.items()}
        fits = {rung: found[algorithm] == value for rung, algorithm, value in self._rungs}
        if not self._rungs:
            return Result(UNPROVEN, self.digest)
        rung, algorithm, value = self._rungs[0]
        problem = "" if fits[rung] else f"{algorithm} {found[algorithm]}, where the {rung} states {value}"
        others = [name for name, fitting in fits.items() if name != rung and fitting != fits[rung]]
        return Result(rung, self.digest, problem, tuple(others), bool(problem) and fits.get(OBJECT_STORE, False))


@dataclass(frozen=True)
class Result:
    """The rung that decides, the hash found, and what is wrong, if anything is.

    `contradicted_by` are other rungs that disagree. `lies_so` means that the file is already damaged in the object
    store, so that fetching it again from there is useless.
    """

    rung: str
    digest: str
    problem: str = ""
    contradicted_by: tuple[str, ...] = ()
    lies_so: bool = False


def is_disguised(path: str, head: bytes, result: Result) -> bool:
    """Return whether a file that nothing proves begins as a page of HTML or XML, which its name does not say."""
    return result.rung == UNPROVEN and head.lstrip().startswith(b"<") and not path.endswith(_PAGES)


def summary(rungs: Iterable[str]) -> dict[str, int]:
    """Return how many files each rung has proven, the highest first."""
    listed = list(rungs)
    return {rung: count for rung in dict.fromkeys((*RUNGS, *listed)) if (count := listed.count(rung))}
