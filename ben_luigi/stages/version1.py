"""Compare the labels of BigEarthNet v1, if the user has it, with ours."""

from __future__ import annotations

from typing import Any

from ben_luigi import config
from ben_luigi.domain import files
from ben_luigi.domain.dataset import version1
from ben_luigi.domain.formats.tables import read_own
from ben_luigi.domain.tiles.nomenclature import read_nomenclature
from ben_luigi.stages.placement import AlignPatches
from ben_luigi.stages.prerequisites import ExtractV1Metadata
from ben_luigi.stages.reference_maps import MakeReferenceMaps
from ben_luigi.stages.resolve import PRIORITY, tiles
from ben_luigi.stages.task import PipelineTask
from ben_luigi.stages.tiles import ProcessTiles, of_all_tiles
from ben_luigi.state import database
from ben_luigi.state.targets import MadeFile


class CompareV1Labels(PipelineTask):
    """`v1_label_comparison.csv`: on how many patches v1 and the reference maps have each of CLC's classes."""

    priority = PRIORITY["metadata"]
    code = (version1,)

    def requires(self) -> Any:
        """Return all tiles, and v1."""
        return [ProcessTiles(), ExtractV1Metadata()]

    def made_of(self) -> list[PipelineTask]:
        """Return the pairs, the counts, and v1."""
        return [*of_all_tiles(AlignPatches, MakeReferenceMaps), ExtractV1Metadata()]

    def settings(self) -> dict[str, Any]:
        """Return the classes."""
        return {"nomenclature": files.file_hash(config.nomenclature())}

    def output(self) -> MadeFile:
        """Return the table."""
        return self.file("metadata/v1_label_comparison.csv")

    def make(self) -> None:
        """Count the patches."""
        ours = database.query(
            "SELECT v1_name, code, pixels FROM clc_count JOIN alignment USING (patch_id) JOIN patch USING (patch_id) "
            "WHERE tile = ANY(%(tiles)s)",
            tiles=list(tiles()),
        )
        v1 = read_own(ExtractV1Metadata().output().file / version1.LABELS)
        table = version1.compare_labels(v1, ours, read_nomenclature(config.nomenclature()))
        files.write_text(self.output().file, table.to_csv(index=False, lineterminator="\n"))
