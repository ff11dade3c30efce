"""Find the zstd frames of a file (RFC 8878) by their block headers, without decompressing, and unpack them one by one.

Damage costs only the frame that it lies in: the next frame is found by its magic number.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

import zstandard

CHUNK_BYTES = 2**20
CHECKSUM_BYTES = 4
"""Length of the content's checksum at the end of a frame."""

_MAGIC = zstandard.FRAME_HEADER
# RFC 8878, section 3.1.2.
_SKIPPABLE = range(0x184D2A50, 0x184D2A60)
# RFC 8878, 3.1.1 and 3.1.1.1: magic number, descriptor, window, dictionary id and content size: 4 + 1 + 1 + 4 + 8.
_LONGEST_HEADER = 18
_BLOCK_HEADER_BYTES = 3
# RFC 8878, 3.1.1.2.2: an RLE block has one byte of data, whatever its size says; type 3 must not occur.
_RLE, _RESERVED = 1, 3


@dataclass(frozen=True)
class Frame:
    """The position of a frame in a file, in bytes.

    `content_bytes` is its unpacked length, None where the frame does not state it. `whole` is False if its blocks do
    not lead to the start of another frame or to the end of the file.
    """

    start: int
    stop: int
    content_bytes: int | None
    whole: bool


def find(file: BinaryIO) -> Iterator[Frame]:
    """Yield the frames of a file in order.

    Bytes that belong to no frame are counted to the frame before them, which then is not whole. Skippable frames are
    left out.
    """
    size = file.seek(0, os.SEEK_END)
    at = 0
    while at < size:
        stop = _stop(file, at, size)
        if stop is not None and _is_start(file, stop, size):
            content_bytes = _content_bytes(file, at)
            whole = True
        else:
            stop, content_bytes, whole = _next_start(file, at + 1, size), None, False
        if not (whole and _is_skippable(file, at)):
            yield Frame(at, stop, content_bytes, whole)
        at = stop


def unpack(
    file: BinaryIO,
    frame: Frame,
    seen: Callable[[bytes], None] = lambda packed: None,
    *,
    chunk_bytes: int = CHUNK_BYTES,
) -> Iterator[bytes]:
    """Yield the content of a frame in chunks of at most `chunk_bytes`.

    `seen` receives the compressed bytes as they are read. Raise zstandard.ZstdError where the frame is damaged; if only
    its checksum is wrong, after the last chunk.
    """
    source = cast(BinaryIO, _Slice(file, frame, seen))
    reader = zstandard.ZstdDecompressor().stream_reader(source, read_size=CHUNK_BYTES)
    size = 0
    while chunk := reader.read(_wanted(frame, size, chunk_bytes)):
        size += len(chunk)
        yield chunk
    if not frame.whole or (frame.content_bytes is not None and size != frame.content_bytes):
        raise zstandard.ZstdError("the frame is not whole")


def head(file: BinaryIO, frame: Frame, size: int) -> bytes:
    """Return the first bytes of a frame's content: `size` of them at most, and no more than its first block has.

    Only that block is read. Raise zstandard.ZstdError where it is damaged.
    """
    packed = _read(file, frame.start, min(frame.stop - frame.start, _LONGEST_HEADER + zstandard.BLOCKSIZE_MAX))
    return zstandard.ZstdDecompressor().stream_reader(packed).read(size)


def _wanted(frame: Frame, size: int, chunk_bytes: int) -> int:
    """Return the size of the next chunk; at the end of the content only what is left, to stop before the checksum."""
    left = (frame.content_bytes or 0) - size
    return min(left, chunk_bytes) if left > 0 else chunk_bytes


class _Slice:
    """The bytes of a frame as a source for a decompressor.

    The last byte is returned on its own, and so are the three before it: a decompressor that meets a wrong checksum
    drops the content that it still holds, but it asks for more input only after it has delivered what it has.
    """

    def __init__(self, file: BinaryIO, frame: Frame, seen: Callable[[bytes], None]) -> None:
        self._file = file
        self._at = frame.start
        self._stop = frame.stop
        self._seen = seen

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes."""
        left = self._stop - self._at
        most = left - CHECKSUM_BYTES if left > CHECKSUM_BYTES else min(left, CHECKSUM_BYTES - 1)
        data = _read(self._file, self._at, min(size, most))
        self._at += len(data)
        if data:
            self._seen(data)
        return data


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _is_skippable(file: BinaryIO, at: int) -> bool:
    return _number(_read(file, at, 4)) in _SKIPPABLE


def _is_start(file: BinaryIO, at: int, size: int) -> bool:
    return at == size or _read(file, at, 4) == _MAGIC or _is_skippable(file, at)


def _content_bytes(file: BinaryIO, at: int) -> int | None:
    if _is_skippable(file, at):
        return 0
    content = zstandard.get_frame_parameters(_read(file, at, _LONGEST_HEADER)).content_size
    return None if content == zstandard.CONTENTSIZE_UNKNOWN else content


def _stop(file: BinaryIO, start: int, size: int) -> int | None:
    """Return the end of the frame at `start`, following its block headers; None if they are not valid."""
    head = _read(file, start, _LONGEST_HEADER)
    if _number(head[:4]) in _SKIPPABLE:
        stop = start + 8 + _number(head[4:8])
        return stop if stop <= size else None
    try:
        parameters = zstandard.get_frame_parameters(head)
        at = start + zstandard.frame_header_size(head)
    except zstandard.ZstdError:
        return None
    last = False
    while not last:
        # RFC 8878, 3.1.1.2: bit 0 marks the last block, bits 1 and 2 are its type, the rest its size.
        header = _number(_read(file, at, _BLOCK_HEADER_BYTES))
        last, kind, length = bool(header & 1), header >> 1 & 3, header >> 3
        if kind == _RESERVED or length > zstandard.BLOCKSIZE_MAX:
            return None
        at += _BLOCK_HEADER_BYTES + (1 if kind == _RLE else length)
        if at > size:
            return None
    at += CHECKSUM_BYTES if parameters.has_checksum else 0
    return at if at <= size else None


def _next_start(file: BinaryIO, at: int, size: int) -> int:
    """Return the start of the next frame at or after `at` whose blocks are valid; else the end of the file."""
    while at < size:
        data = _read(file, at, CHUNK_BYTES)
        found = data.find(_MAGIC)
        while found >= 0:
            stop = _stop(file, at + found, size)
            if stop is not None and _is_start(file, stop, size):
                return at + found
            found = data.find(_MAGIC, found + 1)
        at += max(len(data) - len(_MAGIC) + 1, 1)
    return size
