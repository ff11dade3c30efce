"""Choose how a part of an archive is compressed: in frames, by a zstd level or by a quicker search that packs as well.

A frame holds whole patches and ends with the patch that brings it to `FRAME_BYTES` or more; the last frame of a part is
shorter and may be empty. So a truncated part is noticed, a patch can be unpacked without the data before it, and each
frame is compressed from one buffer into another, which saves zstd a copy, a thread and their memory.

In 16-bit images repetitions are short and near, and most of the rest is noise: a long search finds no more than one
look-up in a table of recent data, and a distant match costs more bits than it saves. So from level 5 on a sample of the
part is compressed in each way, and the quickest one that packs as well is taken. The level's own search, which takes
twice the time, remains for parts that need it, such as those of calm water.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import zstandard

FRAME_BYTES = 8 * 2**20

SAMPLE_PART = 256
"""A sample is about one part in this many of the content."""

_PIECE_BYTES = 2**20

_LEVELS = range(5, 23)
"""The levels whose own search is slower than the quick ones."""

_WINDOWS = (17, 18, 19)
"""Window of each quick search, as log2 of bytes: how far back it finds a match. A smaller one is quicker."""

_LARGER = 1.01
"""How much larger a sample may become by a quick search than by the level's own."""


def sampled(content_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield (offset, size) in bytes of the pieces of a sample, spread evenly over the content, of up to 1 MiB each."""
    count = max(1, content_bytes // (SAMPLE_PART * _PIECE_BYTES))
    for number in range(count):
        start = content_bytes * (2 * number + 1) // (2 * count)
        yield start, min(content_bytes - start, _PIECE_BYTES)


def parameters(level: int, sample: bytes) -> zstandard.ZstdCompressionParameters:
    """Return the parameters for content of which `sample` is typical.

    The content becomes at most one percent larger than by `level` itself. The result depends only on the arguments and
    the version of zstd, so the same content gives the same bytes.
    """
    own = _parameters(level)
    if level in _LEVELS:
        most = _LARGER * _packed_bytes(own, sample)
        for quick in map(_quick, _WINDOWS):
            if _packed_bytes(quick, sample) <= most:
                return quick
    return own


def _quick(window_log: int) -> zstandard.ZstdCompressionParameters:
    """Return a search with two tables: a large one for matches of 5 bytes, an entry per byte, and a small one for 8."""
    return _parameters(
        6,
        strategy=zstandard.STRATEGY_DFAST,
        window_log=window_log,
        chain_log=window_log,
        hash_log=15,
        min_match=5,
        search_log=1,
        target_length=0,
    )


def _parameters(level: int, **given: int) -> zstandard.ZstdCompressionParameters:
    made: zstandard.ZstdCompressionParameters = zstandard.ZstdCompressionParameters.from_level(
        level, write_checksum=True, write_content_size=True, **given
    )
    return made


def _packed_bytes(chosen: zstandard.ZstdCompressionParameters, sample: bytes) -> int:
    return len(packer(chosen).compress(sample))


def is_quick(chosen: zstandard.ZstdCompressionParameters) -> bool:
    """Return whether `parameters` chose a quick search."""
    return chosen.window_log in _WINDOWS and chosen.strategy == zstandard.STRATEGY_DFAST


def frames(patches: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the content of each frame of a part, given the bytes of its patches."""
    held: list[bytes] = []
    size = 0
    for patch in patches:
        held.append(patch)
        size += len(patch)
        if size >= FRAME_BYTES:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)


def packer(chosen: zstandard.ZstdCompressionParameters) -> zstandard.ZstdCompressor:
    """Return a compressor for the content of each frame in turn."""
    return zstandard.ZstdCompressor(compression_params=chosen)
