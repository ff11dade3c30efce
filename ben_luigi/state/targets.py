"""Luigi targets that exist only if they were made from what is asked for now.

`MadeFile` is a file with a record beside the data, in `<data_dir>/made_from/`, of what it was made from. `TileRows` are
the rows of one tile in one table, with a marker that is committed together with them. Both keep a digest of what they
hold, from which later targets tell whether they are still true. So another setting, another input or another content
makes again what depends on it, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import luigi
import pandas as pd
import psycopg2
import psycopg2.extensions
import sqlalchemy as sa
from luigi.contrib.postgres import PostgresTarget

from ben_luigi import config
from ben_luigi.domain import files
from ben_luigi.domain.errors import BadAlignment, BadTable, some
from ben_luigi.state import database, schema

MadeFrom = Mapping[str, Any]


def _text(made_from: MadeFrom) -> str:
    return json.dumps(made_from, sort_keys=True, default=str)


class MadeFile(luigi.LocalTarget):
    """A file in the data folder, and the record of what it was made from."""

    def __init__(self, relative: str, made_from: MadeFrom | None = None) -> None:
        super().__init__(str(config.data_dir() / relative))
        self._record = config.data_dir() / "made_from" / f"{relative}.json"
        self._made_from = made_from or {}

    @property
    def file(self) -> Path:
        """Where the file is, or will be."""
        return Path(self.path)

    def exists(self) -> bool:
        """Whether the file is there, made from what is asked for now."""
        return self.file.exists() and self._recorded().get("made_from") == json.loads(_text(self._made_from))

    def record(self, digest: str, by: str = "") -> None:
        """Say that the file, published just now, was made from what is asked for; `digest` tells its content.

        `by` names the run that made it, where that matters.
        """
        note = {"made_from": dict(self._made_from), "digest": digest} | ({"by": by} if by else {})
        files.write_text(self._record, json.dumps(note, indent=1, sort_keys=True, default=str) + "\n")

    def digest(self) -> str:
        """Digest of the content, as recorded; empty if there is none."""
        return str(self._recorded().get("digest", ""))

    def made_by(self) -> str:
        """The run that made the file, as recorded; empty if it was not."""
        return str(self._recorded().get("by", ""))

    def _recorded(self) -> dict[str, Any]:
        try:
            recorded: dict[str, Any] = json.loads(self._record.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return recorded


class TileRows(PostgresTarget):
    """The rows of a tile in a table, written by one task."""

    def __init__(self, table: sa.Table, task: str, tile: str, made_from: MadeFrom) -> None:
        super().__init__(host="", database="", user="", password="", table=table.name, update_id=f"{task}({tile})")
        self._table = table
        self._task = task
        self._tile = tile
        self._made_from = made_from

    def exists(self, connection: object = None) -> bool:
        """Whether the rows are there, made from what is asked for now."""
        with snapshot() as seen:
            marker = seen.markers([self._tile]).get((self._task, self._tile))
        return marker is not None and marker.made_from == _text(self._made_from)

    def touch(self, connection: object = None) -> None:
        """Refused: a marker without its rows would lie. Use `replace`."""
        raise NotImplementedError("rows and marker are written together, by replace()")

    def replace(self, rows: pd.DataFrame) -> None:
        """Put `rows` in the place of the tile's rows, and mark them as made, in one transaction.

        BadTable, or BadAlignment for pairs, if the rows break a key or a check of the table; nothing has changed then.
        """
        self._check_keys(rows)
        try:
            with database.transaction() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"{self.table} {self._tile}",))
                self._mark(cursor, len(rows), self._load(cursor, rows))
        except (psycopg2.IntegrityError, psycopg2.DataError) as error:
            if self._table is schema.ALIGNMENT:
                self._check_pairs(rows)
            raise BadTable(
                f"{self._tile}: rows of {self._task}",
                expected=f"what the table {self.table} demands",
                found=str(error.diag.message_detail or error.diag.message_primary),
                remedy=f"look at what {self._task} is made from; {error.diag.constraint_name or 'the type'} refuses it",
            ) from error

    def _check_keys(self, rows: pd.DataFrame) -> None:
        keys = [column.name for column in self._table.primary_key.columns]
        twice = rows.loc[rows.duplicated(keys), keys].drop_duplicates()
        if len(twice):
            raise BadTable(
                f"{self._tile}: rows of {self._task}",
                expected=f"each {' and '.join(keys)} once",
                found="more than once: " + some(" ".join(map(str, row)) for row in twice.itertuples(index=False)),
                remedy=f"look at what {self._task} is made from: it says them twice",
            )

    def _check_pairs(self, rows: pd.DataFrame) -> None:
        """BadAlignment if another patch, of this tile or another, has the v1 name of one of `rows`."""
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
                expected="one patch a v1 name",
                found=some(
                    f"{row.v1_name} = {row.patch_id} of {self._tile} and {row.other} of {row.tile}"
                    for row in both.itertuples()
                ),
                remedy="look for tiles of one square and season listed twice, or doubled rows in the v1 geometry files",
            )

    def _load(self, cursor: psycopg2.extensions.cursor, rows: pd.DataFrame) -> str:
        """The first rows of a tile go straight in; later ones beside it, to be compared. Gives their digest."""
        cursor.execute(f"SELECT EXISTS (SELECT FROM {self.table} t WHERE {self._belongs()})", (self._tile,))
        found = cursor.fetchone()
        if not (found and found[0]):
            return database.copy_in(cursor, self.table, rows)
        columns = ", ".join(f'"{column}"' for column in rows.columns)
        cursor.execute(f"CREATE TEMPORARY TABLE incoming ON COMMIT DROP AS SELECT {columns} FROM {self.table} LIMIT 0")
        digest = database.copy_in(cursor, "incoming", rows)
        cursor.execute("ANALYZE incoming")
        self._apply(cursor, list(rows.columns))
        return digest

    def _apply(self, cursor: psycopg2.extensions.cursor, columns: Sequence[str]) -> None:
        """Rows that have gone are deleted, the others inserted or updated, so that rows that refer to them may stay."""
        keys = [column.name for column in self._table.primary_key.columns]
        same = " AND ".join(f"i.{key} = t.{key}" for key in keys)
        cursor.execute(
            f"DELETE FROM {self.table} t WHERE {self._belongs()} AND NOT EXISTS (SELECT FROM incoming i WHERE {same})",
            (self._tile,),
        )
        if cursor.rowcount:  # and with them what referred to them: the tasks that wrote it have to write it again
            behind = sorted(schema.written_behind(self._table) - {self._task})
            cursor.execute("DELETE FROM marker WHERE tile IN (%s, '') AND task = ANY(%s)", (self._tile, behind))
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
        if "tile" in self._table.columns:
            return "t.tile = %s"
        return "t.patch_id IN (SELECT patch_id FROM patch WHERE tile = %s)"

    def _mark(self, cursor: psycopg2.extensions.cursor, rows: int, digest: str) -> None:
        cursor.execute(
            "INSERT INTO marker (task, tile, made_from, rows, digest) VALUES (%s, %s, %s, %s, %s) "
            "ON CONFLICT (task, tile) DO UPDATE SET made_from = excluded.made_from, rows = excluded.rows, "
            "digest = excluded.digest, at = now()",
            (self._task, self._tile, _text(self._made_from), rows, digest),
        )


class WholeTable(TileRows):
    """All rows of a table that is about all tiles together, written by one task; its marker has no tile."""

    def __init__(self, table: sa.Table, task: str, made_from: MadeFrom) -> None:
        super().__init__(table, task, "", made_from)

    def _belongs(self) -> str:
        return "%s = ''"


class TileValidity(TileRows):
    """The column `valid` of a tile's patches: null for those not tested."""

    def _apply(self, cursor: psycopg2.extensions.cursor, columns: Sequence[str]) -> None:
        cursor.execute("UPDATE patch SET valid = NULL WHERE tile = %s AND valid IS NOT NULL", (self._tile,))
        cursor.execute("UPDATE patch SET valid = i.valid FROM incoming i WHERE patch.patch_id = i.patch_id")


class Marker(NamedTuple):
    """What a row of `marker` says of the rows that a task wrote for a tile."""

    made_from: str
    digest: str


class Snapshot:
    """The markers as they were when their tiles were first asked for, and answers that were found from them.

    With `no_database` there are none, and nobody is asked.
    """

    def __init__(self) -> None:
        self.no_database = False
        self.answers: dict[str, bool] = {}
        self._seen: set[str] = set()
        self._markers: dict[tuple[str, str], Marker] = {}

    def markers(self, tiles: Sequence[str]) -> dict[tuple[str, str], Marker]:
        """Markers by task and tile, those of `tiles` among them: one query for all that were not asked for before."""
        new = [tile for tile in tiles if tile not in self._seen]
        if new and not self.no_database:
            rows = database.query("SELECT task, tile, made_from, digest FROM marker WHERE tile = ANY(%(new)s)", new=new)
            for task, tile, *said in rows.itertuples(index=False, name=None):
                self._markers[task, tile] = Marker(*said)
            self._seen.update(new)
        return self._markers


_snapshots: list[Snapshot] = []


@contextmanager
def snapshot() -> Iterator[Snapshot]:
    """What is seen of the markers; the same within, so that a question about a tile costs one query."""
    _snapshots.append(_snapshots[-1] if _snapshots else Snapshot())
    try:
        yield _snapshots[-1]
    finally:
        _snapshots.pop()


def rows_digest(tasks: Sequence[str], tiles: Sequence[str]) -> str:
    """One digest of the rows that these tasks wrote for these tiles: what later steps are made from."""
    with snapshot() as seen:
        markers = seen.markers(tiles)
        found = [(*key, markers[key].digest) for key in sorted(product(tasks, tiles)) if key in markers]
    return files.text_hash("\n".join(" ".join(row) for row in found))
