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


def files_of(folder: Path, *without: str) -> dict[str, Listed]:
    """Return all files of a folder but those `without`, by their names with slashes between folders, sorted."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name: _look(folder / name) for name in names if name not in without}


def changes(folder: Path, listed: Mapping[str, Listed], on_bytes: Callable[[int], None]) -> Iterator[tuple[str, str]]:
    """Yield name and finding of each file that is missing, cut or of other bytes than listed.

    `on_bytes` receives the length of each file that has been looked at.
    """
    for name, expected in listed.items():
        if what := _change(folder, name, expected):
            yield name, what
        on_bytes(expected.length)


def is_within(name: str) -> bool:
    """Return whether a name is that of a file in the folder of the form, as each that an export has listed."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _change(folder: Path, name: str, expected: Listed) -> str:
    path = PurePosixPath(name)
    if not is_within(name):
        return "not in the folder of the form"
    try:
        length = (folder / path).stat().st_size
        if length != expected.length:
            return f"{length:,} bytes, where {expected.length:,} were exported"
        return "" if _look(folder / path) == expected else "other bytes than were exported"
    except FileNotFoundError:
        return "missing"
    except (OSError, ValueError) as error:
        return f"cannot be read ({reason(error) if isinstance(error, OSError) else error})"


def _look(path: Path) -> Listed:
    """Return what a file is listed with. Raise OSError if it cannot be read."""
    length, crc32 = 0, 0
    with open_file(path) as file:
        while chunk := file.read(_CHUNK_BYTES):
            length, crc32 = length + len(chunk), deflate.crc32(chunk, crc32)
    return Listed(length, crc32)
