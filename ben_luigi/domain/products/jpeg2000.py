"""Whether a JPEG 2000 file is whole: its boxes and tile-parts reach as far as they say (ISO/IEC 15444-1, annexes A, I).

GDAL looks at a file no further than the blocks that are asked for, so a truncated file may seem to be in order.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

_START, _TILE_PART, _END = b"\xff\x4f", b"\xff\x90", b"\xff\xd9"


def check_whole(path: Path) -> None:
    """ValueError, which says what is missing, unless the file has its codestream from start to end."""
    with path.open("rb") as file:
        try:
            at, stop = _codestream(file, path.stat().st_size)
            at = _first_tile_part(file, at)
            while (marker := _read(file, at, 2)) == _TILE_PART:
                (length,) = struct.unpack(">I", _read(file, at + 6, 4))
                at = at + length if length else stop - 2  # 0: up to the end, in the last tile-part only
        except struct.error as error:
            raise ValueError("the file ends in the middle of the image") from error
    if marker != _END or at + 2 > stop:
        raise ValueError(f"no end of the image at byte {at:,}")


def _codestream(file: BinaryIO, size: int) -> tuple[int, int]:
    """Where the box `jp2c` has its content: first byte, and the one after the last."""
    at = 0
    while at < size:
        length, kind = struct.unpack(">I4s", _read(file, at, 8))
        start = at + 8
        if length == 1:
            (length,) = struct.unpack(">Q", _read(file, start, 8))
            start += 8
        stop = at + length if length else size
        if kind == b"jp2c":
            return start, stop
        if stop < start:
            break
        at = stop
    raise ValueError("no JPEG 2000 codestream")


def _first_tile_part(file: BinaryIO, at: int) -> int:
    """Pass over the main header, whose segments follow each other."""
    if _read(file, at, 2) != _START:
        raise ValueError("no JPEG 2000 codestream")
    at += 2
    while (marker := _read(file, at, 2)) != _TILE_PART:
        if marker[:1] != b"\xff":
            raise ValueError(f"a damaged main header at byte {at:,}")
        (length,) = struct.unpack(">H", _read(file, at + 2, 2))
        at += 2 + length
    return at


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    """`count` bytes; struct.error if the file has fewer."""
    file.seek(at)
    data = file.read(count)
    if len(data) < count:
        raise struct.error(f"{count} bytes at {at}")
    return data
