"""The benchmark of a tile runs, on a tiny one; times are not asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from ben_luigi.domain.products.product import read_product

ROOT = Path(__file__).resolve().parents[2]


def bench(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "benchmarks", "tile", "--folder", str(folder), "--side-m", "3660", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "scripts"), str(ROOT)])}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def test_small_benchmark(tmp_path: Path) -> None:
    printed = json.loads(bench(tmp_path, "--runs", "1", "--no-database").splitlines()[-1])
    assert [ratio["at_most"] for ratio in printed["ratios"]] == [1.08, 0.60, 1.05, 3, 0.55, None]
    assert all(ratio["runs"] == 1 and ratio["wall"] > 0 and ratio["ours"]["peak_mb"] > 0 for ratio in printed["ratios"])
    assert printed["files a second of CPU (aim: >= 50,000)"] > 0
    assert {"cores", "python", "rasterio", "GDAL"} <= printed.keys() | printed["machine"].keys()
    (safe,) = tmp_path.glob("3660m/*.SAFE")
    made = safe.stat().st_mtime_ns
    assert read_product(safe, 3_660).passed
    assert not list(tmp_path.glob(".unfinished*"))
    bench(tmp_path, "--runs", "1", "--no-database", "--part", "maps")
    assert safe.stat().st_mtime_ns == made


def test_other_recipes_are_measured_too(tmp_path: Path) -> None:
    """The ratio of cutting has the aim of other recipes, and the product is one of that baseline, with its offset."""
    facts = {}
    for how in (["remove"], ["keep", "--patch-side-m", "600"]):
        arguments = ("--runs", "1", "--no-database", "--part", "cut", "--baseline", "05.09", "--boa-offset", *how)
        facts[how[0]] = json.loads(bench(tmp_path, *arguments).splitlines()[-1])
    assert [[ratio["at_most"] for ratio in printed["ratios"]] for printed in facts.values()] == [[1.1], [1.1]]
    assert [printed["offset removed"] for printed in facts.values()] == [-1000, 0]
    assert [printed["runs are of"].split(",")[0] for printed in facts.values()] == ["9 patches", "36 patches"]
    (safe,) = tmp_path.glob("3660m/*_N0509_*.SAFE")
    assert read_product(safe, 3_660, accept_offset=True).offset == -1000
