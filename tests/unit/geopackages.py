"""GeoPackages as CORINE is published, and what other programs make of them."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import fiona
import numpy as np
import pytest
import shapely
from pyproj import Transformer
from shapely.geometry import mapping

from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.placement.grid import Square
from ben_luigi.domain.tiles.clc import check_layer, read_polygons

ENDLESS = "WITH RECURSIVE forever(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM forever)"
"""The beginning of a query that never ends."""

SQUARE = Square(300_000, 5_400_000, 3_660, 32633)
INSIDE = {
    "EU-2": (300_100, 5_399_000, 300_900, 5_399_500),
    "EU-10": (300_200, 5_399_100, 301_900, 5_399_900),
    "EU-9": (299_000, 5_396_000, 300_100, 5_396_500),
    "EU-100": (290_000, 5_390_000, 310_000, 5_410_000),
}
OUTSIDE = {"EU-1": (320_000, 5_390_000, 330_000, 5_400_000), "EU-3": (300_000, 5_410_000, 300_100, 5_410_100)}
CODES = {"EU-2": 211, "EU-10": 112, "EU-9": 999, "EU-100": 523, "EU-1": 312, "EU-3": 512}


def in_clc(shape: shapely.Geometry) -> shapely.Geometry:
    """A shape of zone 33 in CORINE's CRS."""
    to_clc = Transformer.from_crs(32633, 3035, always_xy=True)
    return shapely.transform(shape, lambda points: np.column_stack(to_clc.transform(*points.T)))


def write(
    path: Path,
    *,
    epsg: int = 3035,
    code: str = "Code_18",
    identifier: str = "ID",
    index: str = "YES",
    layer: str = "clc",
) -> Path:
    """A GeoPackage of the polygons, in CORINE's CRS, with a hole in each."""
    schema = {"geometry": "MultiPolygon", "properties": {code: "str:3", identifier: "str:18"}}
    with fiona.open(
        path, "w", driver="GPKG", layer=layer, crs=f"EPSG:{epsg}", schema=schema, SPATIAL_INDEX=index
    ) as file:
        for name, bounds in {**OUTSIDE, **INSIDE}.items():
            polygon = shapely.box(*bounds).difference(shapely.Point(bounds[0] + 50, bounds[1] + 50).buffer(20))
            outline = in_clc(shapely.MultiPolygon([polygon]))
            file.write({"geometry": mapping(outline), "properties": {code: str(CODES[name]), identifier: name}})
    return path


def change(path: Path, *statements: str | tuple[str, tuple[object, ...]]) -> Path:
    """Change a GeoPackage by SQL, as programs do that know nothing of GDAL's triggers."""
    with closing(sqlite3.connect(path)) as database:
        triggers = database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:
            database.execute(f'DROP TRIGGER "{name}"')
        for statement in statements:
            sql, values = (statement, ()) if isinstance(statement, str) else statement
            database.execute(sql, values)
        database.commit()
    return path


def geometry(wkb: bytes, *, flags: int = 1, envelope: Iterable[float] = ()) -> bytes:
    """A GeoPackage geometry (OGC 12-128r18, 2.1.3)."""
    numbers = list(envelope)
    kind = {0: 0, 4: 1, 6: 2, 8: 4}[len(numbers)]
    return b"GP" + struct.pack(f"<BBi{len(numbers)}d", 0, flags | kind << 1, 3035, *numbers) + wkb


def put(path: Path, name: str, shape: shapely.Geometry | bytes, **said: object) -> Path:
    """Put another geometry in the place of the polygon of this ID."""
    wkb = shape if isinstance(shape, bytes) else shapely.to_wkb(shape, flavor="iso")
    return change(path, ("UPDATE clc SET geom = ? WHERE ID = ?", (geometry(wkb, **said), name)))  # type: ignore[arg-type]


def read(path: Path) -> list[tuple[int, bytes]]:
    """Codes and polygons near the tile, in the order in which they are burnt."""
    found = read_polygons(path, SQUARE)
    return list(zip(found.codes.tolist(), shapely.to_wkb(found.geometries).tolist(), strict=True))


def refused(path: Path) -> str:
    """What the check says, which is what reading says."""
    with pytest.raises(BadInput) as error:
        check_layer(path)
    with pytest.raises(BadInput) as again:
        read_polygons(path, SQUARE)
    assert str(again.value) == str(error.value)
    assert str(path) in str(error.value) and error.value.expected and error.value.found and error.value.remedy
    return str(error.value)
