"""Cut the patches: one shard per tile."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ben_luigi import config
from ben_luigi.domain.placement.grid import PatchGrid
from ben_luigi.domain.tiles import patches
from ben_luigi.stages.atmosphere import ReadProduct, l2a_task, read
from ben_luigi.stages.placement import patch_grid, selecting
from ben_luigi.stages.progress import Progress, report_bytes
from ben_luigi.stages.resolve import PRIORITY
from ben_luigi.stages.task import Digests, TileTask
from ben_luigi.state import database, schema
from ben_luigi.state.tile_rows import TileValidity


def positions(tile: str, where: str, grid: PatchGrid) -> np.ndarray:
    """Return the positions in the grid, ascending, of the tile's selected patches for which the SQL `where` holds.

    They are those aligned with v1, or all, as the recipe says.
    """
    found = database.query(
        f"SELECT x, y FROM patch JOIN alignment USING (patch_id) WHERE tile = %(tile)s AND {where} ORDER BY x, y",
        tile=tile,
    )
    return grid.positions(found["x"].to_numpy(), found["y"].to_numpy())


class CutPatches(TileTask):
    """The shard of a tile's patches: valid, and aligned with v1 if the recipe says so, twelve files each.

    It may be empty.
    """

    priority = PRIORITY["cut"]
    recipe = ("patches",)

    def requires(self) -> Any:
        """Return the product, and the alignment or the selection, which says which patches are wanted."""
        return [l2a_task(self.tile), ReadProduct(tile=self.tile), selecting(self.tile)]

    def output(self) -> dict[str, Any]:
        """Return the shard with its index, and the rows that say which patches are valid."""
        return {
            "tar": self.file(f"patches/{self.tile}.tar"),
            "index": self.file(f"patches/{self.tile}.parquet"),
            "valid": TileValidity(schema.PATCH, self.tile, self),
        }

    def make(self) -> Digests:
        """Cut the patches."""
        target = self.output()
        grid = patch_grid(self.tile)
        wanted = positions(self.tile, "true", grid)
        with l2a_task(self.tile).reading():
            valid = patches.cut(
                read(self.tile),
                grid,
                wanted,
                target["tar"].file,
                target["index"].file,
                threads=int(config.tile().threads),
                progress=Progress(self, f"patches of {self.tile}", "patches", len(wanted)),
            )
        report_bytes(self, target["tar"].file.stat().st_size)
        ids = pd.array(grid.ids(), dtype="str")[wanted]
        target["valid"].replace(pd.DataFrame({"patch_id": ids, "valid": valid}))
        return {"tar": target["index"].content()}
