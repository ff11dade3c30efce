"""Make the bytes of a patch's GeoTIFF, identical to those of GDAL's GTiff driver, without calling GDAL for each file.

The files of a tile's patches differ only in the tie point (upper-left corner, metres) and the strips of pixels. So one
file written by GDAL serves as a *template* in which these parts are filled in. `Template.check` compares a filled
template with GDAL's own file; it is called for the first file of each kind, so that a GDAL version with another layout
is noticed. Tag numbers and types are those of TIFF 6.0 and GeoTIFF (OGC 19-008r4).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache

import deflate
import numpy as np
import rasterio
import rasterio.transform

from ben_luigi.domain.errors import PipelineError
from ben_luigi.domain.formats.tiffheader import ROWS_PER_STRIP, STRIP_BYTES, STRIP_OFFSETS, TIE_POINT, entries

_LEVEL = 7
"""The level of libdeflate that gives the bytes of GDAL's default, ZLEVEL 6."""


def gdal_bytes(
    pixels: np.ndarray,
    left: float,
    top: float,
    pixel_m: int,
    epsg: int,
    *,
    packed: bool = False,
    nodata: float | None = 0,
) -> bytes:
    """Return GDAL's GeoTIFF of an array (row, col) of the array's type.

    `left` and `top` are the upper-left corner in metres of `epsg`. With `packed`, deflate with predictor 2.
    """
    options = {"compress": "deflate", "predictor": 2} if packed else {}
    height, width = pixels.shape
    with rasterio.MemoryFile() as file:
        with file.open(
            driver="GTiff",
            width=width,
            height=height,
            count=1,
            dtype=pixels.dtype.name,
            crs=f"EPSG:{epsg}",
            transform=rasterio.transform.from_origin(left, top, pixel_m, pixel_m),
            nodata=nodata,
            **options,
        ) as raster:
            raster.write(pixels, 1)
        return bytes(file.read())


@dataclass(frozen=True)
class Template:
    """GDAL's file for a square patch: its header, and the offsets in it of the parts that vary."""

    side_px: int
    pixel_m: int
    epsg: int
    packed: bool
    header: bytes
    tie_point_at: int
    strip_offsets_at: int
    strip_bytes_at: int
    rows_a_strip: int
    dtype: str = "uint16"
    nodata: float | None = 0

    @property
    def size(self) -> int:
        """Length of an uncompressed file in bytes."""
        return len(self.header) + np.dtype(self.dtype).itemsize * self.side_px**2

    def plain(self, pixels: np.ndarray, left: float, top: float) -> bytes:
        """Return the file of an array (row, col) of this type, whose upper-left corner is (`left`, `top`)."""
        header = bytearray(self.header)
        struct.pack_into("<2d", header, self.tie_point_at, left, top)
        return bytes(header) + np.ascontiguousarray(pixels, np.dtype(self.dtype).newbyteorder("<")).tobytes()

    def pack(self, pixels: np.ndarray, left: float, top: float) -> bytes:
        """Return the file of a uint16 array (row, col) whose upper-left corner is (`left`, `top`), compressed."""
        # TIFF 6.0, predictor 2: each value minus the one to its left, modulo 2**16.
        change = pixels.copy()
        change[:, 1:] -= pixels[:, :-1]
        strips = [
            bytes(deflate.zlib_compress(change[row : row + self.rows_a_strip].tobytes(), _LEVEL))
            for row in range(0, self.side_px, self.rows_a_strip)
        ]
        header = bytearray(self.header)
        struct.pack_into("<2d", header, self.tie_point_at, left, top)
        lengths = [len(strip) for strip in strips]
        offsets = np.cumsum([len(header), *lengths[:-1]]).tolist()
        struct.pack_into(f"<{len(strips)}I", header, self.strip_offsets_at, *offsets)
        struct.pack_into(f"<{len(strips)}I", header, self.strip_bytes_at, *lengths)
        return b"".join([bytes(header), *strips])

    def check(self, file: bytes, pixels: np.ndarray, left: float, top: float) -> None:
        """Raise PipelineError unless `file` is exactly what GDAL writes for the same arguments."""
        place = left, top, self.pixel_m, self.epsg
        if file != gdal_bytes(pixels, *place, packed=self.packed, nodata=self.nodata):
            raise PipelineError(
                f"TIFF of {self.side_px} x {self.side_px} px in EPSG:{self.epsg}",
                expected="the bytes that GDAL writes",
                found="other bytes",
                remedy="report the versions of rasterio, GDAL and deflate: this project does not know their layout",
            )


@lru_cache(maxsize=64)
def template(
    side_px: int, pixel_m: int, epsg: int, *, packed: bool = False, dtype: str = "uint16", nodata: float | None = 0
) -> Template:
    """Return the template for patches of `side_px` pixels of `pixel_m` metres in a UTM zone.

    `packed` ones have 16 bits a pixel. Raise PipelineError if the installed GDAL arranges the strips in another way.
    """
    ones = np.ones((side_px, side_px), dtype)
    sample = gdal_bytes(ones, 0.0, 0.0, pixel_m, epsg, packed=packed, nodata=nodata)
    at, values = {}, {}
    for tag, layout, start in entries(sample):
        at[tag], values[tag] = start, layout.unpack_from(sample, start)
    offsets, lengths = values[STRIP_OFFSETS], values[STRIP_BYTES]
    if list(offsets) != np.cumsum([offsets[0], *lengths[:-1]]).tolist():
        raise PipelineError(
            "TIFF by GDAL",
            expected="strips that follow each other",
            found=f"offsets {offsets}",
            remedy="install the GDAL of requirements.lock",
        )
    return Template(
        side_px=side_px,
        pixel_m=pixel_m,
        epsg=epsg,
        packed=packed,
        header=sample[: offsets[0]],
        # The tag has raster i, j, k, then model x, y, z; the upper-left corner is raster (0, 0, 0).
        tie_point_at=at[TIE_POINT] + 3 * 8,
        strip_offsets_at=at[STRIP_OFFSETS],
        strip_bytes_at=at[STRIP_BYTES],
        rows_a_strip=values[ROWS_PER_STRIP][0],
        dtype=dtype,
        nodata=nodata,
    )
