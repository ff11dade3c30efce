"""The benchmark of a tile runs, on a tiny one; times are not asserted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ben_luigi.domain.products.product import read_product
from tests.unit.benchmarking import measured


def of_tile(folder: Path, *arguments: str) -> dict[str, Any]:
    return measured("tile", "--folder", str(folder), "--side-m", "3660", "--no-database", *arguments)


def test_small_benchmark(tmp_path: Path) -> None:
    printed = of_tile(tmp_path)
    assert [ratio["at_most"] for ratio in printed["ratios"]] == [1.08, 0.60, 1.05, 3, 0.55, None]
    assert printed["files a second of CPU (aim: >= 50,000)"] > 0
    assert {"cores", "python", "rasterio", "GDAL"} <= printed.keys() | printed["machine"].keys()
    (safe,) = tmp_path.glob("3660m/*.SAFE")
    made = safe.stat().st_mtime_ns
    assert read_product(safe, 3_660).passed
    assert not list(tmp_path.glob(".unfinished*"))
    of_tile(tmp_path, "--part", "maps")
    assert safe.stat().st_mtime_ns == made


def test_other_recipes_are_measured_too(tmp_path: Path) -> None:
    """The ratio of cutting has the aim of other recipes, and the product is one of that baseline, with its offset."""
    facts = {}
    for how in (["remove"], ["keep", "--patch-side-m", "600"]):
        facts[how[0]] = of_tile(tmp_path, "--part", "cut", "--baseline", "05.09", "--boa-offset", *how)
    assert [[ratio["at_most"] for ratio in printed["ratios"]] for printed in facts.values()] == [[1.1], [1.1]]
    assert [printed["offset removed"] for printed in facts.values()] == [-1000, 0]
    assert [printed["runs are of"].split(",")[0] for printed in facts.values()] == ["9 patches", "36 patches"]
    (safe,) = tmp_path.glob("3660m/*_N0509_*.SAFE")
    assert read_product(safe, 3_660, accept_offset=True).offset == -1000
