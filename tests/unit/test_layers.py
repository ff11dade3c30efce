"""Layers that are cut from rasters: against GDAL's own warping of the whole tile, and against sums in numpy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pyproj import Transformer
from rasterio.enums import ColorInterp, Resampling
from rasterio.io import MemoryFile
from rasterio.transform import from_origin
from rasterio.warp import reproject

from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.files import file_hash
from ben_luigi.domain.formats import shards
from ben_luigi.domain.names import PatchId
from ben_luigi.domain.placement.grid import PatchGrid, Square
from ben_luigi.domain.tiles import layers
from ben_luigi.domain.tiles.layers import Source

TILE = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
GRID = PatchGrid(TILE, Square(300_000, 5_400_000, 3_700, 32633), 1200)
ALL = np.arange(9)
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a raster of pixels whose corner is (left, top) in a CRS."""

    def written(pixels: np.ndarray, left: float, top: float, pixel: float, crs: str, **more: Any) -> Path:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.tif"
        place = {"crs": crs, "transform": from_origin(left, top, pixel, pixel)}
        height, width = pixels.shape[-2:]
        count = pixels.shape[0] if pixels.ndim == 3 else 1
        size = {"width": width, "height": height, "count": count, "dtype": pixels.dtype.name}
        with rasterio.open(path, "w", driver="GTiff", **size, **place, **more) as file:
            file.write(pixels if pixels.ndim == 3 else pixels[None])
        return path

    return written


def _in_europe(rng: np.random.Generator) -> tuple[np.ndarray, float, float]:
    """Heights of 25 m pixels in EPSG:3035 around the grid, and their corner."""
    to = Transformer.from_crs(32633, 3035, always_xy=True)
    x, y = to.transform([300_000, 303_700] * 2, [5_400_000, 5_400_000, 5_396_300, 5_396_300])
    left, top = min(x) - 330.7, max(y) + 411.3
    side = int((max(max(x) - left, top - min(y)) + 400) / 25)
    return rng.normal(400, 90, (side, side)).astype("float32"), left, top


def _cut(path: Path, folder: Path, *, which: np.ndarray = ALL, **how: Any) -> dict[str, Any]:
    """The file of each patch as GDAL reads it: pixels, bounds, CRS, type and value for no data."""
    wanted = {"resolution_m": 20, "resampling": "bilinear", "dtype": "float32", "nodata": None, **how}
    source = Source("dem", path, where="[layers.dem]", **wanted)
    shard, index = folder / "a.tar", folder / "a.parquet"
    layers.cut([source], GRID, which, shard, index, layers.member_name)
    shards.export(shard, index, folder)
    found = {}
    for patch in [str(GRID.patch_id(*divmod(int(at), 3))) for at in which]:
        with rasterio.open(folder / "Layer_dem" / TILE / patch / f"{patch}_dem.tif") as file:
            found[patch] = file.read(1), tuple(file.bounds), file.crs.to_epsg(), file.dtypes[0], file.nodata
    return found


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic", "average", "mode"])
@pytest.mark.parametrize("resolution_m", [10, 60])
def test_each_patch_is_a_part_of_the_raster_warped_as_a_whole(
    resampling: str, resolution_m: int, make: Make, tmp_path: Path
) -> None:
    """Warped by GDAL at once, without the interpolation of coordinates between transformed points."""
    pixels, left, top = _in_europe(np.random.default_rng(3))
    path = make(pixels, left, top, 25, "EPSG:3035", nodata=-9999)
    side_px = 3600 // resolution_m
    whole = np.empty((side_px, side_px))
    reproject(
        pixels.astype("float64"),
        whole,
        src_transform=from_origin(left, top, 25, 25),
        src_crs="EPSG:3035",
        dst_transform=from_origin(300_000, 5_400_000, resolution_m, resolution_m),
        dst_crs="EPSG:32633",
        resampling=Resampling[resampling],
        tolerance=0,
        XSCALE=25 / resolution_m,
        YSCALE=25 / resolution_m,
    )
    found = _cut(path, tmp_path, resolution_m=resolution_m, resampling=resampling, nodata=-1.0)
    assert len(found) == 9
    joined = np.block([[found[str(GRID.patch_id(x, y))][0] for x in range(3)] for y in range(3)])
    # Where a pixel's centre lies within a hundredth of a pixel of a border, either neighbour is right.
    same = np.abs(joined - whole) <= (1e-3 if resampling == "nearest" else 2.5)
    assert same.mean() > 0.98, (~same).sum()
    if resampling in ("bilinear", "cubic"):
        assert same.all()


def test_an_average_is_the_mean_of_the_pixels_with_data(make: Make, tmp_path: Path) -> None:
    """Of 10 m to 60 m on the same grid; where no pixel has data, there is the value for no data."""
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 500, (370, 370)).astype("int16")
    pixels[rng.random(pixels.shape) < 0.5] = -1
    pixels[:6, :6] = -1
    path = make(pixels, 300_000, 5_400_000, 10, "EPSG:32633", nodata=-1)
    found = _cut(path, tmp_path, resolution_m=60, resampling="average", dtype="float32", nodata=-5.0)
    blocks = np.ma.masked_equal(pixels[:360, :360].reshape(60, 6, 60, 6), -1).mean(axis=(1, 3))
    joined = np.block([[found[str(GRID.patch_id(x, y))][0] for x in range(3)] for y in range(3)])
    assert np.allclose(joined, blocks.filled(-5.0), rtol=1e-6)
    assert joined[0, 0] == -5.0


def test_fewer_pixels_by_bilinear_weights_are_a_weighted_mean(make: Make, tmp_path: Path) -> None:
    """GDAL's weights fall from the centre of the new pixel to those of its neighbours."""
    pixels = np.random.default_rng(6).normal(0, 100, (370, 370)).astype("float32")
    path = make(pixels, 300_000, 5_400_000, 10, "EPSG:32633")
    found = _cut(path, tmp_path, resolution_m=60)
    centres = np.arange(60) * 6 + 3
    weights = np.clip(1 - np.abs(np.arange(370)[None] + 0.5 - centres[:, None]) / 6, 0, None)
    weights /= weights.sum(axis=1, keepdims=True)
    expected = weights @ pixels.astype("float64") @ weights.T
    joined = np.block([[found[str(GRID.patch_id(x, y))][0] for x in range(3)] for y in range(3)])
    assert np.abs(joined - expected).max() < 0.01


def test_files_lie_on_the_squares_of_their_patches_and_say_what_they_are(make: Make, tmp_path: Path) -> None:
    pixels, left, top = _in_europe(np.random.default_rng(3))
    found = _cut(make(pixels, left, top, 25, "EPSG:3035"), tmp_path, resolution_m=30, dtype="int16", nodata=-99)
    for name, (values, bounds, epsg, dtype, nodata) in found.items():
        patch = PatchId.parse(name)
        assert bounds == GRID.patch(patch.x, patch.y).bounds
        assert (values.shape, epsg, dtype, nodata) == ((40, 40), 32633, "int16", -99)


@pytest.mark.parametrize("resolution_m", [10, 60])
def test_bytes_do_not_depend_on_which_other_patches_are_written_or_read(
    resolution_m: int, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, left, top = _in_europe(np.random.default_rng(3))
    path = make(pixels, left, top, 25, "EPSG:3035")
    hashes = []
    for number, (which, bytes_at_once) in enumerate(((ALL, 2**28), (ALL, 2 * 8 * 120 * 360), (np.array([4, 5, 8]), 1))):
        monkeypatch.setattr(layers, "_AT_ONCE_BYTES", bytes_at_once)
        folder = tmp_path / f"out{number}"
        folder.mkdir()
        _cut(path, folder, which=which, resolution_m=resolution_m)
        hashes.append({file.name: file_hash(file) for file in folder.rglob("*.tif")})
    assert hashes[0] == hashes[1]
    assert (
        hashes[2] == {name: digest for name, digest in hashes[0].items() if name in hashes[2]} and len(hashes[2]) == 3
    )


def test_pixels_are_counted_as_lacking_where_any_raster_is_without_data(make: Make) -> None:
    """By its value for no data, by a mask that GDAL keeps beside it, and by what is no number."""
    plain = np.ones((370, 370), "float32")
    holes = {"value": plain.copy(), "nan": plain.copy()}
    holes["value"][130, 10] = 7
    holes["nan"][250, 130] = np.nan
    paths = [
        make(holes["value"], 300_000, 5_400_000, 10, "EPSG:32633", nodata=7),
        make(holes["nan"], 300_000, 5_400_000, 10, "EPSG:32633"),
        make(plain, 300_000, 5_400_000, 10, "EPSG:32633"),
    ]
    mask = np.full((370, 370), 255, "uint8")
    mask[359, 359] = 0
    with rasterio.open(paths[2], "r+") as file:
        file.write_mask(mask)
    sources = [Source(str(at), path, 10, "nearest", "float32", None, "") for at, path in enumerate(paths)]
    lacking = layers.without_data(sources, GRID, ALL)
    assert [(int(at) // 3, int(at) % 3) for at in np.flatnonzero(lacking)] == [(0, 1), (1, 2), (2, 2)]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "out of its type": ({"dtype": "uint8", "nodata": None}, "values that fit into uint8; found: 300"),
    "its value for no data": ({"dtype": "uint16", "nodata": 5}, "a nodata that no pixel with data has; found: 5"),
    "without data": (
        {"dtype": "float32", "nodata": None},
        r"data on every pixel, since there is no nodata; found: none",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_stored_is_an_error_with_patch_and_file(what: str, make: Make, tmp_path: Path) -> None:
    how, said = WRONG[what]
    pixels = np.full(
        (370, 370), {"out of its type": 300, "its value for no data": 5, "without data": -1}[what], "int16"
    )
    path = make(pixels, 300_000, 5_400_000, 10, "EPSG:32633", nodata=-1)
    with pytest.raises(BadInput, match=rf"patch {TILE}_00_00: .*{path.name}; expected: {said}.*\[layers.dem\]"):
        _cut(path, tmp_path, resampling="nearest", **how)
    assert not (tmp_path / "a.tar").exists() and not (tmp_path / "a.parquet").exists()


def test_a_raster_that_does_not_cover_the_patches_is_an_error_with_both_extents(make: Make, tmp_path: Path) -> None:
    """The 100 m of the tile that no patch has are not asked for."""
    enough = make(np.ones((360, 360), "int16"), 300_000, 5_400_000, 10, "EPSG:32633")
    assert len(_cut(enough, tmp_path)) == 9
    less = make(np.ones((360, 359), "int16"), 300_000, 5_400_000, 10, "EPSG:32633")
    with pytest.raises(BadInput, match=r"300000, 5.3964e\+06, 303600.*; found: 300000, 5.3964e\+06, 303590"):
        _cut(less, tmp_path)


def test_rasters_of_another_kind_are_errors(make: Make, tmp_path: Path) -> None:
    two = make(np.ones((2, 360, 360), "int16"), 300_000, 5_400_000, 10, "EPSG:32633")
    nowhere = make(np.ones((360, 360), "int16"), 300_000, 5_400_000, 10, "")
    text = tmp_path / "text.tif"
    text.write_text("no raster")
    for path, said in (
        (two, "2 bands"),
        (nowhere, "no CRS"),
        (text, "not recognized"),
        (tmp_path / "gone.tif", "gone"),
    ):
        with pytest.raises(BadInput, match=said):
            Source("dem", path, 10, "nearest", "int16", None, "[layers.dem]").check(GRID)


@given(
    arrays("float64", (3, 4), elements=st.floats(-70_000, 70_000) | st.just(np.nan)),
    st.sampled_from(["uint8", "int16", "uint16", "int32", "float32"]),
    st.none() | st.integers(0, 255),
)
def test_values_are_stored_as_they_are_or_refused(values: np.ndarray, dtype: str, nodata: int | None) -> None:
    """Rounded to the nearest whole number, never cut off, and never taken for no data or the other way round."""
    source = Source("dem", Path("dem.tif"), 10, "nearest", dtype, nodata, "[layers.dem]")
    absent, exact = np.isnan(values), np.dtype(dtype).kind == "f"
    try:
        found = source.converted(values, PatchId(TILE, 0, 0))
    except BadInput:
        rounded = values if exact else np.round(values)
        limits = (-np.inf, np.inf) if exact else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        present = rounded[~absent]
        taken = present.astype("float32") if exact else present
        refused = (absent.any() and nodata is None) or (present < limits[0]).any() or (present > limits[1]).any()
        assert refused or (nodata is not None and (taken == nodata).any())
        return
    assert found.dtype == dtype
    assert np.abs(found[~absent] - values[~absent]).max(initial=0) <= (0.004 if exact else 0.5)
    assert ((found == nodata) == absent).all() if nodata is not None else not absent.any()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32"])
def test_files_are_what_gdal_writes(dtype: str, make: Make, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(1, 200, (370, 370)).astype(dtype)
    path = make(pixels, 300_000, 5_400_000, 10, "EPSG:32633")
    _cut(path, tmp_path, resolution_m=10, resampling="nearest", dtype=dtype, nodata=0)
    patch = f"{TILE}_02_01"
    with MemoryFile() as memory:
        place = {"crs": "EPSG:32633", "transform": from_origin(302_400, 5_398_800, 10, 10), "nodata": 0}
        with memory.open(driver="GTiff", width=120, height=120, count=1, dtype=dtype, **place) as file:
            file.write(pixels[120:240, 240:360], 1)
        expected = bytes(memory.read())
    assert (tmp_path / "Layer_dem" / TILE / patch / f"{patch}_dem.tif").read_bytes() == expected


def test_one_band_of_several_is_cut_as_if_it_were_alone(make: Make, tmp_path: Path) -> None:
    """Where other bands have no data it has; without a band, or with one too many, the raster is refused."""
    values = np.arange(360 * 360, dtype="int16").reshape(360, 360) % 1000 + 1
    several = np.stack([np.full_like(values, -1), values, values[::-1]])
    path = make(several, 300_000, 5_400_000, 10, "EPSG:32633", nodata=-1)
    alone = make(values, 300_000, 5_400_000, 10, "EPSG:32633", nodata=-1)
    found = {}
    cases: list[tuple[str, Path, dict[str, Any]]] = [("alone", alone, {}), ("band", path, {"band": 2})]
    for name, raster, more in cases:
        (tmp_path / name).mkdir()
        _cut(raster, tmp_path / name, resampling="bilinear", **more)
        found[name] = {file.name: file_hash(file) for file in sorted((tmp_path / name).rglob("*.tif"))}
    assert found["alone"] == found["band"] and len(found["band"]) == 9
    with pytest.raises(BadInput, match="found: 3 bands"):
        _cut(path, tmp_path)
    with pytest.raises(BadInput, match="of which band 4 is taken; found: 3 bands"):
        _cut(path, tmp_path, band=4)


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "average"])
@pytest.mark.parametrize("opaque", [255, 100])
def test_transparent_pixels_of_a_band_have_no_data(resampling: str, opaque: int, make: Make, tmp_path: Path) -> None:
    """Whatever they are in the band itself; those that are half transparent are data as others are."""
    values, alpha = np.full((380, 380), 50, "uint8"), np.full((380, 380), opaque, "uint8")
    values[:100, :100], alpha[:100, :100] = 7, 0
    path = make(np.stack([values, alpha]), 299_900, 5_400_100, 10, "EPSG:32633", alpha="YES")
    with rasterio.open(path, "r+") as file:
        file.colorinterp = (ColorInterp.gray, ColorInterp.alpha)
    found = _cut(path, tmp_path, band=1, resampling=resampling, nodata=-9999)
    first = found[str(GRID.patch_id(0, 0))][0]
    assert (first[:45, :45] == -9999).all() and (first[:45, 45:] == 50).all() and (first[45:] == 50).all()
    assert all((pixels == 50).all() for patch, (pixels, *_) in found.items() if not patch.endswith("_00_00"))


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "average"])
@pytest.mark.parametrize("by", ["internal mask", "mask beside it", "alpha", "mask of several", "mask of a VRT"])
def test_pixels_have_no_data_by_the_value_and_by_the_mask(by: str, resampling: str, make: Make, tmp_path: Path) -> None:
    """By both at once, of which GDAL warps by one; their values are not blended into those of others."""
    values, seen = np.full((380, 380), 50, "float32"), np.full((380, 380), 255, "uint8")
    values[:100, :60], values[:100, 60:100], seen[:100, 60:100] = -1, 7, 0
    shape, more = (300_000 - 100, 5_400_000 + 100, 10, "EPSG:32633"), {"nodata": -1}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=by != "mask beside it"):
        if by == "alpha":
            path = make(np.stack([np.full_like(values, -1), values, seen]), *shape, **more, alpha="YES")
        else:
            path = make(np.stack([values, values]) if by == "mask of several" else values, *shape, **more)
        with rasterio.open(path, "r+") as file:
            if by == "alpha":
                file.colorinterp = (ColorInterp.gray, ColorInterp.undefined, ColorInterp.alpha)
            else:
                file.write_mask(seen)
    if by == "mask of a VRT":
        path = Path(rasterio.shutil.copy(path, tmp_path / "a.vrt", driver="VRT") or tmp_path / "a.vrt")
    band = {"alpha": 2, "mask of several": 2}.get(by)
    found = _cut(path, tmp_path, band=band, resampling=resampling, nodata=-9999)
    first = found[str(GRID.patch_id(0, 0))][0]
    assert (first[:45, :45] == -9999).all() and (first[:45, 45:] == 50).all() and (first[45:] == 50).all()
    assert all((pixels == 50).all() for patch, (pixels, *_) in found.items() if not patch.endswith("_00_00"))


def test_a_mask_counts_beside_a_value_that_no_pixel_can_have(make: Make, tmp_path: Path) -> None:
    values, seen = np.full((370, 370), 50, "uint8"), np.full((370, 370), 255, "uint8")
    seen[:60, :60] = 0
    path = make(values, 300_000, 5_400_000, 10, "EPSG:32633")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write_mask(seen)
    rasterio.shutil.copy(path, tmp_path / "a.vrt", driver="VRT")
    text = (tmp_path / "a.vrt").read_text()
    (tmp_path / "a.vrt").write_text(text.replace("<ColorInterp>", "<NoDataValue>-9999</NoDataValue><ColorInterp>", 1))
    found = _cut(tmp_path / "a.vrt", tmp_path, resampling="nearest", nodata=-9999)
    first = found[str(GRID.patch_id(0, 0))][0]
    assert (first[:30, :30] == -9999).all() and (first == -9999).sum() == 900


def test_a_band_is_read_from_a_file_of_any_name(make: Make, tmp_path: Path) -> None:
    values = np.full((370, 370), 50, "float32")
    path = make(np.stack([values, values + 1]), 300_000, 5_400_000, 10, "EPSG:32633")
    found = _cut(path.rename(tmp_path / "a?b=1&c#d <e> %20 ä.tif"), tmp_path, band=2)
    assert all((pixels == 51).all() for pixels, *_ in found.values())
