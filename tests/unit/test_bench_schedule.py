"""The benchmark of scheduling runs, on three tiles; times are not asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_small_benchmark(tmp_path: Path) -> None:
    arguments = ["--tiles", "1", "--times", "2", "--folder", str(tmp_path)]
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks", "schedule", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "scripts"), str(ROOT)])},
        check=True,
        capture_output=True,
        text=True,
    )
    printed = json.loads(said.stdout.splitlines()[-1])
    assert set(printed["first"]) == set(printed["again"]) == {"1", "2"}
    assert all(one["wall_s"] > 0 for runs in ("first", "again") for one in printed[runs].values())
    assert printed["ratios_a_tile"]["cpu_s"] > 0
    # It is the real graph: every tile goes through every stage, and the second run finds nothing to do.
    done = [line.split(" s  ", 1)[1] for line in said.stderr.splitlines() if " s  " in line]
    for family in ("DownloadL1C", "ConvertToL2A", "CutPatches", "LabelPatches", "CompressPart"):
        assert len([task for task in done if task.startswith(family)]) == 3 * (3 if family == "CompressPart" else 1)
    assert done.count("FinalizeDataset()") == 2
    assert not list(tmp_path.iterdir())
