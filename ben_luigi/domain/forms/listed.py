"""List the files of a form in its note, with length and CRC-32, and name those that are not as they were exported.

The CRC-32 tells damage by chance, whatever the readers of others would make of it, and costs little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import deflate

from ben_luigi.domain.errors import reason
from ben_luigi.domain.given import open_file
from ben_luigi.domain.progress import OnFraction, ignore_fraction

_CHUNK_BYTES = 2**22


class Listed(NamedTuple):
    """Length in bytes and CRC-32 of a file."""

    length: int
    crc32: int

    @classmethod
    def parse(cls, text: str) -> Listed:
        """Return the inverse of `str`. Raise ValueError for another form."""
        length, crc32 = text.split(" ")
        return cls(int(length), int(crc32, 16))

    def __str__(self) -> str:
        return f"{self.length} {self.crc32:08x}"


def files_of(folder: Path, *without: str, progress: OnFraction = ignore_fraction) -> dict[str, Listed]:
    """Return all files of a folder but those `without`, by their names with slashes between folders, sorted.

    `progress` receives the fraction of their bytes that has been read.
    """
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    names = sorted(name for name in paths if name not in without)
    total, done = max(1, sum(paths[name].stat().st_size for name in names)), 0

    def read(length: int) -> None:
        nonlocal done
        done += length
        progress(min(1, done / total))

    return {name: _look(paths[name], read) for name in names}


def changes(folder: Path, listed: Mapping[str, Listed], on_bytes: Callable[[int], None]) -> Iterator[tuple[str, str]]:
    """Yield name and finding of each file that is missing, cut or of other bytes than listed.

    `on_bytes` receives the bytes that have been looked at, as listed, some of a file at once.
    """
    for name, expected in listed.items():
        left = expected.length

        def read(length: int) -> None:
            nonlocal left
            length = min(length, left)
            left -= length
            on_bytes(length)

        if what := _change(folder, name, expected, read):
            yield name, what
        on_bytes(left)


def is_within(name: str) -> bool:
    """Return whether a name is that of a file in the folder of the form, as each that an export has listed."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _change(folder: Path, name: str, expected: Listed, on_bytes: Callable[[int], None]) -> str:
    path = PurePosixPath(name)
    if not is_within(name):
        return "not in the folder of the form"
    try:
        length = (folder / path).stat().st_size
        if length != expected.length:
            return f"{length:,} bytes, where {expected.length:,} were exported"
        return "" if _look(folder / path, on_bytes) == expected else "other bytes than were exported"
    except FileNotFoundError:
        return "missing"
    except (OSError, ValueError) as error:
        return f"cannot be read ({reason(error) if isinstance(error, OSError) else error})"


def _look(path: Path, on_bytes: Callable[[int], None]) -> Listed:
    """Return what a file is listed with; `on_bytes` receives what has been read. Raise OSError if it cannot be read."""
    length, crc32 = 0, 0
    with open_file(path) as file:
        while chunk := file.read(_CHUNK_BYTES):
            length, crc32 = length + len(chunk), deflate.crc32(chunk, crc32)
            on_bytes(len(chunk))
    return Listed(length, crc32)
