"""Check, before any product is fetched, that all that a recipe names besides products fits the listed tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ben_luigi import config
from ben_luigi.domain.dataset import sentinel1_folder as radar_folder
from ben_luigi.domain.errors import BadInput, PipelineError
from ben_luigi.domain.names import TileName
from ben_luigi.domain.placement import alignment, country, split
from ben_luigi.domain.placement.grid import PatchGrid, tile_square
from ben_luigi.domain.recipe.model import Layer
from ben_luigi.domain.tiles import land_raster
from ben_luigi.stages.land_source import is_land_raster
from ben_luigi.stages.prerequisites import input_path, side_m
from ben_luigi.stages.rasters import cuts_sentinel1, layer_source, radar_sources, sentinel1_folder
from ben_luigi.stages.resolve import is_listed_by_us, known_tiles, list_path, source, source_task, tiles
from ben_luigi.stages.task import PipelineTask

_SHOWN = 5
_fitting: set[object] = set()
"""What has been found to fit in this process: it is not looked at again for each task."""


def patch_m() -> int:
    """Return the side of a patch in metres."""
    return config.recipe().patches.side_m


def listed_grids() -> alignment.Tiles:
    """Return patch grid and sensing time of each listed product, by tile key, as far as its name tells them."""
    return {
        tile: (PatchGrid(name.converted().tile_name, tile_square(name, side_m()), patch_m()), name.sensing_time)
        for tile, name in tiles().items()
    }


def problems() -> Iterator[PipelineError]:
    """Yield what does not fit the listed tiles, by their names.

    Tiles that lie in none of the countries, match no v1 geometries or cannot be divided; rasters and Sentinel-1 that
    do not cover them.
    """
    grids = listed_grids() if is_listed() and config.tile().check_extent else {}
    yield from split.problems(config.recipe().split, [grid for grid, _ in grids.values()])
    wanted = config.recipe().countries
    borders = input_path("countries_geojson")
    if wanted.file is not None and _is_usable(lambda path: country.read_borders(path, wanted), borders):
        for tile, (grid, _) in grids.items():
            yield from _errors(partial(country.check_tile, tile, grid.square, borders, wanted))
    if (raster := config.given_input("clc_gpkg")) and is_land_raster(raster) and _is_usable(land_raster.check, raster):
        for tile, (grid, _) in grids.items():
            yield from _errors(partial(land_raster.check_covers, raster, grid.covered, tile))
    if grids and config.recipe().is_aligned and _is_usable(alignment.check_v1, v1 := input_path("v1_spatial_dir")):
        yield from alignment.problems(grids, v1)
    for grid, _ in grids.values():
        yield from _of_rasters(grid)


def _of_rasters(grid: PatchGrid) -> Iterator[PipelineError]:
    """Yield what is wrong with the rasters and Sentinel-1 patches of a tile."""
    recipe, name = config.recipe(), TileName.parse(grid.tile_name)
    for layer in recipe.layers:
        yield from _errors(partial(_check_layer, layer, name, grid))
    if cuts_sentinel1():
        yield from _errors(partial(_check_radar, name, grid))
    if folder := sentinel1_folder():
        yield from _errors(lambda: radar_folder.check(folder, grid, recipe.sentinel1.max_days))


def _check_radar(name: TileName, grid: PatchGrid) -> None:
    for radar in radar_sources(name, must_exist=True):
        radar.check(grid)


def _check_layer(layer: Layer, name: TileName, grid: PatchGrid) -> None:
    layer_source(layer, name, must_exist=True).check(grid)


def _errors(check: Callable[[], object]) -> Iterator[PipelineError]:
    try:
        check()
    except PipelineError as error:
        yield error


def is_listed() -> bool:
    """Whether the list of products is there, complete or not."""
    return is_listed_by_us() or (list_path() if source() == "tile_names_csv" else input_path(source())).exists()


def _is_usable(check: Callable[[Path], object], path: Path) -> bool:
    """Return whether an input exists and is valid enough for further checks; if not, that is reported elsewhere."""
    return not [*_errors(lambda: check(path))]


class CheckPlaces(PipelineTask):
    """That all that the recipe names besides products fits the listed tiles, before any product is fetched."""

    def requires(self) -> Any:
        """Return the list of products."""
        return source_task()

    def is_there(self) -> bool:
        """Return whether everything fits."""
        key = config.recipe().path, config.recipe(), tuple(known_tiles())
        if key not in _fitting and known_tiles() and not [*problems()]:
            _fitting.add(key)
        return key in _fitting

    def make(self) -> None:
        """Raise BadInput that names all that does not fit."""
        found = [*problems()]
        if len(found) == 1:
            raise found[0]
        if found:
            listed = [f"{error.subject}: {error.found}" for error in found[:_SHOWN]]
            rest = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            raise BadInput(
                f"recipe {config.recipe().name}",
                expected="files that fit all tiles",
                found=f"{'; '.join(listed)}{rest}",
                remedy="type ben-luigi plan, which says all of it, and correct the recipe or the files",
            )


def before_products() -> list[PipelineTask]:
    """Return the task that is complete before any product is fetched: with another recipe than the default one."""
    return [CheckPlaces()] if config.dataset().recipe and not config.recipe().is_default else []
