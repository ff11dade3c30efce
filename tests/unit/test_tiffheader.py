"""The TIFF header reader against rasterio, and on bytes that are no TIFF."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.io import MemoryFile
from rasterio.transform import Affine, from_origin

from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.formats.tiffheader import STRIP_BYTES, STRIP_OFFSETS, entries, read_header, read_pixels


def tiff(dtype: str = "uint16", side: tuple[int, int] = (120, 120), **options: Any) -> tuple[bytes, np.ndarray]:
    pixels = np.random.default_rng(7).integers(1, 10_000, side).astype(dtype)
    given_options: dict[str, Any] = {"crs": "EPSG:32633", "transform": from_origin(300_000, 5_000_040, 10, 10)}
    with MemoryFile() as file:
        with file.open(
            driver="GTiff", height=side[0], width=side[1], count=1, dtype=dtype, **{**given_options, **options}
        ) as raster:
            raster.write(pixels, 1)
        return file.read(), pixels


OPTIONS: list[dict[str, Any]] = [
    {"nodata": 0},
    {"compress": "deflate", "predictor": 2, "nodata": 0},
    {"dtype": "float32"},
    {"dtype": "float32", "compress": "deflate", "nodata": -9999.5},
    {"dtype": "int16", "side": (20, 30), "transform": from_origin(499_999.5, 4_199_980.25, 60, 60)},
    {"dtype": "uint8", "side": (1, 1), "crs": "EPSG:32629"},
    {"endianness": "big", "compress": "deflate", "predictor": 2},
    {"endianness": "big", "dtype": "float32"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_it_reads_what_rasterio_reads(options: dict[str, Any]) -> None:
    data, pixels = tiff(**options)
    header = read_header(data)
    with MemoryFile(data) as file, file.open() as raster:
        assert (header.width, header.height, header.dtype) == (raster.width, raster.height, raster.dtypes[0])
        assert (header.left, header.top) == (raster.bounds.left, raster.bounds.top)
        assert header.pixel_m == raster.res[0]
        assert header.epsg == raster.crs.to_epsg()
        assert header.nodata == raster.nodata
    np.testing.assert_array_equal(read_pixels(data), pixels)
    assert read_pixels(data).dtype == pixels.dtype  # also in byte order


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"transform": from_origin(0, 0, 10, 20)}, "pixels of 10.0 by 20.0"),
        ({"transform": from_origin(0, 0, 10, 10) @ Affine.rotation(10)}, "a rotated raster"),
        ({"transform": None, "crs": None}, "no georeference"),
    ],
)
def test_what_it_does_not_understand_is_an_error(options: dict[str, Any], found: str) -> None:
    data, _ = tiff(**options)
    with pytest.raises(BadInput, match=found):
        read_header(data, "a.tif")


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"compress": "lzw"}, "compression 5"),
        ({"tiled": True, "blockxsize": 16, "blockysize": 16}, "no tag 273"),
        ({"dtype": "float32", "compress": "deflate", "predictor": 3}, "predictor 3"),
    ],
)
def test_other_ways_to_pack_are_an_error(options: dict[str, Any], found: str) -> None:
    data, _ = tiff(**options)
    with pytest.raises(BadInput, match=rf"a\.tif.*{found}"):
        read_pixels(data, "a.tif")


@pytest.mark.parametrize("side", [(120, 120), (900, 900)], ids=["small", "large"])
@pytest.mark.parametrize(
    ("strip", "found"),
    [
        (lambda packed: packed[:-9], "a strip that is cut short"),
        (lambda packed: zlib.compress(zlib.decompress(packed) + b"more"), "more pixels than the header says"),
        (lambda packed: packed[:2] + b"\xff" * (len(packed) - 2), "invalid"),
    ],
)
def test_a_strip_that_is_damaged_is_named(side: tuple[int, int], strip: Callable[[bytes], bytes], found: str) -> None:
    """In files of any size: libdeflate reads the small ones."""
    data, _ = tiff(side=side, compress="deflate", blockysize=side[0])
    at = {tag: layout.unpack_from(data, start)[0] for tag, layout, start in entries(data)}
    places = {tag: start for tag, _, start in entries(data)}
    offset, length = at[STRIP_OFFSETS], at[STRIP_BYTES]
    other = strip(data[offset : offset + length])
    mangled = bytearray(data + other)
    struct.pack_into("<I", mangled, places[STRIP_OFFSETS], len(data))
    struct.pack_into("<I", mangled, places[STRIP_BYTES], len(other))
    with pytest.raises(BadInput, match=found):
        read_pixels(bytes(mangled))


MANGLED = tiff(compress="deflate", predictor=2, nodata=0)[0]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4), st.integers(0, len(MANGLED)))
def test_mangled_bytes_give_an_answer_or_a_clear_error(changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(MANGLED)
    for at, value in changes:
        data[at] = value
    for read in (read_header, read_pixels):
        try:
            read(bytes(data[: cut or None]))
        except BadInput as error:
            assert error.found
