"""Have results of the store at their places in the data folder while they are read, and no more of them than allowed.

    with at_hand(path): ...     the file is there, whole, and stays

Whoever reads a file holds a shared lock (flock) on it, in whatever process on whatever host. To make room, the files
that were read longest ago are removed, of those that are in the store and not locked, until `[dataset] cache_gb` holds.
A file arrives in `cache/`, where it takes its whole length at once, and is renamed once its sha256 is right. What is
still being made, and has no record yet, does not count.
"""

from __future__ import annotations

import logging
import os
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ben_luigi import config
from ben_luigi.domain import files, locks, waiting
from ben_luigi.domain.errors import NoRoomError
from ben_luigi.state import records, stored
from ben_luigi.state.stored import Files

_log = logging.getLogger(__name__)
_FOLDER = "cache"
_PLACES = (
    "patches/*.tar",
    "reference_maps/*.tar",
    "s1/*.tar",
    "layers/*/*.tar",
    "archives/**/*.tar.zst",
    "dataset/*.tar.zst",
    "subsets/*/*.tar.zst",
    "forms/*",
    "forms/subsets/*/*",
)
"""Where results lie that live in the store."""
_STRIPES = 64
_GB = 1e9
_own: Counter[Path] = Counter()
"""What this process reads: it does not wait for itself."""


class _Full(Exception):
    """There is no room; `in_use` are files that others read."""

    def __init__(self, in_use: Sequence[Path]) -> None:
        super().__init__()
        self.in_use = in_use


@dataclass(frozen=True)
class _Wanted:
    """A result of the store: its path, and what the store has of it."""

    relative: str
    stored: Files

    @property
    def path(self) -> Path:
        return config.data_dir() / self.relative

    @property
    def size(self) -> int:
        return sum(held.size_bytes for held in self.stored.values())

    def hold(self) -> int | None:
        """Return a descriptor that keeps the file from being removed; None if it is not there as it was uploaded."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
        except OSError:
            return None
        try:
            if _is_kept(descriptor) and self._is_same(descriptor) and files.size(self.path) == self.size:
                now = time.time_ns()
                os.utime(self.path, ns=(now, self.path.stat().st_mtime_ns))  # whatever the disk's options
                return descriptor
        except OSError:
            pass
        os.close(descriptor)
        return None

    def _is_same(self, descriptor: int) -> bool:
        return os.path.samestat(os.fstat(descriptor), self.path.stat())


def _is_kept(descriptor: int) -> bool:
    """Take a shared lock; return whether nobody is removing the file just now."""
    try:
        return locks.try_take(descriptor, locks.SHARED)
    except OSError:  # a file system without locks, where nothing is removed
        return True


@contextmanager
def at_hand(*paths: Path) -> Iterator[None]:
    """Have files or folders of the data folder at their paths, whole, while within; all of them, after a wait for room.

    Nothing is done about those that do not live in the store. Raise NoRoomError if they are more than the cache takes,
    DamagedFile if one is not as it was uploaded.
    """
    wanted = [found for path in paths if (found := _wanted(path)) is not None]
    held = _held(wanted) if wanted else []
    _own.update(one.path for one in wanted)
    try:
        yield
    finally:
        _own.subtract(one.path for one in wanted)
        for descriptor in held:
            os.close(descriptor)


@contextmanager
def whole(folder: Path) -> Iterator[None]:
    """Do the same for a folder, such as that of the finished dataset or of a form, and all that lies in it.

    Nothing is done about folders elsewhere.
    """
    own = config.data_dir()
    if not stored.is_configured() or not folder.resolve().is_relative_to(own.resolve()):
        yield
        return
    relative = folder.resolve().relative_to(own.resolve()).as_posix()
    found = [name for name in records.all_of() if name == relative or name.rpartition("/")[0] == relative]
    with at_hand(*(own / name for name in found)):
        yield


def dropped(path: Path) -> bool:
    """Remove a copy of a result of the store that is not as it was uploaded; return whether it was such a one."""
    wanted = _wanted(path)
    if wanted is None or not path.exists() or stored.is_intact(path, wanted.stored):
        return False
    files.remove(path)
    _log.warning("removed   %s, which was damaged: it is fetched again from the store", path)
    return True


def prepare() -> None:
    """Before a run: prepare the store (`stored.prepare`), and remove what is too much, since it was uploaded only now,
    or more was allowed before.
    """
    stored.prepare()
    trim()


def trim() -> None:
    """Remove what is too much."""
    if stored.is_configured():
        with _locked("lock"), suppress(_Full):
            _make_room(0)


def _wanted(path: Path) -> _Wanted | None:
    if not stored.is_configured() or not path.is_relative_to(config.data_dir()):
        return None
    relative = path.relative_to(config.data_dir()).as_posix()
    of_store = stored.files_of(records.read(records.path_of(relative))) if stored.is_cached(relative) else {}
    return _Wanted(relative, of_store) if of_store else None


def _limit() -> int:
    return int(float(config.dataset().cache_gb) * _GB)


def _held(wanted: Sequence[_Wanted]) -> list[int]:
    """Return a descriptor for each of these, once all fit. While others read, none is held, so that nobody waits for
    another who waits.
    """
    total = sum(one.size for one in wanted)
    held: list[int] = []
    in_use: list[Path] = []

    def fits() -> bool:
        try:
            for one in wanted:
                held.append(_hold(one))
        except BaseException as error:
            while held:
                os.close(held.pop())
            if not isinstance(error, _Full):
                raise
            in_use[:] = error.in_use
            if not in_use or total > _limit():
                raise _no_room(wanted, total) from error
            return False
        return True

    waiting.wait_for(fits, f"room for {wanted[0].relative} in the cache", lambda: [f"readers of {in_use[0]}"])
    return held


def _no_room(wanted: Sequence[_Wanted], total: int) -> NoRoomError:
    more = f" and {len(wanted) - 1} more" if len(wanted) > 1 else ""
    total += sum(files.size(path) for path in +_own if path not in [one.path for one in wanted])
    return NoRoomError(
        f"{wanted[0].path}{more}",
        expected=f"a cache that takes {total / _GB:.3f} GB at once, beside what is not in the store",
        found=f"[dataset] cache_gb = {config.dataset().cache_gb}",
        remedy=f"set it to {2 * total / _GB:.3f} or more, and run again: what is complete stays",
    )


def _hold(wanted: _Wanted) -> int:
    """Return a descriptor of a result, fetched if it is not there. Raise _Full."""
    if (held := wanted.hold()) is not None:
        return held
    with _locked(f"fetch-{zlib.crc32(wanted.relative.encode()) % _STRIPES}.lock"):
        while held is None:
            held = wanted.hold()  # another process may have fetched it meanwhile
            held = _fetched(wanted) if held is None else held
    return held


def _fetched(wanted: _Wanted) -> int | None:
    """Fetch a result to its place; return its descriptor."""
    work = files.unfinished(config.data_dir() / _FOLDER / wanted.path.name)
    try:
        with _locked("lock"):
            files.remove(wanted.path)  # it was not as it was uploaded
            _make_room(wanted.size)
            for name, held in wanted.stored.items():
                path = work / name if name else work
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    file.truncate(held.size_bytes)
        stored.fetch(wanted.relative, wanted.stored, work)
        wanted.path.parent.mkdir(parents=True, exist_ok=True)
        with _locked("lock"):  # who counts the files meanwhile would miss it
            work.rename(wanted.path)
            return wanted.hold()
    except OSError as error:
        files.raise_if_full(wanted.path, error)
        raise
    finally:
        files.remove(work)


@contextmanager
def _locked(name: str) -> Iterator[None]:
    folder = config.data_dir() / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = locks.opened(folder / name)
    try:
        with suppress(OSError):  # a file system without locks
            locks.take(descriptor, locks.ALONE, "the cache", 0.02)
        yield
    finally:
        os.close(descriptor)


def _make_room(needed: int) -> None:
    """Remove files, those read longest ago first, until `needed` bytes fit. Raise _Full if they do not."""
    there = {path: files.size(path) for path in _there()}
    free, in_use = _limit() - sum(there.values()), []
    for path in sorted(there, key=lambda path: path.stat().st_atime_ns if path.exists() else 0):
        if free >= needed:
            return
        if (wanted := _wanted(path)) is None or not stored.holds(wanted.relative, wanted.stored):
            continue  # it is the only copy
        if _is_removed(wanted):
            free += there[path]
        elif not _own[path]:
            in_use.append(path)
    if free < needed:
        raise _Full(in_use)


def _there() -> Iterator[Path]:
    """Yield the files that count: those that live in the store and have a record, and those that are being fetched."""
    folder = config.data_dir()
    for path in chain.from_iterable(folder.glob(pattern) for pattern in _PLACES):
        if records.path_of(path.relative_to(folder).as_posix()).exists():
            yield path
    yield from (path for path in (folder / _FOLDER).iterdir() if files.is_unfinished(path.name))


def _is_removed(wanted: _Wanted) -> bool:
    """Remove a file unless somebody reads it; return whether it is gone."""
    aside = files.unfinished(config.data_dir() / _FOLDER / wanted.path.name)
    try:
        descriptor = os.open(wanted.path, os.O_RDONLY if wanted.path.is_dir() else os.O_RDWR)
    except OSError:
        return not wanted.path.exists()
    try:
        if not locks.is_free(descriptor):
            return False
        wanted.path.rename(aside)
        if not os.path.samestat(os.fstat(descriptor), aside.stat()):  # it has just been made again
            aside.rename(wanted.path)
            return False
        files.remove(aside)
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
