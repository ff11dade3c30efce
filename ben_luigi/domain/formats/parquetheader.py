"""Read from a Parquet file's footer and page headers how much memory its columns need, without Arrow.

Arrow allocates what the file states, whatever the length of the file, and pyarrow 26 aborts the process when it
describes a column of a damaged footer. Footer and page headers are structs in Thrift's compact protocol; their field
numbers are those of parquet.thrift (apache/parquet-format).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

_MAGIC = b"PAR1"
_FOOTER_BYTES = 2**22
"""More than any footer of the data here."""

_PAGE_HEADER_BYTES = 2**16
_MOST_PAGES = 100_000
_MOST_LEVELS = 16
_DICTIONARY_PAGE = 2
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
_WHOLE_NUMBERS = (4, 5, 6)
_VALUE_BYTES = 8

Struct = dict[int, Any]
"""The values of a struct by field number: numbers, bytes, lists and structs."""


@dataclass(frozen=True)
class Size:
    """The memory that columns of a file need: their unpacked pages, and 8 bytes per value and row.

    `needed_bytes` counts each dictionary once; `row_bytes` is what a row has on average if its dictionary values are
    repeated.
    """

    needed_bytes: int
    row_bytes: int


def read_size(file: BinaryIO, columns: Collection[str]) -> Size:
    """Read the footer and the page headers of these columns. Raise ValueError if they are damaged."""
    try:
        footer = _footer(file)
        chunks = [chunk[3] for group in footer.get(4, []) for chunk in group[1]]
        wanted = [column for column in chunks if column[3][0].decode() in columns]
        pages = [_of_page(page) for column in wanted for page in _pages(file, column)]
        rows = max(0, footer[3])
    except (struct.error, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"a damaged footer or page ({type(error).__name__}: {error})") from error
    values = sum(page.values for page in pages)
    longest = max((page.size_bytes for page in pages if page.is_dictionary), default=0)
    needed = sum(page.size_bytes for page in pages) + _VALUE_BYTES * (values + len(columns) * rows)
    return Size(needed, longest * -(-values // max(1, rows)))


class _Page(NamedTuple):
    """A page: unpacked length in bytes, number of values, and whether it is a dictionary."""

    size_bytes: int
    values: int
    is_dictionary: bool


def _footer(file: BinaryIO) -> Struct:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8))
    length, magic = struct.unpack("<I4s", file.read(8))
    if magic != _MAGIC or length > size - 8:
        raise ValueError("no Parquet file, or one that is cut short")
    if length > _FOOTER_BYTES:
        raise ValueError(f"a footer of {length:,} bytes, where at most {_FOOTER_BYTES:,} are allowed")
    file.seek(size - 8 - length)
    return _Reader(file.read(length)).struct()


def _pages(file: BinaryIO, column: Struct) -> Iterator[Struct]:
    """Yield the header of each page of a column in a row group."""
    # Fields 9 and 11: offset of the data pages, 0 in a group without rows, and of the dictionary page, if any.
    offsets = [offset for offset in (column[9], column.get(11)) if offset]
    at = min(offsets, default=0)
    stop = at + column[7] if offsets else at
    for _ in range(_MOST_PAGES):
        if at >= stop:
            return
        file.seek(at)
        reader = _Reader(file.read(_PAGE_HEADER_BYTES))
        page = reader.struct()
        if min(page[2], page[3]) < 0:
            raise ValueError("a page of a length below 0")
        yield page
        at += reader.at + page[3]
    raise ValueError(f"more than {_MOST_PAGES:,} pages")


def _of_page(page: Struct) -> _Page:
    described = page.get(5) or page.get(8) or page.get(7) or {}
    return _Page(int(page[2]), max(0, int(described.get(1, 0))), page[1] == _DICTIONARY_PAGE)


class _Reader:
    """Read structs in Thrift's compact protocol.

    Raise IndexError where the bytes end too early, ValueError if a struct is nested too deep or has an unknown type.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def struct(self, level: int = 0) -> Struct:
        """Return the next struct."""
        if level > _MOST_LEVELS:
            raise ValueError("structs that are nested too deep")
        found: Struct = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._whole_number()
            found[number] = self._value(head & 15, level, in_list=False)
        return found

    def _value(self, kind: int, level: int, *, in_list: bool) -> Any:
        if kind in (_TRUE, _FALSE):
            return self._byte() == _TRUE if in_list else kind == _TRUE
        if kind in _WHOLE_NUMBERS:
            return self._whole_number()
        if kind in (_BYTE, _DOUBLE, _BINARY):
            return self._take({_BYTE: 1, _DOUBLE: 8}.get(kind) or self._length())
        if kind in (_LIST, _SET):
            head = self._byte()
            count = self._length() if head >> 4 == 15 else head >> 4
            return [self._value(head & 15, level + 1, in_list=True) for _ in range(count)]
        if kind == _MAP:
            return self._map(level + 1)
        if kind == _STRUCT:
            return self.struct(level + 1)
        raise ValueError(f"a value of kind {kind}")

    def _map(self, level: int) -> list[Any]:
        count = self._length()
        kinds = self._byte() if count else 0
        return [
            (self._value(kinds >> 4, level, in_list=True), self._value(kinds & 15, level, in_list=True))
            for _ in range(count)
        ]

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _take(self, count: int) -> bytes:
        if count > len(self._data) - self.at:
            raise IndexError("the end, in the middle of a value")
        self.at += count
        return self._data[self.at - count : self.at]

    def _varint(self) -> int:
        found = shift = 0
        while (byte := self._byte()) & 0x80:
            found |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise ValueError("a number without end")
        return found | byte << shift

    def _whole_number(self) -> int:
        zigzag = self._varint()
        return zigzag >> 1 ^ -(zigzag & 1)

    def _length(self) -> int:
        return self._varint()
