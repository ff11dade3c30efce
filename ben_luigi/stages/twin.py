"""Compare the pixels of the dataset with those of another one of the same squares: its twin."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ben_luigi import config
from ben_luigi.domain.dataset import registration, twin
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.formats.tables import read_own
from ben_luigi.stages.patches import CutPatches
from ben_luigi.stages.progress import Progress
from ben_luigi.stages.resolve import PRIORITY, OverTiles, tiles
from ben_luigi.stages.task import PipelineTask
from ben_luigi.state import contents
from ben_luigi.state.cache import at_hand
from ben_luigi.state.targets import MadeFile

_log = logging.getLogger(__name__)


class ComparePixels(OverTiles):
    """`metadata/pixel_differences.csv`: shift, offset, scale and correlation per band beside another dataset's pixels.

    It is the dataset in `[inputs] compare_with_dir`; the same table is beside it in Parquet.
    """

    priority = PRIORITY["metadata"]
    code = (twin, registration)

    def requires(self) -> Any:
        """Return the patches. Raise BadInput, before anything is made, if there is nothing to compare with."""
        pixels()
        return super().requires()

    def tile_tasks(self) -> list[PipelineTask]:
        """Return the patches."""
        return [CutPatches(tile=tile) for tile in tiles()]

    def settings(self) -> dict[str, Any]:
        """Return the signature of the other dataset's pixels."""
        return {"compared_with": contents.signature(pixels())}

    def output(self) -> dict[str, MadeFile]:
        """Return the table in both formats."""
        return {kind: self.file(f"metadata/pixel_differences.{kind}") for kind in ("csv", "parquet")}

    def make(self) -> None:
        """Compare, and log what differs."""
        shards = {tile: CutPatches(tile=tile).output()["tar"].file for tile in tiles()}
        table = twin.compare(shards, pixels().parent, Progress(self, "comparing pixels"), at_hand)
        target = self.output()
        twin.write(table, target["csv"].file, target["parquet"].file)
        for line in twin.lines(table):
            _log.info("%s", line)

    def result_lines(self) -> list[str]:
        """Return the paths, and the rows of all tiles together."""
        return [*super().result_lines(), *twin.lines(read_own(self.output()["parquet"].check()))]


def twins() -> list[ComparePixels]:
    """Return the comparison, if `[inputs] compare_with_dir` has pixels; a subset is not compared."""
    folder = config.given_input("compare_with_dir")
    if folder is None or config.selection():
        return []
    return [ComparePixels()] if twin.pixels_in(folder) is not None or not config.recipe().is_default else []


def pixels() -> Path:
    """Return the archive or folder with the other dataset's patches. Raise BadInput if there is none."""
    folder = config.given_input("compare_with_dir")
    found = twin.pixels_in(folder) if folder is not None else None
    if found is None:
        raise BadInput(
            folder or "[inputs] compare_with_dir",
            expected="the folder of a dataset of the same squares, with BigEarthNet-S2.tar.zst or BigEarthNet-S2/",
            found="neither" if folder is not None else "nothing",
            remedy="correct [inputs] compare_with_dir, or leave it out",
        )
    return found
