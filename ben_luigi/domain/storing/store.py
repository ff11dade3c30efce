"""What all stores of files have in common: a bucket of S3, or any file system that fsspec knows.

A file lies there under its *key*, a relative path. It appears whole or not at all, and is identified by its length and
its *tag*, which the store changes with the content: the ETag of S3, or the time of a file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from ben_luigi.domain.errors import TransientError

OPTION = "[dataset] store"


class Held(NamedTuple):
    """What a store has under a key: its length and its tag.

    Its sha256 is empty where the store keeps none; its time (ns), when it was written here, is known to who stored it.
    """

    size_bytes: int
    tag: str
    sha256: str = ""
    time_ns: int = 0

    def is_same(self, other: Held | None) -> bool:
        """Return whether length and tag of another one are the same."""
        return other is not None and self[:2] == other[:2]


class Overtaken(TransientError):
    """Another process has replaced a file in the store in the meantime."""

    def __init__(self, place: str, expected: str, found: Held | None) -> None:
        super().__init__(
            place,
            expected=expected or "nothing there, as before the work",
            found=f"{found.size_bytes} bytes with tag {found.tag}" if found else "nothing",
            remedy="another process has made it in the meantime: run again, then its result counts",
        )


class Store(Protocol):
    """A place for files. Its methods raise TransientError for what may pass, BadInput for what a person has to mend."""

    @property
    def place(self) -> str:
        """Where it is, in words."""

    def reach(self) -> None:
        """Ask the store anything, with little patience. Raise TransientError if nothing answers for about a minute."""

    def put(self, path: Path, key: str, sha256: str, replaces: str | None) -> Held:
        """Store a file, which appears whole, and return what the store then says that it has.

        `replaces` is the tag of what may be there, or empty for nothing; anything else raises Overtaken, as far as the
        store can tell. None: whatever is there is replaced.
        """

    def get(self, key: str, held: Held, path: Path) -> str:
        """Write the file to `path`, which exists; return the sha256 of what was written.

        Raise FileNotFoundError if it is not there, or another one than `held`.
        """

    def look(self, key: str) -> Held | None:
        """Return what is there under a key, None for nothing."""

    def listed(self, folder: str) -> Mapping[str, Held]:
        """Return all that is there in a folder and below, by key, without the sha256."""

    def remove(self, keys: Iterable[str]) -> None:
        """Remove what is there under these keys."""

    def sweep(self, keys: Collection[str]) -> int:
        """Remove what uploads of these keys that were killed have left; return how many they were.

        Others may keep files of their own there: what belongs to no such key stays. Nothing may be uploaded there
        under these keys meanwhile.
        """
