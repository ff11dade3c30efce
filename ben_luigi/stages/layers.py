"""Cut Sentinel-1 and further layers from rasters on the grid of the patches: one shard per tile and kind."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import luigi
import numpy as np

from ben_luigi import config
from ben_luigi.domain import files, leftovers
from ben_luigi.domain.dataset import sentinel1
from ben_luigi.domain.errors import BadName, some
from ben_luigi.domain.formats import shards
from ben_luigi.domain.names import PatchId
from ben_luigi.domain.placement.grid import PatchGrid
from ben_luigi.domain.products import l1c, layer_files
from ben_luigi.domain.recipe.model import Layer
from ben_luigi.domain.tiles import layers, product_layers
from ben_luigi.domain.tiles.layers import Source
from ben_luigi.stages.atmosphere import l2a_task, product_folder
from ben_luigi.stages.download import l1c_task
from ben_luigi.stages.patches import CutPatches, positions
from ben_luigi.stages.placement import GridPatches, patch_grid
from ben_luigi.stages.progress import Progress, report_bytes
from ben_luigi.stages.rasters import layer_named, layer_source, layer_tasks, radar_sources, radar_tasks
from ben_luigi.stages.resolve import PRIORITY, product_of
from ben_luigi.stages.task import Digests, PipelineTask, TileTask
from ben_luigi.state.targets import MadeFile

_log = logging.getLogger(__name__)
_L1C = "l1c"
_Where: TypeAlias = tuple[PatchGrid, np.ndarray, Path, Path]
"""The grid of a tile, the positions in it of the patches that are written, and the shard with its index."""


class _Cutting(TileTask):
    """A shard of what rasters have on the patches of a tile that are written."""

    priority = PRIORITY["maps"]
    revision = 2  # since then a mask counts beside a value for no data

    def requires(self) -> Any:
        """Return the patches that are written, and the rasters."""
        return [CutPatches(tile=self.tile), *self.given()]

    def made_of(self) -> list[PipelineTask]:
        """Return the rasters, and the place and validity of the patches, but not their pixels."""
        return [GridPatches(tile=self.tile), *self.given()]

    def settings(self) -> dict[str, Any]:
        """Return which patches are written."""
        return {"valid": CutPatches(tile=self.tile).output()["valid"].digest()}

    def given(self) -> list[PipelineTask]:
        """Return the tasks that stand for the content of the rasters."""
        raise NotImplementedError

    def folder_of_shards(self) -> str:
        """Return the folder of the shards, relative to the data folder."""
        raise NotImplementedError

    def sources(self) -> list[Source]:
        """Return the rasters, which exist."""
        raise NotImplementedError

    def name_of(self, patch: PatchId, kind: str) -> str:
        """Return the member name of a patch's file."""
        raise NotImplementedError

    def output(self) -> dict[str, MadeFile]:
        """Return the shard with its index."""
        folder = self.folder_of_shards()
        return {"tar": self.file(f"{folder}/{self.tile}.tar"), "index": self.file(f"{folder}/{self.tile}.parquet")}

    def make(self) -> Digests:
        """Cut the rasters."""
        target = self.output()
        grid = patch_grid(self.tile)
        written = positions(self.tile, "valid", grid)
        where = grid, written, target["tar"].file, target["index"].file
        self.cut(where, Progress(self, f"{self} of {self.tile}", "patches", len(written)))
        report_bytes(self, target["tar"].file.stat().st_size)
        return {"tar": target["index"].content()}

    def cut(self, where: _Where, progress: Progress) -> None:
        """Cut the patches that are written to the shard."""
        sources = self.sources()
        for source in sources:
            if scale := source.unapplied_scale():
                _log.warning(
                    "%s of %s: %s says %s, which are not applied: patches have the values that are stored. To have "
                    "others, name a raster in the recipe that gdal_translate -unscale -ot Float32 makes of it",
                    self,
                    self.tile,
                    source.path,
                    scale,
                )
        layers.cut(sources, *where, self.name_of, progress=progress)


class CutSentinel1(_Cutting):
    """The shard of a tile's Sentinel-1 patches, where the recipe cuts them from rasters: VH and VV."""

    recipe = ("patches.side_m", "sentinel1")

    def given(self) -> list[PipelineTask]:
        """Return the tasks that stand for the content of the rasters."""
        return radar_tasks(self.tile)

    def folder_of_shards(self) -> str:
        """Return the folder of the shards, relative to the data folder."""
        return "s1"

    def sources(self) -> list[Source]:
        """Return the rasters, which exist."""
        return radar_sources(product_of(self.tile), must_exist=True)

    def name_of(self, patch: PatchId, kind: str) -> str:
        """Return the member name of a patch's file."""
        return sentinel1.member_name(str(patch), kind)


class CutLayer(_Cutting):
    """The shard of a further layer of a tile's patches: cut from a raster, or as the tile's product has it."""

    layer: str = luigi.Parameter(description="name of the layer")
    recipe = ("patches.side_m",)

    def check_arguments(self) -> None:
        """Raise BadName if the recipe has no such layer."""
        self._layer()

    def settings(self) -> dict[str, Any]:
        """Return which patches are written, and how the layer is cut."""
        layer = self._layer()
        if layer.of_product:
            return {**super().settings(), **({"skips": True} if config.skips_missing_layers() else {})}
        how = {name: getattr(layer, name) for name in ("resolution_m", "resampling", "dtype", "nodata")}
        return {**super().settings(), **how, **({} if layer.band is None else {"band": layer.band})}

    def given(self) -> list[PipelineTask]:
        """Return the task that stands for the content of the raster, or that of the product."""
        layer = self._layer()
        if layer.of_product:
            return [l1c_task(self.tile) if layer.name == _L1C else l2a_task(self.tile)]
        return layer_tasks(layer, self.tile)

    def cut(self, where: _Where, progress: Progress) -> None:
        """Cut it from the raster, or from the product."""
        layer = self._layer()
        if not layer.of_product:
            super().cut(where, progress)
        elif layer.name == _L1C:
            self._cut_l1c(layer, where, progress)
        else:
            with l2a_task(self.tile).reading():
                self._cut_from(product_folder(self.tile), layer, where, progress)

    def folder_of_shards(self) -> str:
        """Return the folder of the shards, relative to the data folder."""
        return f"layers/{self.layer}"

    def sources(self) -> list[Source]:
        """Return the raster, which exists."""
        return [layer_source(self._layer(), product_of(self.tile), must_exist=True)]

    def name_of(self, patch: PatchId, kind: str) -> str:
        """Return the member name of a patch's file."""
        return layers.member_name(patch, kind)

    def _cut_l1c(self, layer: Layer, where: _Where, progress: Progress) -> None:
        """Unpack the L1C product beside its shard, and cut it."""
        work = leftovers.fresh(config.data_dir() / self.folder_of_shards() / f".work-{self.tile}")
        with (product := l1c_task(self.tile)).reading():
            safe = l1c.unpack(product.product_path(), work)
            self._cut_from(safe, layer, where, progress)
        files.remove(work)

    def _cut_from(self, safe: Path, layer: Layer, where: _Where, progress: Progress) -> None:
        """Cut it from a product. If that lacks it, and may, the shard is empty."""
        grid, written, shard, index = where
        if config.skips_missing_layers() and layer_files.has_none(layer, safe):
            _log.warning(
                "%s: %s has no layer %s, so its patches have none ([layers] missing = skip)",
                self.tile,
                safe.name,
                layer.name,
            )
            with shards.writing(shard, index):
                return
        threads = int(config.tile().threads)
        product_layers.cut(layer, safe, grid, written, shard, index, threads=threads, progress=progress)

    def _layer(self) -> Layer:
        return require_layer(self.layer)


def require_layer(name: str) -> Layer:
    """Return a further layer of the dataset. Raise BadName if it has none of this name."""
    found = layer_named(name)
    if found is None:
        known = some((layer.name for layer in config.all_layers()), 10) or "none"
        raise BadName(
            f"layer {name}", expected=f"one of the dataset: {known}", found="another", remedy="correct --layer"
        )
    return found


@dataclass(frozen=True)
class OfLayer:
    """What makes the task of one layer, given a tile, as a class of tasks does."""

    layer: str

    def __call__(self, *, tile: str) -> CutLayer:
        """Return the task of a tile."""
        return CutLayer(tile=tile, layer=self.layer)

    def get_task_family(self) -> str:
        """Return the name of these tasks."""
        return f"{CutLayer.get_task_family()} {self.layer}"
