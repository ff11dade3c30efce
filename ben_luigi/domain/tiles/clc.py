"""CORINE Land Cover polygons, read for one tile.

The file is a GeoPackage in EPSG:3035, MULTIPOLYGON, with the columns ID and Code_18 (names in any case). Its spatial
index gives the polygons near a tile, so that the time to read does not grow with what lies outside.
"""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from pyproj import Transformer

from ben_luigi.domain.errors import BadInput, some
from ben_luigi.domain.placement.grid import Square

CLC_EPSG = 3035
_REMEDY = "give the CLC 2018 GeoPackage (U2018_CLC2018_V2020_20u1.gpkg) as [inputs] clc_gpkg"
_ENVELOPE_BYTES = (0, 32, 48, 48, 64)


@dataclass(frozen=True)
class Polygons:
    """CLC polygons in a tile's CRS (x, y in metres), in the order in which they are burnt: ascending ID as text."""

    geometries: np.ndarray
    codes: np.ndarray
    epsg: int


@dataclass(frozen=True)
class _Layer:
    table: str
    geometry: str
    identifier: str
    code: str
    key: str
    indexed: bool


def read_polygons(path: Path, square: Square) -> Polygons:
    """Read the polygons that may reach into a tile's square, reprojected vertex by vertex to its CRS."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            layer = _layer(database, path)
            rows = _rows(database, layer, _bounds_in_clc(square))
    except sqlite3.Error as error:
        raise BadInput(path, expected="a readable GeoPackage", found=str(error), remedy=_REMEDY) from error
    try:
        geometries = shapely.from_wkb(np.array([_wkb(blob) for _, _, blob in rows], dtype=object))
        codes = np.array([int(str(code)) for _, code, _ in rows], dtype="uint16")
    except (shapely.errors.ShapelyError, struct.error, IndexError, TypeError, ValueError) as error:
        raise BadInput(path, expected="polygons with a numeric code", found=str(error), remedy=_REMEDY) from error
    order = np.argsort(np.array([str(identifier) for identifier, _, _ in rows]), kind="stable")
    to_zone = Transformer.from_crs(CLC_EPSG, square.epsg, always_xy=True)
    projected = shapely.transform(
        geometries[order], lambda points: np.column_stack(to_zone.transform(points[:, 0], points[:, 1]))
    )
    return Polygons(projected, codes[order], square.epsg)


def _layer(database: sqlite3.Connection, path: Path) -> _Layer:
    contents = "SELECT table_name, column_name, srs_id FROM gpkg_geometry_columns ORDER BY table_name"
    found = []
    for table, geometry, srs in database.execute(contents).fetchall():
        info = database.execute(f'PRAGMA table_info("{table}")').fetchall()
        columns = {str(row[1]).lower(): str(row[1]) for row in info}
        found.append(f"{table} ({', '.join(columns.values())}; EPSG:{srs})")
        if {"id", "code_18"} <= set(columns) and srs == CLC_EPSG:
            keys = [str(row[1]) for row in info if row[5]]
            index = f"rtree_{table}_{geometry}"
            indexed = database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (index,)).fetchone() is not None
            return _Layer(table, geometry, columns["id"], columns["code_18"], keys[0] if keys else "rowid", indexed)
    raise BadInput(
        path, expected="a layer in EPSG:3035 with columns ID and Code_18", found=some(found) or "none", remedy=_REMEDY
    )


def _rows(
    database: sqlite3.Connection, layer: _Layer, bounds: tuple[float, float, float, float]
) -> list[tuple[object, object, bytes]]:
    """ID, code and geometry of the polygons whose box meets `bounds` (west, south, east, north in EPSG:3035)."""
    select = (
        f'SELECT t."{layer.identifier}", t."{layer.code}", t."{layer.geometry}" FROM "{layer.table}" t '
        f'WHERE t."{layer.geometry}" IS NOT NULL'
    )
    if layer.indexed:
        near = (
            f'SELECT id FROM "rtree_{layer.table}_{layer.geometry}" '
            "WHERE minx <= ? AND maxx >= ? AND miny <= ? AND maxy >= ?"
        )
        west, south, east, north = bounds
        select += f' AND t."{layer.key}" IN ({near}) ORDER BY t."{layer.key}"'
        return database.execute(select, (east, west, north, south)).fetchall()
    rows = database.execute(f'{select} ORDER BY t."{layer.key}"').fetchall()
    boxes = shapely.bounds(shapely.from_wkb(np.array([_wkb(row[2]) for row in rows], dtype=object)))
    west, south, east, north = bounds
    meets = (boxes[:, 0] <= east) & (boxes[:, 2] >= west) & (boxes[:, 1] <= north) & (boxes[:, 3] >= south)
    return [row for row, near_tile in zip(rows, meets, strict=True) if near_tile]


def _wkb(blob: bytes) -> bytes:
    """The WKB inside a GeoPackage geometry (OGC 12-128r18, 2.1.3): behind a header of 8 bytes and an envelope."""
    if blob[:2] != b"GP":
        raise ValueError(f"a geometry that does not begin with GP: {blob[:8]!r}")
    return blob[8 + _ENVELOPE_BYTES[(blob[3] >> 1) & 7] :]


def _bounds_in_clc(square: Square) -> tuple[float, float, float, float]:
    to_clc = Transformer.from_crs(square.epsg, CLC_EPSG, always_xy=True)
    west, south, east, north = to_clc.transform_bounds(*square.bounds, densify_pts=101)
    margin_m = 1000.0  # far more than the bend of an edge between two of its points
    return west - margin_m, south - margin_m, east + margin_m, north + margin_m
