"""Keep the part of a file that has arrived so far, over processes, written by one process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ben_luigi.domain.errors import TransientError

_CHUNK_BYTES = 2**20


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Yield the partial file at `path`, new or existing, for this process only; if it is empty in the end, it is
    removed.

    Raise TransientError if another process holds it.
    """
    # Not `os.fdopen`: its files have a number for a name, and `files.keeping_up` needs the path.
    with open(path, "r+b", opener=_created) as partial:
        try:
            fcntl.flock(partial, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another process may have renamed it to its final name before this one got the lock.
            ours = os.path.samestat(os.fstat(partial.fileno()), path.stat())
        except (BlockingIOError, FileNotFoundError):
            ours = False
        if not ours:
            raise TransientError(path, found="another process is fetching it")
        try:
            yield partial
        finally:
            partial.flush()
            if not os.fstat(partial.fileno()).st_size:
                path.unlink(missing_ok=True)


def _created(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o644)


def read(file: IO[bytes], length: int) -> Iterator[bytes]:
    """Yield the next `length` bytes of a file, or as many as there are."""
    while length > 0 and (chunk := file.read(min(length, _CHUNK_BYTES))):
        yield chunk
        length -= len(chunk)
