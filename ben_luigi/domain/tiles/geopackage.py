"""Read GeoPackages (OGC 12-128r18) of other people: SQLite databases with layers, which are never written.

Only tables are read, and indexes are not used: a view may never end, and GDAL 3.6.0 left rows out of the spatial index
of every layer with more than 100,000 rows.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyproj
import pyproj.exceptions
import shapely

from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.formats.vectorwhole import check_pages
from ben_luigi.domain.given import open_file

_MAGIC = b"SQLite format 3\0"
_WAL = b"\2\2"
"""Bytes 18 and 19 of a database in WAL mode."""

_NOWHERE = 2**31
_WAIT_S = 5.0
"""Seconds to wait for a program that has locked the file."""

# OGC 12-128r18, 2.1.3: length of the envelope by its indicator, bits 1 to 3 of the flags; 5 to 7 are invalid.
_ENVELOPE_BYTES = (0, 32, 48, 48, 64, _NOWHERE, _NOWHERE, _NOWHERE)
# OGC 12-128r18, 2.1.3: bit 5 of the flags marks an extended geometry, whose content is not WKB.
_EXTENDED = 0x20
_WKB_HEAD = np.dtype([("order", "u1"), ("kind", "<u4"), ("parts", "<u4"), ("part_order", "u1"), ("part", "<u4")])
_POLYGON, _MULTIPOLYGON = 3, 6
_KINDS = ("geometry", "point", "line", "polygon", "multipoint", "multiline", "multipolygon", "collection")
CURVED = "a curve"


@dataclass(frozen=True)
class Declared:
    """A layer as `gpkg_geometry_columns` describes it; `columns` by their names in lower case.

    `rowid` is the name by which SQLite addresses a row, `key` the column by which people know it: the feature id, which
    is mostly the same. `crs` is None where the file describes none that PROJ knows.
    """

    table: str
    geometry: str
    crs: pyproj.CRS | None
    columns: dict[str, str]
    rowid: str
    key: str
    is_table: bool

    @property
    def epsg(self) -> int | None:
        """The EPSG code of its CRS, if that has one."""
        return self.crs.to_epsg() if self.crs else None

    @property
    def srs(self) -> str:
        """The text of its CRS, as PROJ reads it; empty if it has none."""
        return str(self.crs.srs) if self.crs else ""

    def __str__(self) -> str:
        kind = "" if self.is_table else "a view; "
        crs = f"EPSG:{self.epsg}" if self.epsg else f"CRS {self.crs.name}" if self.crs else "no known CRS"
        return f"{self.table} ({kind}{', '.join(self.columns.values())}; {crs})"


def quoted(name: str) -> str:
    """Return the name of a table or column, quoted for SQL."""
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def opened(path: Path, remedy: str) -> Iterator[sqlite3.Connection]:
    """Yield the database, opened for reading. Raise BadInput with this remedy for any error of SQLite."""
    file = Path(os.path.realpath(path))
    unsaved = [beside for end in ("-wal", "-journal") if _size(beside := file.with_name(file.name + end))]
    try:
        # A WAL database without unsaved pages is complete; opened otherwise, SQLite would create files beside it.
        mode = "immutable=1" if _is_wal(path, remedy) and not unsaved else "mode=ro"
        with closing(sqlite3.connect(f"{file.as_uri()}?{mode}", _WAIT_S, uri=True)) as database:
            # The schema is another person's: it must not call functions, and damaged pages must give an error.
            database.execute("PRAGMA trusted_schema = OFF")
            database.execute("PRAGMA cell_size_check = ON")
            yield database
    except sqlite3.Error as error:
        if "locked" in str(error):
            remedy = "close the program that writes it, and run again"
        elif unsaved and "malformed" not in str(error):
            remedy = (
                f"copy it and {unsaved[0].name} into a folder that you can write to, and there run: "
                f"sqlite3 {file.name} 'PRAGMA journal_mode=DELETE'"
            )
        raise BadInput(path, expected="a readable GeoPackage", found=str(error), remedy=remedy) from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _is_wal(path: Path, remedy: str) -> bool:
    """Return whether the file is a database in WAL mode. Raise BadInput if it is none, or ends within a page."""
    try:
        check_pages(path)
        with open_file(path) as file:
            head = file.read(20)
    except (OSError, ValueError) as error:
        raise BadInput(path, expected="a readable GeoPackage", found=str(error), remedy=remedy) from error
    if not head.startswith(_MAGIC):
        found = f"not a database: it begins with {head[:16]!r}" if head else "an empty file"
        raise BadInput(path, expected="a readable GeoPackage", found=found, remedy=remedy)
    return head[18:20] == _WAL


def layers(database: sqlite3.Connection, path: Path, remedy: str) -> list[Declared]:
    """Return the layers that have geometries, by name."""
    kinds = {
        str(name).lower(): kind == "table" and not str(sql).upper().startswith("CREATE VIRTUAL")
        for name, kind, sql in database.execute("SELECT name, type, sql FROM sqlite_master")
        if kind in ("table", "view")
    }
    for needed in ("gpkg_geometry_columns", "gpkg_spatial_ref_sys"):
        if not kinds.get(needed):
            found = "a view" if needed in kinds else "none"
            raise BadInput(path, expected=f"a GeoPackage with a table {needed}", found=found, remedy=remedy)
    # OGC 12-128r18, F.10: a second definition, of a CRS that the older form of WKT cannot express.
    srs = {str(name) for (name,) in database.execute("SELECT name FROM pragma_table_info('gpkg_spatial_ref_sys')")}
    second = "definition_12_063" if "definition_12_063" in srs else "NULL"
    listed = (
        f"SELECT table_name, column_name, organization, organization_coordsys_id, definition, {second} "
        "FROM gpkg_geometry_columns l LEFT JOIN gpkg_spatial_ref_sys s ON s.srs_id = l.srs_id ORDER BY 1, 2"
    )
    return [
        _declared(database, str(table), str(geometry), _crs(*described), kinds[str(table).lower()])
        for table, geometry, *described in database.execute(listed).fetchall()
        if str(table).lower() in kinds
    ]


def _crs(organization: object, code: object, *definitions: object) -> pyproj.CRS | None:
    """Return a CRS by its EPSG code, or else by the first of its definitions that PROJ knows."""
    by_code = [f"EPSG:{code}"] if str(organization).upper() == "EPSG" else []
    for text in (*by_code, *definitions):
        with suppress(pyproj.exceptions.CRSError):
            return pyproj.CRS.from_user_input(str(text))
    return None


def _declared(
    database: sqlite3.Connection, table: str, geometry: str, crs: pyproj.CRS | None, is_table: bool
) -> Declared:
    info = database.execute("SELECT name, type, pk FROM pragma_table_info(?)", (table,)).fetchall()
    columns = {str(name).lower(): str(name) for name, _, _ in info}
    keys = [str(name) for name, kind, key in info if key and str(kind).upper() == "INTEGER"]
    rowid = next((name for name in ("rowid", "_rowid_", "oid") if name not in columns), "rowid")
    return Declared(table, geometry, crs, columns, rowid, keys[0] if len(keys) == 1 else rowid, is_table)


def polygons(blobs: Sequence[object]) -> tuple[np.ndarray, dict[int, str]]:
    """Return the polygons and multipolygons (x, y) of GeoPackage geometries; None where there is none, or an empty one.

    Also return, by position, what is there instead of a polygon with finite coordinates.
    """
    wkb = _wkb(blobs)
    faults = {row: "no GeoPackage geometry" for row, one in enumerate(wkb) if one == b""}
    wkb[list(faults)] = None
    there = np.array([row for row, one in enumerate(wkb) if one is not None], dtype="int64")
    for row, what in _wrong_kinds(wkb[there]).items():
        faults[int(there[row])], wkb[there[row]] = what, None
    with np.errstate(invalid="ignore"):  # `isfinite` below reports what numpy would warn of
        found = shapely.from_wkb(wkb, on_invalid="ignore")
        finite = np.isfinite(shapely.area(found))
    for row in there[~finite[there]].tolist():
        faults.setdefault(row, _why(wkb[row], found[row]))
    found[[*faults, *np.flatnonzero(shapely.is_empty(found))]] = None
    return found, faults


def _wkb(blobs: Sequence[object]) -> np.ndarray:
    """Return the WKB after the header (OGC 12-128r18, 2.1.3) of each; None for NULL, b"" without such a header."""
    wkb = np.full(len(blobs), None, dtype=object)
    there = [row for row, blob in enumerate(blobs) if blob is not None]
    with_header = [blob if isinstance(blob, bytes) else b"" for blob in (blobs[row] for row in there)]
    heads = np.frombuffer(b"".join([blob[:8].ljust(8, b"\0") for blob in with_header]), "u1").reshape(-1, 8)
    flags = heads[:, 3]
    start = 8 + np.array(_ENVELOPE_BYTES)[(flags >> 1) & 7]
    start[(heads[:, 0] != ord("G")) | (heads[:, 1] != ord("P")) | (flags & _EXTENDED > 0)] = _NOWHERE
    wkb[there] = np.fromiter(
        (blob[at:] for blob, at in zip(with_header, start.tolist(), strict=True)), object, len(there)
    )
    return wkb


def _wrong_kinds(wkb: np.ndarray) -> dict[int, str]:
    """Return what is not a polygon, by position.

    Only the first part of a multipolygon is looked at, since a recursive reader could be overwhelmed by nested ones.
    """
    size = _WKB_HEAD.itemsize
    heads = np.frombuffer(b"".join([one[:size].ljust(size, b"\0") for one in wkb]), _WKB_HEAD)

    def read(number: str, order: str) -> np.ndarray:
        return np.where(heads[order] == 1, heads[number], heads[number].byteswap())

    kind, part = read("kind", "order"), read("part", "part_order")
    flat = kind % 1000
    of_polygons = (read("parts", "order") == 0) | (part % 1000 == _POLYGON)
    right = (kind < 4000) & ((flat == _POLYGON) | ((flat == _MULTIPOLYGON) & of_polygons))
    return {row: _kind(int(kind[row]), int(part[row])) for row in np.flatnonzero(~right).tolist()}


def _kind(kind: int, part: int) -> str:
    flat = (part if kind % 1000 == _MULTIPOLYGON else kind) % 1000
    # ISO/IEC 13249-3: the codes of CircularString to Surface.
    if 8 <= flat <= 14:
        return CURVED
    return f"a {_KINDS[flat]}" if flat < len(_KINDS) else f"geometry of type {kind}"


def _why(wkb: bytes | None, geometry: object) -> str:
    if geometry is not None:
        return "coordinates that are no finite numbers"
    try:
        shapely.from_wkb(wkb)
    except (shapely.errors.ShapelyError, NotImplementedError) as error:
        return CURVED if "Curve" in str(error) else f"a polygon that cannot be read ({error})"
    return "a polygon that cannot be read"
