"""Land cover whose polygons reach far beyond a tile, or lie where a CRS is cut: each kind of file keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import fiona
import numpy as np
import pytest
import shapely
from pyproj import Transformer

from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.placement.grid import PatchGrid, Square
from ben_luigi.domain.tiles import around, clc, land_vector
from ben_luigi.domain.tiles.clc import Content, Polygons
from ben_luigi.domain.tiles.reference_maps import burn

CONTENT = Content("code", "rank", "", epsg=None, codes=frozenset((10, 20, 30)))
DRIVERS = {"gpkg": "GPKG", "geojson": "GeoJSON", "fgb": "FlatGeobuf"}
INLAND = PatchGrid("S2A_MSIL2A_20230613T101031_N0509_R022_T33UUP", Square(300_000, 5_400_000, 3_660, 32633))
FIJI = PatchGrid("S2B_MSIL2A_20230613T101031_N0509_R022_T60KZF", Square(799_980, 8_100_040, 24_000, 32760))
"""A tile that the 180th meridian crosses."""


def write(path: Path, shapes: Sequence[tuple[int, shapely.Geometry]], crs: str = "EPSG:4326") -> Path:
    """A file of polygons, later ones above."""
    schema = {"geometry": "Unknown", "properties": {"code": "int", "rank": "int"}}
    with fiona.open(path, "w", driver=DRIVERS[path.suffix[1:]], crs=crs, schema=schema) as file:
        for rank, (code, shape) in enumerate(shapes):
            properties = {"code": code, "rank": rank}
            file.write({"geometry": shapely.geometry.mapping(shape), "properties": properties})
    return path


def read(path: Path, square: Square) -> Polygons:
    """The polygons near a tile, by the reader of this kind of file."""
    if path.suffix == ".gpkg":
        clc.check_layer(path, CONTENT)
        return clc.read_polygons(path, square, content=CONTENT)
    land_vector.check(path, CONTENT)
    return land_vector.read_polygons(path, square, CONTENT)


def codes(path: Path, grid: PatchGrid) -> np.ndarray:
    """The codes on a tile (row, col); 7 where there is none."""
    burnt = burn(read(path, grid.square), grid, 7)
    return np.asarray(burnt.codes[burnt.classes])


def centres(grid: PatchGrid, crs: int | str) -> np.ndarray:
    """The centres of the pixels in another CRS: (x or y, row, col)."""
    side_px = grid.patches_a_side * grid.patch_m // 10
    at = np.arange(side_px) * 10 + 5
    to = Transformer.from_crs(grid.square.epsg, crs, always_xy=True)
    return np.array(to.transform(*np.meshgrid(grid.square.left + at, grid.square.top - at)))


@pytest.mark.parametrize("suffix", DRIVERS)
@pytest.mark.parametrize("far", [(-180, -90, 180, 90), (-180, -85, 180, 85), (-60, 0, 100, 85), (100, -90, 460, 90)])
def test_a_polygon_that_reaches_far_is_kept(suffix: str, far: tuple[float, ...], tmp_path: Path) -> None:
    """Also one with longitudes above 180, which show the tile a second time."""
    longitude, latitude = centres(INLAND, 4326)
    small = shapely.box(longitude.mean(), latitude.mean(), 14, 50)
    found = codes(write(tmp_path / f"a.{suffix}", [(30, shapely.box(*far)), (20, small)]), INLAND)
    assert (found == np.where(shapely.contains_xy(small, longitude, latitude), 20, 30)).mean() > 0.99
    assert set(found.flat) == {20, 30}


@pytest.mark.parametrize("suffix", DRIVERS)
def test_on_both_sides_of_the_180th_meridian(suffix: str, tmp_path: Path) -> None:
    sides = [(10, shapely.box(178, -19, 180, -16)), (20, shapely.box(-180, -19, -178, -16))]
    path = write(tmp_path / f"a.{suffix}", [(code, shapely.segmentize(box, 0.05)) for code, box in sides])
    east = centres(FIJI, 4326)[0] > 0
    assert 0.2 < east.mean() < 0.8
    assert (codes(path, FIJI) == np.where(east, 10, 20)).mean() > 0.9999


@pytest.mark.parametrize("suffix", DRIVERS)
def test_a_polygon_across_the_180th_meridian_or_around_the_earth(suffix: str, tmp_path: Path) -> None:
    for number, far in enumerate([(178, -19, 182, -16), (-182, -19, -178, -16), (-180, -90, 180, 90)]):
        path = write(tmp_path / f"{number}.{suffix}", [(10, shapely.segmentize(shapely.box(*far), 0.5))])
        assert (codes(path, FIJI) == 10).all()


@pytest.mark.parametrize("suffix", ["gpkg", "fgb"])
def test_where_a_projection_is_cut(suffix: str, tmp_path: Path) -> None:
    """EPSG:6933, of equal area, is cut at the 180th meridian: on its far side lies the other half of the tile."""
    x, y = centres(FIJI, 6933)
    half = abs(x).max()
    shapes = [
        (10, shapely.box(0, y.min() - 1e6, half, y.max() + 1e6)),
        (20, shapely.box(-half, y.min() - 1e6, 0, y.max() + 1e6)),
    ]
    path = write(tmp_path / f"a.{suffix}", [(code, shapely.segmentize(box, 1e4)) for code, box in shapes], "EPSG:6933")
    assert (codes(path, FIJI) == np.where(x > 0, 10, 20)).mean() > 0.999


@pytest.mark.parametrize("suffix", DRIVERS)
def test_a_vertex_without_a_place_in_the_zone_is_said(suffix: str, tmp_path: Path) -> None:
    north = Square(400_000, 9_300_000, 109_800, 32633)
    path = write(tmp_path / f"a.{suffix}", [(10, shapely.box(0, 70, 30, 92))])
    with pytest.raises(BadInput, match=r"zone of the tile .* EPSG:32633; found: one .* 92 .*; next: correct") as error:
        read(path, north)
    assert str(path) in str(error.value)


def test_boxes_are_around_a_tile_and_nowhere_else() -> None:
    west, south, east, north = INLAND.square.bounds
    assert around.boxes(INLAND.square, 32633) == pytest.approx(
        np.array([[west - 3660, south - 3660, east + 3660, north + 3660]])
    )
    found = around.boxes(FIJI.square, 4326)
    for west, east in ((-180.01, -180), (-180, -179.99), (179.99, 180), (180, 180.01)):
        assert around.meeting(found, [(west, -18, east, -16)]).any()
    assert not around.meeting(found, [(-179, -18, 179, -16)]).any()
