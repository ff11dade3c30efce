"""Luigi targets that are the rows of one tile in one table, with a marker that is committed together with them.

Only `stages/task.py` writes rows and marker.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Sequence
from typing import Any

import pandas as pd
import psycopg2
import psycopg2.extensions
from luigi.contrib.postgres import PostgresTarget

from ben_luigi.domain import waiting
from ben_luigi.domain.errors import BadAlignment, BadTable, DatabaseError, some
from ben_luigi.state import code, database, schema
from ben_luigi.state.locks import advisory
from ben_luigi.state.locks.task import transaction
from ben_luigi.state.server import Address
from ben_luigi.state.snapshot import Marker, marker_of, snapshot
from ben_luigi.state.targets import MadeFrom, Maker

_log = logging.getLogger(__name__)
_MARK = """
INSERT INTO marker (task, tile, made_from, rows, digest, made_with) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (task, tile) DO UPDATE SET made_from = excluded.made_from, rows = excluded.rows,
digest = excluded.digest, made_with = excluded.made_with, at = now()
"""


class TileRows(PostgresTarget):
    """The rows of a tile in a table, written by one task."""

    marker_table = "marker"

    def __init__(self, table: str, tile: str, maker: Maker) -> None:
        # PostgresTarget's constructor is not called: it needs the address, which is known once our server runs.
        self.table = table
        self.update_id = f"{maker.task_family}({tile})"
        self._task = maker.task_family
        self._tile = tile
        self._maker = maker
        self._written: tuple[int, str] | None = None

    def __getattr__(self, name: str) -> Any:
        """Return the address of the database: `host`, `port`, `user`, `database`; the password is not available."""
        if name in Address.__dataclass_fields__:
            return getattr(database.address(), name)
        raise AttributeError(name)

    def connect(self) -> Any:
        """Return a separate connection, as Luigi expects, which the caller closes."""
        return database.connect()

    def exists(self, connection: Any = None) -> bool:
        """Return whether the rows exist and were made from what is asked for now, as `connection` sees it, if given."""
        marker = marker_of(connection, self._task, self._tile) if connection else self._seen()
        return marker is not None and json.loads(marker.made_from) == self._maker.fingerprint()

    def is_recorded(self) -> bool:
        """Return the same: rows are never deleted without their marker."""
        return self.exists()

    def digest(self) -> str:
        """Return the recorded digest of the rows; empty if there are none."""
        marker = self._seen()
        return marker.digest if marker else ""

    def recorded(self) -> dict[str, Any]:
        """Return the content of the marker; empty if there is none."""
        marker = self._seen()
        return {} if marker is None else {"digest": marker.digest, "made_with": json.loads(marker.made_with)}

    def recorded_from(self) -> dict[str, Any]:
        """Return what the rows were made from, as recorded; empty if there are none."""
        marker = self._seen()
        return {} if marker is None else dict(json.loads(marker.made_from))

    def _seen(self) -> Marker | None:
        with snapshot() as seen:
            return seen.markers([self._tile]).get((self._task, self._tile))

    def touch(self, connection: Any = None) -> None:
        """Mark the rows that `replace` has written as made, in the caller's transaction."""
        if connection is None or self._written is None:
            raise BadTable(
                f"{self._tile}: rows of {self._task}",
                expected="a marker in the transaction that writes the rows",
                found="a marker without rows",
                remedy="call replace(), which writes both",
            )
        with connection.cursor() as cursor:
            cursor.execute(
                _MARK, (self._task, self._tile, _text(self._maker.fingerprint()), *self._written, _made_with())
            )

    def replace(self, rows: pd.DataFrame) -> None:
        """Replace the tile's rows with `rows`, and mark them as made, in one transaction.

        Raise BadTable, or BadAlignment for pairs, if the rows violate a key or a check of the table; then nothing has
        changed.
        """
        self._check_keys(rows)
        try:
            while not self._written_at_once(rows):
                pass
        except (psycopg2.IntegrityError, psycopg2.DataError) as error:
            if self.table == "alignment" and "v1_name" in rows:
                self._check_pairs(rows)
            raise BadTable(
                f"{self._tile}: rows of {self._task}",
                expected=f"what the table {self.table} demands",
                found=str(error.diag.message_detail or error.diag.message_primary),
                remedy=f"look at what {self._task} is made from; {error.diag.constraint_name or 'the type'} refuses it",
            ) from error

    def _written_at_once(self, rows: pd.DataFrame) -> bool:
        """Write rows and marker in one transaction; return False if the database has undone it to end a deadlock.

        Rows of two tiles that refer to each other, as overlaps do, may go with either of them at the same time.
        """
        try:
            with transaction(f"rows of {self._task}, {self._tile}") as cursor:
                # Two writers of one tile would both see no rows, and both insert: the second one waits until the first
                # commits.
                key = zlib.crc32(f"{self.table} {self._tile}".encode()) - 2**31
                advisory.wait_for(cursor, f"the rows of {self._tile} in {self.table}", advisory.ROWS, key)
                with waiting.told(f"rows of {self._tile} in {self.table}, or in what refers to them"):
                    self._written = len(rows), self._load(cursor, rows)
                    self.touch(cursor.connection)
            return True
        except DatabaseError as error:
            if not isinstance(error.__cause__, psycopg2.extensions.TransactionRollbackError):
                raise
            _log.warning("rows of %s, %s are written once more: %s", self._task, self._tile, error.found)
            return False

    def _check_keys(self, rows: pd.DataFrame) -> None:
        keys = schema.keys(self.table)
        duplicates = rows.loc[rows.duplicated(keys), keys].drop_duplicates()
        if len(duplicates):
            raise BadTable(
                f"{self._tile}: rows of {self._task}",
                expected=f"each {' and '.join(keys)} once",
                found="more than once: " + some(" ".join(map(str, row)) for row in duplicates.itertuples(index=False)),
                remedy=f"look at what {self._task} is made from: it says them twice",
            )

    def _check_pairs(self, rows: pd.DataFrame) -> None:
        """Raise BadAlignment if another patch, of this tile or another, has the v1 name of one of `rows`."""
        others = database.query(
            "SELECT v1_name, patch_id AS other, tile FROM alignment JOIN patch USING (patch_id) "
            "WHERE v1_name = ANY(%(names)s) ORDER BY v1_name",
            names=list(rows["v1_name"]),
        )
        both = rows.merge(others, on="v1_name")
        both = both[both["patch_id"] != both["other"]]
        if len(both):
            raise BadAlignment(
                self._tile,
                expected="one patch per v1 name",
                found=some(
                    f"{row.v1_name} = {row.patch_id} of {self._tile} and {row.other} of {row.tile}"
                    for row in both.itertuples()
                ),
                remedy="look for tiles of one square and season listed twice, or duplicate rows in v1 geometry files",
            )

    def _load(self, cursor: psycopg2.extensions.cursor, rows: pd.DataFrame) -> str:
        """Load the rows and return their digest; later rows go to a second table first, to be compared."""
        cursor.execute(f"SELECT EXISTS (SELECT FROM {self.table} t WHERE {self._belongs()})", (self._tile,))
        found = cursor.fetchone()
        if not (found and found[0]):
            return database.copy_in(cursor, self.table, rows)
        columns = ", ".join(f'"{column}"' for column in rows.columns)
        cursor.execute(f"CREATE TEMPORARY TABLE incoming ON COMMIT DROP AS SELECT {columns} FROM {self.table} LIMIT 0")
        digest = database.copy_in(cursor, "incoming", rows)
        # Autovacuum never analyzes a temporary table, and without statistics the joins below are planned by guesses.
        cursor.execute("ANALYZE incoming")
        self._apply(cursor, list(rows.columns))
        return digest

    def _apply(self, cursor: psycopg2.extensions.cursor, columns: Sequence[str]) -> None:
        """Delete rows that are gone, and insert or update the others, so that rows that refer to them can stay.

        Rows that refer to deleted ones go with them, and so do their markers: `schema.py` has the database do both.
        """
        keys = schema.keys(self.table)
        same = " AND ".join(f"i.{key} = t.{key}" for key in keys)
        cursor.execute(
            f"DELETE FROM {self.table} t WHERE {self._belongs()} AND NOT EXISTS (SELECT FROM incoming i WHERE {same})",
            (self._tile,),
        )
        listed = ", ".join(f'"{column}"' for column in columns)
        others = [column for column in columns if column not in keys]
        changed = ", ".join(f'"{column}" = excluded."{column}"' for column in others)
        differs = " OR ".join(f't."{column}" IS DISTINCT FROM excluded."{column}"' for column in others)
        action = f"UPDATE SET {changed} WHERE {differs}" if others else "NOTHING"
        cursor.execute(
            f"INSERT INTO {self.table} AS t ({listed}) SELECT {listed} FROM incoming "
            f"ON CONFLICT ({', '.join(keys)}) DO {action}"
        )

    def _belongs(self) -> str:
        if "tile" in schema.columns(self.table):
            return "t.tile = %s"
        return "t.patch_id IN (SELECT patch_id FROM patch WHERE tile = %s)"


class WholeTable(TileRows):
    """All rows of a table that covers all tiles, written by one task; its marker has no tile."""

    def __init__(self, table: str, maker: Maker) -> None:
        super().__init__(table, "", maker)

    def _belongs(self) -> str:
        return "%s = ''"


class TileValidity(TileRows):
    """The column `valid` of a tile's patches: null for those not tested."""

    def _apply(self, cursor: psycopg2.extensions.cursor, columns: Sequence[str]) -> None:
        cursor.execute("UPDATE patch SET valid = NULL WHERE tile = %s AND valid IS NOT NULL", (self._tile,))
        cursor.execute("UPDATE patch SET valid = i.valid FROM incoming i WHERE patch.patch_id = i.patch_id")


def _text(made_from: MadeFrom) -> str:
    return json.dumps(made_from, sort_keys=True, default=str)


def _made_with() -> str:
    return json.dumps(code.versions(), sort_keys=True)
