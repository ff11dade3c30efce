"""Write the data of the report's search: one small script per tile, since a page opened as a file cannot fetch data.

A patch id contains its tile, so a search loads one script, whatever the size of the dataset. Names are stored as the
number of their beginning and their last two fields.
"""

from __future__ import annotations

import json
import string
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from ben_luigi.domain.dataset.metadata import FLAGS
from ben_luigi.domain.names import PatchId, split_position
from ben_luigi.domain.placement.country import COUNTRIES
from ben_luigi.domain.placement.grid import SPLITS
from ben_luigi.domain.report.report_tiles import STATES, Pictured, State, Tile

_DIGITS = string.digits + string.ascii_letters
_FIRST = 0x4E00


def index_script(
    tiles: Sequence[Tile],
    classes: Sequence[str],
    countries: Sequence[str] = COUNTRIES,
    states: Sequence[State] = STATES,
) -> str:
    """Return the script with everything that is not specific to a tile: tiles, and the words for numbers."""
    return _call(
        "index",
        {
            "tiles": [[tile.key, tile.name.tile_name] for tile in tiles],
            "classes": list(classes),
            "countries": list(countries),
            "splits": list(SPLITS),
            "states": {state.character: [state.name, state.why] for state in states},
        },
    )


def tile_script(
    tile: Tile, rows: pa.Table, labels: np.ndarray, shown: Mapping[str, Pictured], countries: Sequence[str] = COUNTRIES
) -> str:
    """Return the script with the patches of a tile: `rows` of the metadata, ascending, with `labels` (patch, class).

    `shown` has the patches with a picture, and whether there are ones of reference map and Sentinel-1 too.
    """
    return _call(
        "tile",
        {
            "key": tile.key,
            "name": tile.name.tile_name,
            "epsg": tile.square.epsg,
            "left": tile.square.left,
            "top": tile.square.top,
            "patch_m": tile.grid.patch_m,
            "side": tile.grid.patches_a_side,
            "states": tile.states,
            "labels": ["".join(_digit(position) for position in np.flatnonzero(row).tolist()) for row in labels],
            **_of_recipe(rows, countries),
            "shown": {
                PatchId.parse(patch_id).position: [pictured.has_map, bool(pictured.s1_name)]
                for patch_id, pictured in shown.items()
            },
        },
    )


def _of_recipe(rows: pa.Table, countries: Sequence[str]) -> dict[str, object]:
    """Return what the metadata of another recipe may be without."""
    found: dict[str, object] = {}
    if "country" in rows.column_names:
        number = {name: position for position, name in enumerate(countries)}
        names = rows["country"].to_pylist()
        found["country"] = "".join(" " if name is None else _digit(number[name]) for name in names)
    if FLAGS[0] in rows.column_names:
        snow, cloud = (rows[flag].to_pylist() for flag in FLAGS)
        found["flags"] = "".join(str(a + 2 * b) for a, b in zip(snow, cloud, strict=True))
    for short, column in (("s1", "s1_name"), ("v1", "s2v1_name")):
        if column in rows.column_names:
            found[short], found[f"{short}_names"] = _shortened(rows[column].to_pylist())
    return found


def _digit(number: int) -> str:
    """Return one character for a number; beyond the 62 letters and digits, one of those from _FIRST on."""
    return _DIGITS[number] if number < len(_DIGITS) else chr(_FIRST + number)


def _shortened(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the beginnings of the names, and each name as the number of its beginning, `:` and its last two fields."""
    parts = [split_position(name) for name in names]
    number = {first: position for position, first in enumerate(sorted({first for first, _, _ in parts}))}
    return list(number), [f"{number[first]}:{x}_{y}" for first, x, y in parts]


def _call(function: str, value: object) -> str:
    return f"report.{function}({json.dumps(value, separators=(',', ':'))});\n"
