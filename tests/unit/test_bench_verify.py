"""The benchmark of verifying runs, on a tile of four patches; times are not asserted."""

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
    options = ["--folder", str(tmp_path), "--patches-a-side", "2", "--runs", "1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "scripts"), str(ROOT)])}
    command = [sys.executable, "-m", "benchmarks", "verify", *options]
    said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    printed = json.loads(said.splitlines()[-1])
    assert printed["patches"] == 4
    assert printed["tars, MB"] == pytest.approx(4 * (172 + 2 * 57.6 + 32) / 1000, rel=0.2)
    (ratio,) = printed["ratios"]
    assert ratio["ours"]["cpu_s"] > 0 and ratio["reference"]["cpu_s"] > 0
