"""Say of what kind the land cover is that the recipe names, and check it: CORINE, other polygons, or a raster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ben_luigi import config
from ben_luigi.domain.placement.grid import Square
from ben_luigi.domain.recipe import declared
from ben_luigi.domain.recipe.rules import RASTERS
from ben_luigi.domain.tiles import clc, land_raster, land_vector
from ben_luigi.domain.tiles.nomenclature import Nomenclature, read_nomenclature

GEOPACKAGE = ".gpkg"
"""The suffix of polygons that are read tile by tile; all of other vector files is read at once."""


def land_cover_content() -> clc.Content:
    """Return what the layer of the land cover has, by the recipe."""
    wanted = config.recipe().land_cover
    named = (wanted.code.lower(), wanted.order.lower(), wanted.layer)
    if wanted.file == declared.LAND_COVER_OPTION and named == (clc.CORINE.code.lower(), clc.CORINE.order.lower(), ""):
        return replace(clc.CORINE, of_ten=config.recipe().is_default)
    codes = frozenset(read_nomenclature(wanted.nomenclature).codes)
    return clc.Content(wanted.code, wanted.order, wanted.layer, epsg=None, codes=codes)


def names() -> Nomenclature:
    """Return the codes of the land cover, and their classes."""
    return read_nomenclature(config.nomenclature())


def unlabeled_limit_option() -> str:
    """Return where `unlabeled_limit` is written: in the configuration, or in a recipe that is not the default one."""
    recipe = config.recipe()
    if recipe.is_default:
        return "[metadata] unlabeled_limit"
    return f"recipe {recipe.name}: [land_cover] unlabeled_limit"


def is_land_raster(path: Path) -> bool:
    """Return whether a land cover that a recipe names is a raster."""
    return path.suffix.lower() in RASTERS and land_cover_content() != clc.CORINE


def is_own_polygons(path: Path) -> bool:
    """Return whether a land cover that a recipe names is polygons, and not CORINE's."""
    return not land_cover_content().is_corine and not is_land_raster(path)


def reaches(path: Path, square: Square) -> bool:
    """Return whether some polygon of the land cover is at a tile's square, or near it. Raise BadInput as the check."""
    read = clc.reaches if path.suffix.lower() == GEOPACKAGE else land_vector.reaches
    return read(path, square, land_cover_content())


def check_land_cover(path: Path) -> None:
    """Raise BadInput unless maps can be made of the land cover, by its kind and the recipe."""
    content = land_cover_content()
    if is_land_raster(path):
        land_raster.check(path)
    elif path.suffix.lower() == GEOPACKAGE or content == clc.CORINE:
        clc.check_layer(path, content)
    else:
        land_vector.check(path, content)
