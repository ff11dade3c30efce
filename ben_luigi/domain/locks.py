"""Lock files (flock), readable by their owner only, since anybody who can open one can lock it.

Each names its holder.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from ben_luigi.domain import waiting

SHARED, ALONE = fcntl.LOCK_SH, fcntl.LOCK_EX

_NAME_BYTES = 1024


def opened(path: Path) -> int:
    """Return a descriptor of the lock file at `path`, which is made if it is missing, with mode 0600.

    Raise OSError if it cannot be opened, or is a link.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    with suppress(OSError):  # some file systems have no modes
        if os.fstat(descriptor).st_mode & 0o077:
            os.fchmod(descriptor, 0o600)
    return descriptor


def take(descriptor: int, kind: int, what: str, poll_s: float = 0.1) -> None:
    """Lock an opened lock file, SHARED or ALONE; while others hold it, the log says that `what` is awaited.

    Forked copies of the descriptor hold the lock too, and the last one to be closed releases it. Raise OSError on a
    file system without locks.
    """
    waiting.wait_for(lambda: try_take(descriptor, kind), what, lambda: holders(descriptor), poll_s)


def try_take(descriptor: int, kind: int) -> bool:
    """Take the lock if it is free; return whether it was."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    if kind == ALONE:
        with suppress(OSError):  # a full disk
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, waiting.name().encode(), 0)
    return True


def is_free(descriptor: int) -> bool:
    """Take a lock on a file that is no lock file, alone, if nobody has one; return whether it was free."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def free(descriptor: int) -> None:
    """Release the lock at once, even if forked copies of the descriptor are open."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def holders(descriptor: int) -> list[str]:
    """Return the holders of the lock: those of this host that the kernel knows, else the last one to take it alone."""
    named = os.pread(descriptor, _NAME_BYTES, 0).decode(errors="replace")
    found = [named if named.startswith(f"{process}@") else told(process) for process in _lockers(descriptor)]
    return found or ([named] if named else [])


def _lockers(descriptor: int) -> Iterator[int]:
    """Yield the processes that have locked the file, from lines like `1: FLOCK ADVISORY WRITE 3155 fd:01:1311139 0
    EOF`.
    """
    inode = str(os.fstat(descriptor).st_ino)
    with suppress(OSError), Path("/proc/locks").open(encoding="ascii") as lines:
        for words in map(str.split, lines):
            if words[1] == "FLOCK" and words[5].rpartition(":")[2] == inode:
                yield int(words[4])


def told(process: int) -> str:
    """Return the command line of a process of this host, and whether it is stopped."""
    command = ""
    with suppress(psutil.Error):
        command = " ".join(psutil.Process(process).cmdline())
    state = waiting.local(process)
    return f"process {process} of this host{command and f' ({command})'}{state and ', '}{state}"
