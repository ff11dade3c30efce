"""The benchmark of the metadata runs, on one tile and on two; times are not asserted."""

from __future__ import annotations

from tests.unit.benchmarking import measured


def test_small_benchmark() -> None:
    printed = measured("metadata", "--tiles", "1", "--times", "2")
    assert [ratio["at_most"] for ratio in printed["ratios"]] == [None, 2.0]
    assert printed["patches"] == 91**2
    assert {"grid, split", "country", "alignment", "join, both files"} <= printed.keys()
