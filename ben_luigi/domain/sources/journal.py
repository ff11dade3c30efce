"""Record which files of a product have arrived, and how they were proven, so that none is proven twice."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from ben_luigi.domain.sources.proof import new_hash

NAME = ".files.jsonl"
_CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class Brought:
    """A file that has arrived: its source, how it was proven, and by which hash (`md5:<hexadecimal>`).

    `contradicted_by` are lower rungs of the proof that disagree.
    """

    path: str
    source: str
    proof: str
    digest: str
    length_bytes: int
    mtime_ns: int = 0
    contradicted_by: str = ""


class Journal:
    """One line of JSON per file, appended when the file has its final name and is on disk.

    A line counts while the file has the length and time that it states. Threads may share a journal.
    """

    def __init__(self, folder: Path, files: Path) -> None:
        self._path, self._files, self._lock = folder / NAME, files, threading.Lock()
        self._known = {one.path: one for one in self._read()}
        with self._path.open("ab") as file:
            if file.tell() and not self._path.read_bytes().endswith(b"\n"):  # a line cut by a killed process
                file.write(b"\n")

    def get(self, path: str) -> Brought | None:
        """Return what is recorded of an existing file."""
        one = self._known.get(path)
        if one is None:
            return None
        try:
            found = (self._files / path).stat()
        except OSError:
            return None
        return one if (found.st_size, found.st_mtime_ns) == (one.length_bytes, one.mtime_ns) else None

    def paths(self, source: str) -> list[str]:
        """Return the existing files that came from a source."""
        return [path for path, one in [*self._known.items()] if one.source == source and self.get(path)]

    def add(self, brought: Brought) -> None:
        """Record a file."""
        line = json.dumps(asdict(brought), sort_keys=True) + "\n"
        with self._lock, self._path.open("ab") as file:
            file.write(line.encode())
            self._known[brought.path] = brought

    def keep(self, brought: Brought) -> None:
        """Have what is known of a file hold for the one that has come in its place, if its content is the same."""
        known = self._known.get(brought.path)
        if known and known.digest == brought.digest:
            os.utime(self._files / known.path, ns=(known.mtime_ns, known.mtime_ns))

    def verify(self) -> None:
        """Compare each file with its hash, and forget those that have changed."""
        for path, one in [*self._known.items()]:
            algorithm, _, value = one.digest.partition(":")
            found = new_hash(algorithm)
            try:
                with (self._files / path).open("rb") as file:
                    while chunk := file.read(_CHUNK_BYTES):
                        found.update(chunk)
            except OSError:
                pass
            if found.hexdigest() != value:
                del self._known[path]

    def _read(self) -> list[Brought]:
        found = []
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []
        for line in lines:
            try:
                found.append(Brought(**json.loads(line)))
            except (ValueError, TypeError):
                continue
        return found
