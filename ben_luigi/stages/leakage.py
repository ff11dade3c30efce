"""Find split leakage: patches of different tiles that show the same ground and are in different splits."""

from __future__ import annotations

import json
import logging
from typing import Any

from ben_luigi.domain import files
from ben_luigi.domain.dataset import leakage
from ben_luigi.stages.open_metadata import WritePatches
from ben_luigi.stages.progress import Progress
from ben_luigi.stages.resolve import PRIORITY
from ben_luigi.stages.task import PipelineTask
from ben_luigi.state import database
from ben_luigi.state.tile_rows import WholeTable

_log = logging.getLogger(__name__)
LEAKS = """
SELECT patch_id_a, split_a, patch_id_b, split_b, overlap, same_season::text FROM overlap WHERE split_a <> split_b
ORDER BY patch_id_a COLLATE "C", patch_id_b COLLATE "C"
"""
"""SQL: the pairs in different splits, as the CSV lists them."""


class FindSplitLeakage(PipelineTask):
    """`split_leakage.csv` and `.json`: overlapping patches in different splits, and how many overlap at all.

    It covers the whole dataset and is not made for a subset.
    """

    priority = PRIORITY["metadata"]
    code = (leakage,)

    def requires(self) -> Any:
        """Return the patches of the dataset."""
        return WritePatches()

    def output(self) -> dict[str, Any]:
        """Return the rows, the list, and the counts."""
        lists = {"list": self.file("metadata/split_leakage.csv"), "counts": self.file("metadata/split_leakage.json")}
        return {"rows": WholeTable("overlap", self), **lists}

    def make(self) -> None:
        """Find the pairs, store and list them, and log their number."""
        target = self.output()
        patches = leakage.read_patches(WritePatches().output().check())
        found = leakage.overlaps(patches, Progress(self, "comparing the places of patches"))
        target["rows"].replace(found.leaks)
        database.copy_out(LEAKS, target["list"].file)
        files.write_json(target["counts"].file, found.counts)
        counts = ", ".join(f"{number} {what.replace('_', ' ')}" for what, number in found.counts.items())
        _log.info("split leakage: %s; leaks are listed in %s", counts, target["list"].file)


def leakage_counts() -> dict[str, int]:
    """Return how many pairs of patches overlap, and how many of them leak."""
    counts: dict[str, int] = json.loads(FindSplitLeakage().output()["counts"].check().read_text(encoding="utf-8"))
    return counts
