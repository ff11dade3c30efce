"""The benchmark of the forms runs, on a tiny tile; times are not asserted."""

from __future__ import annotations

from pathlib import Path

import pytest

from ben_luigi.domain import libraries
from ben_luigi.domain.forms.export import FORMS
from tests.unit.benchmarking import bench, figures


def test_small_benchmark(tmp_path: Path) -> None:
    for library in {library for form in FORMS.values() for library in form.libraries}:
        pytest.importorskip(libraries.module(library), reason=f"{library} is not installed")
    said = bench("forms", "--folder", str(tmp_path), "--patches-a-side", "4", "--runs", "1").stdout
    rows = {*FORMS, "parquet, arrays", "parquet, raw", "unpacked TIFFs"}
    table = [line.split("|")[1].strip() for line in said.splitlines() if line.startswith("| ")]
    assert table[:2] == ["form", "---"] and set(table[2:]) == rows
    printed = figures(said)
    assert printed["patches"] == 4 * 4
    assert all(printed[f"CPU ms per patch, {name}"] > 0 for name in rows)
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith((".unfinished", "forms"))]
