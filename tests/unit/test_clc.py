"""Reading CORINE against fiona and pyproj, and files that are none."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import fiona
import numpy as np
import pytest
import shapely
from pyproj import Transformer
from shapely.geometry import mapping, shape

from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.placement.grid import Square
from ben_luigi.domain.tiles.clc import read_polygons

SQUARE = Square(300_000, 5_400_000, 3_660, 32633)
INSIDE = {
    "EU-2": (300_100, 5_399_000, 300_900, 5_399_500),
    "EU-10": (300_200, 5_399_100, 301_900, 5_399_900),
    "EU-9": (299_000, 5_396_000, 300_100, 5_396_500),
    "EU-100": (290_000, 5_390_000, 310_000, 5_410_000),
}
OUTSIDE = {"EU-1": (320_000, 5_390_000, 330_000, 5_400_000), "EU-3": (300_000, 5_410_000, 300_100, 5_410_100)}
CODES = {"EU-2": 211, "EU-10": 112, "EU-9": 999, "EU-100": 523, "EU-1": 312, "EU-3": 512}


def write(path: Path, *, epsg: int = 3035, code: str = "Code_18", identifier: str = "ID", index: str = "YES") -> Path:
    """A GeoPackage of the polygons, in CORINE's CRS, with a hole in each."""
    to_clc = Transformer.from_crs(32633, 3035, always_xy=True)
    schema = {"geometry": "MultiPolygon", "properties": {code: "str:3", identifier: "str:18"}}
    with fiona.open(
        path, "w", driver="GPKG", layer="clc", crs=f"EPSG:{epsg}", schema=schema, SPATIAL_INDEX=index
    ) as file:
        for name, bounds in {**OUTSIDE, **INSIDE}.items():
            polygon = shapely.box(*bounds).difference(shapely.Point(bounds[0] + 50, bounds[1] + 50).buffer(20))
            outline = shapely.transform(
                shapely.MultiPolygon([polygon]), lambda points: np.column_stack(to_clc.transform(*points.T))
            )
            file.write({"geometry": mapping(outline), "properties": {code: str(CODES[name]), identifier: name}})
    return path


@pytest.mark.parametrize(
    "spelling",
    [
        {},
        {"code": "CODE_18", "identifier": "Id"},
        {"code": "code_18", "identifier": "id"},
        {"index": "NO"},
    ],
)
def test_polygons_near_the_tile_in_order_of_their_id_as_text(tmp_path: Path, spelling: dict[str, Any]) -> None:
    path = write(tmp_path / "clc.gpkg", **spelling)
    found = read_polygons(path, SQUARE)
    expected = sorted(INSIDE)
    assert expected == ["EU-10", "EU-100", "EU-2", "EU-9"]
    assert found.codes.tolist() == [CODES[name] for name in expected]
    to_zone = Transformer.from_crs(3035, 32633, always_xy=True)
    with fiona.open(path) as layer:
        names = layer.schema["properties"]
        identifier = next(name for name in names if name.lower() == "id")
        outlines = {feature.properties[identifier]: shape(feature.geometry) for feature in layer}
    for name, geometry in zip(expected, found.geometries, strict=True):
        points = [to_zone.transform(x, y) for x, y in shapely.get_coordinates(outlines[name])]
        assert np.array_equal(shapely.get_coordinates(geometry), points)
        assert shapely.get_num_interior_rings(shapely.get_geometry(geometry, 0)) == 1
        assert np.allclose(geometry.bounds, INSIDE[name], atol=1e-3)


def test_what_lies_elsewhere_is_not_read(tmp_path: Path) -> None:
    """Rows outside may be damaged without anybody noticing, since the index passes them over."""
    path = write(tmp_path / "clc.gpkg")
    with closing(sqlite3.connect(path)) as database:
        triggers = database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'clc'")
        for (name,) in triggers.fetchall():
            database.execute(f'DROP TRIGGER "{name}"')
        database.execute("UPDATE clc SET geom = X'00' WHERE ID IN ('EU-1', 'EU-3')")
        database.commit()
    assert len(read_polygons(path, SQUARE).codes) == len(INSIDE)
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE clc SET geom = X'4750' WHERE ID = 'EU-2'")
        database.commit()
    with pytest.raises(BadInput, match="polygons with a numeric code"):
        read_polygons(path, SQUARE)


def test_no_polygon_near(tmp_path: Path) -> None:
    found = read_polygons(write(tmp_path / "clc.gpkg"), Square(600_000, 6_000_000, 3_660, 32633))
    assert len(found.geometries) == len(found.codes) == 0


@pytest.mark.parametrize("spelling", [{"epsg": 32633}, {"code": "Code_12"}, {"identifier": "Number"}])
def test_other_layer(tmp_path: Path, spelling: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"EPSG:3035 with columns ID and Code_18.*found: clc \(fid"):
        read_polygons(write(tmp_path / "clc.gpkg", **spelling), SQUARE)


def test_no_geopackage(tmp_path: Path) -> None:
    path = tmp_path / "clc.gpkg"
    with pytest.raises(BadInput, match=r"clc_gpkg"):
        read_polygons(path, SQUARE)
    path.write_bytes(b"<html>log in first</html>" * 100)
    with pytest.raises(BadInput, match=r"a readable GeoPackage.*not a database"):
        read_polygons(path, SQUARE)
