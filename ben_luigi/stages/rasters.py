"""Rasters and folders that a recipe names besides products and land cover: which a tile has, and their content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import luigi

from ben_luigi import config
from ben_luigi.domain import files, given
from ben_luigi.domain.dataset import sentinel1
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.names import TileName
from ben_luigi.domain.recipe.model import FROM_FOLDER, FROM_RASTERS, Layer
from ben_luigi.domain.tiles import raster_files
from ben_luigi.domain.tiles.layers import Source
from ben_luigi.stages.progress import Progress
from ben_luigi.stages.resolve import product_of
from ben_luigi.stages.task import Digests, PipelineTask
from ben_luigi.state import contents
from ben_luigi.state.targets import MadeFile

_PIXEL_M = 10
"""A pixel of Sentinel-1, as in BigEarthNet-S1."""

_DTYPE = "float32"
_SENTINEL1 = "sentinel1"
_WHERE = f"[{_SENTINEL1}]"


class HashGiven(PipelineTask):
    """The hash of a raster's or folder's content, computed once and again when its files have changed.

    What does not exist any more contradicts nothing: what was made of it stays true.
    """

    path: str = luigi.Parameter(description="absolute path of a raster or folder that the recipe names")

    def settings(self) -> dict[str, Any]:
        """Return the signature of the files."""
        if not self._is_gone():
            return {"files": contents.signature(Path(self.path))}
        return {"files": self.output().recorded().get("made_from", {}).get("files", "")}

    def is_there(self) -> bool:
        """Return whether it exists, and was hashed."""
        return not self._is_gone() and super().is_there()

    def output(self) -> MadeFile:
        """Return name and hash."""
        return self.file(f"inputs/given/{files.text_hash(self.path)[:16]}.json")

    def make(self) -> Digests:
        """Hash all files; of a folder with very many only what its upper level says."""
        if self._is_gone():
            raise BadInput(
                self.path, expected="what the recipe names", found=given.kind(Path(self.path)), remedy="put it there"
            )
        path = Path(self.path)
        sha256 = contents.sha256(path, Progress(self, f"reading {path.name}", "B").at)
        files.write_json(self.output().file, {"name": path.name, "sha256": sha256})
        return {"": sha256}

    def _is_gone(self) -> bool:
        return not Path(self.path).exists()


def has_own_sentinel1() -> bool:
    """Return whether Sentinel-1 comes from a folder or from rasters, not by way of v1."""
    return config.recipe().sentinel1.source in (FROM_FOLDER, FROM_RASTERS)


def cuts_sentinel1() -> bool:
    """Return whether Sentinel-1 patches are cut from rasters."""
    return config.recipe().sentinel1.source == FROM_RASTERS


def sentinel1_folder() -> Path | None:
    """Return the folder of Sentinel-1 patches that the recipe names."""
    wanted = config.recipe().sentinel1
    return Path(wanted.file) if wanted.source == FROM_FOLDER else None


def layer_named(name: str) -> Layer | None:
    """Return the layer of this name, if the dataset has one."""
    return next((layer for layer in config.all_layers() if layer.name == name), None)


def of_product() -> dict[str, list[str]]:
    """Return the layers that are taken from each product, for fingerprints; empty if there are none."""
    found = [layer.name for layer in config.product_layers()]
    return {"of_product": found} if found else {}


def radar_sources(tile: TileName, *, must_exist: bool = False) -> list[Source]:
    """Return the rasters of VH and VV that the patches of a tile are cut from.

    With `must_exist` raise BadInput if one is not there; else its supposed path is returned.
    """
    wanted = config.recipe().sentinel1
    found = []
    for band in sentinel1.BANDS:
        given_by = wanted.file, tile, wanted.max_days
        path = (
            raster_files.nearest(*given_by, where=_WHERE, polarisation=band)
            if must_exist
            else raster_files.supposed(*given_by, polarisation=band)
        )
        found.append(Source(band, path, _PIXEL_M, wanted.resampling, _DTYPE, None, _WHERE, wanted.band))
    return found


def layer_source(layer: Layer, tile: TileName, *, must_exist: bool = False) -> Source:
    """Return the raster that a layer of a tile is cut from; `must_exist` is as for `radar_sources`."""
    given_by = layer.path, tile, layer.max_days
    where = f"[layers.{layer.name}]"
    path = raster_files.nearest(*given_by, where=where) if must_exist else raster_files.supposed(*given_by)
    return Source.of(layer, path)


def hashing(sources: list[Source]) -> list[PipelineTask]:
    """Return the tasks that stand for the content of rasters."""
    return [HashGiven(path=str(source.path)) for source in sources]


def radar_tasks(tile: str) -> list[PipelineTask]:
    """Return the tasks that stand for what Sentinel-1 patches of a tile come from, where that is not v1."""
    folder = sentinel1_folder()
    return [HashGiven(path=str(folder))] if folder else hashing(radar_sources(product_of(tile)))


def layer_tasks(layer: Layer, tile: str) -> list[PipelineTask]:
    """Return the tasks that stand for the raster of a layer of a tile."""
    return hashing([layer_source(layer, product_of(tile))])


def facts(tile: str) -> dict[str, list[dict[str, str]]]:
    """Return name and sha256 of the rasters of a tile, or of the folder, by layer and for Sentinel-1; empty if none.

    Layers that are taken from the products need none: the products are told anyway.
    """
    found = {layer.name: layer_tasks(layer, tile) for layer in config.recipe().layers}
    found |= {_SENTINEL1: radar_tasks(tile)} if has_own_sentinel1() else {}
    return {name: [task.targets()[""].read_json() for task in tasks] for name, tasks in found.items()}
