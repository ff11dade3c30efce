"""A Zarr that cannot be written to its end: shards that do not fit where they are written to, and a signal."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

import numpy as np
import pytest
from numcodecs import blosc  # type: ignore[import-untyped]
from zarr.core import sync

from ben_luigi.domain.forms import zarr as zarr_form
from ben_luigi.domain.forms.source import Source
from ben_luigi.domain.forms.zarr_shards import Shards, shard_path
from tests.unit.exports import SMALL

MOST = 2**20


def test_a_shard_that_the_system_cuts_short_is_an_error(tmp_path: Path) -> None:
    """A system call writes as much as there is room for, and tells how much that was."""
    shards = Shards(tmp_path, (2, 2 * MOST), "uint8", 1)
    pixels = np.random.default_rng(1).integers(0, 256, 2 * MOST, dtype="uint8")
    shards.put(0, pixels)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            shards.put(1, pixels)  # writes the first one
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_chunks_of_large_patches_wait_by_their_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not by their number: a patch may be twenty times as wide as the usual one."""
    monkeypatch.setattr("ben_luigi.domain.forms.zarr_shards._WAITING_BYTES", 2 * MOST)
    shards = Shards(tmp_path, (9, MOST), "uint8", 9)
    pixels = np.random.default_rng(1).integers(0, 256, (9, MOST), dtype="uint8")
    for row in range(9):
        shards.put(row, pixels[row])
        assert len(shards._waiting) < 2
    shards.close()
    data = shard_path(tmp_path, (9, MOST), 0).read_bytes()
    index = np.frombuffer(data[-4 - 16 * 9 : -4], "<u8").reshape(9, 2).tolist()
    for row, (start, length) in enumerate(index):
        assert bytes(blosc.decompress(data[start : start + length])) == pixels[row].tobytes()


def test_what_is_stopped_leaves_no_thread_that_writes(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal ends the main thread's waiting for Zarr, not what Zarr's thread has been asked for."""
    late = tmp_path / "late"

    async def write_late() -> None:
        for _ in range(5_000):
            await asyncio.sleep(0)
        late.write_text("")

    def stopped(*_: object) -> None:
        asyncio.run_coroutine_threadsafe(write_late(), sync._get_loop())
        raise SystemExit(143)

    monkeypatch.setattr(zarr_form, "_write_column", stopped)
    with pytest.raises(SystemExit):
        zarr_form.write(Source.open(finished), tmp_path / "out", SMALL, lambda part: None)
    assert late.exists()
