"""Allow one data folder per database: otherwise two runs would undo each other's work.

A database of the user has one row in `data_folder`: the folder that it belongs to.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import psycopg2.extensions

from ben_luigi.domain import files
from ben_luigi.domain.errors import BadDatabase

_ID = "id"


def own(cursor: psycopg2.extensions.cursor, folder: Path, address: str) -> None:
    """Take the database of `cursor` for the data folder. Raise BadDatabase if it belongs to another folder."""
    identity = identity_of(folder)
    cursor.execute("SELECT id, path FROM data_folder")
    found = cursor.fetchone()
    if found is None:
        cursor.execute("INSERT INTO data_folder (id, path) VALUES (%s, %s)", (identity, str(folder)))
        return
    owner, path = found
    if owner != identity or is_copy(folder, Path(path)):
        raise BadDatabase(
            f"PostgreSQL at {address}",
            expected=f"a database for {folder} alone",
            found=f"that of the data folder {path}",
            remedy="name another database in [database] url; if that folder is gone: DELETE FROM data_folder",
        )
    if path != str(folder):
        cursor.execute("UPDATE data_folder SET path = %s", (str(folder),))


def identity_of(folder: Path) -> str:
    """Return the id of a data folder, which is made once and moves with it."""
    file = folder / _ID
    if not file.exists():
        files.write_first(file, secrets.token_hex(16) + "\n")  # another process may make it at this moment
    return file.read_text(encoding="ascii").strip()


def is_copy(folder: Path, former: Path) -> bool:
    """Return whether a data folder is a copy of the one at the path `former`: both are there, with the same id."""
    try:
        same_id = (former / _ID).read_text(encoding="ascii").strip() == identity_of(folder)
        return same_id and not former.samefile(folder)  # by a link, or mounted twice
    except (OSError, ValueError):  # there is none, or one of somebody else's
        return False
