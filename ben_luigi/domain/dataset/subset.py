"""Select rows of the metadata for a subset.

A selection restricts only what it names; a patch is in the subset if it meets everything that is named.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import shapely

from ben_luigi.domain import given
from ben_luigi.domain.dataset.cover import have
from ben_luigi.domain.dataset.sampling import numbered, sample
from ben_luigi.domain.errors import BadInput, BadOption, some
from ben_luigi.domain.placement.alignment import SEASONS
from ben_luigi.domain.placement.country import TEN
from ben_luigi.domain.placement.footprints import EDGES, LONGITUDE_LATITUDE, polygons
from ben_luigi.domain.placement.grid import SPLITS
from ben_luigi.domain.recipe.model import Countries, names_in
from ben_luigi.domain.vocabulary import SUBSET_NAME

_NUMBER = r"[-+]?\d+(?:\.\d*)?"
_AREA_BYTES = 2**26
_SHOWN = 300
_SHAPES_AT_ONCE = 2**14
_BOX = re.compile(rf"\s*({_NUMBER})[,\s]+({_NUMBER})[,\s]+({_NUMBER})[,\s]+({_NUMBER})\s*")


@dataclass(frozen=True)
class Selection:
    """The conditions of a subset. An empty tuple is no condition; of `labels`, a patch needs at least one.

    `area` is in longitude and latitude, and a patch must intersect it. `sample` is the number of patches to draw, 0 for
    all.
    """

    tiles: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    seasons: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    area: shapely.Geometry | None = None
    sample: int = 0


def parse(
    options: Mapping[str, str], tiles: Collection[str], classes: Collection[str], countries: Countries = TEN
) -> Selection:
    """Return the selection that `[subset]` describes; `tiles` are the existing keys, `classes` the labels.

    `countries` are those of the recipe, with their names. Words are separated by commas or spaces, labels by
    semicolons, names of countries as `Countries.listed` says. Raise BadInput naming unknown words.
    """

    def words(option: str, known: Collection[str]) -> tuple[str, ...]:
        text = options.get(option, "")
        if option == "countries":
            found = countries.listed(text)
        else:
            found = names_in(text.split(";"), ";", known) if option == "labels" else text.replace(",", " ").split()
        words = tuple(word for word in found if word)
        unknown = [word for word in words if word not in known]
        if unknown:
            raise BadInput(
                f"[subset] {option}",
                expected=f"some of {_listed(option, known)}",
                found=_listed(option, unknown),
                remedy="correct the words, or leave them out",
            )
        return words

    sample = options.get("sample", "0")
    if not sample.isdecimal():
        raise BadInput(
            "[subset] sample", expected="a number of patches", found=sample, remedy="correct it; 0 takes all"
        )
    area = options.get("area", "")
    return Selection(
        words("tiles", tiles),
        words("countries", countries.names or ()),
        words("seasons", SEASONS),
        words("splits", SPLITS),
        words("labels", classes),
        read_area(area) if area else None,
        int(sample),
    )


def _listed(option: str, words: Collection[str]) -> str:
    """Return words as an option has them: classes may have commas in their names."""
    return "; ".join(words) if option == "labels" else some(words, 50)


def check_name(name: str) -> None:
    """Raise BadInput if the name of a subset cannot be the name of a folder."""
    if not re.fullmatch(SUBSET_NAME, name):
        raise BadInput(
            "[subset] name",
            expected="letters, digits, hyphens and underscores",
            found=repr(name),
            remedy="choose another name",
        )


def read_area(text: str) -> shapely.Geometry:
    """Read an area in longitude and latitude: `west, south, east, north` in degrees, GeoJSON, or the path of its file.

    Raise BadInput if it is none of these, is empty, or exceeds the globe.
    """
    box, path = _BOX.fullmatch(text), area_file(text)
    subject = f"[subset] area = {text}" if len(text) <= _SHOWN else f"[subset] area = {text[:_SHOWN]}..."
    expected = "west, south, east, north in degrees, or the path of a GeoJSON file with polygons"
    try:
        if box:
            west, south, east, north = map(float, box.groups())
            area = shapely.box(west, south, east, north) if west < east and south < north else shapely.Polygon()
        else:
            geojson = given.read_bytes(Path(path).expanduser(), _AREA_BYTES).decode("utf-8") if path else text
            read = shapely.from_geojson(geojson)
            area = shapely.union_all(shapely.get_parts(read))
    except (OSError, ValueError, RuntimeError, shapely.errors.ShapelyError) as error:  # RuntimeError: unknown ~user
        raise BadInput(subject, expected=expected, found=str(error), remedy="correct it") from error
    degrees = shapely.box(-180, -90, 180, 90)
    if not area.area or not degrees.covers(area):
        raise BadInput(
            subject,
            expected=expected,
            found=f"an area with bounds {area.bounds}",
            remedy="correct it",
        )
    return area


def area_file(text: str) -> str:
    """Return the path of the file that an area names; empty if it is a box or GeoJSON itself."""
    return "" if _BOX.fullmatch(text) or text.lstrip().startswith("{") else text


def is_area_lost(options: Mapping[str, str]) -> bool:
    """Return whether the options name a file for the area that is not there, so that its patches are not known."""
    path = area_file(options.get("area", "{"))
    return bool(path) and not os.path.isfile(os.path.expanduser(path))  # noqa: PTH111, PTH113 - of any text


def as_noted(options: Mapping[str, str], area: shapely.Geometry | None) -> dict[str, str]:
    """Return options with the `area` that was read from a file as GeoJSON, which says the same anywhere and later."""
    if area is None or not area_file(options["area"]):
        return dict(options)
    return {**options, "area": json.dumps(shapely.geometry.mapping(area.normalize()))}


def noted(options: Mapping[str, str]) -> dict[str, str]:
    """Return what `as_noted` does of options whose area was not read yet. Raise BadInput as `read_area` does."""
    return as_noted(options, read_area(options["area"]) if area_file(options.get("area", "")) else None)


def in_words(options: Mapping[str, str]) -> str:
    """Return options, as they are noted, in a line: an area of GeoJSON may be of any length, and is not quoted."""
    said = (
        (name, "GeoJSON" if name == "area" and not _BOX.fullmatch(text) else text) for name, text in options.items()
    )
    return "; ".join(f"{name} = {text}" for name, text in said)


def select(rows: pa.Table, places: pd.DataFrame, selection: Selection) -> pa.Table:
    """Return the rows of the metadata that meet the selection, in their order, reduced to a `sample` if one is wanted.

    `places` has at least tile, season, epsg, left_m, bottom_m, right_m, top_m of each row, as `placed` puts them.
    Raise BadOption, naming the options to change, if no row is left.
    """
    met = _met(rows, places, selection)
    kept = np.logical_and.reduce([np.ones(len(rows), dtype=bool), *met.values()])
    if not kept.any():
        raise _none_left(met, len(rows))
    at = np.flatnonzero(kept)
    return rows.take(pa.array(sample(rows, places["season"], selection.sample, at) if selection.sample else at))


def placed(rows: pa.Table, places: pd.DataFrame) -> pd.DataFrame:
    """Return the places of the rows, in their order, of places in any order with their patch_id."""
    return places.set_index("patch_id").reindex(rows["patch_id"].to_pandas())


def _met(rows: pa.Table, places: pd.DataFrame, selection: Selection) -> dict[str, np.ndarray]:
    """Return for each given option whether each row meets it."""
    met: dict[str, np.ndarray] = {
        option: is_met(values)
        for option, is_met, values in (
            ("tiles", partial(_is_of, places["tile"]), selection.tiles),
            ("countries", partial(_has_word, rows, "country"), selection.countries),
            ("seasons", partial(_is_of, places["season"]), selection.seasons),
            ("splits", partial(_has_word, rows, "split"), selection.splits),
            ("labels", partial(_has_label, rows), selection.labels),
        )
        if values
    }
    if selection.area is not None:
        met["area"] = _intersects(places, selection.area)
    return met


def _intersects(places: pd.DataFrame, area: shapely.Geometry) -> np.ndarray:
    """Return whether the square of each row intersects an area; few at once, since a shape takes 700 bytes."""
    shapely.prepare(area)
    found = np.zeros(len(places), dtype=bool)
    for start in range(0, len(places), _SHAPES_AT_ONCE):
        some = places.iloc[start : start + _SHAPES_AT_ONCE]
        shapes = polygons(some["epsg"].to_numpy(), some[list(EDGES)].to_numpy(), LONGITUDE_LATITUDE)
        found[start : start + len(some)] = shapely.intersects(area, shapes)
    return found


def _is_of(column: pd.Series, values: Sequence[str]) -> np.ndarray:
    return np.asarray(column.isin(values))


def _has_word(rows: pa.Table, name: str, values: Sequence[str]) -> np.ndarray:
    """Return whether each row has one of the values in a column, which another recipe may not have."""
    if name not in rows.column_names:
        return np.zeros(len(rows), dtype=bool)
    numbers, words = numbered(rows[name])
    return np.asarray(np.isin(words, values)[numbers])


def _has_label(rows: pa.Table, values: Sequence[str]) -> np.ndarray:
    return np.asarray(have(rows["labels"], values).any(axis=1))


def _none_left(met: Mapping[str, np.ndarray], number: int) -> BadOption:
    """Return the error that no row meets all options: how many meet each, and without which there are some."""
    every = np.ones(number, dtype=bool)
    alone = [
        option for option in met if np.logical_and.reduce([every, *(met[name] for name in met if name != option)]).any()
    ]
    counts = ", ".join(f"{int(rows.sum()):,} meet {option}" for option, rows in met.items())
    return BadOption(
        "[subset]",
        expected="patches that meet all of its options",
        found=f"none of {number:,}: {counts}",
        remedy=f"change {' or '.join(alone)} there, or leave it out"
        if alone
        else f"change more than one of {', '.join(met)} there, or leave them out",
    )
