"""How a part of an archive is compressed: by a level of zstd, or by a quicker search for matches that packs it as well.

In images of 16 bits what repeats is short, and noise is most of the rest: long searches find no more in it than a look
into a large table of what came last. So from level 5 on a sample of the part is compressed both ways, and the level's
own search, which takes half as much time again, is left for parts where it is needed, such as those of calm water.
"""

from __future__ import annotations

from collections.abc import Iterator

import zstandard

SAMPLE_PART = 256
"""A sample is about this part of what is compressed."""

_PIECE_BYTES = 2**20

_LEVELS = range(5, 23)
"""Those whose own search is slower than the quick one."""

_QUICK = {
    "strategy": zstandard.STRATEGY_DFAST,
    "min_match": 5,
    "chain_log": 19,
    "hash_log": 15,
    "search_log": 1,
    "target_length": 0,
}
"""Two tables: a large one, of all that came lately by 5 bytes, and a small one by 8."""

_LARGER = 1.01
"""How much larger a sample may be that is packed the quick way."""


def sampled(content_bytes: int) -> Iterator[tuple[int, int]]:
    """Where the pieces of a sample are, (offset, size) in bytes: all over the content, of 1 MiB if it has as much."""
    count = max(1, content_bytes // (SAMPLE_PART * _PIECE_BYTES))
    for number in range(count):
        start = content_bytes * (2 * number + 1) // (2 * count)
        yield start, min(content_bytes - start, _PIECE_BYTES)


def parameters(level: int, sample: bytes) -> zstandard.ZstdCompressionParameters:
    """How to compress what `sample` stands for: no larger than by `level`, but for one percent.

    It depends on nothing but these two and the version of zstd.
    """
    own = _parameters(level)
    if level not in _LEVELS:
        return own
    quick = _parameters(level, **_QUICK)
    sizes = [len(zstandard.ZstdCompressor(compression_params=each).compress(sample)) for each in (quick, own)]
    return quick if sizes[0] <= _LARGER * sizes[1] else own


def _parameters(level: int, **given: int) -> zstandard.ZstdCompressionParameters:
    """With one thread of zstd's own: its bytes are those of any number, and it is a tenth faster than with none."""
    made: zstandard.ZstdCompressionParameters = zstandard.ZstdCompressionParameters.from_level(
        level, threads=1, write_checksum=True, write_content_size=True, **given
    )
    return made


def is_quick(chosen: zstandard.ZstdCompressionParameters) -> bool:
    """Whether `parameters` took the quick search."""
    return all(getattr(chosen, name) == value for name, value in _QUICK.items())


def packer(chosen: zstandard.ZstdCompressionParameters, content_bytes: int) -> zstandard.ZstdCompressionObj:
    """What compresses content of that length: `compress` for each of its chunks, and then `flush`, give its frame."""
    return zstandard.ZstdCompressor(compression_params=chosen).compressobj(size=content_bytes)
