"""Lock files (flock): for their owner alone, since whoever can open one can lock it, and each says who has it."""

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
    """A descriptor of the lock file at `path`, which is made where there is none, and gets mode 0600.

    OSError if it cannot be opened, or is a link.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    with suppress(OSError):  # some file systems have no modes
        if os.fstat(descriptor).st_mode & 0o077:
            os.fchmod(descriptor, 0o600)
    return descriptor


def take(descriptor: int, kind: int, what: str, poll_s: float = 0.1) -> None:
    """Lock an opened lock file, SHARED or ALONE; while others keep it, the log says that `what` is waited for.

    Forked copies of the descriptor hold the lock too, and the last to be closed frees it. OSError on a file system
    without locks.
    """
    waiting.wait_for(lambda: try_take(descriptor, kind), what, lambda: holders(descriptor), poll_s)


def try_take(descriptor: int, kind: int) -> bool:
    """Whether the lock could be taken at once."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    if kind == ALONE:
        with suppress(OSError):  # a full disk
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, waiting.name().encode(), 0)
    return True


def free(descriptor: int) -> None:
    """Free the lock at once, though forked copies of the descriptor may be open."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def holders(descriptor: int) -> list[str]:
    """Who holds the lock: those of this host that the kernel knows of, else who was the last to take it alone."""
    named = os.pread(descriptor, _NAME_BYTES, 0).decode(errors="replace")
    found = [named if named.startswith(f"{process}@") else told(process) for process in _lockers(descriptor)]
    return found or ([named] if named else [])


def _lockers(descriptor: int) -> Iterator[int]:
    """Processes that have locked the file, of lines such as `1: FLOCK  ADVISORY  WRITE 3155 fd:01:1311139 0 EOF`."""
    inode = str(os.fstat(descriptor).st_ino)
    with suppress(OSError), Path("/proc/locks").open(encoding="ascii") as lines:
        for words in map(str.split, lines):
            if words[1] == "FLOCK" and words[5].rpartition(":")[2] == inode:
                yield int(words[4])


def told(process: int) -> str:
    """A process of this host: its command line, and whether it is stopped."""
    command = ""
    with suppress(psutil.Error):
        command = " ".join(psutil.Process(process).cmdline())
    state = waiting.local(process)
    return f"process {process} of this host{command and f' ({command})'}{state and ', '}{state}"
