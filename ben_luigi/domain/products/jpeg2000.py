"""Check that a JPEG 2000 file is complete: its boxes and tile-parts have their full length (ISO/IEC 15444-1, A and I).

GDAL reads only the blocks that are requested, so it does not notice that a file is truncated.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

from ben_luigi.domain.given import open_file

_SIGNATURE, _CODESTREAM = b"jP  ", b"jp2c"
# The markers SOC, SOT and EOC (ISO/IEC 15444-1, A.4).
_START, _TILE_PART, _END = b"\xff\x4f", b"\xff\x90", b"\xff\xd9"
# A.4.2: the SOT segment has 12 bytes, and the marker SOD that follows it has 2.
_SHORTEST_TILE_PART = 14
_MOST_BYTES = 2**30
_MOST_PIECES = 100_000
"""More boxes, segments and tile-parts than a band, which has hundreds."""


def check_whole(path: Path) -> None:
    """Raise ValueError, saying what is missing, unless the file has its codestream from start to end.

    Raise OSError if it cannot be read.
    """
    with open_file(path) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            if size > _MOST_BYTES:
                raise ValueError(f"a file of {size:,} bytes, where a band has at most {_MOST_BYTES:,}")
            at, stop = _codestream(file, size)
            at = _first_tile_part(file, at)
            at = _after_tile_parts(file, at, stop)
        except struct.error as error:
            raise ValueError("the file ends in the middle of the image") from error
        if _read(file, at, 2) != _END or at + 2 > stop:
            raise ValueError(f"no end of the image at byte {at:,}")


def _codestream(file: BinaryIO, size: int) -> tuple[int, int]:
    """Return the first byte of the content of the box `jp2c`, and the byte after its end."""
    at = 0
    for number in range(_MOST_PIECES):
        if at >= size:
            break
        length, kind = struct.unpack(">I4s", _read(file, at, 8))
        start = at + 8
        if length == 1:  # I.4: the length follows in 64 bits; 0 means up to the end of the file
            (length,) = struct.unpack(">Q", _read(file, start, 8))
            start += 8
        stop = at + length if length else size
        # I.5.1: the signature box comes first, and nowhere else.
        if stop < start or (number == 0) != (kind == _SIGNATURE):
            break
        if kind == _CODESTREAM:
            if stop > size:
                raise struct.error("a codestream that is cut short")
            return start, stop
        at = stop
    raise ValueError("no JPEG 2000 codestream")


def _first_tile_part(file: BinaryIO, at: int) -> int:
    """Skip the segments of the main header; return the start of the first tile-part."""
    if _read(file, at, 2) != _START:
        raise ValueError("no JPEG 2000 codestream")
    at += 2
    for _ in range(_MOST_PIECES):
        marker = _read(file, at, 2)
        if marker == _TILE_PART:
            return at
        if marker[:1] != b"\xff":
            break
        (length,) = struct.unpack(">H", _read(file, at + 2, 2))
        at += 2 + length
    raise ValueError(f"a damaged main header at byte {at:,}")


def _after_tile_parts(file: BinaryIO, at: int, stop: int) -> int:
    """Skip the tile-parts; return the byte after the last one."""
    for _ in range(_MOST_PIECES):
        if _read(file, at, 2) != _TILE_PART:
            return at
        # A.4.2: Psot, the length of the tile-part from the first byte of its SOT on.
        (length,) = struct.unpack(">I", _read(file, at + 6, 4))
        if 0 < length < _SHORTEST_TILE_PART:
            break
        at = at + length if length else stop - 2  # A.4.2: 0 means up to the end marker
    raise ValueError(f"a damaged tile-part at byte {at:,}")


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    """Return `count` bytes. Raise struct.error if the file has fewer."""
    file.seek(at)
    data = file.read(count)
    if len(data) < count:
        raise struct.error(f"{count} bytes at {at}")
    return data
