"""Luigi targets that exist only if they were made from what is asked for now.

`MadeFile` is a file with a record beside the data, in `<data_dir>/made_from/`, of what it was made from, its size and
its content. `TileRows` are the rows of one tile in one table, with a marker that is committed together with them. Both
keep a digest of what they hold, from which later targets tell whether they are still true. So another setting, another
input or another content makes again what depends on it, and nothing else.

Records and markers are written by `stages/task.py` alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import luigi
import pandas as pd
import psycopg2
import psycopg2.extensions
import sqlalchemy as sa
from luigi.contrib.postgres import PostgresTarget

from ben_luigi import config
from ben_luigi.domain import files
from ben_luigi.domain.errors import BadAlignment, BadTable, DamagedFile, some
from ben_luigi.state import code, database, records, schema
from ben_luigi.state.luigi_internals import load_task
from ben_luigi.state.server import Address

MadeFrom = Mapping[str, Any]
_SMALL_BYTES = 2**20
_MOST_DAMAGED = 2
"""So often a result that was damaged on the disk is made again by itself; after that a person looks at the disk."""


class Maker(Protocol):
    """The task that makes a target."""

    @property
    def task_family(self) -> str:
        """Its name."""

    def adopts(self) -> bool:
        """Whether what an older checkout has made counts, of which less was recorded."""

    def to_str_params(self) -> dict[str, str]:
        """Its parameters."""

    def fingerprint(self) -> MadeFrom:
        """All that its result is made from, as it is asked for now, in the types that JSON gives back."""


def _text(made_from: MadeFrom) -> str:
    return json.dumps(made_from, sort_keys=True, default=str)


class MadeFile(luigi.LocalTarget):
    """A file in the data folder, and the record of what it was made from; without a `maker` only to look it up."""

    def __init__(self, relative: str, maker: Maker | None = None) -> None:
        super().__init__(str(config.data_dir() / relative))
        self._record = records.path_of(relative)
        self._maker = maker

    @property
    def file(self) -> Path:
        """Where the file is, or will be."""
        return Path(self.path)

    @property
    def is_folder(self) -> bool:
        """Whether a folder is there, or will be, in place of a file."""
        return False

    def exists(self) -> bool:
        """Whether the file is there, of the size that was recorded, and made from what is asked for now."""
        size = self._size()
        return size is not None and size == self.recorded().get("bytes", size) and self.is_recorded()

    def is_recorded(self) -> bool:
        """Whether it was made from what is asked for now; the file itself may have gone since."""
        recorded = self.recorded()
        if recorded and "task" not in recorded:  # by an older checkout
            return self._maker is not None and self._maker.adopts()
        made_from = recorded.get("made_from")
        return made_from is not None and self._maker is not None and made_from == self._maker.fingerprint()

    def withdraw(self) -> dict[str, Any]:
        """Take the record away, durably, before the file is made anew; gives what was recorded.

        What is no file, or no folder for a `MadeFolder`, is moved out of the way.
        """
        recorded = self.recorded()
        records.remove(self._record)
        records.make_way(self.file, for_folder=self.is_folder)
        return recorded

    def record(self, digest: str = "", **more: Any) -> None:
        """Say that the file, put in place just now, was made from what its maker is asked for.

        `digest` tells its content; without one it is its sha256. A large file that has a digest has no sha256 beside
        it, since reading it takes long: who reads such a file holds its parts against something else.
        """
        assert self._maker is not None, f"{self.path} has no maker"
        size = self._size()
        sha256 = self.content() if not digest or (size or 0) <= _SMALL_BYTES else ""
        note = {
            "made_from": self._maker.fingerprint(),
            "bytes": size,
            "task": self._maker.task_family,
            "parameters": self._maker.to_str_params(),
            "digest": digest or sha256,
            "sha256": sha256,
            **more,
        }
        records.write(self._record, note)

    def read_json(self) -> Any:
        """The JSON in the file, once checked; DamagedFile if it is none."""
        try:
            return json.loads(self.check().read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DamagedFile(self.file, expected="JSON, as when it was made", found=str(error)) from error

    def check(self) -> Path:
        """The file, once its content is that which was recorded; DamagedFile if it is not."""
        if expected := self.recorded().get("sha256"):
            try:
                found = self.content()
            except OSError as error:
                found = str(error)
            if found != expected:
                raise DamagedFile(self.file, expected=f"sha256 {expected}, as when it was made", found=found)
        return self.file

    def content(self) -> str:
        """What tells the content: the sha256 of the file."""
        return files.file_hash(self.file)

    def digest(self) -> str:
        """Digest of the content, as recorded; empty if there is none."""
        return str(self.recorded().get("digest", ""))

    def recorded(self) -> dict[str, Any]:
        """What the record says; nothing if there is none that can be read."""
        with snapshot() as seen:
            if self._record not in seen.records:
                seen.records[self._record] = records.read(self._record)
            return seen.records[self._record]

    def _size(self) -> int | None:
        """Length in bytes of a regular file; None if there is none."""
        return self.file.stat().st_size if self.file.is_file() else None


class MadeFolder(MadeFile):
    """A folder in the data folder that appears as a whole."""

    @property
    def is_folder(self) -> bool:
        """It is one."""
        return True

    def content(self) -> str:
        """What tells the content: the names of all files in it, and their sha256."""
        return files.text_hash(
            "\n".join(f"{path.relative_to(self.file)} {files.file_hash(path)}" for path in self._files())
        )

    def _size(self) -> int | None:
        """Length in bytes of all files in it; None if there is no folder."""
        return sum(path.stat().st_size for path in self._files()) if self.file.is_dir() else None

    def _files(self) -> list[Path]:
        return sorted(path for path in self.file.rglob("*") if path.is_file())


class MadeProduct(MadeFile):
    """A product in the data folder: a zip, or a folder, whichever its maker has put in place; each has its own record.

    Once it has gone, it is what there is a record of.
    """

    def __init__(self, zipped: str, folder: str, maker: Maker) -> None:
        self._forms = MadeFile(zipped, maker), MadeFolder(folder, maker)
        super().__init__(zipped, maker)

    @property
    def form(self) -> MadeFile:
        """The one of the two that is there."""
        zipped, folder = self._forms
        gone = not zipped.file.exists() and folder.recorded()
        return folder if folder.file.is_dir() or gone else zipped

    @property
    def file(self) -> Path:
        """Where the product is, or will be."""
        return self.form.file

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.form.is_folder

    def content(self) -> str:
        """What tells the content."""
        return self.form.content()

    def _size(self) -> int | None:
        return self.form._size()

    @property
    def _record(self) -> Path:
        return self.form._record

    @_record.setter
    def _record(self, record: Path) -> None:
        """It follows from the form."""


def withdraw_damaged(error: DamagedFile) -> luigi.Task | None:
    """Take the record of a damaged file away; gives the task that makes it again, None if that has not helped before.

    What is not a result of the pipeline is nobody's to make again.
    """
    try:
        relative = str(error.file.relative_to(config.data_dir()))
    except ValueError:
        return None
    recorded = records.read(records.path_of(relative))
    records.remove(records.path_of(relative))
    if records.note_damage(relative, error.found) >= _MOST_DAMAGED or "task" not in recorded:
        return None
    task: luigi.Task = load_task("ben_luigi", recorded["task"], recorded["parameters"])
    return task


class TileRows(PostgresTarget):
    """The rows of a tile in a table, written by one task."""

    marker_table = schema.MARKER.name

    def __init__(self, table: sa.Table, tile: str, maker: Maker) -> None:
        # Not PostgresTarget's own constructor: the address of our own server is known only once it has been started.
        self.table = table.name
        self.update_id = f"{maker.task_family}({tile})"
        self._table = table
        self._task = maker.task_family
        self._tile = tile
        self._maker = maker
        self._written: tuple[int, str] | None = None

    def __getattr__(self, name: str) -> Any:
        """The address of the database: `host`, `port`, `user`, `database`; its password nobody is shown."""
        if name in Address.__dataclass_fields__:
            return getattr(database.address(), name)
        raise AttributeError(name)

    def connect(self) -> Any:
        """A connection of its own, as Luigi's, to be closed by the caller."""
        return database.connect()

    def exists(self, connection: Any = None) -> bool:
        """Whether the rows are there, made from what is asked for now; as `connection` sees it, if one is given."""
        marker = _marker(connection, self._task, self._tile) if connection else self._seen()
        return marker is not None and json.loads(marker.made_from) == self._maker.fingerprint()

    def is_recorded(self) -> bool:
        """The same: rows do not go without their marker."""
        return self.exists()

    def digest(self) -> str:
        """Digest of the rows, as recorded; empty if there are none."""
        marker = self._seen()
        return marker.digest if marker else ""

    def recorded(self) -> dict[str, Any]:
        """What the marker says; nothing if there is none."""
        marker = self._seen()
        return {} if marker is None else {"digest": marker.digest, "made_with": json.loads(marker.made_with)}

    def _seen(self) -> Marker | None:
        with snapshot() as seen:
            return seen.markers([self._tile]).get((self._task, self._tile))

    def touch(self, connection: Any = None) -> None:
        """Mark the rows that `replace` has written as made, in the caller's transaction."""
        if connection is None or self._written is None:
            raise BadTable(
                f"{self._tile}: rows of {self._task}",
                expected="a marker in the transaction that writes the rows",
                found="a marker alone, which would lie",
                remedy="call replace(), which writes both",
            )
        with connection.cursor() as cursor:
            cursor.execute(
                _MARK, (self._task, self._tile, _text(self._maker.fingerprint()), *self._written, _made_with())
            )

    def replace(self, rows: pd.DataFrame) -> None:
        """Put `rows` in the place of the tile's rows, and mark them as made, in one transaction.

        BadTable, or BadAlignment for pairs, if the rows break a key or a check of the table; nothing has changed then.
        """
        self._check_keys(rows)
        try:
            with database.transaction() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"{self.table} {self._tile}",))
                self._written = len(rows), self._load(cursor, rows)
                self.touch(cursor.connection)
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
        duplicates = rows.loc[rows.duplicated(keys), keys].drop_duplicates()
        if len(duplicates):
            raise BadTable(
                f"{self._tile}: rows of {self._task}",
                expected=f"each {' and '.join(keys)} once",
                found="more than once: " + some(" ".join(map(str, row)) for row in duplicates.itertuples(index=False)),
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


class WholeTable(TileRows):
    """All rows of a table that is about all tiles together, written by one task; its marker has no tile."""

    def __init__(self, table: sa.Table, maker: Maker) -> None:
        super().__init__(table, "", maker)

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
    made_with: str


_MARK = """
INSERT INTO marker (task, tile, made_from, rows, digest, made_with) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (task, tile) DO UPDATE SET made_from = excluded.made_from, rows = excluded.rows,
digest = excluded.digest, made_with = excluded.made_with, at = now()
"""
_ALL_MARKERS = "SELECT task, tile, made_from, digest, made_with FROM marker"
_MARKERS = f"{_ALL_MARKERS} WHERE tile = ANY(%(tiles)s)"


def _made_with() -> str:
    return json.dumps(code.versions(), sort_keys=True)


def _marker(connection: Any, task: str, tile: str) -> Marker | None:
    with connection.cursor() as cursor:
        cursor.execute(_MARKERS, {"tiles": [tile]})
        return next((Marker(*said) for name, _, *said in cursor.fetchall() if name == task), None)


class Snapshot:
    """Markers and records as they were when they were first asked for, and answers that were found from them.

    With `no_database` there are no markers, and nobody is asked.
    """

    def __init__(self) -> None:
        self.no_database = False
        self.answers: dict[Any, Any] = {}
        self.records: dict[Path, dict[str, Any]] = {}
        self._seen: set[str] | None = set()  # None: all
        self._markers: dict[tuple[str, str], Marker] = {}

    def markers(self, tiles: Sequence[str]) -> dict[tuple[str, str], Marker]:
        """Markers by task and tile, those of `tiles` among them.

        One query for the tiles that are asked for first, since that is often all; a second one for all others.
        """
        new = [] if self._seen is None else [tile for tile in tiles if tile not in self._seen]
        if new and not self.no_database:
            rows = database.query(_MARKERS, tiles=new) if not self._seen else database.query(_ALL_MARKERS)
            for task, tile, *said in rows.itertuples(index=False, name=None):
                self._markers[task, tile] = Marker(*said)
            self._seen = None if self._seen else {*new}
        return self._markers


_snapshots: list[Snapshot] = []


@contextmanager
def snapshot() -> Iterator[Snapshot]:
    """What is seen of the markers and records; the same within, so that a question about a tile costs one query."""
    _snapshots.append(_snapshots[-1] if _snapshots else Snapshot())
    try:
        yield _snapshots[-1]
    finally:
        _snapshots.pop()
