"""Make reference maps from CORINE, and labels from the maps."""

from __future__ import annotations

import logging
from typing import Any

import pandas as pd

from ben_luigi import config
from ben_luigi.domain import files
from ben_luigi.domain.tiles import nomenclature, reference_maps
from ben_luigi.stages.atmosphere import ReadProduct
from ben_luigi.stages.land_cover import land_cover_task, polygons_of
from ben_luigi.stages.land_source import names
from ben_luigi.stages.left_out import left_out
from ben_luigi.stages.patches import CutPatches, positions
from ben_luigi.stages.placement import GridPatches, patch_grid, product_row
from ben_luigi.stages.progress import Progress, report_bytes
from ben_luigi.stages.resolve import PRIORITY
from ben_luigi.stages.task import Digests, PipelineTask, TileTask
from ben_luigi.state import database
from ben_luigi.state.tile_rows import TileRows

_log = logging.getLogger(__name__)


class MakeReferenceMaps(TileTask):
    """The shard of a tile's reference maps, and the classes counted on each."""

    priority = PRIORITY["maps"]
    recipe = ("patches.side_m", "land_cover.file", "land_cover.code", "land_cover.order", "land_cover.layer")

    def requires(self) -> Any:
        """Return the patches that are written, and the land cover."""
        return [CutPatches(tile=self.tile), land_cover_task(self.tile)]

    def made_of(self) -> list[PipelineTask]:
        """Return CLC, and the place and validity of the patches, but not their pixels."""
        return [GridPatches(tile=self.tile), land_cover_task(self.tile)]

    def settings(self) -> dict[str, Any]:
        """Return which patches are written."""
        nothing = names().nothing
        return {
            "valid": CutPatches(tile=self.tile).output()["valid"].digest(),
            **({"nothing": nothing} if nothing != nomenclature.NO_CLC else {}),
        }

    def output(self) -> dict[str, Any]:
        """Return the shard with its index, and the counts."""
        return {
            "tar": self.file(f"reference_maps/{self.tile}.tar"),
            "index": self.file(f"reference_maps/{self.tile}.parquet"),
            "counts": self.rows("clc_count"),
        }

    def make(self) -> Digests:
        """Burn the polygons and count."""
        target = self.output()
        grid = patch_grid(self.tile)
        written = positions(self.tile, "valid", grid)
        counts = reference_maps.make_maps(
            polygons_of(self.tile, grid.square),
            grid,
            written,
            target["tar"].file,
            target["index"].file,
            nothing=names().nothing,
            progress=Progress(self, f"reference maps of {self.tile}", "maps", len(written)),
        )
        report_bytes(self, target["tar"].file.stat().st_size)
        target["counts"].replace(counts)
        return {"tar": target["index"].content()}


class LabelPatches(TileTask):
    """The labels of a tile's patches; none if its product fails a quality result."""

    priority = PRIORITY["labels"]
    options = ("metadata.unlabeled_limit",)
    recipe = ("land_cover.unlabeled_limit",)
    code = (nomenclature,)

    def requires(self) -> Any:
        """Return the class counts, and the product with its quality results."""
        return [MakeReferenceMaps(tile=self.tile), ReadProduct(tile=self.tile)]

    def settings(self) -> dict[str, Any]:
        """Return the classes."""
        return {"nomenclature": files.file_hash(config.nomenclature())}

    def output(self) -> TileRows:
        """Return the labels."""
        return self.rows("label")

    def make(self) -> None:
        """Derive the labels from the counts in the database."""
        counts = database.query(
            "SELECT patch_id, code, pixels FROM clc_count JOIN patch USING (patch_id) WHERE tile = %(tile)s",
            tile=self.tile,
        )
        row = product_row(self.tile)
        passed = all(row[f"{check}_quality"] == "PASSED" for check in ("general", "geometric", "radiometric", "sensor"))
        labels = names().labels(counts if passed else counts.iloc[:0], config.unlabeled_limit())
        self.output().replace(pd.DataFrame(labels))
        if labels.empty:
            text = "tile %s: none of its patches is in the dataset: %s"
            _log.warning(text, self.tile, left_out([self.tile])[self.tile])
