"""How parts are compressed: never much larger than by the level, whatever the images are like."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ben_luigi.domain.formats import packing


def pixels(mean: float, relief: float, noise: float) -> bytes:
    """Reflectances as little-endian uint16: a random walk around a mean, and noise."""
    draw = np.random.default_rng(7)
    walk = relief * draw.standard_normal((1024, 1024)).cumsum(axis=1) / 30
    return (mean + walk + noise * draw.standard_normal(walk.shape)).clip(1, 65_535).astype("<u2").tobytes()


LAND, WATER = (3000, 100, 30), (40, 0, 3)


def packed(content: bytes, level: int) -> tuple[bytes, bool]:
    chosen = packing.parameters(level, content)
    return packing.packer(chosen).compress(content), packing.is_quick(chosen)


def by_level(content: bytes, level: int) -> bytes:
    return zstandard.ZstdCompressor(level=level, write_checksum=True).compress(content)


@pytest.mark.parametrize("level", [6, 9])
@pytest.mark.parametrize(
    "kind", [LAND, WATER, (3000, 0, 30), (3000, 300, 1), (9000, 100, 20), (400, 50, 12), (1, 0, 0)]
)
def test_a_sample_is_packed_no_larger_than_by_the_level(kind: tuple[float, float, float], level: int) -> None:
    content = pixels(*kind)
    frame, _ = packed(content, level)
    assert zstandard.ZstdDecompressor().decompress(frame) == content
    assert len(frame) <= 1.01 * len(by_level(content, level)) + 100


def test_land_is_packed_quickly_and_calm_water_by_the_level() -> None:
    land, water = pixels(*LAND), pixels(*WATER)
    assert packed(land, 6)[1]
    assert packed(water, 6) == (by_level(water, 6), False)


def test_the_less_repeats_the_smaller_the_window() -> None:
    noise, land = pixels(3000, 0, 30), pixels(3000, 30, 8)
    windows = [packing.parameters(6, content).window_log for content in (noise, land)]
    assert windows == sorted(windows)
    assert len(set(windows)) == 2
    for content, window in zip((noise, land), windows, strict=True):
        assert zstandard.get_frame_parameters(packed(content, 6)[0]).window_size <= 2**window


@pytest.mark.parametrize("level", [1, 3, 4])
def test_quick_levels_are_zstds_own(level: int) -> None:
    land = pixels(*LAND)
    frame, quick = packed(land, level)
    assert not quick
    assert abs(len(frame) - len(by_level(land, level))) < 100


@given(st.integers(0, 10**10))
def test_a_sample_is_spread_over_the_content(content_bytes: int) -> None:
    pieces = list(packing.sampled(content_bytes))
    for (start, size), (following, _) in pairwise(pieces):
        assert start + size <= following
    assert all(start >= 0 and 0 <= size <= 2**20 and start + size <= content_bytes for start, size in pieces)
    assert sum(size for _, size in pieces) >= min(content_bytes // 2, content_bytes // packing.SAMPLE_PART // 2)
