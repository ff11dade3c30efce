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
from ben_luigi.domain.report.report_tiles import STATES, Tile

_DIGITS = string.digits + string.ascii_letters


def index_script(tiles: Sequence[Tile], classes: Sequence[str]) -> str:
    """Return the script with everything that is not specific to a tile: tiles, and the words for numbers."""
    return _call(
        "index",
        {
            "tiles": [[tile.key, tile.name.tile_name] for tile in tiles],
            "classes": list(classes),
            "countries": list(COUNTRIES),
            "splits": list(SPLITS),
            "states": {state.character: [state.name, state.why] for state in STATES},
        },
    )


def tile_script(tile: Tile, rows: pa.Table, labels: np.ndarray, shown: Mapping[str, bool]) -> str:
    """Return the script with the patches of a tile: `rows` of the metadata, ascending, with `labels` (patch, class).

    `shown` has the patches with a picture, and whether there is one of their reference map too.
    """
    s1, s1_names = _shortened(rows["s1_name"].to_pylist())
    v1, v1_names = _shortened(rows["s2v1_name"].to_pylist())
    snow, cloud = (rows[flag].to_pylist() for flag in FLAGS)
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
            "labels": ["".join(_DIGITS[position] for position in np.flatnonzero(row)) for row in labels],
            "country": "".join(_DIGITS[COUNTRIES.index(name)] for name in rows["country"].to_pylist()),
            "flags": "".join(str(a + 2 * b) for a, b in zip(snow, cloud, strict=True)),
            "s1": s1,
            "s1_names": s1_names,
            "v1": v1,
            "v1_names": v1_names,
            "shown": {PatchId.parse(patch_id).position: has_map for patch_id, has_map in shown.items()},
        },
    )


def _shortened(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the beginnings of the names, and each name as the number of its beginning, `:` and its last two fields."""
    parts = [split_position(name) for name in names]
    number = {first: position for position, first in enumerate(sorted({first for first, _, _ in parts}))}
    return list(number), [f"{number[first]}:{x}_{y}" for first, x, y in parts]


def _call(function: str, value: object) -> str:
    return f"report.{function}({json.dumps(value, separators=(',', ':'))});\n"
