"""The benchmark of downloads runs, on few bytes; times are not asserted."""

from __future__ import annotations

import shutil

import pytest

from tests.unit.benchmarking import measured


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
@pytest.mark.parametrize(("how", "reference"), [([], "curl"), (["--files"], "curl --parallel")])
def test_small_benchmark(how: list[str], reference: str) -> None:
    (ratio,) = measured("download", "--megabytes", "2", *how)["ratios"]
    assert ratio["name"].endswith(f" / {reference}")
