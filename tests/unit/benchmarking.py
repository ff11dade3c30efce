"""Run a benchmark, small, as `scripts/bench` does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the benchmark; what it says are its output and its errors."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "scripts"), str(ROOT)])}
    command = [sys.executable, "-m", "benchmarks", *arguments]
    run = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run


def figures(said: str) -> dict[str, Any]:
    """Return the last line, which programs read."""
    return dict(json.loads(said.splitlines()[-1]))


def measured(*arguments: str) -> dict[str, Any]:
    """Run the benchmark, and return its figures; each of its ratios is of one run, and is one."""
    found = figures(bench(*arguments, "--runs", "1").stdout)
    assert all(ratio["runs"] == 1 and ratio["wall"] > 0 and ratio["cpu"] > 0 for ratio in found["ratios"])
    assert all(ratio[which]["peak_mb"] > 0 for ratio in found["ratios"] for which in ("ours", "reference"))
    return found
