"""The part of a file that has come so far: kept over processes, written by one at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ben_luigi.domain.cdse.errors import TransientError

_CHUNK_BYTES = 2**20


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The part at `path`, new or as it is, for this process alone; one that is empty in the end is removed.

    Raises TransientError if another process has it.
    """
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as partial:
        try:
            fcntl.flock(partial, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another process may have given it its final name before we got the lock.
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


def read(file: IO[bytes], length: int) -> Iterator[bytes]:
    """The next `length` bytes of a file, or what there is of them."""
    while length > 0 and (chunk := file.read(min(length, _CHUNK_BYTES))):
        yield chunk
        length -= len(chunk)
