"""Hash files in the ways in which services tell the hash of theirs, each file once for as long as it stays the same."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ben_luigi.domain import files, waiting
from ben_luigi.domain.given import open_file

MD5, SHA256, GIT = "md5", "sha256", "git"
"""Hexadecimal hashes of the whole file; that of git is the sha1 of `blob <length>`, a zero byte, and the file."""
MD5_OF_PARTS, SHA256_OF_PARTS = "md5 of parts", "sha256 of parts"
"""Hash of the hashes of all parts, and their number, as S3 gives it for multipart uploads: `<hash>-<number>`.

That of MD5 is hexadecimal, that of SHA-256 is in base 64.
"""
UNKNOWN = "no hash that is known"
"""What a service tells that keeps neither: the file cannot be compared."""
_CHUNK_BYTES = 2**20
_LARGE_BYTES = 2**30
"""A file from this length on may take more than a minute, in which something is to be said."""


@dataclass(frozen=True)
class Held:
    """What a service has under a name: length, and hash of some kind; `part_bytes` is the length of its parts.

    Without a hash it is an unfinished upload, unless its kind is UNKNOWN.
    """

    size_bytes: int
    kind: str
    digest: str
    part_bytes: int = 0

    def __str__(self) -> str:
        return f"{f'{self.kind} {self.digest}'.rstrip()}, {self.size_bytes:,} bytes"

    @property
    def is_finished(self) -> bool:
        """Whether it is an upload that was finished."""
        return bool(self.digest) or self.kind == UNKNOWN


@dataclass
class Hashes:
    """Hashes of files, noted in a file by a line of JSON each. They hold while length, time and inode of the file stay.

    A line is appended per file, so that of very many none takes longer, and none is hashed again by the next process if
    this one is killed. What a killed one has cut off is passed over.
    """

    note: Path
    _known: dict[str, list[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with suppress(OSError):
            for line in self.note.read_bytes().splitlines():
                with suppress(ValueError, RecursionError, TypeError):
                    key, *noted = json.loads(line)
                    self._known[key] = noted

    def of(self, path: Path, kind: str, part_bytes: int = 0) -> str:
        """Return a hash of a file. Raise OSError if it cannot be read."""
        state, known = _state(path), self._known.get(_key(path, kind, part_bytes), [])
        if known[:-1] == state:
            return str(known[-1])
        with waiting.told(f"the hash of {path}") if state[0] >= _LARGE_BYTES else nullcontext():
            digest = digest_of(path, kind, part_bytes)
        self._note(path, state, kind, part_bytes, digest)
        return digest

    @contextmanager
    def in_passing(self, path: Path) -> Iterator[Callable[[Held], None]]:
        """Yield a function for the hash of a file that is read meanwhile; it counts if the file stays as it is."""
        state = _state(path)
        found: list[Held] = []
        yield found.append
        if found and state == _state(path):
            self._note(path, state, found[-1].kind, found[-1].part_bytes, found[-1].digest)

    def _note(self, path: Path, state: list[Any], kind: str, part_bytes: int, digest: str) -> None:
        key = _key(path, kind, part_bytes)
        self._known[key] = [*state, digest]
        self._append(json.dumps([key, *self._known[key]]))

    def _append(self, line: str) -> None:
        """Note a hash. The end of the line is written with the next one, so that one which was cut off ends too."""
        self.note.parent.mkdir(parents=True, exist_ok=True)
        with self.note.open("ab") as file:
            file.write(f"\n{line}".encode())

    def held(self, path: Path, like: Held) -> Held:
        """Return what a service would have if it had this file, hashed in the way of `like`, by SHA-256 if unknown."""
        if like.kind == UNKNOWN:
            return Held(path.stat().st_size, SHA256, self.of(path, SHA256))
        return Held(path.stat().st_size, like.kind, self.of(path, like.kind, like.part_bytes), like.part_bytes)


def _key(path: Path, kind: str, part_bytes: int) -> str:
    return f"{path.resolve()} {kind} {part_bytes}"


def _state(path: Path) -> list[Any]:
    """Return what changes with the content of a file, its length first."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev]


def digest_of(path: Path, kind: str, part_bytes: int = 0) -> str:
    """Return a hash of a file, read as a stream."""
    if kind in (MD5_OF_PARTS, SHA256_OF_PARTS):
        return _of_parts(path, kind, part_bytes)
    if kind != GIT:
        return files.file_hash(path, kind)
    hashed = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with open_file(path) as file:
        while chunk := file.read(_CHUNK_BYTES):
            hashed.update(chunk)
    return hashed.hexdigest()


def _of_parts(path: Path, kind: str, part_bytes: int) -> str:
    algorithm, number = (hashlib.md5 if kind == MD5_OF_PARTS else hashlib.sha256), 0
    whole = algorithm(usedforsecurity=False)
    with open_file(path) as file:
        while True:
            part, left = algorithm(usedforsecurity=False), part_bytes
            while left and (chunk := file.read(min(_CHUNK_BYTES, left))):
                part.update(chunk)
                left -= len(chunk)
            if left == part_bytes and number:
                break
            whole.update(part.digest())
            number += 1
            if left:
                break
    text = whole.hexdigest() if kind == MD5_OF_PARTS else base64.b64encode(whole.digest()).decode()
    return f"{text}-{number}"
