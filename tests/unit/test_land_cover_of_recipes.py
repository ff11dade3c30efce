"""Land cover of other recipes: polygons of any file and CRS, and rasters, against pixel-by-pixel look-ups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fiona
import numpy as np
import pytest
import rasterio
import shapely
from pyproj import Transformer
from rasterio.transform import Affine, from_origin

from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.placement.grid import PatchGrid, Square
from ben_luigi.domain.tiles import land_raster, land_vector
from ben_luigi.domain.tiles.clc import Content
from ben_luigi.domain.tiles.land_raster import Raster
from ben_luigi.domain.tiles.reference_maps import burn, make_maps

TILE = "S2A_MSIL2A_20230613T101031_N0509_R022_T33UUP"
NORTH = PatchGrid(TILE, Square(300_000, 5_400_000, 3_660, 32633))
SOUTH = PatchGrid(TILE, Square(300_000, 6_400_020, 3_660, 32733))
CODES = frozenset((10, 20, 300, 65_000))
CONTENT = Content("class", "rank", "", epsg=None, codes=CODES)
SHAPES = [
    (10, 5, (0, 0, 2000, 3000)),
    (20, 10, (500, 500, 2500, 2500)),
    (300, 9, (900, 0, 1100, 3660)),
    (10, 1, (-9e5, -9e5, 9e5, 600)),
]
"""Code, rank and box (west, north, east, south) in metres from the corner of a tile; the last one is very large."""


def _boxes(grid: PatchGrid) -> list[tuple[int, int, shapely.Polygon]]:
    left, top = grid.square.left, grid.square.top
    return [(code, rank, shapely.box(left + w, top - s, left + e, top - n)) for code, rank, (w, n, e, s) in SHAPES]


def _write(path: Path, driver: str, epsg: int, grid: PatchGrid, code: Any = int) -> Path:
    to = Transformer.from_crs(grid.square.epsg, epsg, always_xy=True)
    schema = {"geometry": "Polygon", "properties": {"class": "int" if code is int else "str", "rank": "int"}}
    with fiona.open(path, "w", driver=driver, crs=f"EPSG:{epsg}", schema=schema) as file:
        for value, rank, box in _boxes(grid):
            dense = shapely.segmentize(box, 300 if rank > 1 else 3000)
            moved = shapely.transform(dense, lambda at: np.column_stack(to.transform(*at.T)))
            file.write(
                {"geometry": shapely.geometry.mapping(moved), "properties": {"class": code(value), "rank": rank}}
            )
    return path


def _centres(grid: PatchGrid) -> tuple[np.ndarray, np.ndarray]:
    at = np.arange(360) * 10 + 5
    return np.meshgrid(grid.square.left + at, grid.square.top - at)


@pytest.mark.parametrize(
    ("name", "driver", "epsg", "grid"),
    [
        ("a.geojson", "GeoJSON", 4326, NORTH),
        ("a.shp", "ESRI Shapefile", 3035, NORTH),
        ("a.shp", "ESRI Shapefile", 32733, SOUTH),
        ("a.fgb", "FlatGeobuf", 6933, SOUTH),
    ],
)
def test_polygons_of_any_file_and_crs(name: str, driver: str, epsg: int, grid: PatchGrid, tmp_path: Path) -> None:
    """Each pixel has the code of the box of the highest rank that its centre lies in, but for pixels on an edge."""
    path = _write(tmp_path / name, driver, epsg, grid, str if driver == "FlatGeobuf" else int)
    burnt = burn(land_vector.read_polygons(path, grid.square, CONTENT), grid, 7)
    found = burnt.codes[burnt.classes]
    x, y = _centres(grid)
    expected = np.full((360, 360), 7)
    edge = np.zeros_like(expected, dtype=bool)
    for code, _, box in sorted(_boxes(grid), key=lambda one: one[1]):
        expected[shapely.contains_xy(box, x, y)] = code
        edge |= shapely.distance(box.exterior, shapely.points(x, y)) <= 5
    assert set(expected.flat) == {7, 10, 20, 300} and edge.mean() < 0.1
    assert (found == expected)[~edge].all()


def test_polygons_that_are_none_are_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.geojson", "GeoJSON", 4326, NORTH)
    for content, said in (
        (Content("class", "rank", "", None, frozenset((10, 20))), "class 300 of feature 3, which the nomenclature"),
        (Content("Code_18", "", "", None, CODES), r"columns Code_18; found: layers: a \(class, rank\)"),
    ):
        with pytest.raises(BadInput, match=said):
            land_vector.check(path, content)
    (tmp_path / "none.shp").write_text("nothing")
    with pytest.raises(BadInput, match="no file of polygons"):
        land_vector.check(tmp_path / "none.shp", CONTENT)


def _raster(path: Path, values: np.ndarray, epsg: int, transform: Affine, nodata: float | None = 0) -> Path:
    height, width = values.shape
    shape = {"height": height, "width": width, "count": 1, "dtype": values.dtype, "nodata": nodata}
    with rasterio.open(path, "w", driver="GTiff", crs=f"EPSG:{epsg}", transform=transform, **shape) as file:
        file.write(values, 1)
    return path


def _around(grid: PatchGrid, epsg: int, pixels: int) -> Affine:
    """The place of a raster of `pixels` a side around a tile in another CRS."""
    to = Transformer.from_crs(grid.square.epsg, epsg, always_xy=True)
    west, south, east, north = to.transform_bounds(*grid.square.bounds)
    side = 1.1 * max(east - west, north - south)
    return from_origin(west - side / 22, north + side / 22, side / pixels, side / pixels)


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32"])
@pytest.mark.parametrize(("epsg", "grid"), [(4326, NORTH), (3035, NORTH), (32733, SOUTH), (4326, SOUTH)])
def test_a_raster_gives_each_pixel_the_code_at_its_centre(
    epsg: int, grid: PatchGrid, dtype: str, tmp_path: Path
) -> None:
    place = _around(grid, epsg, 250)
    values = np.random.default_rng(3).choice([0, *CODES], (250, 250)).astype(dtype)
    path = _raster(tmp_path / "a.tif", values, epsg, place)
    burnt = burn(Raster(path, CODES), grid, 7)
    to = Transformer.from_crs(grid.square.epsg, epsg, always_xy=True)
    x, y = to.transform(*_centres(grid))
    column, row = ~place @ (x, y)
    expected = values[np.floor(row).astype(int), np.floor(column).astype(int)]
    clear = (np.abs(column - np.round(column)) > 0.02) & (np.abs(row - np.round(row)) > 0.02)
    assert clear.mean() > 0.9
    assert (burnt.codes[burnt.classes] == np.where(expected == 0, 7, expected))[clear].all()


@pytest.mark.parametrize("by", ["value", "mask", "both"])
def test_pixels_without_data_have_the_value_for_nothing(by: str, tmp_path: Path) -> None:
    """Also if the raster's type has no such value, or if a mask says which they are."""
    values = np.full((366, 366), 10, "uint8")
    values[:120, :120] = 0
    if by == "both":
        values[:60, :120] = 231
    path = _raster(tmp_path / "a.tif", values, 32633, from_origin(NORTH.square.left, NORTH.square.top, 10, 10), None)
    with rasterio.open(path, "r+") as file:
        if by != "mask":
            file.nodata = 0
        if by != "value":
            file.write_mask(values == 10)
    codes = land_raster.read(Raster(path, frozenset({0, 10, 231})), NORTH.covered, 999, "33UUP_20230613")
    assert (codes[:120, :120] == 999).all() and (codes == 10).sum() == 360 * 360 - 120 * 120


def test_maps_of_a_raster_count_what_lies_on_each_patch(tmp_path: Path) -> None:
    place = from_origin(NORTH.square.left, NORTH.square.top, 10, 10)
    values = np.random.default_rng(3).choice([10, 20], (366, 366)).astype("uint8")
    values[:, 120:240] = 0
    path = _raster(tmp_path / "a.tif", values, 32633, place)
    counts = make_maps(Raster(path, CODES), NORTH, np.arange(9), tmp_path / "a.tar", tmp_path / "a.parquet", nothing=7)
    assert sorted(set(counts["patch_id"].str[-5:])) == ["00_00", "00_01", "00_02", "02_00", "02_01", "02_02"]
    of_first = counts[counts["patch_id"].str.endswith("00_00")].set_index("code")["pixels"].to_dict()
    assert of_first == {code: int((values[:120, :120] == code).sum()) for code in (10, 20)}


def test_a_raster_across_the_180th_meridian_is_refused_with_what_can_be_given(tmp_path: Path) -> None:
    across = PatchGrid(NORTH.tile_name, Square(810_000, 8_110_000, 24_000, 32760), 2400)
    values = np.full((40, 120), 10, "uint8")
    path = _raster(tmp_path / "a.tif", values, 4326, from_origin(174, -15, 0.1, 0.1))
    with pytest.raises(BadInput, match=r"180th meridian: give a raster in its zone, EPSG:32760, .* from -180 to 180"):
        land_raster.check_covers(path, across.covered, "60KZF_20230613")
    whole = _raster(tmp_path / "b.tif", np.full((40, 3600), 10, "uint8"), 4326, from_origin(-180, -15, 0.1, 0.1))
    assert (land_raster.read(Raster(whole, CODES), across.covered, 7, "60KZF_20230613") == 10).all()


def test_a_raster_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    place = from_origin(NORTH.square.left, NORTH.square.top, 10, 10)
    small = _raster(tmp_path / "small.tif", np.full((366, 200), 10, "uint8"), 32633, place)
    with pytest.raises(BadInput, match=r"covers the tile: 300000, .*found: 300000, 5.39634e\+06, 302000"):
        land_raster.check_covers(small, NORTH.covered, "33UUP_20230613")
    strange = _raster(tmp_path / "strange.tif", np.full((366, 366), 11, "uint8"), 32633, place, None)
    land_raster.check_covers(strange, NORTH.covered, "33UUP_20230613")
    with pytest.raises(BadInput, match="found: 11; its value for no data is None"):
        burn(Raster(strange, CODES), NORTH, 7)
    (tmp_path / "none.tif").write_text("nothing")
    with pytest.raises(BadInput, match="one band of land cover codes"):
        land_raster.check(tmp_path / "none.tif")
