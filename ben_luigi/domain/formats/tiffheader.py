"""Read the header and the pixels of a small GeoTIFF without GDAL, in a few microseconds per file.

It supports classic TIFFs (TIFF 6.0) of one band in strips, north up, uncompressed or deflated, as in all archives here.
The *tie point* is the upper-left corner of the raster in the units of its CRS.
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import deflate
import numpy as np

from ben_luigi.domain.errors import BadInput

# Tags of TIFF 6.0, sections 8, 14, 15 and 19; those from 33550 on are of GeoTIFF (OGC 19-008r4) and, for no-data, GDAL.
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLE_FORMAT, _PREDICTOR = 256, 257, 258, 259, 339, 317
STRIP_OFFSETS, STRIP_BYTES, ROWS_PER_STRIP = 273, 279, 278
_PIXEL_SCALE, TIE_POINT, _TRANSFORMATION, _GEO_KEYS, _NODATA = 33550, 33922, 34264, 34735, 42113
_TILE_OFFSETS, _TILE_BYTES = 324, 325
_PLACES = ((STRIP_OFFSETS, STRIP_BYTES), (_TILE_OFFSETS, _TILE_BYTES))
_KNOWN = {
    *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLE_FORMAT, _PREDICTOR, ROWS_PER_STRIP, _NODATA),
    *(STRIP_OFFSETS, STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES),
    *(_PIXEL_SCALE, TIE_POINT, _TRANSFORMATION, _GEO_KEYS),
}
_MOST_VALUES = 2**16
"""More values of a tag than any file here has."""
_MOST_PIXELS = 2**26
_SMALL_BYTES = 2**20
"""Up to here libdeflate is asked, which takes half the time of zlib, but memory for all bytes that there may be."""

_PROJECTED_CRS, _RASTER_TYPE, _PIXEL_IS_POINT = 3072, 1025, 2
# Field types of TIFF 6.0, section 2: BYTE, ASCII, SHORT, LONG, FLOAT, DOUBLE. Others do not occur in these tags.
_TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 11: "f", 12: "d"}
_KINDS = {1: "u", 2: "i", 3: "f"}
_BITS_OF = {"u": (8, 16, 32, 64), "i": (8, 16, 32, 64), "f": (32, 64)}
# 8 is Adobe's code of deflate, 32946 that of older writers; the data are the same.
_UNCOMPRESSED, _DEFLATED = 1, (8, 32946)
_NONE, _HORIZONTAL = 1, 2

_DAMAGED = (struct.error, ValueError, KeyError, IndexError, OverflowError, TypeError)

Value = bytes | tuple[int | float, ...]


@dataclass(frozen=True)
class TiffHeader:
    """Size in pixels, type of a pixel (numpy's kind "u", "i" or "f", and bits), place, pixel size, CRS and no-data
    value.

    `left` and `top` are metres in the CRS; `epsg` and `nodata` are None where the file does not state them.
    """

    width: int
    height: int
    sample_format: str
    bits: int
    left: float
    top: float
    pixel_m: float
    epsg: int | None
    nodata: float | None

    @property
    def dtype(self) -> str:
        """The type of a pixel as numpy names it: uint16, float32."""
        return np.dtype(f"{self.sample_format}{self.bits // 8}").name


def read_header(data: bytes, subject: str | os.PathLike[str] = "TIFF") -> TiffHeader:
    """Read the header of a complete GeoTIFF.

    Raise BadInput about `subject` if it is not one, unsupported, or truncated.
    """
    try:
        tags = _tags(data)
        _check_whole(data, tags)
        left, top, pixel_m = _place(tags)
        keys = _geo_keys(tags)
        # OGC 19-008r4, GTRasterTypeGeoKey: the tie point is then the centre of the pixel, not its corner.
        if keys.get(_RASTER_TYPE) == _PIXEL_IS_POINT:
            left, top = left - pixel_m / 2, top + pixel_m / 2
        sample_format, bits = _pixel_type(tags)
        nodata = tags.get(_NODATA)
        return TiffHeader(
            width=_whole(tags, _WIDTH),
            height=_whole(tags, _HEIGHT),
            sample_format=sample_format,
            bits=bits,
            left=left,
            top=top,
            pixel_m=pixel_m,
            epsg=keys.get(_PROJECTED_CRS),
            nodata=float(nodata.rstrip(b"\0 ")) if isinstance(nodata, bytes) else None,
        )
    except _DAMAGED as error:
        raise _bad(subject, error) from error


def read_pixels(data: bytes, subject: str | os.PathLike[str] = "TIFF") -> np.ndarray:
    """Return the pixels of a file that `read_header` accepts, (row, col), in the byte order of this machine.

    Raise BadInput if they are damaged.
    """
    try:
        tags = _tags(data)
        compression = _whole(tags, _COMPRESSION, _UNCOMPRESSED)
        shape = _whole(tags, _HEIGHT), _whole(tags, _WIDTH)
        sample_format, bits = _pixel_type(tags)
        left = _checked_bytes(*shape, bits)
        strips = []
        for at, length in zip(tags[STRIP_OFFSETS], tags[STRIP_BYTES], strict=True):
            strip = data[int(at) : int(at) + int(length)]
            strips.append(_unpacked(strip, compression, left))
            left -= len(strips[-1])
        kind = f"{byte_order(data)}{sample_format}{bits // 8}"
        pixels: np.ndarray = np.frombuffer(b"".join(strips), dtype=kind).reshape(shape)
        predictor = _whole(tags, _PREDICTOR, 1)
        if predictor not in (_NONE, _HORIZONTAL):
            raise ValueError(f"predictor {predictor}")
        if predictor == _HORIZONTAL:
            # TIFF 6.0, section 14: each value is the difference from its left neighbour, modulo the size of the type.
            # Numpy sums in 64 bits, which takes half the time of 16.
            pixels = np.add.accumulate(pixels, axis=1).astype(pixels.dtype, copy=False)
    except (*_DAMAGED, zlib.error) as error:
        raise _bad(subject, error) from error
    return native(pixels)


def native(pixels: np.ndarray) -> np.ndarray:
    """Return pixels in the byte order of this machine: who takes their bytes, or views them, expects no other."""
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _unpacked(strip: bytes, compression: int, most_bytes: int) -> bytes | bytearray:
    """Return a strip's pixels. Raise ValueError if there are more than remain."""
    if compression in _DEFLATED:
        return _inflated(strip, most_bytes)
    if compression != _UNCOMPRESSED:
        raise ValueError(f"compression {compression}")
    if len(strip) > most_bytes:
        raise ValueError("more pixels than the header says")
    return strip


def _inflated(strip: bytes, most_bytes: int) -> bytes | bytearray:
    if 0 < most_bytes <= _SMALL_BYTES:
        with suppress(deflate.DeflateError):  # zlib says what is wrong
            return deflate.zlib_decompress(strip, most_bytes)
    unpacker = zlib.decompressobj()
    pixels = unpacker.decompress(strip, most_bytes + 1)
    if len(pixels) > most_bytes:
        raise ValueError("more pixels than the header says")
    if not unpacker.eof:
        raise ValueError("a strip that is cut short")
    return pixels


def _checked_bytes(height: int, width: int, bits: int) -> int:
    """Return the length of the pixels in bytes. Raise ValueError for an unreasonable size."""
    if not 0 < height * width <= _MOST_PIXELS:
        raise ValueError(f"{width} x {height} pixels")
    return height * width * bits // 8


def _check_whole(data: bytes, tags: dict[int, Value]) -> None:
    """Raise ValueError if pixels lie outside of the file, because it is truncated, or if there are too few of them."""
    size = _checked_bytes(_whole(tags, _HEIGHT), _whole(tags, _WIDTH), _pixel_type(tags)[1])
    for offsets, lengths in _PLACES:
        if offsets in tags:
            places = [(int(at), int(length)) for at, length in zip(tags[offsets], tags[lengths], strict=True)]
            stop = max(at + length for at, length in places)
            if stop > len(data):
                raise ValueError(f"a file of {len(data):,} bytes, where its pixels end at byte {stop:,}")
            if _whole(tags, _COMPRESSION, _UNCOMPRESSED) == _UNCOMPRESSED and sum(n for _, n in places) < size:
                raise ValueError(f"fewer than {size:,} bytes of pixels")


def _bad(subject: str | os.PathLike[str], error: Exception) -> BadInput:
    return BadInput(
        subject,
        expected="a GeoTIFF of one band in strips, north up",
        found=f"no tag {error}" if isinstance(error, KeyError) else str(error) or repr(error),
        remedy="fetch or make the file again",
    )


def byte_order(data: bytes) -> Literal["<", ">"]:
    """Return the byte order of a TIFF, as struct and numpy have it. Raise ValueError if it is none."""
    match bytes(data[:4]):
        case b"II*\0":
            return "<"
        case b"MM\0*":
            return ">"
    raise ValueError("no classic TIFF")


def _tags(data: bytes) -> dict[int, Value]:
    """Return the values of the first directory's tags, of the types that occur here."""
    tags: dict[int, Value] = {}
    for tag, layout, at in entries(data):
        values = layout.unpack_from(data, at)
        tags[tag] = values[0] if values and isinstance(values[0], bytes) else values
    return tags


def entries(data: bytes) -> Iterator[tuple[int, struct.Struct, int]]:
    """Yield for each known tag of the first directory its number, and layout and file offset of its values."""
    order = byte_order(data)
    (at,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, at)
    first = at + 2
    # TIFF 6.0, section 2: an entry is tag, type, number of values, and the values or, beyond four bytes, their offset.
    rows = struct.iter_unpack(order + "HHII", data[first : first + 12 * count])
    for entry_at, (tag, kind, length, offset) in zip(range(first, len(data), 12), rows, strict=False):
        if kind not in _TYPES or tag not in _KNOWN:
            continue
        if length > _MOST_VALUES:
            raise ValueError(f"{length:,} values of tag {tag}")
        layout = _layout(order, kind, length)
        yield tag, layout, entry_at + 8 if layout.size <= 4 else offset  # short values stand in the entry itself


@lru_cache(maxsize=1024)
def _layout(order: str, kind: int, length: int) -> struct.Struct:
    return struct.Struct(f"{order}{length}{_TYPES[kind]}")


def _whole(tags: dict[int, Value], tag: int, default: int | None = None) -> int:
    value = tags.get(tag)
    if value is None:
        if default is None:
            raise ValueError(f"no tag {tag}")
        return default
    if len(value) != 1:
        raise ValueError(f"{len(value)} values of tag {tag}")
    return int(value[0])


def _pixel_type(tags: dict[int, Value]) -> tuple[str, int]:
    sample_format, bits = _KINDS.get(_whole(tags, _SAMPLE_FORMAT, 1), "?"), _whole(tags, _BITS, 1)
    if bits not in _BITS_OF.get(sample_format, ()):
        raise ValueError(f"pixels of kind {sample_format!r} and {bits} bits")
    return sample_format, bits


def _place(tags: dict[int, Value]) -> tuple[float, float, float]:
    """Return west edge, north edge and pixel size, from scale and tie point, or from the matrix instead of them."""
    if _PIXEL_SCALE in tags and TIE_POINT in tags:
        scale_x, scale_y = (float(value) for value in tags[_PIXEL_SCALE][:2])
        col, row, _, x, y = (float(value) for value in tags[TIE_POINT][:5])
        left, top = x - col * scale_x, y + row * scale_y
    elif _TRANSFORMATION in tags:
        matrix = [float(value) for value in tags[_TRANSFORMATION]]
        scale_x, scale_y, left, top = matrix[0], -matrix[5], matrix[3], matrix[7]
        if matrix[1] or matrix[4]:
            raise ValueError("a rotated raster")
    else:
        raise ValueError("no georeference")
    if not all(map(math.isfinite, (left, top, scale_x))):
        raise ValueError(f"an invalid place: {left}, {top}")
    if scale_x != scale_y:
        raise ValueError(f"pixels of {scale_x} by {scale_y}")
    return left, top, scale_x


def _geo_keys(tags: dict[int, Value]) -> dict[int, int]:
    """Return the keys of the GeoKeyDirectory (OGC 19-008r4) whose value is stored in it."""
    directory = [int(value) for value in tags.get(_GEO_KEYS, ())]
    rows = (directory[at : at + 4] for at in range(4, len(directory) - 3, 4))
    # A place other than 0 names the tag that holds the value (doubles, texts), which is not needed here.
    return {key: value for key, place, _, value in rows if place == 0}
