"""Allow one configuration at a time per data folder, and one data folder per database.

Otherwise two runs would undo each other's work. Every process in a data folder holds a shared lock on
`configuration.lock` there, which contains the configuration of the first of them. A database of the user has one row in
`data_folder`: the folder that it belongs to.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ben_luigi.domain import files, locks, waiting
from ben_luigi.domain.errors import BadInput, DatabaseError, some
from ben_luigi.state import schema

_LOCK, _ID = "configuration.lock", "id"
_MOST_BYTES = 2**20
_POLL_S = 0.05
_held: dict[Path, int] = {}


def enter(folder: Path, configuration: Mapping[str, Any]) -> None:
    """Register a configuration in `folder` until this process and all that it forks have ended.

    `configuration` has the values of options by section and name. Raise BadInput if others run there with other values.
    """
    if folder in _held:
        return
    descriptor = locks.opened(folder / _LOCK)
    asked = json.loads(json.dumps(dict(configuration), default=str))
    try:
        while (others := _agreed(descriptor, asked)) is None:
            time.sleep(_POLL_S)
        _require_same(folder, asked, others)
    except OSError:  # a file system without locks: this cannot be checked
        pass
    except BaseException:
        os.close(descriptor)
        raise
    _held[folder] = descriptor


def _agreed(descriptor: int, asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the configuration of the processes at work, once this process is one of them; None while it is unknown.

    The first process writes its own. To change its lock from exclusive to shared it has to release it for a moment
    (flock), in which another may take it.
    """
    if locks.try_take(descriptor, locks.ALONE):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"by": waiting.name(), "configuration": asked}).encode(), 0)
    if not locks.try_take(descriptor, locks.SHARED):
        return None
    try:
        return dict(json.loads(os.pread(descriptor, _MOST_BYTES, 0)))
    except ValueError:  # it is being written
        return None


def _require_same(folder: Path, asked: Mapping[str, Any], others: Mapping[str, Any]) -> None:
    theirs = others["configuration"]
    differing = sorted(option for option in {*asked, *theirs} if asked.get(option) != theirs.get(option))
    if differing:
        said = (
            f"[{'] '.join(option.split('.', 1))} = {theirs.get(option)}, here {asked.get(option)}"
            for option in differing
        )
        raise BadInput(
            f"data folder {folder}",
            expected="one configuration at a time",
            found=f"{waiting.described(others['by'])} works there with {some(said, 3)}",
            remedy="wait until it has ended, stop it, or name another [dataset] data_dir",
        )


def own(connection: sa.Connection, folder: Path, address: str) -> None:
    """Take the database of `connection` for the data folder. Raise DatabaseError if it belongs to another folder."""
    identity = _identity(folder)
    found = connection.execute(sa.select(schema.DATA_FOLDER)).mappings().first()
    if found is None:
        connection.execute(sa.insert(schema.DATA_FOLDER).values(id=identity, path=str(folder)))
        return
    moved = found["id"] == identity and not (found["path"] != str(folder) and _is_there(Path(found["path"]), identity))
    if not moved:
        raise DatabaseError(
            f"PostgreSQL at {address}",
            expected=f"a database for {folder} alone",
            found=f"that of the data folder {found['path']}",
            remedy="name another database in [database] url; if that folder is gone: DELETE FROM data_folder",
        )
    if found["path"] != str(folder):
        connection.execute(sa.update(schema.DATA_FOLDER).values(path=str(folder)))


def _identity(folder: Path) -> str:
    """Return the id of a data folder, which is made once and moves with it."""
    file = folder / _ID
    if not file.exists():
        files.write_text(file, secrets.token_hex(16) + "\n")
    return file.read_text(encoding="ascii").strip()


def _is_there(folder: Path, identity: str) -> bool:
    """Return whether a data folder of the same id still exists at this path; then the current one is a copy of it."""
    file = folder / _ID
    return file.is_file() and file.read_text(encoding="ascii").strip() == identity
