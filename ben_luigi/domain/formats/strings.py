"""Look up millions of strings among millions of others, and find those that occur twice, in time in proportion.

A hash table, or a sort, of so many strings does not fit into the processor's caches, and each step of it then waits for
memory. So the strings are divided by a hash into parts that fit, and equal strings come into the same part.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_PART = 2**16
"""Strings of a part, about: some MB with all that is made of them."""
_BEGINNING = 24
"""Bytes by which strings are divided: v1 names of a minute begin alike and mostly lie together, to be read in order.

If all strings begin alike, there is one part, as if they were not divided.
"""
_FACTOR = 0x9E37_79B9_7F4A_7C15
_HALF = np.uint64(32)
_FIRST_BYTES = np.array([2 ** (8 * count) - 1 for count in range(9)], "uint64")
"""Masks that keep the first bytes of a little-endian word, by how many."""


def duplicates(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return each further occurrence of a string that occurs more than once, ascending; `values` have no nulls."""
    hashes = _hashes(values)
    ordered = np.sort(hashes)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    suspected = values.filter(pa.array(np.isin(hashes, twice))) if len(twice) else values.slice(0, 0)
    suspected = suspected.take(pc.sort_indices(suspected))
    return suspected[1:].filter(pc.equal(suspected[1:], suspected[:-1]))


def find(values: pa.ChunkedArray, *sets: pa.ChunkedArray) -> list[np.ndarray]:
    """Return for each of `sets` the position in it of each of `values`, int64, or -1; none of them has nulls.

    If a set has a string more than once, it is the position of the first.
    """
    bits = (max(map(len, (values, *sets))) // _PART).bit_length()
    found = [np.full(len(values), -1) for _ in sets]
    divided = [_divide(strings, bits) for strings in sets]
    for rows, part in _divide(values, bits):
        for positions, parts in zip(found, divided, strict=True):
            its_rows, its_part = next(parts)
            at = pc.fill_null(pc.index_in(part, value_set=its_part), -1).to_numpy()
            positions[rows] = np.where(at < 0, -1, its_rows[at] if len(its_rows) else -1)
    return found


def _divide(values: pa.ChunkedArray, bits: int) -> Iterator[tuple[np.ndarray, pa.Array]]:
    """Yield positions, ascending, and strings of each of 2 ** `bits` parts."""
    part_of = (_hashes(values, _BEGINNING) >> np.uint64(63 - bits) >> np.uint64(1)).astype("uint16")
    strings = values.combine_chunks()  # `take` from several chunks copies them all
    rows = np.argsort(part_of, kind="stable")  # of 16 bits: a radix sort
    ends = np.cumsum(np.bincount(part_of, minlength=2**bits))
    for first, end in zip([0, *ends[:-1]], ends, strict=True):
        yield rows[first:end], strings.take(pa.array(rows[first:end]))


def _hashes(values: pa.ChunkedArray, most: int = 2**31) -> np.ndarray:
    """Return a number for each string, uint64, that depends on all its bytes, or on the first `most` bytes."""
    blocks = [chunk.slice(first, _PART) for chunk in values.chunks for first in range(0, len(chunk), _PART)]
    return np.concatenate([np.empty(0, "uint64"), *(_hashes_of_block(block, most) for block in blocks)])


def _hashes_of_block(values: pa.StringArray, most: int) -> np.ndarray:
    _, offsets, data = values.buffers()
    bounds = np.frombuffer(offsets, "int32")[values.offset : values.offset + len(values) + 1].astype("int64")
    text = np.zeros(bounds[-1] - bounds[0] + 8, "uint8")  # so that a word can be read from each byte
    text[:-8] = np.frombuffer(data or b"", "uint8")[bounds[0] : bounds[-1]]
    words = np.ndarray(len(text) - 7, "<u8", text, strides=(1,))
    start, end = bounds[:-1] - bounds[0], bounds[1:] - bounds[0]
    length = np.minimum(end - start, most)
    hashes = length.astype("uint64")
    for at in range(0, int(length.max()), 8):
        word = words[np.minimum(start + at, end)] & _FIRST_BYTES[np.clip(length - at, 0, 8)]
        # Another odd factor for each word. Beyond the end of a string words are 0 and stay so: a longer one in the same
        # block must not change its hash.
        word *= np.uint64(_FACTOR * (at + 1) % 2**64)
        word ^= word >> _HALF
        word *= np.uint64(_FACTOR)
        hashes += word
    return np.asarray(hashes)
