"""Cut the patches: one shard per tile."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ben_luigi import config
from ben_luigi.domain import files
from ben_luigi.domain.placement.grid import PatchGrid
from ben_luigi.domain.tiles import patches
from ben_luigi.stages.atmosphere import ReadProduct, l2a_task, read, removed_offset, removes_offset
from ben_luigi.stages.placement import patch_grid, selecting
from ben_luigi.stages.progress import Progress, report_bytes
from ben_luigi.stages.resolve import PRIORITY
from ben_luigi.stages.task import Digests, TileTask
from ben_luigi.state import database
from ben_luigi.state.tile_rows import TileValidity

_log = logging.getLogger(__name__)


def positions(tile: str, where: str, grid: PatchGrid) -> np.ndarray:
    """Return the positions in the grid, ascending, of the tile's selected patches for which the SQL `where` holds.

    They are those aligned with v1, or all, as the recipe says.
    """
    found = database.query(
        f"SELECT x, y FROM patch JOIN alignment USING (patch_id) WHERE tile = %(tile)s AND {where} ORDER BY x, y",
        tile=tile,
    )
    return grid.positions(found["x"].to_numpy(), found["y"].to_numpy())


def note_clipped(tile: str, file: Path, offset: int, pixels: int) -> None:
    """Write which offset was added to the pixels of a tile, and how many would have become 0 or negative."""
    files.write_json(file, {"offset": offset, "clipped_pixels": pixels})
    if pixels:
        _log.warning("tile %s: %d pixels of all bands are 1, since they were %d or less", tile, pixels, -offset)


class CutPatches(TileTask):
    """The shard of a tile's patches: valid, and aligned with v1 if the recipe says so, twelve files each.

    It may be empty.
    """

    priority = PRIORITY["cut"]
    recipe = ("patches", "products.boa_offset")

    def requires(self) -> Any:
        """Return the product, and the alignment or the selection, which says which patches are wanted."""
        return [l2a_task(self.tile), ReadProduct(tile=self.tile), selecting(self.tile)]

    def output(self) -> dict[str, Any]:
        """Return the shard with its index, and the rows that say which patches are valid.

        Where the recipe removes the offset of pixels, also how many of them became 1 by that.
        """
        clipped = {"clipped": self.file(f"patches/{self.tile}.clipped.json")} if removes_offset() else {}
        return {
            **clipped,
            "tar": self.file(f"patches/{self.tile}.tar"),
            "index": self.file(f"patches/{self.tile}.parquet"),
            "valid": TileValidity("patch", self.tile, self),
        }

    def make(self) -> Digests:
        """Cut the patches."""
        target = self.output()
        grid = patch_grid(self.tile)
        wanted = positions(self.tile, "true", grid)
        clipped: list[int] = []
        with l2a_task(self.tile).reading():
            product = read(self.tile)
            valid = patches.cut(
                product,
                grid,
                wanted,
                target["tar"].file,
                target["index"].file,
                threads=int(config.tile().threads),
                offset=removed_offset(product),
                clipped=clipped.append,
                progress=Progress(self, f"patches of {self.tile}", "patches", len(wanted)),
            )
        if "clipped" in target:
            note_clipped(self.tile, target["clipped"].file, removed_offset(product), sum(clipped))
        report_bytes(self, target["tar"].file.stat().st_size)
        ids = pd.array(grid.ids(), dtype="str")[wanted]
        target["valid"].replace(pd.DataFrame({"patch_id": ids, "valid": valid}))
        return {"tar": target["index"].content()}
