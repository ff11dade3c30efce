"""Write the bytes that GNU tar puts around a file's data, and read them back.

A *member* is one file in a tar: header, data, zero bytes up to a whole block of 512. The header is what `tar
--format=gnu --owner=0 --group=0 --numeric-owner --mtime='2024-01-01 00:00:00Z' --mode=0644` writes. A name of more than
100 bytes is written in full in a preceding member, `././@LongLink` (GNU tar manual, "Basic Tar Format").
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from typing import BinaryIO, NamedTuple

from ben_luigi.domain.errors import BadArchive

BLOCK_BYTES = 512
RECORD_BYTES = 10_240
"""GNU tar pads its last record of 20 blocks with zero bytes."""

_NAME_BYTES = 100
_LONGEST_NAME = 4096
_HEAD_BYTES = 4 * BLOCK_BYTES
"""The header of a member, also of one with a name of up to 1,024 bytes."""
_MTIME = 1_704_067_200  # 2024-01-01 00:00:00 UTC
_LONG_LINK = b"././@LongLink"
_FILE, _LONG_NAME, _PAX, _PAX_OF_ALL = b"0", b"L", b"x", b"g"
_MOST_HEAD_BYTES = 2**20
"""More than the records that other programs write before a member, such as those of macOS."""
_LONGEST_NUMBER = 20
_CHECKSUM = slice(148, 156)
_SIZE = slice(124, 136)
_KIND = slice(156, 157)
_MAGIC = slice(257, 262)
_VERSION, _USTAR = slice(257, 265), b"ustar\0" + b"00"
_PREFIX = slice(345, 500)


def header(name: str, size: int) -> bytes:
    """Return what precedes the data of a regular file of `size` bytes. Raise BadArchive from 8 GiB on."""
    if not 0 <= size < 8**11:
        raise BadArchive(
            f"tar member {name}",
            expected="a file of less than 8 GiB",
            found=f"{size} bytes",
            remedy="leave it out: a ustar header has no room for its size",
        )
    # GNU tar does not use the prefix field of ustar with --format=gnu, so 100 bytes are all that a header holds.
    encoded = name.encode()
    if len(encoded) <= _NAME_BYTES:
        return _block(encoded, size, _FILE, _MTIME)
    # GNU tar counts the closing NUL, and gives the extra member the time 0.
    long_name = encoded + b"\0"
    return b"".join(
        (
            _block(_LONG_LINK, len(long_name), _LONG_NAME, 0),
            long_name,
            padding(len(long_name)),
            _block(encoded[:_NAME_BYTES], size, _FILE, _MTIME),
        )
    )


def padding(size: int) -> bytes:
    """Return the zero bytes that follow `size` bytes of data."""
    return bytes(-size % BLOCK_BYTES)


def end(size: int) -> bytes:
    """Return the end of a tar whose members have `size` bytes in all: two zero blocks, padded to a whole record."""
    return bytes(2 * BLOCK_BYTES + -(size + 2 * BLOCK_BYTES) % RECORD_BYTES)


@lru_cache(maxsize=64)  # long names of one patch begin in the same way
def _block(name: bytes, size: int, kind: bytes, mtime: int) -> bytes:
    before, after, checksum = _fields(size, kind, mtime)
    # The checksum field is six octal digits, NUL and space, unlike all other fields.
    return name.ljust(_NAME_BYTES, b"\0") + before + b"%06o\0 " % (checksum + sum(name)) + after


@lru_cache(maxsize=4096)
def _fields(size: int, kind: bytes, mtime: int) -> tuple[bytes, bytes, int]:
    """Return the fields before and after the checksum, and the sum of their bytes with the checksum field as spaces."""
    # ustar layout (POSIX.1-1988) with GNU's magic; the checksum is summed as if its field were eight spaces.
    before = b"0000644\0" + b"0000000\0" * 2 + b"%011o\0%011o\0" % (size, mtime)
    after = (kind + bytes(100) + b"ustar  \0").ljust(BLOCK_BYTES - _CHECKSUM.stop, b"\0")
    return before, after, sum(before) + 8 * ord(" ") + sum(after)


class Entry(NamedTuple):
    """A member of a tar: its name, and its positions in bytes, counted from the start of the buffer.

    `exact` tells whether its header is the one that `header` returns.
    """

    name: str
    data: int
    size: int
    stop: int
    exact: bool


def entry(buffer: bytes | bytearray | memoryview, at: int = 0) -> Entry | None:
    """Read the header at `at`, also one of another program's: with pax records, or a name in two fields (ustar).

    Return None if the buffer ends within it; raise BadArchive if it is not a header.
    """
    if len(buffer) < at + BLOCK_BYTES:
        return None
    try:
        first, data = bytes(buffer[at : at + BLOCK_BYTES]), at + BLOCK_BYTES
        name = size = None
        while (kind := first[_KIND]) in (_LONG_NAME, _PAX, _PAX_OF_ALL):
            length = _number(first[_SIZE])
            last_at = data + length + -length % BLOCK_BYTES
            longest = _LONGEST_NAME if kind == _LONG_NAME else _MOST_HEAD_BYTES
            if not 0 <= length <= longest or last_at - at > _MOST_HEAD_BYTES:
                raise ValueError(f"a {'name' if kind == _LONG_NAME else 'header'} of {length} bytes")
            if len(buffer) < last_at + BLOCK_BYTES:
                return None
            content = bytes(buffer[data : data + length])
            if kind == _LONG_NAME:
                name = content
            elif kind == _PAX:
                _check(first)
                name, size = _of_pax(content, name, size)
            first, data = bytes(buffer[last_at : last_at + BLOCK_BYTES]), last_at + BLOCK_BYTES
        size = _number(first[_SIZE]) if size is None else size
        text = (_name(first) if name is None else name).split(b"\0", 1)[0].decode()
        exact = buffer[at:data] == header(text, size)
        if not exact:
            _check(first)
    except ValueError as error:
        raise BadArchive(
            "tar",
            expected=f"the header of a member at byte {at}",
            found=str(error),
            remedy="remove the tar, and make or fetch it again",
        ) from error
    return Entry(text, data, size, data + size + -size % BLOCK_BYTES, exact)


def _name(block: bytes) -> bytes:
    """Return the name in a header; ustar has its folders in a field of their own, if it is long (POSIX.1-1988)."""
    name = block[:_NAME_BYTES]
    prefix = block[_PREFIX].split(b"\0", 1)[0] if block[_VERSION] == _USTAR else b""
    return prefix + b"/" + name if prefix else name


def _of_pax(records: bytes, name: bytes | None, size: int | None) -> tuple[bytes | None, int | None]:
    """Return name and size as pax records give them, `<length> <key>=<value>\\n` (POSIX.1-2001); else these here."""
    at = 0
    while at < len(records):
        space = records.find(b" ", at, at + _LONGEST_NUMBER)
        stop = at + int(records[at : max(at, space)])
        if not space < stop <= len(records) or records[stop - 1 : stop] != b"\n":
            raise ValueError("pax records that are none")
        key, _, value = records[space + 1 : stop - 1].partition(b"=")
        name, size = value if key == b"path" else name, int(value) if key == b"size" else size
        at = stop
    return name, size


def _number(field: bytes) -> int:
    return int(field.strip(b"\0 "), 8)


def _check(block: bytes) -> None:
    if block[_MAGIC] != b"ustar":
        raise ValueError("no header")
    field = block[_CHECKSUM]
    if _number(field) != sum(block) - sum(field) + 8 * ord(" "):
        raise ValueError("a header with a wrong checksum")


def walk(file: BinaryIO) -> Iterator[Entry]:
    """Yield the members of an uncompressed tar, whose data are not read; positions are those in the file.

    Raise BadArchive if a header, the bytes between members or the end are not those that are written here.
    """
    descriptor = file.fileno()
    length, data_stop, at = os.fstat(descriptor).st_size, 0, 0
    while True:
        # One read has the padding of the last member, and the next header, also of a long name.
        around = os.pread(descriptor, at - data_stop + _HEAD_BYTES, data_stop)
        head = around[at - data_stop :]
        if any(around[: at - data_stop]):
            raise _bad_tar(f"zero bytes from byte {data_stop}", "others")
        if not any(head[:BLOCK_BYTES]):
            break
        found = entry(head)
        if found is None or not found.exact or at + found.stop > length:
            raise _bad_tar(
                f"the header of a member at byte {at}, and the member", "another header" if found else "no whole one"
            )
        yield found._replace(data=at + found.data, stop=at + found.stop)
        data_stop, at = at + found.data + found.size, at + found.stop
    closing = end(at)
    if length != at + len(closing) or os.pread(descriptor, len(closing), at) != closing:
        raise _bad_tar(f"the end of the tar at byte {at}", f"{max(0, length - at)} bytes that are not it")


def _bad_tar(expected: str, found: str) -> BadArchive:
    return BadArchive("tar", expected=expected, found=found, remedy="remove the tar, and make or fetch it again")
