"""Place the patches of a tile, and derive split, country and v1 patch."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ben_luigi import config
from ben_luigi.configuration.kept import of_last
from ben_luigi.domain import files
from ben_luigi.domain.dataset import sentinel1_folder
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.placement import alignment, country, split, v1_geometry
from ben_luigi.domain.placement import grid as grids
from ben_luigi.domain.placement.country import countries
from ben_luigi.domain.placement.grid import PatchGrid, Square
from ben_luigi.domain.recipe.model import BLOCKS, CSV
from ben_luigi.domain.tiles import layers, scene_classes
from ben_luigi.stages.atmosphere import ReadProduct, l2a_task, read
from ben_luigi.stages.places import listed_grids, patch_m
from ben_luigi.stages.prerequisites import input_path, input_task
from ben_luigi.stages.rasters import has_own_sentinel1, radar_sources, radar_tasks
from ben_luigi.stages.rasters import sentinel1_folder as sentinel1_folder_path
from ben_luigi.stages.resolve import PRIORITY, product_of, tiles
from ben_luigi.stages.task import PipelineTask, TileTask
from ben_luigi.state import database, stored
from ben_luigi.state.targets import MadeFile
from ben_luigi.state.tile_rows import TileRows

_log = logging.getLogger(__name__)


def product_row(tile: str) -> pd.Series:
    """Return the row of a tile's product in the database."""
    return database.query("SELECT * FROM product WHERE tile = %(tile)s", tile=tile).iloc[0]


def patch_grid(tile: str) -> PatchGrid:
    """Return the patch grid of a tile whose product has been read."""
    row = product_row(tile)
    square = Square(float(row["left_m"]), float(row["top_m"]), float(row["side_m"]), int(row["epsg"]))
    return PatchGrid(ProductName.parse(row["l2a_name"]).tile_name, square, patch_m())


class _Placement(TileTask):
    """Rows of the patches of a tile, computed from its grid and, if `option` names one, an input."""

    priority = PRIORITY["placement"]
    table = "patch"
    option = ""
    recipe: ClassVar[tuple[str, ...]] = ("patches.side_m",)

    def requires(self) -> Any:
        """Return the patches, and the input."""
        return [GridPatches(tile=self.tile), *([input_task(self.option)] if self.option else [])]

    def output(self) -> TileRows:
        """Return the rows."""
        return self.rows(self.table)

    def make(self) -> None:
        """Compute the rows and write them."""
        self.output().replace(self.compute(patch_grid(self.tile)))

    def compute(self, grid: PatchGrid) -> pd.DataFrame:
        """Return the rows of the table."""
        raise NotImplementedError


class GridPatches(_Placement):
    """The patches of a tile: position, bounds, CRS, season."""

    code = (grids,)

    def requires(self) -> Any:
        """Return the product."""
        return ReadProduct(tile=self.tile)

    def compute(self, grid: PatchGrid) -> pd.DataFrame:
        """Return one row per patch of the grid, valid or not."""
        return grid.table().assign(tile=self.tile, season=str(product_row(self.tile)["season"]))


@of_last
def _dates_of_squares(products: dict[str, ProductName]) -> str:
    dates = sorted(Counter(name.mgrs for name in products.values()).items())
    return files.text_hash("\n".join(f"{square} {number}" for square, number in dates))


class AssignSplits(_Placement):
    """The split of each patch of a tile; none for a patch that the recipe's rule leaves out."""

    table = "split"
    recipe = ("patches.side_m", "split")
    code = (grids, split)

    def settings(self) -> dict[str, Any]:
        """Return the content of the file of splits; or how many dates of each square the rule divides."""
        rule = config.recipe().split
        if rule.rule == BLOCKS:
            return {"squares": _dates_of_squares(tiles())}
        return {"splits": files.file_hash(rule.file)} if rule.file else {}

    def compute(self, grid: PatchGrid) -> pd.DataFrame:
        """Return one row per patch that is not left out."""
        listed = [of for of, _ in listed_grids().values()] if config.recipe().split.rule == BLOCKS else []
        found = split.splits(grid, config.recipe().split, listed)
        rows = pd.DataFrame({"patch_id": pd.array(grid.ids(), dtype="str"), "split": found})
        kept = found != split.LEFT_OUT
        if config.recipe().split.rule == CSV and not kept.all():
            text = "tile %s: %d of %d patches are not in %s, and are left out"
            _log.warning(text, self.tile, (~kept).sum(), len(kept), config.recipe().split.file)
        return pd.DataFrame(rows[kept])


class ClassifyPatches(_Placement):
    """The pixels of cloud, shadow, snow and water of each patch of a tile that has valid pixels.

    A product without scene classification gives none, unless the recipe asks for patches with little cloud. Neither
    does one that was removed after it was cut by a version that did not count them: it is not made again for this.
    """

    table = "scene_class"
    revision = 2  # and no `code`: once the product is removed, it would have to be made again

    def requires(self) -> Any:
        """Return the patches, and the product, if it is still needed."""
        product = [] if self._is_gone() else [l2a_task(self.tile)]
        return [*super().requires(), *product, ReadProduct(tile=self.tile)]

    def made_of(self) -> list[PipelineTask]:
        """Return the same, with the product."""
        return [*super().requires(), l2a_task(self.tile), ReadProduct(tile=self.tile)]

    def settings(self) -> dict[str, Any]:
        """Return whether a product must have a scene classification; and that it was removed before it was looked at.

        Once that product is there again, the pixels are counted.
        """
        before = self.output().recorded_from()
        was_read = before.get("revision") == self.revision and "removed" not in before
        removed = {"removed": True} if self._is_gone() and not was_read else {}
        return {"required": self._is_required(), **removed}

    def compute(self, grid: PatchGrid) -> pd.DataFrame:
        """Return one row per patch with a valid pixel."""
        if self._is_gone():
            _log.warning("tile %s: no shares of cloud, since its product was removed after it was cut", self.tile)
            return scene_classes.nothing(grid)
        with l2a_task(self.tile).reading():
            return scene_classes.read(read(self.tile).folder, grid, required=self._is_required())

    def _is_required(self) -> bool:
        return config.recipe().patches.max_cloud is not None

    def _is_gone(self) -> bool:
        """Return whether the product was made, used and removed, and need not be made again."""
        shard = MadeFile(f"patches/{self.tile}.tar")
        is_cut = shard.file.exists() or bool(stored.files_of(shard.recorded()))
        product = l2a_task(self.tile)
        return is_cut and not self._is_required() and not product.is_there() and product.is_true()


class FindSentinel1(_Placement):
    """The Sentinel-1 patch of each patch of a tile that has one with data on all pixels, where it is not that of v1."""

    table = "sentinel1"
    recipe = ("patches.side_m", "sentinel1")
    code = (layers, sentinel1_folder)

    def requires(self) -> Any:
        """Return the patches, and the folder or the rasters."""
        return [*super().requires(), *radar_tasks(self.tile)]

    def compute(self, grid: PatchGrid) -> pd.DataFrame:
        """Return one row per patch that has one; those that are cut have the names of the patches."""
        ids = grid.ids().to_pylist()
        if folder := sentinel1_folder_path():
            names = sentinel1_folder.with_data(folder, grid, config.recipe().sentinel1.max_days)
        else:
            sources = radar_sources(product_of(self.tile), must_exist=True)
            lacking = layers.without_data(sources, grid, np.arange(len(ids)))
            names = {at: ids[at] for at in np.flatnonzero(~lacking).tolist()}
        if len(names) < len(ids):
            text = "tile %s: %d of %d patches have no Sentinel-1 with data on all pixels, and are left out"
            _log.warning(text, self.tile, len(ids) - len(names), len(ids))
        rows = {"patch_id": [ids[at] for at in names], "s1_name": [*names.values()]}
        return pd.DataFrame({name: pd.array(values, dtype="str") for name, values in rows.items()})


def _narrowing(tile: str) -> list[_Placement]:
    """Return the tasks by whose rows the recipe leaves patches out.

    They have no split, too much cloud, or no Sentinel-1.
    """
    recipe = config.recipe()
    by_split: list[_Placement] = [AssignSplits(tile=tile)] if recipe.split.leaves_out else []
    by_cloud: list[_Placement] = [ClassifyPatches(tile=tile)] if recipe.patches.max_cloud is not None else []
    return [*by_split, *by_cloud, *([FindSentinel1(tile=tile)] if has_own_sentinel1() else [])]


def _narrowed(patches: pd.DataFrame, tile: str) -> pd.DataFrame:
    """Return the rows of the patches that the recipe does not leave out."""
    most = config.recipe().patches.max_cloud
    for task in _narrowing(tile):
        is_clear = "(cloud + shadow) / pixels::double precision <= %(most)s"
        kept = is_clear if isinstance(task, ClassifyPatches) else "true"
        select = f"SELECT patch_id FROM {task.table} JOIN patch USING (patch_id) WHERE tile = %(tile)s AND {kept}"
        patches = patches[patches["patch_id"].isin(database.query(select, tile=tile, most=most)["patch_id"])]
    return patches


class AssignCountries(_Placement):
    """The country of each patch of a tile."""

    table = "country"
    option = "countries_geojson"
    recipe = ("patches.side_m", "countries")
    code = (country,)

    def compute(self, grid: PatchGrid) -> pd.DataFrame:
        """Return one row per patch that is in a country."""
        nearest = countries(grid, input_path(self.option), config.recipe().countries)
        rows = pd.DataFrame({"patch_id": pd.array(grid.ids(), dtype="str"), "country": nearest})
        return pd.DataFrame(rows[nearest != country.NO_COUNTRY])


class SelectPatches(_Placement):
    """The patches of a tile that are wanted, valid or not, where the recipe does not align them with v1.

    All but those without a split, those with too much cloud, and those without Sentinel-1 where there is any.
    """

    table = "alignment"
    recipe = ("patches",)
    code = (grids,)

    def requires(self) -> Any:
        """Return the patches, and what leaves some of them out."""
        return [*super().requires(), *_narrowing(self.tile)]

    def compute(self, grid: PatchGrid) -> pd.DataFrame:
        """Return one row per patch."""
        return _narrowed(pd.DataFrame({"patch_id": pd.array(grid.ids(), dtype="str")}), self.tile)


def selecting(tile: str) -> TileTask:
    """Return the task that says which patches of a tile are wanted."""
    return AlignPatches(tile=tile) if config.recipe().is_aligned else SelectPatches(tile=tile)


class AlignPatches(_Placement):
    """The v1 patch of each patch of a tile that has one."""

    table = "alignment"
    option = "v1_spatial_dir"
    recipe = ("patches",)
    code = (alignment, v1_geometry)

    def requires(self) -> Any:
        """Return the patches, the v1 geometries, and what leaves some patches out."""
        return [*super().requires(), *_narrowing(self.tile)]

    def compute(self, grid: PatchGrid) -> pd.DataFrame:
        """Return one row per pair."""
        folder = input_path(self.option)
        v1 = alignment.V1Patches(alignment.read_v1(alignment.zone_file(folder, grid.square.epsg, self.tile)))
        sensed = ProductName.parse(product_row(self.tile)["l2a_name"]).sensing_time
        pairs = alignment.align(grid, sensed, v1)
        if pairs.empty:
            _log.warning("tile %s has no patch that matches v1: no patch of it is in the dataset", self.tile)
            if config.tile().check_extent:
                alignment.check_any_partner(listed_grids(), folder)
        return _narrowed(pairs, self.tile)
