"""Sentinel-1 patches in a folder of the user's: their names, the nearest in time, and what they must be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from ben_luigi.domain.dataset import members, sentinel1, sentinel1_folder
from ben_luigi.domain.dataset.archived import ArchivedPatches
from ben_luigi.domain.dataset.sentinel1_folder import Listed
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.formats import geotiff
from ben_luigi.domain.names import s1_part, s1_place, s1_sensing_time, s1_tile
from ben_luigi.domain.placement.grid import PatchGrid, Square
from ben_luigi.domain.recipe.model import DTYPES
from ben_luigi.domain.vocabulary import MOST_PATCH_M, MOST_PIXEL_BYTES
from tests.unit.s1_patches import s1_tiff

TILE = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
GRID = PatchGrid(TILE, Square(300_000, 5_400_000, 2_400, 32633), 1200)
S1 = "S1B_IW_GRDH_1SDV_20170612T165809_33UUP"


def _write(folder: Path, name: str, x: int, y: int, square: Square | None = None) -> Path:
    (folder / name).mkdir(parents=True)
    for band in ("VV", "VH"):
        (folder / name / f"{name}_{band}.tif").write_bytes(s1_tiff(square or GRID.patch(x, y)))
    return folder / name


def test_patches_are_found_by_the_id_of_the_s2_patch_or_as_bigearthnet_names_them(tmp_path: Path) -> None:
    """Directly in the folder, or one folder down; the id counts first. Other names and places do not matter."""
    _write(tmp_path, f"{TILE}_00_00", 0, 0)
    _write(tmp_path / TILE, f"{TILE}_01_00", 1, 0)
    _write(tmp_path / s1_tile(f"{S1}_1_1"), f"{S1}_1_1", 1, 1)
    _write(tmp_path, f"{S1}_0_0", 0, 0)
    _write(tmp_path, "S1B_IW_GRDH_1SDV_20170612T165809_33UUQ_0_1", 0, 1)
    _write(tmp_path / "a" / "b", f"{S1}_0_1", 0, 1)
    _write(tmp_path / ".snapshot", f"{S1}_1_1", 1, 1)
    (tmp_path / "README.md").touch()
    names = sentinel1_folder.with_data(tmp_path, GRID, 6)
    assert names == {0: f"{TILE}_00_00", 2: f"{TILE}_01_00", 3: f"{S1}_1_1"}
    at = sentinel1_folder.listed(tmp_path)
    assert at.folder_of(f"{S1}_1_1") == tmp_path / "S1B_IW_GRDH_1SDV_20170612T165809" / f"{S1}_1_1"
    sentinel1_folder.check(tmp_path, GRID, 6)


def test_the_id_of_a_patch_as_a_name_of_sentinel1() -> None:
    """torchgeo takes the folder of an S1 patch from its name, without the last three fields."""
    assert s1_tile(f"{TILE}_00_01") == TILE.removesuffix("_T33UUP") and s1_part(f"{TILE}_00_01") == TILE
    assert s1_place(f"{S1}_3_14") == ("33UUP", 3, 14) and s1_place(f"{TILE}_03_14") is None
    assert s1_place(f"{S1}_03_14") is None, "BigEarthNet writes no leading zeros, and verify goes by that"


@given(st.lists(st.integers(0, 20 * 86_400), unique=True, max_size=6), st.integers(0, 9))
def test_the_nearest_in_time_is_taken_the_earlier_of_two(seconds: list[int], max_days: int) -> None:
    start, sensed = np.datetime64("2017-06-03T10:10:31"), np.datetime64("2017-06-13T10:10:31")
    times = [start + np.timedelta64(one, "s") for one in seconds]
    names = [f"S1A_IW_GRDH_1SDV_{str(time).replace('-', '').replace(':', '')}_33UUP_1_0" for time in times]
    by_place = {("33UUP", 1, 0): [(s1_sensing_time(s1_tile(name)), name) for name in names]}
    found = Listed({}, by_place).names(GRID, max_days)
    near = sorted((abs(time - sensed), time, name) for time, name in zip(times, names, strict=True))
    if near and near[0][0] <= np.timedelta64(max_days, "D"):
        assert found == {2: near[0][2]}
    else:
        assert found == {}


def test_a_patch_of_the_largest_side_is_read(tmp_path: Path) -> None:
    """23 MB for each file."""
    grid = PatchGrid(TILE, Square(300_000, 5_400_000, MOST_PATCH_M, 32633), MOST_PATCH_M)
    square, folder = grid.patch(0, 0), tmp_path / f"{TILE}_00_00"
    folder.mkdir()
    pixels = np.full((MOST_PATCH_M // 10, MOST_PATCH_M // 10), -12.5, "float32")
    for band in ("VV", "VH"):
        path = folder / f"{folder.name}_{band}.tif"
        path.write_bytes(geotiff.gdal_bytes(pixels, square.left, square.top, 10, square.epsg, nodata=None))
    assert sentinel1_folder.with_data(tmp_path, grid, 6) == {0: folder.name}
    assert sentinel1.export(tmp_path, {folder.name: square}, tmp_path / "out") == 1
    found = [one for one in members.read_folder(tmp_path / "out", tmp_path) if isinstance(one, members.Member)]
    assert [len(one.data) for one in found] == [path.stat().st_size] * 2
    with ArchivedPatches(tmp_path / "out", "BigEarthNet-S1", unpacked=True) as patches:
        assert len(patches.read([folder.name])[folder.name]["VH"]) == path.stat().st_size


def test_no_pixel_of_a_recipe_is_longer_than_the_bound_counts() -> None:
    assert max(np.dtype(name).itemsize for name in DTYPES) == MOST_PIXEL_BYTES


def test_patches_with_pixels_without_data_are_left_out(tmp_path: Path) -> None:
    """No numbers, and the value for no data in one file alone."""
    _write(tmp_path, f"{TILE}_00_00", 0, 0)
    for name, value, x, y in ((f"{TILE}_00_01", np.nan, 0, 1), (f"{TILE}_01_00", -50.0, 1, 0)):
        path = _write(tmp_path, name, x, y) / f"{name}_VH.tif"
        with rasterio.open(path, "r+") as file:
            pixels = file.read(1)
            pixels[7, 9] = value
            file.write(pixels, 1)
            file.nodata = None if np.isnan(value) else value
    assert sentinel1_folder.with_data(tmp_path, GRID, 6) == {0: f"{TILE}_00_00"}


def test_what_cannot_be_the_partner_of_a_patch_is_an_error(tmp_path: Path) -> None:
    """Elsewhere, of another type, without one of its files; and no patch of the tile at all."""
    elsewhere = tmp_path / "elsewhere"
    _write(elsewhere, f"{TILE}_00_00", 0, 0, GRID.patch(1, 0))
    missing = tmp_path / "missing"
    (_write(missing, f"{TILE}_00_00", 0, 0) / f"{TILE}_00_00_VH.tif").unlink()
    typed = tmp_path / "typed"
    path = _write(typed, f"{TILE}_00_00", 0, 0) / f"{TILE}_00_00_VV.tif"
    with rasterio.open(path) as file:
        profile = {**file.profile, "dtype": "int16"}
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.ones((1, 120, 120), "int16"))
    late = tmp_path / "late"
    _write(late, "S1B_IW_GRDH_1SDV_20170712T165809_33UUP_0_0", 0, 0)
    for folder, said in (
        (elsewhere, "the square of its S2 patch"),
        (missing, "expected: a file"),
        (typed, "pixels of 10 m, float32; found: int16"),
        (late, "within 6 days of the product; found: none, of 1 patches"),
        (tmp_path / "gone", "a folder of Sentinel-1 patches"),
    ):
        with pytest.raises(BadInput, match=said):
            sentinel1_folder.check(folder, GRID, 6)


def test_one_name_at_two_places_is_an_error(tmp_path: Path) -> None:
    _write(tmp_path, f"{S1}_0_0", 0, 0)
    _write(tmp_path / "again", f"{S1}_0_0", 0, 0)
    with pytest.raises(BadInput, match=f"one folder {S1}_0_0"):
        sentinel1_folder.listed(tmp_path)
