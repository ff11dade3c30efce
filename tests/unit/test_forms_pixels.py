"""Where patches lie, by the bytes of one TIFF in others like it, against a reader that parses each."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.formats.tiffheader import read_header
from ben_luigi.domain.forms.pixels import pixels_of, place_of

BAND, PATCH_M = "B02", 1200


def tiff(left: float, top: float, epsg: int | None, **options: str) -> bytes:
    pixels = np.full((120, 120), 7, "uint16")
    with MemoryFile() as file:
        with file.open(
            driver="GTiff",
            width=120,
            height=120,
            count=1,
            dtype="uint16",
            crs=f"EPSG:{epsg}" if epsg else None,
            transform=from_origin(left, top, 10, 10),
            **options,
        ) as raster:
            raster.write(pixels, 1)
        return bytes(file.read())


TIFFS = st.builds(
    tiff,
    st.floats(-1e6, 1e6),
    st.floats(0, 1e7),
    st.sampled_from([32629, 32633, 32735]),
    endianness=st.sampled_from(["little", "big"]),
    compress=st.sampled_from(["none", "deflate"]),
)


@settings(deadline=None, max_examples=25)
@given(st.lists(TIFFS, min_size=2, max_size=5))
def test_a_place_is_that_of_the_header_whatever_was_read_before(files: list[bytes]) -> None:
    for data in files:
        pixels_of({BAND: data}, PATCH_M, "patch")
        header = read_header(data)
        assert place_of({BAND: data}, "patch") == (header.epsg, header.left, header.top)


def test_a_tie_point_in_the_middle_of_a_pixel_is_no_corner() -> None:
    """GDAL writes the centre of the first pixel where pixels are points."""
    with MemoryFile() as file:
        profile = {"driver": "GTiff", "width": 120, "height": 120, "count": 1, "dtype": "uint16", "crs": "EPSG:32633"}
        with file.open(**profile, transform=from_origin(300_000, 5_000_040, 10, 10)) as raster:
            raster.update_tags(AREA_OR_POINT="Point")
            raster.write(np.ones((120, 120), "uint16"), 1)
        data = bytes(file.read())
    pixels_of({BAND: data}, PATCH_M, "patch")
    assert place_of({BAND: data}, "patch") == (32633, 300_000, 5_000_040)


@pytest.mark.parametrize("corner", [math.inf, math.nan])
def test_a_place_that_is_no_number_is_named_after_a_good_one_too(corner: float) -> None:
    good = tiff(300_000, 5_000_040, 32633)
    pixels_of({BAND: good}, PATCH_M, "patch")
    at = good.index(np.array([300_000, 5_000_040], "<f8").tobytes())
    bad = good[:at] + np.array([corner], "<f8").tobytes() + good[at + 8 :]
    with pytest.raises(BadInput, match=r"patch_B02\.tif.*an invalid place"):
        place_of({BAND: bad}, "patch")


def test_a_tiff_without_a_crs_is_named() -> None:
    data = tiff(300_000, 5_000_040, None)
    pixels_of({BAND: data}, PATCH_M, "patch")
    with pytest.raises(BadInput, match=r"patch_B02\.tif.*EPSG code"):
        place_of({BAND: data}, "patch")
