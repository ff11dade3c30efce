"""The bytes of TIFFs against those that GDAL writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin

from ben_luigi.domain.errors import PipelineError
from ben_luigi.domain.formats import geotiff

SIDES = {10: 120, 20: 60, 60: 20}
SIZES = {10: 29_196, 20: 7_572, 60: 1_172}


def by_gdal(
    path: Path, pixels: np.ndarray, left: float, top: float, pixel_m: int, epsg: int, **options: object
) -> bytes:
    """What rasterio writes to a real file, with the profile that the specification states."""
    profile = {"driver": "GTiff", "width": pixels.shape[1], "height": pixels.shape[0], "count": 1, "dtype": "uint16"}
    place = {"crs": rasterio.CRS.from_epsg(epsg), "transform": from_origin(left, top, pixel_m, pixel_m), "nodata": 0}
    with rasterio.open(path, "w", **profile, **place, **options) as raster:
        raster.write(pixels, 1)
    return path.read_bytes()


@pytest.mark.parametrize("epsg", [32629, 32633, 32636])
@pytest.mark.parametrize("pixel_m", [10, 20, 60])
def test_header_with_pixels_is_what_gdal_writes(tmp_path: Path, pixel_m: int, epsg: int) -> None:
    kind = geotiff.template(SIDES[pixel_m], pixel_m, epsg)
    pixels = np.random.default_rng(epsg).integers(1, 65_536, (SIDES[pixel_m],) * 2, dtype="uint16")
    left, top = 499_980.0 + epsg, 5_400_000.0
    file = bytearray(kind.header + pixels.astype("<u2").tobytes())
    file[kind.tie_point_at : kind.tie_point_at + 16] = np.array([left, top], dtype="<f8").tobytes()
    assert bytes(file) == by_gdal(tmp_path / "gdal.tif", pixels, left, top, pixel_m, epsg)
    assert len(file) == kind.size == SIZES[pixel_m]


def maps() -> st.SearchStrategy[np.ndarray]:
    """Maps of 120 x 120 codes: noise, stripes, one value; with runs of all lengths."""

    def drawn(seed: int, kinds: int, run: int, transposed: bool) -> np.ndarray:
        rng = np.random.default_rng(seed)
        codes = rng.choice(np.array([111, 112, 211, 312, 423, 512, 523, 999], dtype="uint16")[:kinds], 14_400)
        pixels = np.repeat(codes, run)[:14_400].reshape(120, 120)
        return np.ascontiguousarray(pixels.T if transposed else pixels)

    return st.builds(drawn, st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 2000), st.booleans())


@settings(max_examples=60, deadline=None)
@given(pixels=maps(), epsg=st.sampled_from([32629, 32633, 32635]), left=st.integers(10**5, 8 * 10**5))
def test_packed_file_is_what_gdal_writes(pixels: np.ndarray, epsg: int, left: int) -> None:
    packed = geotiff.template(120, 10, epsg, packed=True).pack(pixels, left, 5_000_040.0)
    assert packed == geotiff.gdal_bytes(pixels, left, 5_000_040.0, 10, epsg, packed=True)


def test_packed_file_on_disk_is_what_gdal_writes(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).choice(np.array([112, 311, 999], dtype="uint16"), (120, 120))
    gdals = by_gdal(tmp_path / "gdal.tif", pixels, 300_000, 5_900_040, 10, 32633, compress="deflate", predictor=2)
    assert geotiff.template(120, 10, 32633, packed=True).pack(pixels, 300_000, 5_900_040) == gdals
    with rasterio.open(tmp_path / "gdal.tif") as raster:
        assert np.array_equal(raster.read(1), pixels)


@pytest.mark.parametrize("packed", [False, True])
def test_other_bytes_than_gdals_do_not_pass(packed: bool) -> None:
    kind = geotiff.template(120, 10, 32633, packed=packed)
    pixels = np.full((120, 120), 211, dtype="uint16")
    file = geotiff.gdal_bytes(pixels, 300_000, 5_900_040, 10, 32633, packed=packed)
    kind.check(file, pixels, 300_000, 5_900_040)
    with pytest.raises(PipelineError, match="report the versions"):
        kind.check(file[:-1] + bytes([file[-1] ^ 1]), pixels, 300_000, 5_900_040)
