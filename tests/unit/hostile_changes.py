"""Ways to put something else in a file's place: each takes the path of a whole file."""

from __future__ import annotations

import bz2
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

Version = Callable[[Path], object]


def write(content: bytes) -> Version:
    """Other content."""
    return lambda path: path.write_bytes(content)


def change(old: bytes, new: bytes) -> Version:
    """The same, with something replaced."""

    def version(path: Path) -> None:
        content = path.read_bytes()
        assert old in content
        path.write_bytes(content.replace(old, new))

    return version


def json_with(**changed: object) -> Version:
    """JSON with other values."""

    def version(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))

    return version


def cut(part: float) -> Version:
    """Cut short."""
    return lambda path: os.truncate(path, int(part * path.stat().st_size))


def instead(make: Callable[[Path], object]) -> Version:
    """Something else in its place."""

    def version(path: Path) -> None:
        path.unlink()
        make(path)

    return version


def packed(suffix: str, content: bytes, times: int) -> Callable[[Path], Path]:
    """A text that unpacks to much: `content` so many times, packed, under the name with the suffix."""

    def version(path: Path) -> Path:
        pack = bz2.compress if suffix == ".bz2" else gzip.compress
        found = path.with_name(path.name + suffix)
        found.write_bytes(pack(content) * times)
        path.unlink()
        return found

    return version


def sparse(size: int) -> Version:
    """So many bytes of 0, which take no room."""
    return lambda path: os.truncate(path, size)
