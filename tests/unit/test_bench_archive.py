"""The benchmark of the archives runs, on two tiny tiles; times are not asserted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.unit.benchmarking import measured


@pytest.mark.skipif(shutil.which("zstd") is None, reason="no zstd")
def test_small_benchmark(tmp_path: Path) -> None:
    printed = measured("archive", "--folder", str(tmp_path), "--tiles", "2", "--patches-a-side", "4")
    assert [ratio["at_most"] for ratio in printed["ratios"]] == [0.90, None, None]
    assert printed["members"] == 2 * 4 * 4 * 12
    assert printed["tar, MB"] == 6
    assert printed["tar / archive, ours"] == pytest.approx(printed["tar / archive, zstd"], rel=0.1)
    assert printed["zstd of the library"] and printed["zstd, the program"][0].isdigit()
    assert sorted(path.name for path in (tmp_path / "4").glob("*.tar")) == ["33UUP_20170610.tar", "33UUP_20170611.tar"]
    assert not list(tmp_path.glob(".unfinished*"))
