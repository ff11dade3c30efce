"""The patches themselves: one shard a tile."""

from __future__ import annotations

from typing import Any

import luigi
import numpy as np
import pandas as pd

from ben_luigi import config
from ben_luigi.domain import files
from ben_luigi.domain.placement.grid import PatchGrid
from ben_luigi.domain.tiles import patches
from ben_luigi.stages.atmosphere import ReadProduct, l2a_task, read, tile_settings
from ben_luigi.stages.derived import Derived
from ben_luigi.stages.placement import AlignPatches, patch_grid
from ben_luigi.stages.prerequisites import input_origin
from ben_luigi.stages.progress import Progress, report_bytes
from ben_luigi.stages.resolve import PRIORITY, TILE
from ben_luigi.state import database, schema
from ben_luigi.state.targets import MadeFile, MadeFrom, TileValidity, rows_digest


def shard_target(folder: str, tile: str, made_from: MadeFrom) -> dict[str, MadeFile]:
    """A tile's shard and its index."""
    return {name: MadeFile(f"{folder}/{tile}.{name}", made_from) for name in ("tar", "parquet")}


def positions(tile: str, where: str, grid: PatchGrid) -> np.ndarray:
    """Positions in the grid, ascending, of the tile's patches that are aligned and `where` holds."""
    found = database.query(
        f"SELECT x, y FROM patch JOIN alignment USING (patch_id) WHERE tile = %(tile)s AND {where} ORDER BY x, y",
        tile=tile,
    )
    return np.asarray(found["x"].astype("int64") * grid.patches_a_side + found["y"].astype("int64"), dtype="int64")


class CutPatches(Derived):
    """The shard of a tile's patches: valid, aligned with v1, twelve files each. It may be empty."""

    tile = luigi.Parameter(description=TILE)
    priority = PRIORITY["cut"]

    def requires(self) -> Any:
        """The product, and which patches are wanted."""
        return [l2a_task(str(self.tile)), ReadProduct(tile=self.tile), AlignPatches(tile=self.tile)]

    def output(self) -> dict[str, Any]:
        """The shard with its index, and which patches are valid."""
        made_from = {
            **tile_settings(str(self.tile)),
            "v1_spatial_dir": input_origin("v1_spatial_dir"),
            "alignment": rows_digest([AlignPatches.get_task_family()], [str(self.tile)]),
        }
        return {
            **shard_target("patches", str(self.tile), made_from),
            "valid": TileValidity(schema.PATCH, self.get_task_family(), str(self.tile), made_from),
        }

    def make(self) -> None:
        """Cut them."""
        target = self.output()
        grid = patch_grid(str(self.tile))
        wanted = positions(str(self.tile), "true", grid)
        valid = patches.cut(
            read(str(self.tile)),
            grid,
            wanted,
            target["tar"].file,
            target["parquet"].file,
            threads=int(config.tile().threads),
            progress=Progress(self, f"patches of {self.tile}", "patches", len(wanted)),
        )
        for made in (target["parquet"], target["tar"]):
            made.record(files.file_hash(target["parquet"].file))
        report_bytes(self, target["tar"].file.stat().st_size)
        ids = pd.array(grid.ids(), dtype="str")[wanted]
        target["valid"].replace(pd.DataFrame({"patch_id": ids, "valid": valid}))
