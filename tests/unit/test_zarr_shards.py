"""Shards of a Zarr array that do not fit where they are written to."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest

from ben_luigi.domain.forms.zarr_shards import Shards

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
