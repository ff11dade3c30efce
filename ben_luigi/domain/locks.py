"""Lock files (flock), readable by their owner only, since anybody who can open one can lock it.

Each names its holder.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from ben_luigi.domain import waiting
from ben_luigi.domain.errors import BadInput, reason, some

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


def is_taken(path: Path) -> bool:
    """Return whether somebody, who may be this process, holds the lock file at `path`, which is not made.

    Raise OSError if it is not there, or on a file system without locks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, ALONE | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def held(path: Path, what: str, poll_s: float = 0.1) -> Iterator[None]:
    """Hold the lock file at `path` alone, once nobody else does; as `take`."""
    descriptor = opened(path)
    try:
        take(descriptor, ALONE, what, poll_s)
        try:
            yield
        finally:
            free(descriptor)  # closing is not enough: another thread may have forked a copy
    finally:
        os.close(descriptor)


class HeldByAnother(BadInput):
    """Another process does the same at this moment."""


@contextmanager
def held_while(does: str, path: Path, lock: Path) -> Iterator[bool]:
    """Hold a lock file alone while a command makes (or what it `does`) what is at `path`; it is removed in the end.

    Yield whether the file system has locks: where it has none, nothing is held. Raise HeldByAnother.
    """
    descriptor, has_locks = _alone(does, path, lock)
    try:
        yield has_locks
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _alone(does: str, path: Path, lock: Path) -> tuple[int, bool]:
    while True:
        descriptor = opened(lock)
        try:
            if not try_take(descriptor, ALONE):
                by = some(holders(descriptor), 1)
                os.close(descriptor)
                remedy = "wait for it, or name another folder"
                raise HeldByAnother(path, expected=f"that no other process {does} it", found=by, remedy=remedy)
        except OSError:  # a file system without locks
            return descriptor, False
        with suppress(FileNotFoundError):
            if os.path.samestat(lock.stat(), os.fstat(descriptor)):
                return descriptor, True
        os.close(descriptor)  # its holder has removed it meanwhile


def no_locks(path: Path, purpose: str, error: OSError) -> BadInput:
    """Return the error of who cannot do without a lock."""
    return BadInput(
        path.parent,
        expected=f"a file system with locks, so that {purpose}",
        found=reason(error),
        remedy="mount it with locks (flock), or name another [dataset] data_dir",
    )


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
