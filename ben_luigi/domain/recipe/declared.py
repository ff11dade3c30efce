"""Declare the sections and keys of a recipe: what each accepts, and the value of the model that it becomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ben_luigi.domain import given
from ben_luigi.domain.findings import NotAllowed, shown
from ben_luigi.domain.recipe import model
from ben_luigi.domain.recipe.kinds import Kind, all_or, choice, day, file, number, pattern_of, several, table, text
from ben_luigi.domain.vocabulary import LEAST_PATCH_M, LEAST_PIXEL_M, MOST_PATCH_M

NAME = r"[a-z0-9][a-z0-9.-]{0,60}[a-z0-9]"
"""The regular expression of a recipe's name, which is part of file names and identifiers."""

LIST_OPTION, COUNTRIES_OPTION, LAND_COVER_OPTION = "tile_names_csv", "countries_geojson", "clc_gpkg"
"""The options of [inputs] that stand for the files of a recipe: each is where the code looks for one of them."""

REGIONS_OPTION, RASTER_OPTION = "region_polygons", "land_cover_raster"
"""The options of [inputs] that a recipe may name instead of COUNTRIES_OPTION and LAND_COVER_OPTION."""

LAYERS = "layers"
LAYER_NAME = r"[a-z][a-z0-9_]{0,30}"
_FIELDS = ("tile", "date")
_MOST_DAYS = 366
_MOST_BANDS = 65_535
_MGRS = r"\d{2}[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V]"
_BASELINE = r"\d\d\.\d\d"
_AREA = (
    "[west, south, east, north] in degrees from -180 to 180, east and north the greater ones; "
    "across the 180th meridian by tiles = [...]"
)
_WITHOUT_PATH = (model.NO_SENTINEL1, model.FROM_V1)


@dataclass(frozen=True)
class Section:
    """A section: its keys, and what makes the value of the model from theirs; `required` if a recipe must have it."""

    keys: Mapping[str, Kind]
    make: Callable[..., Any]
    required: bool = False


def head() -> dict[str, Kind]:
    """Return the keys above the first section."""
    return {
        "name": text("2 to 62 lower-case letters, digits, dots and hyphens", NAME, required=True),
        "title": text(required=True),
        "version": text("text without blanks", r"[^\s\x00-\x1f\x7f]+", required=True),
        "license": text("an SPDX identifier, as CC-BY-4.0", r"[A-Za-z0-9][A-Za-z0-9.+-]*", required=True),
        "citation": text("text", r"[^\x00-\x08\x0b-\x1f\x7f]*"),
    }


def sections(folders: Sequence[Path]) -> dict[str, Section]:
    """Return the sections but `layers`, by name. Files are relative to the first of `folders` that has them."""
    return {
        "products": Section(_products(folders), model.Products, required=True),
        "patches": Section(_patches(), model.Patches),
        "split": Section(_split(folders), model.Split),
        "seasons": Section({"rule": choice((model.PUBLISHED, model.CALENDAR))}, model.Seasons),
        "countries": Section(_countries(folders), model.Countries),
        "land_cover": Section(_land_cover(folders), model.LandCover, required=True),
        "sentinel1": Section(_sentinel1(folders[0]), _sentinel1_of),
    }


def layer(folder: Path, name: str) -> Section:
    """Return the section of a layer."""
    keys = {
        "path": pattern_of(folder, _FIELDS, what=given.FILE, required=True),
        "resolution_m": number(LEAST_PIXEL_M, MOST_PATCH_M, whole=True, required=True),
        "resampling": choice(model.RESAMPLING, required=True),
        "dtype": choice(model.DTYPES, required=True),
        "nodata": number(-(2.0**31), 2.0**31),
        "max_days": number(0, _MOST_DAYS, whole=True),
        "band": number(1, _MOST_BANDS, whole=True),
    }
    return Section(keys, lambda **values: model.Layer(name=name, **values))


def _products(folders: Sequence[Path]) -> dict[str, Kind]:
    return {
        "level": choice((model.L1C, model.L2A), required=True),
        "list": file(folders, (LIST_OPTION,)),
        "search": table(
            {
                "tiles": several(text("an MGRS square, 32TQM", _MGRS)),
                "area": Kind(_area, _AREA),
                "from": day(),
                "to": day(),
                "max_cloud": number(0, 100),
                "per": choice(model.PER),
                "same_as": file(folders, (LIST_OPTION,)),
            },
            _search_of,
        ),
        "baselines": several(text('a processing baseline, "05.11"', _BASELINE)),
        "boa_offset": choice((model.REFUSE_OFFSET, model.KEEP_OFFSET, model.REMOVE_OFFSET)),
    }


def _search_of(**values: Any) -> model.Search:
    names = {"from": "since", "to": "until"}
    return model.Search(**{names.get(key, key): value for key, value in values.items()})


def _patches() -> dict[str, Kind]:
    return {
        "side_m": number(LEAST_PATCH_M, MOST_PATCH_M, whole=True, step=LEAST_PATCH_M),
        "keep": choice((model.ALIGNED, model.VALID)),
        "max_cloud": number(0, 1),
    }


def _split(folders: Sequence[Path]) -> dict[str, Kind]:
    return {
        "rule": choice((model.RINGS, model.CSV, model.BLOCKS)),
        "file": file(folders),
        "block_km": number(0, 1000, whole=True),
        "seed": number(0, 2**31 - 1, whole=True),
        "shares": Kind(_shares, "[train, validation, test], numbers from 0 to 1 whose sum is 1"),
    }


def _countries(folders: Sequence[Path]) -> dict[str, Kind]:
    return {
        "file": file(folders, (COUNTRIES_OPTION, REGIONS_OPTION), required=True),
        "column": text(),
        "names": all_or(text('a name, "Austria"')),
    }


def _land_cover(folders: Sequence[Path]) -> dict[str, Kind]:
    return {
        "file": file(folders, (LAND_COVER_OPTION, RASTER_OPTION), required=True),
        "nomenclature": file(folders, required=True),
        "unlabeled_limit": number(0, 1),
        "code": text(),
        "order": text(),
        "layer": text(),
    }


def _sentinel1(folder: Path) -> dict[str, Kind]:
    return {
        "from": choice((model.NO_SENTINEL1, model.FROM_V1, model.FROM_FOLDER, model.FROM_RASTERS), required=True),
        "folder": pattern_of(folder, (), what=given.FOLDER),
        "rasters": pattern_of(folder, (*_FIELDS, "polarisation"), what=given.FILE),
        "resampling": choice(model.RESAMPLING),
        "max_days": number(0, _MOST_DAYS, whole=True),
        "band": number(1, _MOST_BANDS, whole=True),
    }


def _sentinel1_of(**values: Any) -> model.Sentinel1:
    source = values["from"]
    more = {key: values[key] for key in ("resampling", "max_days", "band") if key in values}
    return model.Sentinel1(source, "" if source in _WITHOUT_PATH else values.get(source, ""), **more)


def _area(value: Any) -> tuple[float, ...]:
    edges = value if isinstance(value, list) else []
    if len(edges) != 4 or not all(isinstance(edge, (int, float)) and not isinstance(edge, bool) for edge in edges):
        raise NotAllowed(shown(value))
    if not (-180 <= edges[0] < edges[2] <= 180 and -90 <= edges[1] < edges[3] <= 90):
        raise NotAllowed(shown(value))
    return tuple(map(float, edges))


def _shares(value: Any) -> tuple[float, ...]:
    shares = value if isinstance(value, list) else []
    are_numbers = all(isinstance(share, (int, float)) and not isinstance(share, bool) for share in shares)
    if len(shares) != 3 or not are_numbers or not all(0 <= share <= 1 for share in shares):
        raise NotAllowed(shown(value))
    if abs(sum(shares) - 1) > 1e-9:
        raise NotAllowed(f"{shown(value)}, whose sum is {sum(shares):g}")
    return tuple(map(float, shares))
