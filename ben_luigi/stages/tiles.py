"""Process all tiles: the one place that fans out."""

from __future__ import annotations

from ben_luigi import config
from ben_luigi.stages.atmosphere import ReadProduct
from ben_luigi.stages.layers import CutSentinel1, OfLayer
from ben_luigi.stages.patches import CutPatches
from ben_luigi.stages.placement import (
    AlignPatches,
    AssignCountries,
    AssignSplits,
    ClassifyPatches,
    FindSentinel1,
    GridPatches,
    SelectPatches,
)
from ben_luigi.stages.rasters import cuts_sentinel1, has_own_sentinel1
from ben_luigi.stages.reference_maps import LabelPatches, MakeReferenceMaps
from ben_luigi.stages.resolve import OverTiles, known_tiles, tiles
from ben_luigi.stages.task import PipelineTask, TileTask

KEPT: tuple[type[TileTask], ...] = (
    LabelPatches,
    CutSentinel1,
    MakeReferenceMaps,
    CutPatches,
    AssignSplits,
    AssignCountries,
    AlignPatches,
    SelectPatches,
    FindSentinel1,
    ClassifyPatches,
    GridPatches,
    ReadProduct,
)
"""What may be made of each tile and kept to the end. Products may go once they have been cut."""


def kept() -> list[type[TileTask] | OfLayer]:
    """Return what is made of each tile by the recipe, and kept to the end."""
    recipe = config.recipe()
    left_out: dict[type[TileTask], bool] = {
        AlignPatches: not recipe.is_aligned,
        SelectPatches: recipe.is_aligned,
        AssignCountries: recipe.countries.file is None,
        FindSentinel1: not has_own_sentinel1(),
        CutSentinel1: not cuts_sentinel1(),
    }
    return [*(OfLayer(layer.name) for layer in config.all_layers()), *(task for task in KEPT if not left_out.get(task))]


class ProcessTiles(OverTiles):
    """Every tile's rows and shards. It has no result of its own: it is complete when each of them is."""

    def tile_tasks(self) -> list[PipelineTask]:
        """Return what is needed of every tile, even if a later result exists without it."""
        return [task(tile=tile) for tile in tiles() for task in kept()]

    def is_there(self) -> bool:
        """Return whether nothing is missing for any tile."""
        return bool(known_tiles()) and all(task.complete() for task in self.tile_tasks())

    def make(self) -> None:
        """Do nothing: everything is complete."""


def of_all_tiles(*tasks: type[TileTask] | OfLayer) -> list[PipelineTask]:
    """Return these tasks for all tiles; none while the list of products does not exist."""
    return [task(tile=tile) for tile in known_tiles() for task in tasks]
