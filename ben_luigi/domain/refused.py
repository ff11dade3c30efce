"""Turn what the system refuses for lack of room or rights into errors of ours, for which a person has to act."""

from __future__ import annotations

import errno
import os
import pwd
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from ben_luigi.domain import files
from ben_luigi.domain.errors import DiskError, NoRightError, NoRoomError, reason

Failure = TypeVar("Failure", bound=BaseException)
_NO_RIGHT = {errno.EACCES, errno.EPERM}


def explained(error: Failure, folder: Path) -> Failure | DiskError:
    """Return the error of ours that says why the system has refused a file; any other `error` as it is.

    `folder` is where the work is done: it is named where the system names no file, as of a write to a full disk.
    """
    if not isinstance(error, OSError):
        return error
    named = error.filename if isinstance(error.filename, str | bytes) else None
    if files.is_full(error):
        return files.no_room(Path(os.fsdecode(named)), error) if named else _no_room_below(folder, error)
    if named and error.errno == errno.EROFS:
        return _read_only(files.final(Path(os.fsdecode(named))), error)
    return _no_right(Path(os.fsdecode(named)), folder, error) if named and error.errno in _NO_RIGHT else error


def _no_room_below(folder: Path, error: OSError) -> NoRoomError:
    places = [folder, Path(tempfile.gettempdir())]
    return NoRoomError(
        "a file that the system does not name",
        expected="room on the disk to write it",
        found="; ".join([reason(error), *map(files.free, places)]),
        remedy=files.MAKE_ROOM,
    )


def _read_only(path: Path, error: OSError) -> DiskError:
    return NoRightError(
        path,
        expected="a file system that can be written to",
        found=reason(error),
        remedy="mount it for writing, or name another folder ([dataset] data_dir, --to), and run again",
    )


def _no_right(path: Path, folder: Path, error: OSError) -> DiskError:
    user, place = _user(os.geteuid()), _closed(path.absolute())
    made = place.stat()
    owner, whole = _user(made.st_uid), folder if place.is_relative_to(folder) else place
    remedy = f"run as user {owner}, or let root give it to this user: chown -R {user} {whole}"
    if made.st_uid == os.geteuid():
        remedy = f"allow it: chmod u+rwX {place}"
    return NoRightError(
        files.final(path),
        expected=f"that user {user} may read and write there",
        found=f"{reason(error)}; {place} is of user {owner}, mode {stat.S_IMODE(made.st_mode):o}",
        remedy=f"{remedy}; then run again",
    )


def _closed(path: Path) -> Path:
    """Return the file or folder whose rights forbid what was tried: the one at `path`, or the folder that it is in."""
    there = next(place for place in (path, *path.parents) if place == place.parent or os.path.lexists(place))
    wanted = os.R_OK | os.W_OK | (os.X_OK if there.is_dir() else 0)
    return there.parent if there == path and (there.is_symlink() or os.access(there, wanted)) else there


def _user(number: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(number).pw_name
    return str(number)
