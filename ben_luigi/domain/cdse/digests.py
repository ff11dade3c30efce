"""Hash a stream while it passes: the whole of it, and the members of the zip that it is."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Callable, Iterable
from typing import Any

from ben_luigi.domain.fanout import FanOut
from ben_luigi.domain.products.l1c_container import MemberDigests

_CHUNKS_AHEAD = 16


def _blake3() -> Any:
    return importlib.import_module("blake3").blake3()


_MAKERS: dict[str, Callable[[], Any]] = {
    "MD5": lambda: hashlib.md5(usedforsecurity=False),
    "SHA256": hashlib.sha256,
    "BLAKE3": _blake3,
}


def available(algorithm: str) -> bool:
    """Return whether a checksum of the catalogue can be computed: BLAKE3 needs the Python package of that name."""
    return algorithm in _MAKERS and (algorithm != "BLAKE3" or importlib.util.find_spec("blake3") is not None)


class Digests:
    """Hashes of all bytes given to `update`, each taken in a thread of its own, since hashing lets others run.

    >>> with Digests(["MD5"]) as digests:
    ...     digests.update(b"abc")
    >>> digests.hexdigest("MD5")
    '900150983cd24fb0d6963f7d28e17f72'
    """

    def __init__(self, algorithms: Iterable[str]) -> None:
        self.members = MemberDigests()
        self._hashes = {algorithm: _MAKERS[algorithm]() for algorithm in algorithms}
        self._fan_out = FanOut([self.members.update, *(each.update for each in self._hashes.values())], _CHUNKS_AHEAD)

    def __enter__(self) -> Digests:
        return self

    def __exit__(self, *_: object) -> None:
        self._fan_out.close()

    def update(self, chunk: bytes) -> None:
        """Take the next bytes; wait if the hashing lags behind."""
        self._fan_out.put(chunk)

    def hexdigest(self, algorithm: str) -> str:
        """Return the hash of all bytes; call this after the `with` block."""
        self._fan_out.finish()
        return str(self._hashes[algorithm].hexdigest())
