"""How a part of an archive is compressed: in frames, by a level of zstd, or by a quicker search that packs it as well.

A frame holds whole patches, and ends with the first with which it has `FRAME_BYTES`; the last of a part has less, and
may be empty. So a part that lacks its end is known, a patch can be unpacked without what is before it, and each frame
is compressed from one buffer to another, which spares zstd a copy, a thread and the memory of both.

In images of 16 bits what repeats is short and near, and noise is most of the rest: long searches find no more in it
than one look into a table of what came last, and what is farther off costs more bits than it saves. So from level 5 on
a sample of the part is compressed in each way, and the quickest is taken that is as good. The level's own search, which
takes twice as much time, is left for parts where it is needed, such as those of calm water.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import zstandard

FRAME_BYTES = 8 * 2**20

SAMPLE_PART = 256
"""A sample is about this part of what is compressed."""

_PIECE_BYTES = 2**20

_LEVELS = range(5, 23)
"""Those whose own search is slower than the quick ones."""

_WINDOWS = (17, 18, 19)
"""Of the quick search: log2 of the bytes in which it finds what came before. The smaller the quicker."""

_LARGER = 1.01
"""How much larger a sample may be that is packed in a quick way."""


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
    if level in _LEVELS:
        most = _LARGER * _packed_bytes(own, sample)
        for quick in map(_quick, _WINDOWS):
            if _packed_bytes(quick, sample) <= most:
                return quick
    return own


def _quick(window_log: int) -> zstandard.ZstdCompressionParameters:
    """With two tables: a large one of what came by 5 bytes, an entry a byte of the window, and a small one by 8."""
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
    """Whether `parameters` took a quick search."""
    return chosen.window_log in _WINDOWS and chosen.strategy == zstandard.STRATEGY_DFAST


def frames(patches: Iterable[bytes]) -> Iterator[bytes]:
    """The content of each frame of a part, given the bytes of its patches."""
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
    """What compresses the content of each frame in its turn."""
    return zstandard.ZstdCompressor(compression_params=chosen)
