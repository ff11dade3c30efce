"""The benchmark of verifying runs, on a tile of four patches; times are not asserted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.unit.benchmarking import measured


@pytest.mark.skipif(shutil.which("zstd") is None, reason="no zstd")
def test_small_benchmark(tmp_path: Path) -> None:
    printed = measured("verify", "--folder", str(tmp_path), "--patches-a-side", "2")
    assert printed["patches"] == 4
    assert printed["tars, MB"] == pytest.approx(4 * (172 + 2 * 57.6 + 32) / 1000, rel=0.2)
    assert len(printed["ratios"]) == 1
