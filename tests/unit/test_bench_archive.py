"""The benchmark of the archives runs, on two tiny tiles; times are not asserted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(shutil.which("zstd") is None, reason="no zstd")
def test_small_benchmark(tmp_path: Path) -> None:
    options = ["--folder", str(tmp_path), "--tiles", "2", "--patches-a-side", "4", "--runs", "1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "scripts"), str(ROOT)])}
    command = [sys.executable, "-m", "benchmarks", "archive", *options]
    said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    printed = json.loads(said.splitlines()[-1])
    assert [ratio["at_most"] for ratio in printed["ratios"]] == [0.90, None, None]
    assert all(ratio["runs"] == 1 and ratio["cpu"] > 0 and ratio["ours"]["peak_mb"] > 0 for ratio in printed["ratios"])
    assert printed["members"] == 2 * 4 * 4 * 12
    assert printed["tar, MB"] == 6
    assert printed["tar / archive, ours"] == pytest.approx(printed["tar / archive, zstd"], rel=0.1)
    assert printed["zstd of the library"] and printed["zstd, the program"][0].isdigit()
    assert sorted(path.name for path in (tmp_path / "4").glob("*.tar")) == ["33UUP_20170610.tar", "33UUP_20170611.tar"]
    assert not list(tmp_path.glob(".unfinished*"))
