"""Check where the listed products lie, by their names alone, before the first of them is fetched."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import luigi

from ben_luigi import config
from ben_luigi.configuration.kept import of_last
from ben_luigi.domain import files
from ben_luigi.domain.dataset import sentinel1_folder as radar_folder
from ben_luigi.domain.dataset import subset
from ben_luigi.domain.errors import BadInput, PipelineError, some
from ben_luigi.domain.names import ProductName, TileName
from ben_luigi.domain.placement import alignment, country, split
from ben_luigi.domain.placement.grid import PatchGrid, tile_square
from ben_luigi.domain.products import baselines, layer_files
from ben_luigi.domain.products.product import find_products
from ben_luigi.domain.recipe.model import Countries, Layer
from ben_luigi.domain.tiles import clc, land_raster, land_vector
from ben_luigi.stages.land_source import (
    check_land_cover,
    is_land_raster,
    is_own_polygons,
    reaches,
    unlabeled_limit_option,
)
from ben_luigi.stages.prerequisites import (
    ALSO_BEFORE_LARGE,
    GivenInput,
    input_path,
    input_source,
    input_task,
    needed,
    require_given,
)
from ben_luigi.stages.rasters import cuts_sentinel1, layer_source, radar_sources, sentinel1_folder
from ben_luigi.stages.resolve import (
    PRIORITY,
    hash_of,
    is_from_l1c,
    is_listed_by_us,
    list_path,
    source,
    source_task,
    tiles,
)
from ben_luigi.stages.sample_world import side_m
from ben_luigi.stages.task import PipelineTask
from ben_luigi.state import contents, recipes
from ben_luigi.state.targets import MadeFile

_log = logging.getLogger(__name__)
_PLACED = ("countries_geojson", "v1_spatial_dir")
"""The options of [inputs] that say where tiles may lie, besides a raster of land cover."""

_SHOWN = 3


def patch_m() -> int:
    """Return the side of a patch in metres."""
    return config.recipe().patches.side_m


def listed_grids() -> alignment.Tiles:
    """Return patch grid and sensing time of each listed product, by tile key, as far as its name tells them."""
    return _grids_of(tiles(), side_m(), patch_m())


@of_last
def _grids_of(products: dict[str, ProductName], tile_m: int, of_patch_m: int) -> alignment.Tiles:
    return {
        tile: (PatchGrid(name.converted().tile_name, tile_square(name, tile_m), of_patch_m), name.sensing_time)
        for tile, name in products.items()
    }


def problems() -> Iterator[PipelineError]:
    """Yield what is wrong with the listed products, as far as inputs are there to tell it.

    Baselines and offsets that the recipe does not allow; tiles that lie in none of the countries, that their raster of
    land cover does not cover, whose patches cannot be divided, or that match no v1 patches: square, season and day;
    land cover that lies elsewhere or labels nothing; layers and Sentinel-1 that do not fit. Nothing of this can be told
    of patches that are larger than a tile.
    """
    if patch_m() > side_m():
        yield _larger_than_tile()
        return
    if is_listed() and not config.recipe().is_default:
        yield from baselines.problems(tiles().values(), config.recipe().products, products_from())
    listed = listed_grids() if is_listed() and config.tile().check_extent else {}
    yield from split.problems(config.recipe().split, [grid for grid, _ in listed.values()])
    yield from _errors(_check_subset)
    wanted = config.recipe().countries
    borders = _borders()
    if wanted.file is not None and _is_usable(lambda path: country.read_borders(path, wanted), borders):
        for tile, (grid, _) in listed.items():
            yield from _errors(partial(country.check_tile, tile, grid.square, borders, wanted))
    if (raster := _land_raster()) is not None and _is_usable(land_raster.check, raster):
        for tile, (grid, _) in listed.items():
            yield from _errors(partial(land_raster.check_covers, raster, grid.covered, tile))
    yield from _of_labels(listed)
    is_aligned = config.recipe().is_aligned
    if listed and is_aligned and _is_usable(alignment.check_v1, v1 := input_path("v1_spatial_dir")):
        yield from alignment.problems(listed, v1)
    for grid, _ in listed.values():
        yield from _of_rasters(grid)
    yield from _of_products()


def _larger_than_tile() -> BadInput:
    return BadInput(
        f"recipe {config.recipe().name}: [patches] side_m",
        expected=f"at most the side of a tile, {side_m():,} m",
        found=f"{patch_m():,} m",
        remedy="name smaller patches in the recipe" + ("" if config.is_sample() else ", or correct [tile] side_m"),
    )


def _of_labels(listed: alignment.Tiles) -> Iterator[PipelineError]:
    """Yield why no patch at all can get a label."""
    if config.unlabeled_limit() == 0:
        yield BadInput(
            unlabeled_limit_option(),
            expected="more than 0, since a patch keeps its labels if less than this fraction of it is unlabelled",
            found="0, by which no patch keeps them",
            remedy="name a small fraction, such as 0.0001, for patches of which nothing is unlabelled",
        )
    far = _far_from_land_cover(listed)
    if listed and len(far) == len(listed):
        yield BadInput(
            config.given_input("clc_gpkg") or "",
            expected="land cover on the tiles of the dataset",
            found=f"no polygon near any of them: {some(far)}",
            remedy="correct [land_cover] of the recipe, the file or its CRS, or the list of products",
        )


def _far_from_land_cover(listed: alignment.Tiles) -> list[str]:
    """Return the tiles without a polygon near them, where the recipe has polygons of its own that can be used."""
    path = config.given_input("clc_gpkg")
    if path is None or not is_own_polygons(path) or not _is_usable(check_land_cover, path):
        return []
    return [tile for tile, (grid, _) in listed.items() if not reaches(path, grid.square)]


def _of_products() -> Iterator[PipelineError]:
    """Yield which layers cannot be taken from the products, as far as that is known before any is fetched."""
    wanted = config.product_layers()
    twice = sorted({layer.name for layer in wanted} & {layer.name for layer in config.recipe().layers})
    if twice:
        yield BadInput(
            "[layers] of_product",
            expected=f"other layers than those of the recipe {config.recipe().name}",
            found=some(twice),
            remedy="leave them out, or give the layers of the recipe other names",
        )
    if not is_from_l1c() and any(layer.name == "l1c" for layer in wanted):
        yield BadInput(
            "[layers] of_product",
            expected="layers of L2A products, since the dataset is made from these",
            found="l1c",
            remedy="leave l1c out, or start from L1C products",
        )
    if source() == "l2a_dir" and is_listed():
        given = find_products(input_path("l2a_dir"))
        for tile in tiles():
            for layer in (layer for layer in wanted if layer.name != "l1c" and tile in given):
                yield from _errors(partial(_check_of_product, layer, given[tile]))


def _check_of_product(layer: Layer, folder: Path) -> None:
    if not (config.skips_missing_layers() and layer_files.has_none(layer, folder)):
        layer_files.find(layer, folder)


def named_countries() -> Countries:
    """Return the countries of the recipe with their names, which their file has if the recipe takes all of them."""
    wanted = config.recipe().countries
    if wanted.file is None or wanted.names is not None:
        return wanted
    return replace(wanted, names=tuple(country.read_borders(input_path("countries_geojson"), wanted)))


def _check_subset() -> None:
    """Raise BadInput if `[subset] countries` names a region that the file, of which all are taken, does not have."""
    text, wanted = config.selection().get("countries", ""), config.recipe().countries
    if text and wanted.names is None and _is_usable(lambda path: country.read_borders(path, wanted), _borders()):
        subset.parse({"countries": text}, (), (), named_countries())


def _borders() -> Path:
    return input_path("countries_geojson")


def _of_rasters(grid: PatchGrid) -> Iterator[PipelineError]:
    """Yield what is wrong with the rasters and Sentinel-1 patches of a tile."""
    recipe, name = config.recipe(), TileName.parse(grid.tile_name)
    for layer in recipe.layers:
        yield from _errors(partial(_check_layer, layer, name, grid))
    if cuts_sentinel1():
        yield from _errors(partial(_check_radar, name, grid))
    if folder := sentinel1_folder():
        yield from _errors(partial(radar_folder.check, folder, grid, recipe.sentinel1.max_days))


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


def given_inputs() -> dict[str, Path]:
    """Return the paths of the inputs that the user gives, as far as this recipe takes them, by option."""
    given = (option for option in needed() if isinstance(input_source(option), GivenInput))
    return {option: path for option in given if (path := config.given_input(option)) is not None}


def _unusable() -> Iterator[PipelineError]:
    """Yield what is wrong with the inputs that are given."""
    for option in given_inputs():
        yield from _errors(partial(require_given, option))


def _land_raster() -> Path | None:
    """Return the raster of land cover that the recipe names, if it is one."""
    path = config.given_input("clc_gpkg")
    return path if path is not None and is_land_raster(path) else None


def is_listed() -> bool:
    """Whether the list of products is there, complete or not."""
    return is_listed_by_us() or products_from().exists()


def products_from() -> Path:
    """Return the list of products, or the folder with them; for products of our own table, the list of version 1."""
    return list_path() if source() == "tile_names_csv" else input_path(source())


def _is_usable(check: Callable[[Path], object], path: Path) -> bool:
    """Return whether an input exists and is valid enough for further checks; if not, that is reported elsewhere."""
    try:
        check(path)
    except PipelineError:
        return False
    return True


class CheckPlaces(PipelineTask):
    """`tiles/places.json`: whether every listed product lies where the recipe needs it, before any is fetched."""

    priority = PRIORITY["resolve"]
    recipe = (
        *("products.baselines", "products.boa_offset"),
        *("patches", "split", "countries", "land_cover", "sentinel1", "layers"),
    )
    code = (baselines, alignment, country, split, land_raster, land_vector, clc)
    options = ("tile.side_m", "tile.check_extent")

    def requires(self) -> Any:
        """Return the list of products, and what has to come of the inputs that say where tiles may lie.

        Inputs that are given are looked at by `make()`, so that all of them are told at once.
        """
        options = [option for option in _PLACED if option in needed() and option not in given_inputs()]
        return [source_task(), *(input_task(option) for option in options)]

    def settings(self) -> dict[str, Any]:
        """Return the products, the content of the file of splits, and the signatures of the inputs that are given."""
        rule, given = config.recipe().split, given_inputs()
        signed: dict[str, Any] = {option: contents.signature(path) for option, path in given.items() if path.exists()}
        regions = config.selection().get("countries") if config.recipe().countries.names is None else None
        wanted = [layer.name for layer in config.product_layers()]
        signed |= {"of_product": wanted} if wanted else {}
        signed |= {"skips": True} if wanted and config.skips_missing_layers() else {}
        return {
            "products": hash_of(tiles()),
            "given": signed,
            **({"splits": files.file_hash(rule.file)} if rule.file else {}),
            **({"subset_countries": regions} if regions else {}),
            **({"labels": "none"} if config.unlabeled_limit() == 0 else {}),
        }

    def output(self) -> MadeFile:
        """Return which tiles were checked."""
        return self.file("tiles/places.json")

    def make(self) -> None:
        """Check all of them. Raise PipelineError if anything is wrong; of several, each is logged, and counted."""
        found = [*_unusable(), *problems()]
        if len(found) == 1:
            raise found[0]
        for error in found:
            _log.error("%s", error)
        if found:
            raise BadInput(
                f"{len(found)} problems with the listed products",
                expected="products that the recipe can use, before any of them is fetched",
                found="; ".join(f"{error.subject}: {error.found}" for error in found[:_SHOWN]),
                remedy=f"correct the list as is said above of each; ben-luigi plan{recipes.option()} says it again",
            )
        _warn_of_tiles_in_no_country()
        if config.tile().check_extent and (far := _far_from_land_cover(listed_grids())):
            text = "%d tiles have no polygon of %s near them, and none of their patches gets a label: %s"
            _log.warning(text, len(far), config.given_input("clc_gpkg"), some(far))
        files.write_json(self.output().file, {"tiles": list(tiles())})


def _warn_of_tiles_in_no_country() -> None:
    """Log the tiles whose patches have no country, where the recipe takes all regions of a file."""
    wanted = config.recipe().countries
    if wanted.file is None or wanted.names is not None:
        return
    borders = _borders()
    none = [tile for tile, (grid, _) in listed_grids().items() if country.untouched(grid.square, borders, wanted)]
    if none:
        _log.warning("%d tiles lie in none of the countries of %s: %s", len(none), borders.name, some(none))


def before_products() -> list[luigi.Task]:
    """Return what must be complete before a product is fetched that has not come yet."""
    return [CheckPlaces()]


ALSO_BEFORE_LARGE.append(before_products)
