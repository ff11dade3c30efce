"""Whether a JPEG 2000 file is whole: its boxes and tile-parts reach as far as they say (ISO/IEC 15444-1, annexes A, I).

GDAL looks at a file no further than the blocks that are asked for, so a truncated file may seem to be in order.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

from ben_luigi.domain.given import open_file

_SIGNATURE, _CODESTREAM = b"jP  ", b"jp2c"
_START, _TILE_PART, _END = b"\xff\x4f", b"\xff\x90", b"\xff\xd9"
_SHORTEST_TILE_PART = 14
_MOST_BYTES = 2**30
_MOST_PIECES = 100_000
"""More boxes, segments and tile-parts than a band has, which has hundreds."""


def check_whole(path: Path) -> None:
    """ValueError, which says what is missing, unless the file has its codestream from start to end. OSError."""
    with open_file(path) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            if size > _MOST_BYTES:
                raise ValueError(f"a file of {size:,} bytes, where a band has {_MOST_BYTES:,} at most")
            at, stop = _codestream(file, size)
            at = _first_tile_part(file, at)
            at = _after_tile_parts(file, at, stop)
        except struct.error as error:
            raise ValueError("the file ends in the middle of the image") from error
        if _read(file, at, 2) != _END or at + 2 > stop:
            raise ValueError(f"no end of the image at byte {at:,}")


def _codestream(file: BinaryIO, size: int) -> tuple[int, int]:
    """Where the box `jp2c` has its content: first byte, and the one after the last."""
    at = 0
    for number in range(_MOST_PIECES):
        if at >= size:
            break
        length, kind = struct.unpack(">I4s", _read(file, at, 8))
        start = at + 8
        if length == 1:
            (length,) = struct.unpack(">Q", _read(file, start, 8))
            start += 8
        stop = at + length if length else size
        if stop < start or (number == 0) != (kind == _SIGNATURE):
            break
        if kind == _CODESTREAM:
            if stop > size:
                raise struct.error("a codestream that is cut short")
            return start, stop
        at = stop
    raise ValueError("no JPEG 2000 codestream")


def _first_tile_part(file: BinaryIO, at: int) -> int:
    """Pass over the main header, whose segments follow each other."""
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
    """Pass over the tile-parts, which follow each other, too."""
    for _ in range(_MOST_PIECES):
        if _read(file, at, 2) != _TILE_PART:
            return at
        (length,) = struct.unpack(">I", _read(file, at + 6, 4))
        if 0 < length < _SHORTEST_TILE_PART:
            break
        at = at + length if length else stop - 2  # 0: up to the end, in the last tile-part only
    raise ValueError(f"a damaged tile-part at byte {at:,}")


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    """`count` bytes; struct.error if the file has fewer."""
    file.seek(at)
    data = file.read(count)
    if len(data) < count:
        raise struct.error(f"{count} bytes at {at}")
    return data
