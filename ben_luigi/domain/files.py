"""Write files that appear complete or not at all, and hash files."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path, PurePath
from typing import IO, Any, TypeAlias, TypeVar

from ben_luigi.domain import fence
from ben_luigi.domain.errors import DiskError, NoRoomError
from ben_luigi.domain.given import open_file

_SYNC_BYTES = 2**25
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
MAKE_ROOM = "make room on the disk, or use another ([dataset] data_dir, --to), and run again: what is complete stays"
"""What to do where there is no room."""

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
"""What file systems without hard links say, such as exFAT."""
_NOT_FOR_FOLDERS = {errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.ENOSYS}
_REMOVALS, _PAUSE_S = 20, 0.05
"""How often a folder that is written to meanwhile is removed, at most, and the pause before it is tried again."""
AnyPath = TypeVar("AnyPath", bound=PurePath)
_UNFINISHED = re.compile(r"\.unfinished-(?P<by>\d+|[0-9a-f]{16}-\d+)-[0-9a-f]{8}-(?P<name>.+)")


def unfinished(path: AnyPath) -> AnyPath:
    """Return a name beside `path` for a file or folder in the making: `.unfinished-<by>-<random>-<name>`.

    `<by>` is the mark of the turn (`fence`), else the process id. It keeps the suffix of `path`, since some libraries
    choose the format by it. What earlier turns have left unfinished beside `path` is removed first.
    """
    turn = fence.current()
    if turn is None or not isinstance(path, Path):
        return path.with_name(f".unfinished-{os.getpid()}-{secrets.token_hex(4)}-{path.name}")
    clear(path.parent)
    work = path.with_name(f".unfinished-{turn.mark}-{secrets.token_hex(4)}-{path.name}")
    turn.named(work)
    return work


def clear(folder: Path) -> None:
    """Remove what earlier turns have left unfinished in `folder`, if the last one has not ended: it may come back."""
    turn = fence.current()
    if turn is None or not turn.clears(folder):
        return
    for entry in folder.iterdir() if folder.is_dir() else ():
        found = _UNFINISHED.fullmatch(entry.name)
        if found and turn.mark.is_after(found["by"]):
            remove(entry)


def is_unfinished(name: str) -> bool:
    """Return whether a file or folder has such a name."""
    return made_for(name) is not None


def made_for(name: str) -> str | None:
    """Return the name that an unfinished file or folder is to get; None if `name` is not that of one."""
    found = _UNFINISHED.fullmatch(name)
    return found and found["name"]


def final(path: Path) -> Path:
    """Return the path at which an unfinished file, or one in an unfinished folder, would appear; others as they are."""
    return Path(*(found["name"] if (found := _UNFINISHED.fullmatch(part)) else part for part in path.parts))


def unfinished_of(path: Path) -> Iterator[Path]:
    """Yield what lies beside `path` under a name that `unfinished` gave for it."""
    for entry in list(path.parent.iterdir()) if path.parent.is_dir() else ():
        if made_for(entry.name) == path.name:
            yield entry


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a path to write a file or folder to; on success fsync it and rename it to `path`, else remove it.

    The parent folder is made if it is missing. A file at `path` is replaced by a file, a folder by a folder; anything
    else is an error. Raise DiskError if the disk is full or does not keep what is written, TakenOver if another process
    makes it now.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    work = unfinished(path)
    try:
        yield work
        _sync_all(work)
        put_in_place(work, path)
    except OSError as error:
        try:
            raise_if_full(path, error)  # what is said to be free is so before anything is removed
        finally:
            _try_to_remove(work)
        raise
    except BaseException:
        _try_to_remove(work)
        raise
    # fsync(2): the entry of a file in its folder is durable only after fsync of the folder.
    sync(path.parent)


def put_in_place(work: Path, path: Path) -> None:
    """Give a complete file or folder its final name: the one place where a result appears on a file system.

    `work` is a name of `unfinished`. A folder at `path` is moved aside, and removed only once the new one is there: to
    remove a large one takes minutes, in which a kill would lose both. Raise TakenOver if another process makes the
    result now.
    """
    is_replaced = work.is_dir() and path.is_dir() and not path.is_symlink()
    with withdrawn(path) if is_replaced else nullcontext():
        fence.require(path)
        work.rename(path)


@contextmanager
def withdrawn(path: Path) -> Iterator[Path]:
    """Yield another path to which a published file or folder was moved; what is still there at the end is removed.

    It is moved to an unfinished folder: if a later turn has removed that, the move fails, so that it cannot take away
    what the later turn has published. Raise TakenOver if another process makes it now.
    """
    place = unfinished(path)
    place.mkdir()
    try:
        fence.require(path)
        path.rename(place / path.name)
        yield place / path.name
    finally:
        remove(place)


def withdraw(path: Path) -> None:
    """Remove a published file or folder, if it exists, unless another process makes it now: then raise TakenOver."""
    if path.is_symlink() or path.exists():
        with withdrawn(path):
            pass


AtHand: TypeAlias = Callable[..., AbstractContextManager[None]]
"""Given paths, a context within which these files are there, whole: results that live elsewhere are fetched."""


@contextmanager
def on_disk(*paths: Path) -> Iterator[None]:
    """Do nothing: the files are on the disk anyway."""
    yield


def is_full(error: OSError) -> bool:
    """Return whether an error means that the disk or the user's quota is full, or the file too long."""
    return error.errno in _NO_ROOM


def raise_if_full(path: Path, error: OSError) -> None:
    """Raise NoRoomError if `error`, which occurred while `path` was being written, means that there is no room."""
    if is_full(error):
        raise no_room(path, error) from error


def no_room(path: Path, error: OSError) -> NoRoomError:
    """Return the error that `path` could not be written, for `error` means that the disk is full."""
    folder = next(folder for folder in path.absolute().parents if folder.is_dir())
    expected, found = "room on the disk to write it", f"{error.strerror}; {free(folder)}"
    return NoRoomError(final(path), expected=expected, found=found, remedy=MAKE_ROOM)


def free(folder: Path) -> str:
    """Return in words how much room is free on the disk of a folder: a file takes an inode, and there may be none."""
    disk = os.statvfs(folder)
    if disk.f_files and not disk.f_favail:
        return f"no inodes free in {folder} (df -i)"
    return f"{shutil.disk_usage(folder).free // 10**6:,} MB free in {folder}"


def check_room(folder: Path, needed_bytes: int) -> None:
    """Raise NoRoomError unless this many bytes are free on the disk of `folder`."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise NoRoomError(folder, expected=f"{needed_bytes:,} bytes of free space", found=f"{free:,}", remedy=MAKE_ROOM)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, in UTF-8, with line ends as they are."""
    with atomic_write(path) as work:
        work.write_text(text, encoding="utf-8", newline="")


def write_first(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, unless there is a file already: of several processes, the first one writes.

    On a file system without hard links, the last one. Raise DiskError if the disk is full or does not keep it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    work = unfinished(path)
    try:
        work.write_text(text, encoding="utf-8", newline="")
        sync(work)
        _publish_first(work, path)
    except OSError as error:
        raise_if_full(path, error)
        raise
    finally:
        _try_to_remove(work)
    sync(path.parent)


def _publish_first(work: Path, path: Path) -> None:
    try:
        path.hardlink_to(work)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        put_in_place(work, path)


def write_json(path: Path, content: object) -> None:
    """Write `content` as JSON to `path` atomically."""
    write_text(path, json_text(content))


def json_text(content: object) -> str:
    """Return `content` as JSON with sorted keys, so that the same content gives the same bytes."""
    return json.dumps(content, indent=1, sort_keys=True, default=str) + "\n"


def read_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; an empty one if there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


@contextmanager
def keeping_up(file: IO[bytes]) -> Iterator[Callable[[], None]]:
    """Yield a function to call after each write to `file`; a thread makes the file durable while it grows.

    This spreads the cost of fsync over the whole write instead of leaving gigabytes of dirty pages to its end.
    """
    asked_bytes = file.tell()
    busy: Future[None] | None = None
    with ThreadPoolExecutor(1, "sync") as thread:

        def wrote() -> None:
            nonlocal asked_bytes, busy
            if file.tell() - asked_bytes < _SYNC_BYTES or (busy and not busy.done()):
                return
            if busy:
                busy.result()
            asked_bytes = file.tell()
            busy = thread.submit(_sync, file.fileno(), Path(file.name), os.fdatasync)

        yield wrote
        if busy:
            busy.result()


def sync(path: Path) -> None:
    """Make the content of a file, or the entries of a folder, durable.

    Raise DiskError if the disk reports a failure.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _sync(descriptor, path, os.fsync)
    finally:
        os.close(descriptor)


def _sync(descriptor: int, path: Path, by: Callable[[int], None]) -> None:
    try:
        by(descriptor)
    except OSError as error:
        if is_full(error):
            raise
        # Some network file systems cannot fsync a folder; its entries are then already with the server. PostgreSQL
        # ignores the same error codes.
        if error.errno not in _NOT_FOR_FOLDERS or not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise DiskError(
                path,
                expected="a disk that keeps what is written",
                found=f"{error.strerror} (fsync)",
                remedy="look after that disk, or move [dataset] data_dir, and run again: what is complete stays",
            ) from error


def _sync_all(path: Path) -> None:
    for folder, _, names in os.walk(path, topdown=False):
        for name in names:
            if not (Path(folder) / name).is_symlink():
                sync(Path(folder) / name)
        sync(Path(folder))
    if not path.is_dir():
        sync(path)


def remove(path: Path) -> None:
    """Remove a file or a whole folder, if it exists, also while threads that have not ended yet write to the folder."""
    if path.is_dir() and not path.is_symlink():
        _remove_folder(path)
    else:
        path.unlink(missing_ok=True)


def _try_to_remove(path: Path) -> None:
    """Remove what is unfinished; what ended it is raised, not that it cannot be removed: the next turn removes it."""
    with suppress(OSError):
        remove(path)


def _remove_folder(path: Path) -> None:
    """Remove a folder; what comes into it meanwhile goes with the next attempt, of which there are some."""
    for left in reversed(range(_REMOVALS)):
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            if not left or not path.exists():  # another process has removed a part of it, or all
                return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not left:
                raise type(error)(error.errno, error.strerror, str(path)) from error
            time.sleep(_PAUSE_S)
        else:
            return


def sweep(folder: Path, older_than_s: float = 86_400) -> list[Path]:
    """Remove unfinished files of dead processes from `folder`, and return their paths.

    Only entries older than `older_than_s` seconds go, by default a day. With 0 all of them go, also those whose time
    lies in the future because the clock has been set back.
    """
    gone = []
    for entry in folder.iterdir() if folder.is_dir() else ():
        old = not older_than_s or time.time() - entry.stat().st_mtime > older_than_s
        if is_unfinished(entry.name) and old:
            remove(entry)
            gone.append(entry)
    return gone


def size(path: Path) -> int:
    """Return the length in bytes of a file, or of all files in a folder; 0 if there is neither."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.is_file() else 0


def size_in_words(number: float) -> str:
    """Return a number of bytes in the unit that fits it, as `1.2 GB`, `35 MB` or `0 bytes`."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9)):
        if number >= scale:
            return f"{number / scale:.1f} {unit}"
    for unit, scale in (("MB", 1e6), ("kB", 1e3)):
        if number >= scale:
            return f"{number / scale:.0f} {unit}"
    return f"{number:.0f} bytes"


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """Return the hexadecimal hash of a file, read as a stream.

    Raise OSError if it cannot be read, and at once if it is not a regular file, such as a FIFO.
    """
    with open_file(path) as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def text_hash(text: str) -> str:
    """Return the hexadecimal sha256 of `text` in UTF-8; it may have a path that is not UTF-8, as Python reads one."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
