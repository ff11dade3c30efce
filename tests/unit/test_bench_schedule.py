"""The benchmark of scheduling runs, on three tiles; times are not asserted."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

import pytest

from benchmarks.metadata import require_products
from tests.unit.benchmarking import bench, figures


def test_the_beginning_of_a_run(tmp_path: Path) -> None:
    said = bench("schedule", "--tiles", "3", "--times", "2", "--most", "20", "--folder", str(tmp_path))
    printed = figures(said.stdout)
    assert set(printed["beginnings"]) == {"3", "6"}
    assert printed["ratios_a_task"]["wall_s"] > 0
    begun = [line for line in said.stderr.splitlines() if " s  " in line]
    assert 2 * 15 < len(begun) < 2 * 60, "20 of each have begun, after inputs and lists; two are under way"
    assert not list(tmp_path.iterdir())


def test_small_benchmark(tmp_path: Path) -> None:
    said = bench("schedule", "--tiles", "1", "--times", "2", "--folder", str(tmp_path))
    printed = figures(said.stdout)
    assert set(printed["first"]) == set(printed["again"]) == {"1", "2"}
    assert all(one["wall_s"] > 0 for runs in ("first", "again") for one in printed[runs].values())
    assert printed["ratios_a_tile"]["cpu_s"] > 0
    # It is the real graph: every tile goes through every stage, and the second run finds nothing to do.
    done = [line.split(" s  ", 1)[1] for line in said.stderr.splitlines() if " s  " in line]
    for family in ("DownloadL1C", "ConvertToL2A", "CutPatches", "LabelPatches", "CompressPart"):
        assert len([task for task in done if task.startswith(family)]) == 3 * (3 if family == "CompressPart" else 1)
    assert done.count("FinalizeDataset()") == 2
    assert not list(tmp_path.iterdir())


def test_more_tiles_than_can_be_made_up_are_refused() -> None:
    parser = ArgumentParser()
    require_products(parser, 9_527)
    with pytest.raises(SystemExit):
        require_products(parser, 9_528)
