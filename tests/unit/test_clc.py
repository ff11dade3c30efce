"""Reading CORINE against fiona and pyproj."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fiona
import numpy as np
import pytest
import shapely
from pyproj import Transformer
from shapely.geometry import shape

from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.placement.grid import Square
from ben_luigi.domain.tiles.clc import read_polygons
from tests.unit.geopackages import CODES, INSIDE, SQUARE, write


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


def test_no_polygon_near(tmp_path: Path) -> None:
    found = read_polygons(write(tmp_path / "clc.gpkg"), Square(600_000, 6_000_000, 3_660, 32633))
    assert len(found.geometries) == len(found.codes) == 0


@pytest.mark.parametrize("spelling", [{"epsg": 32633}, {"code": "Code_12"}, {"identifier": "Number"}])
def test_other_layer(tmp_path: Path, spelling: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"EPSG:3035 with columns ID and Code_18.*found: clc \(fid"):
        read_polygons(write(tmp_path / "clc.gpkg", **spelling), SQUARE)
