"""Statistics of the sample dataset, counted part by part in its run, are those that numpy finds in all its pixels."""

from __future__ import annotations

import json

import numpy as np

from tests.integration.running import Run
from tests.unit.test_statistics import of_numpy, pixels


def test_all_pixels_of_the_sample(sample_run: Run) -> None:
    said = json.loads((sample_run.data / "archives" / "statistics.json").read_text())["bands"]
    found = {(band, part): values for band, about in said.items() for part, values in about["statistics"].items()}
    expected = pixels(sample_run.data / "dataset")
    assert found.keys() == expected.keys() and len(said) == 12 + 2
    for key, values in expected.items():
        finite = values[np.isfinite(values)]
        not_finite = {"not_finite": values.size - finite.size} if values.dtype == "float32" else {}
        assert found[key] == {**of_numpy(finite), **not_finite}, key
