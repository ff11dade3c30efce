from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from pyproj import Transformer

from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.placement.country import COUNTRIES, countries, read_borders
from ben_luigi.domain.placement.grid import PatchGrid, Square

GRID = PatchGrid("T", Square(500_000, 5_400_000, 12_180, 32633))


def _write(path: Path, polygons: dict[str, shapely.Polygon], key: str = "NAME_LONG") -> Path:
    """Borders given in the zone, as longitude and latitude; countries not given lie far away."""
    to_degrees = Transformer.from_crs(32633, 4326, always_xy=True)
    far = shapely.box(400_000, 5_000_000, 401_000, 5_001_000)
    features = []
    for name in COUNTRIES:
        shape = shapely.transform(
            polygons.get(name, far), lambda points: np.column_stack(to_degrees.transform(points[:, 0], points[:, 1]))
        )
        features.append({"type": "Feature", "properties": {key: name}, "geometry": shapely.geometry.mapping(shape)})
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


@pytest.mark.parametrize("key", ["NAME_LONG", "name_long"])
def test_the_nearest_country_by_the_patch_not_by_its_centre(tmp_path: Path, key: str) -> None:
    """The border leaves the column x = 5 with its centre nearer to Serbia, and its edge in Austria."""
    border = 500_000 + 5 * 1200 + 100
    austria = shapely.box(490_000, 5_380_000, border, 5_410_000)
    serbia = shapely.box(border + 300, 5_380_000, 520_000, 5_410_000)
    path = _write(tmp_path / f"{key}.geojson", {"Austria": austria, "Serbia": serbia}, key)
    found = countries(GRID, path).reshape(10, 10)
    assert set(found[:5].flat) == {"Austria"}
    assert set(found[6:].flat) == {"Serbia"}
    # The patches of column 5 touch both, their centres lie in Serbia: the larger country wins.
    assert set(found[5].flat) == {"Austria"}


def test_brute_force_agrees(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    centres = rng.uniform([480_000, 5_370_000], [530_000, 5_420_000], (10, 2))
    shapes = {
        name: shapely.Point(c).buffer(3000 + 500 * i)
        for i, (name, c) in enumerate(zip(COUNTRIES, centres, strict=True))
    }
    path = _write(tmp_path / "borders.geojson", shapes)
    to_zone = Transformer.from_crs(4326, 32633, always_xy=True)
    borders = {
        name: shapely.transform(shape, lambda p: np.column_stack(to_zone.transform(p[:, 0], p[:, 1])))
        for name, shape in read_borders(path).items()
    }
    for x, y, country in zip(GRID.x, GRID.y, countries(GRID, path), strict=True):
        patch = shapely.box(500_000 + x * 1200, 5_400_000 - (y + 1) * 1200, 501_200 + x * 1200, 5_400_000 - y * 1200)
        best = min(COUNTRIES, key=lambda name: (patch.distance(borders[name]), -borders[name].area))
        assert country == best


@pytest.mark.parametrize("content", ["", "[]", '{"features": [{"properties": {}}]}', '{"features": []}'])
def test_borders_that_are_none_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / f"{len(content)}.geojson"
    path.write_text(content)
    with pytest.raises(BadInput, match="geojson"):
        read_borders(path)
