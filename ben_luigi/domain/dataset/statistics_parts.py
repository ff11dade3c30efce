"""The file of statistics, and the parts of a dataset that it has statistics of."""

from __future__ import annotations

from ben_luigi.domain.vocabulary import SPLITS

STATISTICS = "statistics.json"
OVERALL, FLAGGED = "overall", "flagged"
"""All patches of the first file of metadata; those of the second one, with snow, cloud or shadow."""

PARTS = (*SPLITS, FLAGGED)
"""The parts that have no patch in common."""
