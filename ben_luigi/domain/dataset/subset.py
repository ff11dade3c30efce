"""Select rows of the metadata for a subset, and draw small samples in which every class occurs.

A selection restricts only what it names; a patch is in the subset if it meets everything that is named.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from ben_luigi.domain import given
from ben_luigi.domain.dataset.cover import greedy_cover
from ben_luigi.domain.dataset.metadata import FLAGS
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

    `places` has at least patch_id, tile, season, epsg, left_m, bottom_m, right_m, top_m of all rows. Raise BadOption,
    naming the options to change, if no row is left.
    """
    at = places.set_index("patch_id").reindex(rows["patch_id"].to_pandas())
    met = _met(rows, at, selection)
    kept = np.logical_and.reduce([np.ones(len(rows), dtype=bool), *met.values()])
    if not kept.any():
        raise _none_left(met, len(rows))
    rows = rows.filter(pa.array(kept))
    return sample(rows, at["season"].to_numpy()[kept], selection.sample) if selection.sample else rows


def _met(rows: pa.Table, at: pd.DataFrame, selection: Selection) -> dict[str, np.ndarray]:
    """Return for each given option whether each row meets it."""
    met = {
        option: column.isin(values).to_numpy()
        for option, column, values in (
            ("tiles", at["tile"], selection.tiles),
            ("countries", _countries(rows), selection.countries),
            ("seasons", at["season"], selection.seasons),
            ("splits", rows["split"].to_pandas(), selection.splits),
        )
        if values
    }
    if selection.labels:
        met["labels"] = _has(rows["labels"], selection.labels).any(axis=1)
    if selection.area is not None:
        shapely.prepare(selection.area)
        shapes = polygons(at["epsg"].to_numpy(), at[list(EDGES)].to_numpy(), LONGITUDE_LATITUDE)
        met["area"] = shapely.intersects(selection.area, shapes)
    return met


def _countries(rows: pa.Table) -> pd.Series:
    """Return the country of each row, an empty text for those without one: another recipe may have no countries."""
    if "country" not in rows.column_names:
        return pd.Series([""] * len(rows))
    return pd.Series(rows["country"].to_pandas().fillna(""))


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


def sample(rows: pa.Table, seasons: np.ndarray, size: int) -> pa.Table:
    """Return `size` of the rows, in their order; the choice is deterministic, and every class of the rows occurs in it.

    If there is room, it also has every class in every split, and every season, and every country and flag that the rows
    have. Rows that cover most come first; the rest are drawn by the hash of the patch id. Raise BadOption if `size` is
    too small for the classes.
    """
    hashes = [hashlib.sha256(patch.encode()).digest() for patch in rows["patch_id"].to_pylist()]
    lot = np.array(sorted(range(len(hashes)), key=hashes.__getitem__))
    labels = _has(rows["labels"], sorted(pc.unique(pc.list_flatten(rows["labels"])).to_pylist()))
    of_split = _one_hot(rows["split"].to_numpy())
    others = [
        (labels[:, :, None] & of_split[:, None, :]).reshape(len(rows), -1),
        _one_hot(_countries(rows).to_numpy()),
        _one_hot(seasons),
        *(rows[flag].to_numpy()[:, None] for flag in FLAGS if flag in rows.column_names),
    ]
    taken = greedy_cover(labels[lot], [], size)
    if not labels[lot][taken].any(axis=0).all():
        raise BadOption(
            f"[subset] sample = {size}",
            expected=f"enough patches for all {labels.shape[1]} classes",
            found="too few",
            remedy=f"set it to {len(greedy_cover(labels[lot], [], len(rows)))} or more",
        )
    taken = greedy_cover(np.concatenate(others, axis=1)[lot], taken, size)
    rest = np.setdiff1d(np.arange(len(rows)), taken)[: size - len(taken)]
    return rows.take(pa.array(np.sort(lot[np.r_[taken, rest].astype("int64")])))


def _has(lists: pa.ChunkedArray, values: Collection[str]) -> np.ndarray:
    """Return whether each list contains each value, as (list, value)."""
    lists = lists.combine_chunks()
    column = pc.index_in(pc.list_flatten(lists), value_set=pa.array(list(values), pa.string()))
    known = column.is_valid().to_numpy(False)
    found = np.zeros((len(lists), len(values)), dtype=bool)
    found[pc.list_parent_indices(lists).to_numpy()[known], column.drop_null().to_numpy()] = True
    return found


def _one_hot(values: np.ndarray) -> np.ndarray:
    kinds, number = np.unique(values.astype(str), return_inverse=True)
    return np.asarray(number[:, None] == np.arange(len(kinds)))
