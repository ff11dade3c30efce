"""Describe a recipe in words, for plan, status and report."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

from ben_luigi.domain.recipe import model
from ben_luigi.domain.recipe.model import Recipe

_LEVELS = {model.L1C: "L1C, through Sen2Cor", model.L2A: "L2A, as ESA made them"}
_OFFSETS = {
    model.REFUSE_OFFSET: "without an offset of their pixels",
    model.KEEP_OFFSET: "the offset of their pixels is kept",
    model.REMOVE_OFFSET: "the offset of their pixels is removed",
}
_RADAR = {
    model.NO_SENTINEL1: "none",
    model.FROM_V1: "BigEarthNet-S1 v1.0, by way of the v1 patch",
    model.FROM_FOLDER: "from a folder",
    model.FROM_RASTERS: "cut from rasters",
}


def described(recipe: Recipe) -> dict[str, str]:
    """Return what a recipe says, one sentence each, by the name of what it is about."""
    return {
        "products": "; ".join(_products(recipe.products)),
        "patches": ", ".join(_patches(recipe)),
        "splits": _splits(recipe.split),
        "countries": _countries(recipe.countries),
        "land cover": f"{_file(recipe.land_cover.file)}, with {recipe.land_cover.nomenclature.name}",
        "Sentinel-1": _RADAR[recipe.sentinel1.source],
        **({"layers": ", ".join(layer.name for layer in recipe.layers)} if recipe.layers else {}),
    }


def _products(products: model.Products) -> Iterator[str]:
    yield _LEVELS[products.level]
    if products.baselines:
        yield f"baselines {', '.join(products.baselines)}"
    yield _OFFSETS[products.boa_offset]
    if products.search is None:
        yield f"listed in {_file(products.list or '')}"
        return
    search = products.search
    if search.same_as is not None:
        yield f"searched: of the same squares, days and orbits as those of {_file(search.same_as)}"
        return
    where = f"{_count(len(search.tiles), 'MGRS square')}" if search.tiles else f"the area {search.area}"
    cloud = f"at most {search.max_cloud:g} % cloud, " if search.max_cloud < 100 else ""
    yield f"searched: {where}, {_span(search.since, search.until)}, {cloud}the clearest per {search.per}"


def _patches(recipe: Recipe) -> Iterator[str]:
    yield f"{recipe.patches.side_m:,} m a side"
    yield "those that BigEarthNet v1 has, too" if recipe.is_aligned else "all with data everywhere"
    if recipe.patches.max_cloud is not None:
        yield f"at most {100 * recipe.patches.max_cloud:g} % cloud and shadow"
    yield f"{'seasons of the calendar' if recipe.seasons.rule == model.CALENDAR else 'seasons as published'}"


def _splits(split: model.Split) -> str:
    if split.rule == model.BLOCKS:
        what = f"blocks of {split.block_km} km" if split.block_km else "blocks of one MGRS square"
        return f"{what}, seed {split.seed}, shares {', '.join(f'{share:g}' for share in split.shares)}"
    return f"as listed in {_file(split.file or '')}" if split.rule == model.CSV else "rings of each tile"


def _countries(countries: model.Countries) -> str:
    if countries.file is None:
        return "none"
    of = f"{_count(len(countries.names), 'region')}" if countries.names is not None else "all regions"
    return f"{of} of {_file(countries.file)}"


def _file(file: model.File) -> str:
    return file.name if isinstance(file, Path) else f"[inputs] {file}"


def _span(first: date, last: date) -> str:
    return f"{first}" if first == last else f"{first} to {last}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
