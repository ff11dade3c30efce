"""Allow one data folder per database: otherwise two runs would undo each other's work.

A database of the user has one row in `data_folder`: the folder that it belongs to.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import sqlalchemy as sa

from ben_luigi.domain import files
from ben_luigi.domain.errors import BadDatabase
from ben_luigi.state import schema

_ID = "id"


def own(connection: sa.Connection, folder: Path, address: str) -> None:
    """Take the database of `connection` for the data folder. Raise BadDatabase if it belongs to another folder."""
    identity = identity_of(folder)
    found = connection.execute(sa.select(schema.DATA_FOLDER)).mappings().first()
    if found is None:
        connection.execute(sa.insert(schema.DATA_FOLDER).values(id=identity, path=str(folder)))
        return
    moved = found["id"] == identity and not (found["path"] != str(folder) and _is_there(Path(found["path"]), identity))
    if not moved:
        raise BadDatabase(
            f"PostgreSQL at {address}",
            expected=f"a database for {folder} alone",
            found=f"that of the data folder {found['path']}",
            remedy="name another database in [database] url; if that folder is gone: DELETE FROM data_folder",
        )
    if found["path"] != str(folder):
        connection.execute(sa.update(schema.DATA_FOLDER).values(path=str(folder)))


def identity_of(folder: Path) -> str:
    """Return the id of a data folder, which is made once and moves with it."""
    file = folder / _ID
    if not file.exists():
        files.write_text(file, secrets.token_hex(16) + "\n")
    return file.read_text(encoding="ascii").strip()


def _is_there(folder: Path, identity: str) -> bool:
    """Return whether a data folder of the same id still exists at this path; then the current one is a copy of it."""
    file = folder / _ID
    return file.is_file() and file.read_text(encoding="ascii").strip() == identity
