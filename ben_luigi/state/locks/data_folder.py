"""Tell which processes work in a data folder, on any host: those that hold a lock on its file `in-use.lock`.

Locks (flock) are used, not process ids, which are reused and mean nothing on another host. A killed process loses its
lock. So a process that is alone in the folder may remove what dead processes have left unfinished.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ben_luigi import config
from ben_luigi.domain import files, locks
from ben_luigi.domain.errors import BadInput

LOCK = "in-use.lock"
_OTHERS = {"database", "export", "sample", config.RECIPES}
"""Folders without unfinished files of a run here: the server sweeps its own, recipes have locks of their own, and the
others are written as a whole."""

_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ESTALE}
_held: dict[Path, tuple[int, int]] = {}
"""Descriptors of the lock and of the folder, which no other folder can be as long as this one is open."""


def enter(folder: Path) -> None:
    """Hold a shared lock on `folder` until this process and all that it forks have ended.

    If another process is tidying up there, wait for it. On a file system without locks nothing is held.
    """
    if folder not in _held:
        lock = _opened(folder)
        _held[folder] = lock, os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        with suppress(OSError):
            locks.take(lock, locks.SHARED, f"another process to tidy up {folder}")


def is_same(folder: Path) -> bool:
    """Return whether `folder`, if this process or one that has forked it works there, is still the same.

    It may have been moved, removed or unmounted meanwhile: whatever is made then is made in another folder.
    """
    held = _held.get(folder)
    if held is None:
        return True
    try:
        # Some network file systems give a folder another number whenever it is looked up: there the lock tells, which
        # in another folder could only be that of another run.
        is_one = os.path.samestat(folder.stat(), os.fstat(held[1])) or locks.is_taken(folder / LOCK)
    except OSError as error:
        is_one = error.errno not in _GONE
    return is_one or folder not in _held


def require_same(folder: Path) -> None:
    """Raise BadInput unless `folder` is still the same; see `is_same`."""
    if not is_same(folder):
        raise lost(folder)


def lost(folder: Path) -> BadInput:
    """Return the error about a folder that is no longer the same."""
    return BadInput(
        folder,
        expected="the data folder in which this run works, until it has ended",
        found="another folder in its place" if folder.is_dir() else "no such folder",
        remedy="it was moved, removed or unmounted: bring it back, instead of what is in its place, and run again",
    )


def sweep_if_alone(folder: Path) -> list[Path]:
    """Remove unfinished files in `folder`, if no other process works there; return the removed paths."""
    if not folder.is_dir():
        return []
    with alone_in(folder) as is_alone, suppress(OSError):  # something cannot be removed
        if is_alone:
            return [path for place in _folders(folder) for path in files.sweep(place, older_than_s=0)]
    return []


@contextmanager
def alone_in(folder: Path) -> Iterator[bool]:
    """Yield whether no other process works in `folder`; if so, those that begin meanwhile wait.

    On a file system without locks this cannot be known, and is False. Raise BadInput if the lock cannot be
    opened, NoRoomError on a full disk.
    """
    descriptor = _opened(folder)
    try:
        is_alone = False
        with suppress(OSError):  # the file system has no locks
            is_alone = locks.try_take(descriptor, locks.ALONE)
        yield is_alone
    finally:
        os.close(descriptor)


def leave(folder: Path) -> None:
    """Release the lock that `enter` took."""
    if folder in _held:
        for descriptor in _held.pop(folder):
            os.close(descriptor)


def _opened(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return locks.opened(folder / LOCK)
    except OSError as error:
        files.raise_if_full(folder / LOCK, error)
        raise BadInput(
            folder / LOCK,
            expected="a lock file that this user can open, in a folder to write to",
            found=str(error.strerror),
            remedy="run as the user who made the folder, or name another [dataset] data_dir",
        ) from error


def _folders(folder: Path) -> Iterator[Path]:
    """Yield the folders to which the pipeline writes, without those within products."""
    yield folder
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.suffix != ".SAFE" and path.name not in _OTHERS and not path.is_symlink():
            yield from _folders(path)
