"""Identify the content of files from outside: by a signature that reads no data, and by sha256."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from ben_luigi.domain import files, given
from ben_luigi.domain.formats.companions import companions
from ben_luigi.domain.progress import OnBytes, ignore_bytes

_CHUNK_BYTES = 1 << 20
_MOST_ENTRIES = 50_000
"""Only the upper level of a folder with more files counts, such as the extracted BigEarthNet-S1 with its million."""


def signature(path: Path) -> str:
    """Return a text that changes when a file at or below `path` is replaced or written to (size, inode and mtime).

    So it does for the files that belong to it, such as the attributes of a Shapefile.
    """
    return files.text_hash("\n".join(f"{name} {_signed(found)}" for name, found in _listed(path)))


def is_too_large(path: Path) -> bool:
    """Return whether a folder has so many files that hashing them would take too long."""
    return path.is_dir() and any(found.is_dir() for _, found in _listed(path))


def sha256(path: Path, progress: OnBytes = ignore_bytes) -> str:
    """Return the sha256 of a file; for a folder, of the names in it and the sha256 of each file.

    A file with others that belong to it, such as a Shapefile, counts as a folder of them. For a folder with very many
    files, return its `signature`, since hashing would take too long.
    """
    if path.is_file() and not companions(path):
        return _file_sha256(path, progress)
    if is_too_large(path):
        return signature(path)
    return files.text_hash("\n".join(f"{name} {_file_sha256(found, progress)}" for name, found in _listed(path)))


def _file_sha256(path: Path, progress: OnBytes) -> str:
    hashed, total = hashlib.sha256(), path.stat().st_size
    with given.open_file(path) as file:
        while chunk := file.read(_CHUNK_BYTES):
            hashed.update(chunk)
            progress(file.tell(), total)
    return hashed.hexdigest()


def _listed(path: Path) -> list[tuple[str, Path]]:
    """Return the file with those that belong to it, or the files below a folder by their relative names.

    Of a folder with very many files, only the upper level is listed.
    """
    if not path.is_dir():
        beside = companions(path)
        return [("", path), *((os.path.relpath(one, path.absolute().parent), one) for one in beside)]
    found = []
    for name in _below(path):
        found.append((name, path / name))
        if len(found) > _MOST_ENTRIES:
            return [("", path), *_upper(path)]
    return sorted(found)


def _below(path: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if not name.startswith("."):
                yield os.path.relpath(Path(folder) / name, path)


def _upper(path: Path) -> list[tuple[str, Path]]:
    with os.scandir(path) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    return [(name, path / name) for name in names[:_MOST_ENTRIES]]


def _signed(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:  # a link that leads nowhere
        found = path.lstat()
    return f"{found.st_size} {found.st_ino} {found.st_mtime_ns}"
