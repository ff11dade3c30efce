"""Read the land cover polygons of one tile: CORINE's, or those of another recipe.

The file is a GeoPackage with one layer of polygons or multipolygons that `Content` describes: CORINE's is in EPSG:3035
and has the columns ID and Code_18 (names in any case). It is scanned once as a whole: the bounding box of each polygon
is computed from the polygon, and the boxes select those near a tile, so the time per tile does not depend on the rest
of Europe. Anything from which a reference map cannot be burnt is an error in this scan, wherever it lies. Invalid
polygons with a clear meaning, such as bow-ties, are read as `ogr2ogr -makevalid` would repair them.
"""

from __future__ import annotations

import logging
import reprlib
import shlex
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shapely

from ben_luigi.domain.errors import BadInput, some
from ben_luigi.domain.formats.crs import on_earth
from ben_luigi.domain.placement.country import BOXES
from ben_luigi.domain.placement.footprints import EQUAL_AREA, LONGITUDE_LATITUDE, transformer
from ben_luigi.domain.placement.grid import Square
from ben_luigi.domain.remembered import remembered
from ben_luigi.domain.tiles import around, geopackage
from ben_luigi.domain.tiles.geopackage import CURVED, Declared, quoted
from ben_luigi.domain.tiles.nomenclature import CLC_CODES, NO_CLC

CLC_EPSG = EQUAL_AREA
CODES = frozenset((*CLC_CODES, 990, 995, NO_CLC))
"""Allowed values of Code_18: the 44 classes, and CLC's own codes for unclassified land, water and ground."""


@dataclass(frozen=True)
class Content:
    """What the layer of a land cover has: its columns of codes and of the order of burning, its CRS, and its codes.

    Without an `order` the rows are burnt as they lie in the file; else in ascending order of that column, as text in
    CORINE. An `epsg` of None means any; a `table` of "" the only layer that fits. `of_ten` says whether some of
    CORINE's polygons must lie in the ten countries of BigEarthNet; else any place in Europe will do.
    """

    code: str = "Code_18"
    order: str = "ID"
    table: str = ""
    epsg: int | None = CLC_EPSG
    codes: frozenset[int] = CODES
    of_ten: bool = field(default=True, compare=False)

    @property
    def is_corine(self) -> bool:
        """Whether it is CORINE Land Cover in Europe, as BigEarthNet v2 has it."""
        return self == CORINE

    @property
    def remedy(self) -> str:
        """What to do about a file that cannot be used."""
        return _REMEDY if self.is_corine else "correct [land_cover] of the recipe, the nomenclature, or the file"

    @property
    def columns(self) -> set[str]:
        """The names of the columns, in lower case."""
        return {name.lower() for name in (self.code, self.order) if name}

    def __str__(self) -> str:
        where = f" in EPSG:{self.epsg}" if self.epsg else " in any CRS on Earth"
        named = " and ".join(name for name in (self.order, self.code) if name)
        return f"layer{f' {self.table}' if self.table else ''}{where} with columns {named}"


CORINE = Content()

_log = logging.getLogger(__name__)
_REMEDY = "give the CLC 2018 GeoPackage (U2018_CLC2018_V2020_20u1.gpkg) as [inputs] clc_gpkg"
_AT_ONCE = 5000
_LONG_BYTES = 1e9
_MOST_FAULTS, _MOST_NAMED = 1000, 10
_EUROPE = (900_000.0, 900_000.0, 7_400_000.0, 5_500_000.0)
"""West, south, east and north edge of CORINE, in metres of EPSG:3035."""

_ORDER, _CODE = "order", "code"
"""What the two columns that are read are called here."""

_Row = tuple[int, object, object, object]
"""Number, ID, code, geometry."""


@dataclass(frozen=True)
class Polygons:
    """CLC polygons in a tile's CRS (x, y in metres), in the order in which they are burnt: ascending ID as text.

    One element per polygon; `ids` are the texts of the column ID, where they were read.
    """

    geometries: np.ndarray
    codes: np.ndarray
    epsg: int
    ids: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=object))


class _Part(NamedTuple):
    """A batch of rows: numbers and boxes of those with a polygon, and the faults of others by number."""

    rows: np.ndarray
    boxes: np.ndarray
    faults: dict[int, str]


@dataclass(frozen=True)
class _Layer:
    """The layer, and for each row with a polygon its number and box (west, south, east, north in its CRS)."""

    declared: Declared
    rows: np.ndarray
    boxes: np.ndarray

    def near(self, places: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
        """Return the rows, ascending, whose polygons may reach into some box (west, south, east, north)."""
        return np.asarray(self.rows[around.meeting(self.boxes, places)])


def check_layer(path: Path, content: Content = CORINE) -> None:
    """Raise BadInput unless maps can be made from the file, naming layer, feature and remedy.

    Every polygon is checked, which takes 10 s for all of Europe. The result is cached in this process until the file
    changes.
    """
    _in_place(path, content)


def reaches(path: Path, square: Square, content: Content) -> bool:
    """Return whether some polygon may reach into a tile's square, or is at most about as far away as it is wide."""
    layer = _in_place(path, content)
    return len(layer.near(around.boxes(square, layer.declared.srs))) > 0


def read_polygons(path: Path, square: Square, *, whole: bool = True, content: Content = CORINE) -> Polygons:
    """Read the polygons that may reach into a tile's square, reprojected vertex by vertex to its CRS.

    The file is the `whole` of CORINE, or has what there is of it around that square, which may be nothing. Of a polygon
    of another recipe that reaches far beyond the square, only what lies around it is taken.
    """
    layer = _in_place(path, content) if whole else _look_through(path, content)
    crs = CLC_EPSG if content.is_corine else layer.declared.srs
    # Of CORINE's polygons, which do not leave Europe, nothing is cut off: their maps are those that are published.
    places = np.array([bounds(square)]) if content.is_corine else around.boxes(square, crs)
    with geopackage.opened(path, content.remedy) as database:
        select = f"{_select(layer.declared)} WHERE {layer.declared.rowid} = ?"
        rows = [row for number in layer.near(places).tolist() for row in database.execute(select, (number,))]
    geometries, faults = _checked(rows, layer.declared, content)
    if faults:
        raise _refused(path, layer.declared, faults, content)
    codes = np.array([code_of(row[2]) for row in rows], dtype="uint16")
    ids = np.array([str(row[1]) for row in rows])
    order = np.argsort(ids if content.is_corine else ranks([row[1] for row in rows]), kind="stable")
    flat = shapely.force_2d(geometries[order])
    taken = around.valid(flat) if content.is_corine else around.clipped(flat, places)
    there = ~shapely.is_empty(taken)
    projected = around.projected(taken[there], path, crs, square)
    if not content.is_corine:
        projected = around.valid(projected)
    return Polygons(projected, codes[order][there], square.epsg, ids[order][there])


def ranks(values: Sequence[object]) -> np.ndarray:
    """Return numbers that ascend as the values do: as numbers if all are, else as text."""
    if all(isinstance(value, (int, float)) for value in values):
        return np.array(values, dtype="float64")
    return np.unique([str(value) for value in values], return_inverse=True)[1]


@remembered("-wal")
def _in_place(path: Path, content: Content = CORINE) -> _Layer:
    layer = _look_through(path, content)
    if content.is_corine:
        _check_place(layer, path, content)
    return layer


@remembered("-wal")
def _look_through(path: Path, content: Content = CORINE) -> _Layer:
    with geopackage.opened(path, content.remedy) as database:
        declared = _layer(database, path, content)
        if path.stat().st_size > _LONG_BYTES:
            _log.info("looking through %s, %.1f GB of polygons", path, path.stat().st_size / 1e9)
        parts = [_Part(np.empty(0, "int64"), np.empty((0, 4), "float32"), {})]
        faults: dict[int, str] = {}
        cursor = database.execute(f"{_select(declared)} ORDER BY {declared.rowid}")
        for rows in _in_order(cursor, declared, path, content):
            parts.append(_part(rows, declared, content))
            faults.update(parts[-1].faults)
            if len(faults) > _MOST_FAULTS:
                break
    if faults:
        raise _refused(path, declared, faults, content)
    return _Layer(declared, *(np.concatenate(column) for column in list(zip(*parts, strict=True))[:2]))


def _in_order(cursor: sqlite3.Cursor, layer: Declared, path: Path, content: Content) -> Iterator[list[_Row]]:
    """Yield the rows in batches.

    Raise BadInput if they do not ascend, which happens only if pages of a table are mixed up.
    """
    last = None
    while rows := cursor.fetchmany(_AT_ONCE):
        numbers = [row[0] for row in rows]
        if not (np.diff(numbers) > 0).all() or (last is not None and numbers[0] <= last):
            raise BadInput(
                f"{path}, layer {layer.table}",
                expected=f"rows by ascending {layer.key}",
                found="pages out of order: the file is damaged",
                remedy=f"fetch it again; {content.remedy}",
            )
        last = numbers[-1]
        yield rows


def _layer(database: sqlite3.Connection, path: Path, content: Content) -> Declared:
    """Return the one layer whose CRS and columns are those of the content."""
    declared = geopackage.layers(database, path, content.remedy)
    fitting = [one for one in declared if content.columns <= set(one.columns) and _fits(one, content)]
    if len(fitting) == 1 and fitting[0].is_table:
        of = fitting[0].columns
        order = of[content.order.lower()] if content.order else fitting[0].rowid
        return replace(fitting[0], columns={_ORDER: order, _CODE: of[content.code.lower()]})
    if len(fitting) > 1:
        expected = f"one {content}"
        remedy = f"keep the right one: {_ogr2ogr(path, fitting[0].table)}"
    elif fitting:
        expected = "a table, since a view need not end"
        remedy = f"if it ends, make it a table: {_ogr2ogr(path, fitting[0].table)}"
    else:
        expected = f"a {content}"
        remedy = _refit(path, declared) if content.is_corine else content.remedy
    raise BadInput(path, expected=expected, found=some(fitting or declared, 3) or "none", remedy=remedy)


def _fits(layer: Declared, content: Content) -> bool:
    if content.table and layer.table != content.table:
        return False
    return layer.epsg == content.epsg if content.epsg else bool(layer.crs and on_earth(layer.crs))


def _refit(path: Path, declared: Sequence[Declared]) -> str:
    """Return how to make CORINE's layer of one that lacks only its CRS or the names of its columns."""
    complete = [one for one in declared if {"id", "code_18"} <= set(one.columns)]
    if complete:
        return f"reproject it: {_ogr2ogr(path, complete[0].table, '-t_srs EPSG:3035')}"
    if not declared:
        return _REMEDY
    of = declared[0]
    renamed = f"SELECT {of.geometry}, <its code> AS Code_18, <its id> AS ID FROM {quoted(of.table)}"
    return f"if it has them by other names: {_ogr2ogr(path, '', f'-sql {shlex.quote(renamed)}')}; or {_REMEDY}"


def _ogr2ogr(path: Path, table: str, options: str = "") -> str:
    """Return the command that writes a layer to another file, to be given as `[inputs] clc_gpkg`."""
    return " ".join(
        filter(None, ["ogr2ogr", options, "mended.gpkg", shlex.quote(str(path)), table and shlex.quote(table)])
    )


def _select(layer: Declared) -> str:
    columns = (quoted(name) for name in (layer.columns[_ORDER], layer.columns[_CODE], layer.geometry))
    return f"SELECT {layer.rowid}, {', '.join(columns)} FROM {quoted(layer.table)}"


def _part(rows: Sequence[_Row], layer: Declared, content: Content) -> _Part:
    geometries, faults = _checked(rows, layer, content)
    there = ~shapely.is_missing(geometries)
    boxes = shapely.bounds(geometries[there]).astype("float32")
    return _Part(np.array([row[0] for row in rows], dtype="int64")[there], boxes, faults)


def _checked(rows: Sequence[_Row], layer: Declared, content: Content) -> tuple[np.ndarray, dict[int, str]]:
    """Return the polygons of rows, None where there is none; and the faults of others, by number of the row."""
    geometries, faults = geopackage.polygons([row[3] for row in rows])
    unknown = {code for code in {row[2] for row in rows} if code_of(code) not in content.codes}
    if unknown or any(row[1] is None for row in rows):
        for place in np.flatnonzero(~shapely.is_missing(geometries)).tolist():
            _, identifier, code, _ = rows[place]
            if code in unknown:
                faults[place] = f"{layer.columns[_CODE]} = {reprlib.repr(code)}"
            elif identifier is None:
                faults[place] = f"no {layer.columns[_ORDER]}"
    return geometries, {rows[place][0]: faults[place] for place in sorted(faults)}


def code_of(value: object) -> int | None:
    """A code of CLC as a number, in whatever form the column has it; None if it is none."""
    try:
        number = float(str(value))
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


def _refused(path: Path, layer: Declared, faults: dict[int, str], content: Content) -> BadInput:
    """Return the error about unusable features, naming all that have the same fault as the first."""
    what = next(iter(faults.values()))
    alike = [number for number, fault in faults.items() if fault == what]
    if what == CURVED:
        remedy = _ogr2ogr(path, layer.table, "-nlt CONVERT_TO_LINEAR -nlt PROMOTE_TO_MULTI")
    else:
        without = f"{layer.key} NOT IN ({', '.join(map(str, alike[:_MOST_NAMED]))})"
        leave_out = f", or leave it out: {_ogr2ogr(path, layer.table, f'-where {shlex.quote(without)}')}"
        mend = "fetch the file again" if content.is_corine else content.remedy
        remedy = f"{mend}{leave_out if len(alike) <= _MOST_NAMED else ''}"
    order = "an ID" if content.is_corine else content.order and f"a value in {content.order}"
    parts = filter(None, (order, f"a code of {'CLC 2018' if content.is_corine else 'the nomenclature'}"))
    return BadInput(
        f"{path}, layer {layer.table}, {layer.key} {some(alike, _MOST_NAMED)}",
        expected=f"polygons of straight edges, each with {' and '.join(parts)}",
        found=what,
        remedy=remedy,
    )


def _check_place(layer: _Layer, path: Path, content: Content) -> None:
    """Raise BadInput if the polygons do not lie where they should, or would do so with x and y exchanged."""
    to_clc = transformer(LONGITUDE_LATITUDE, CLC_EPSG)
    places = np.array([to_clc.transform_bounds(*box) for box in BOXES.values()] if content.of_ten else [_EUROPE])
    as_given, exchanged = (
        int(around.meeting(boxes, places).sum()) for boxes in (layer.boxes, layer.boxes[:, [1, 0, 3, 2]])
    )
    if as_given and as_given >= exchanged:
        return
    found, options = "none there", "-s_srs EPSG:<the right one> -t_srs EPSG:3035"
    if exchanged:
        found, options = "northing before easting: x and y are exchanged", "-ct '+proj=axisswap +order=2,1'"
    elif not len(layer.boxes):
        found, options = "no polygon at all", ""
    elif (np.abs(layer.boxes) <= 360).all():
        found, options = "degrees, though the layer says EPSG:3035", "-s_srs EPSG:4326 -t_srs EPSG:3035"
    mend = _ogr2ogr(path, layer.declared.table, options)
    where = "the ten countries of BigEarthNet" if content.of_ten else "Europe"
    raise BadInput(
        f"{path}, layer {layer.declared.table}",
        expected=f"polygons in {where}, x and y in metres of EPSG:3035",
        found=found,
        remedy=f"{mend}, or {_REMEDY}" if options else _REMEDY,
    )


def bounds(square: Square) -> tuple[float, float, float, float]:
    """West, south, east, north in CORINE's CRS of what counts for a tile's square: all of it, with a margin."""
    to_zone = transformer(CLC_EPSG, square.epsg)  # not the one back: PROJ takes 0.1 s to find either
    west, south, east, north = to_zone.transform_bounds(*square.bounds, densify_pts=101, direction="INVERSE")
    margin = 1000.0  # far more than an edge bends between two of its points
    return west - margin, south - margin, east + margin, north + margin
