"""The benchmark of loading rows runs, on one tile; times are not asserted."""

from __future__ import annotations

from tests.unit.benchmarking import measured


def test_small_benchmark() -> None:
    printed = measured("database", "--tiles", "1")
    tables = ["patch", "split", "country", "alignment", "clc_count"]
    assert [ratio["name"] for ratio in printed["ratios"]] == [f"{table} / bare COPY" for table in tables]
    assert [ratio["at_most"] for ratio in printed["ratios"]] == [2.0] * len(tables)
    assert printed["patch"].startswith("8,281 rows")
