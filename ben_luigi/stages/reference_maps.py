"""Reference maps from CORINE, and the labels that follow from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import luigi
import pandas as pd

from ben_luigi import config
from ben_luigi.domain import files
from ben_luigi.domain.tiles import clc, reference_maps
from ben_luigi.domain.tiles.nomenclature import read_nomenclature
from ben_luigi.stages.atmosphere import tile_settings
from ben_luigi.stages.derived import Derived
from ben_luigi.stages.patches import CutPatches, positions, shard_target
from ben_luigi.stages.placement import patch_grid, product_row
from ben_luigi.stages.prerequisites import input_origin, input_path, input_task
from ben_luigi.stages.progress import Progress, report_bytes
from ben_luigi.stages.resolve import PRIORITY, TILE
from ben_luigi.state import database, schema
from ben_luigi.state.targets import TileRows, rows_digest


class MakeReferenceMaps(Derived):
    """The shard of a tile's reference maps, and the classes counted on each."""

    tile = luigi.Parameter(description=TILE)
    priority = PRIORITY["maps"]

    def requires(self) -> Any:
        """The patches that are written, and CLC."""
        return [CutPatches(tile=self.tile), input_task("clc_gpkg")]

    def output(self) -> dict[str, Any]:
        """The shard with its index, and the counts."""
        made_from = maps_settings(str(self.tile))
        return {
            **shard_target("reference_maps", str(self.tile), made_from),
            "counts": TileRows(schema.CLC_COUNT, self.get_task_family(), str(self.tile), made_from),
        }

    def make(self) -> None:
        """Burn the polygons and count."""
        target = self.output()
        grid = patch_grid(str(self.tile))
        written = positions(str(self.tile), "valid", grid)
        counts = reference_maps.make_maps(
            clc.read_polygons(input_path("clc_gpkg"), grid.square),
            grid,
            written,
            target["tar"].file,
            target["parquet"].file,
            progress=Progress(self, f"reference maps of {self.tile}", "maps", len(written)),
        )
        for made in (target["parquet"], target["tar"]):
            made.record(files.file_hash(target["parquet"].file))
        report_bytes(self, target["tar"].file.stat().st_size)
        target["counts"].replace(counts)


def maps_settings(tile: str) -> dict[str, Any]:
    """What the maps of a tile are made from, as far as it can be set."""
    origins = {option: input_origin(option) for option in ("v1_spatial_dir", "clc_gpkg")}
    valid = rows_digest([CutPatches.get_task_family()], [tile])
    return {**tile_settings(tile), **origins, "valid": valid}


class LabelPatches(Derived):
    """The labels of a tile's patches; none if its product fails a quality result."""

    tile = luigi.Parameter(description=TILE)
    priority = PRIORITY["labels"]

    def requires(self) -> Any:
        """The class counts."""
        return MakeReferenceMaps(tile=self.tile)

    def output(self) -> TileRows:
        """The labels."""
        options = config.metadata()
        made_from = {
            **maps_settings(str(self.tile)),
            "rows": rows_digest(["MakeReferenceMaps", "ReadProduct"], [str(self.tile)]),
            "nomenclature": files.file_hash(Path(str(options.nomenclature))),
            "unlabeled_limit": options.unlabeled_limit,
        }
        return TileRows(schema.LABEL, self.get_task_family(), str(self.tile), made_from)

    def make(self) -> None:
        """Labels from the counts in the database."""
        options = config.metadata()
        counts = database.query(
            "SELECT patch_id, code, pixels FROM clc_count JOIN patch USING (patch_id) WHERE tile = %(tile)s",
            tile=str(self.tile),
        )
        row = product_row(str(self.tile))
        passed = all(row[f"{check}_quality"] == "PASSED" for check in ("general", "geometric", "radiometric", "sensor"))
        nomenclature = read_nomenclature(Path(str(options.nomenclature)))
        labels = nomenclature.labels(counts if passed else counts.iloc[:0], float(options.unlabeled_limit))
        self.output().replace(pd.DataFrame(labels))
