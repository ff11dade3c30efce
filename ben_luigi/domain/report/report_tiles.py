"""Describe the tiles of the report: the state of each patch of a tile's grid, and the pictures.

The *states* of a tile are a text with one character per patch (see STATES), in the order of x, then y. Capitals stand
for patches with snow, cloud or shadow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ben_luigi.domain.dataset.archived import ArchivedPatches
from ben_luigi.domain.errors import BadTable
from ben_luigi.domain.files import AtHand, on_disk
from ben_luigi.domain.formats.shards import ShardReader
from ben_luigi.domain.formats.tiffheader import read_pixels
from ben_luigi.domain.names import PatchId, ProductName
from ben_luigi.domain.placement.grid import PATCH_M, SPLITS, PatchGrid, Square
from ben_luigi.domain.products.product import QUALITY_RESULTS
from ben_luigi.domain.report import bands, rendering
from ben_luigi.domain.report.report_counts import examples
from ben_luigi.domain.tiles.nomenclature import UNLABELED_LIMIT

Colour = tuple[int, int, int]

EXAMPLES = 12
"""Most patches of a tile that are shown."""

IN_SPLIT = "abc"
"""The states of patches in the dataset, by split, in the order of SPLITS."""

_FLAGGED_IN_SPLIT = IN_SPLIT.upper()


@dataclass(frozen=True)
class State:
    """A possible state of a patch: its character, its name, its reason, and its colour (None: not drawn)."""

    character: str
    name: str
    why: str
    colour: Colour | None


_A_QUARTER = "a quarter"
"""By default, the part of a map without classes from which a patch has no labels."""

STATES = (
    State(".", "no v1 patch", "BigEarthNet v1 has no patch of this season on the square", None),
    State("0", "no data", "a pixel of some band is 0", (112, 117, 126)),
    State("m", "no land cover", "no CORINE polygon reaches into the patch", (190, 170, 130)),
    State(
        "u",
        "no label",
        f"{_A_QUARTER} of the map or more has no class, or the product failed a quality result",
        (196, 78, 56),
    ),
    State("a", "train", "", (47, 103, 168)),
    State("b", "validation", "", (222, 157, 38)),
    State("c", "test", "", (146, 70, 140)),
    State("A", "train, flagged", "with snow, cloud or shadow", (158, 190, 225)),
    State("B", "validation, flagged", "with snow, cloud or shadow", (243, 215, 158)),
    State("C", "test, flagged", "with snow, cloud or shadow", (214, 176, 211)),
)

_WORDS = {
    ".": ("not selected", "the recipe does not keep it"),
    "m": ("no land cover", "the land cover does not reach into the patch"),
}


def states_of(*, is_v2: bool, unlabeled_limit: float = UNLABELED_LIMIT) -> tuple[State, ...]:
    """Return STATES, for another recipe than the default one in words that do not speak of v1 and CORINE.

    `unlabeled_limit` is the part of a map without classes from which a patch has no labels, 0 to 1.
    """
    part = _A_QUARTER if unlabeled_limit == UNLABELED_LIMIT else f"{100 * unlabeled_limit:.4g} %"
    words = {} if is_v2 else _WORDS
    found = [(state, *words.get(state.character, (state.name, state.why))) for state in STATES]
    return tuple(replace(state, name=name, why=why.replace(_A_QUARTER, part)) for state, name, why in found)


@dataclass(frozen=True)
class Tile:
    """A tile with everything that the report needs.

    `facts` is its entry in `provenance.json`, `cover` the pixels per CLC code on its reference maps; `patches` and
    `maps` are its shards, there within `at_hand`, `rgb` and `reference_map` its overviews as PNG.
    """

    key: str
    square: Square
    states: str
    facts: Mapping[str, Any]
    cover: Mapping[int, int]
    patches: Path
    maps: Path
    rgb: Path
    reference_map: Path
    patch_m: int = PATCH_M
    at_hand: AtHand = on_disk

    @contextmanager
    def shards(self) -> Iterator[tuple[ShardReader, ShardReader]]:
        """Yield readers of its patches and of its reference maps."""
        with (
            self.at_hand(self.patches, self.maps),
            ShardReader(self.patches) as patches,
            ShardReader(self.maps) as maps,
        ):
            yield patches, maps

    @property
    def name(self) -> ProductName:
        """Its L2A product."""
        return ProductName.parse(str(self.facts["l2a_name"]))

    @property
    def grid(self) -> PatchGrid:
        """Its patches."""
        return PatchGrid(self.name.tile_name, self.square, self.patch_m)

    @cached_property
    def counted(self) -> Counter[str]:
        """Number of patches per state."""
        return Counter(self.states)

    @property
    def written(self) -> int:
        """Number of patches that match a v1 patch and have data everywhere."""
        return len(self.states) - self.counted["."] - self.counted["0"]

    @property
    def by_split(self) -> list[int]:
        """Number of patches in the dataset, per split."""
        pairs = zip(IN_SPLIT, _FLAGGED_IN_SPLIT, strict=True)
        return [self.counted[plain] + self.counted[flagged] for plain, flagged in pairs]

    @property
    def labelled(self) -> int:
        """Number of patches in the dataset."""
        return sum(self.by_split)

    @property
    def flagged(self) -> int:
        """Number of patches in the dataset with snow, cloud or shadow."""
        return sum(self.counted[state] for state in _FLAGGED_IN_SPLIT)

    @property
    def failed(self) -> list[str]:
        """The quality results that are not PASSED."""
        return [check for check in QUALITY_RESULTS if self.facts[check.lower()] != "PASSED"]

    @property
    def standing(self) -> str:
        """`labelled`, `failed` (a quality result, so no labels) or `empty` (no patch has labels, for other reasons)."""
        return "failed" if self.failed else "labelled" if self.labelled else "empty"

    def with_flags(self, patch_ids: Sequence[str], flagged: Sequence[bool]) -> Tile:
        """Return the tile with capitals for its flagged patches.

        Raise BadTable unless `patch_ids` are those with a split.
        """
        patches = [PatchId.parse(patch_id) for patch_id in patch_ids]
        positions = [self.grid.position(patch.x, patch.y) for patch in patches]
        states = list(self.states)
        if positions != [position for position, state in enumerate(states) if state in IN_SPLIT]:
            raise BadTable(
                f"{self.key}: metadata",
                expected=f"{self.labelled} rows, one per labelled patch",
                found=f"{len(positions)} rows, or those of other patches",
                remedy="remove metadata*.parquet in dataset/ and run again",
            )
        for position, flag in zip(positions, flagged, strict=True):
            states[position] = states[position].upper() if flag else states[position]
        return replace(self, states="".join(states))


def grid_png(tile: Tile) -> bytes:
    """Return the picture of a tile's grid, one pixel per patch."""
    order = {state.character: position for position, state in enumerate(STATES)}
    index = tile.grid.image([order[state] for state in tile.states]).astype("uint8")
    return rendering.palette_png(index, [state.colour for state in STATES])


def overviews(tile: Tile) -> Iterator[tuple[str, bytes]]:
    """Yield file name and content of the pictures of a whole tile."""
    yield "grid.png", grid_png(tile)
    yield "rgb.webp", rendering.webp(rendering.read_picture(tile.rgb))
    yield "map.png", tile.reference_map.read_bytes()


class Pictured(NamedTuple):
    """What there are pictures of, besides true colour: the reference map, and Sentinel-1 by its S1 name."""

    has_map: bool
    s1_name: str


def shown(tile: Tile, rows: pa.Table, has: np.ndarray, *, has_radar: bool) -> dict[str, Pictured]:
    """Return the patches to show, and what there are pictures of.

    They are chosen from those in the dataset, the rows of the metadata, to show each property that any of them `has`
    (patch, property); or from all written patches if there are none. `has_radar` tells whether Sentinel-1 is shown.
    """
    patch_ids = rows["patch_id"].to_pylist()
    s1_names = rows["s1_name"].to_pylist() if has_radar else [None] * len(rows)
    with tile.shards() as (shard, maps):
        if not patch_ids:
            patch_ids, has = shard.patch_ids, np.zeros((len(shard.patch_ids), 0), bool)
            s1_names = [None] * len(patch_ids)
        return {
            patch_ids[row]: Pictured(patch_ids[row] in maps, s1_names[row] or "") for row in examples(has, EXAMPLES)
        }


def quicklooks(
    tile: Tile, chosen: Mapping[str, Pictured], colours: Mapping[int, Colour], radar: ArchivedPatches | None
) -> Iterator[tuple[str, bytes]]:
    """Yield file name and content of the pictures of the patches that are shown; those of Sentinel-1 from `radar`."""
    with tile.shards() as (shard, maps):
        for patch_id, pictured in chosen.items():
            position = PatchId.parse(patch_id).position
            reflectance = rendering.read_rgb(shard, patch_id, boa_offset=bool(tile.facts["boa_offset"]))
            yield f"{position}.webp", rendering.webp(rendering.true_colour(reflectance))
            if pictured.has_map:
                yield f"{position}.png", rendering.map_png(rendering.read_codes(maps, patch_id), colours)
    if radar is not None:
        read = radar.read(pictured.s1_name for pictured in chosen.values() if pictured.s1_name)
        for patch_id, (_, name) in chosen.items():
            if name:
                vv, vh = (read_pixels(read[name][band], f"{name}_{band}") for band in (bands.VV, bands.VH))
                strip = bands.radar_strip(bands.shown_radar(vv, vh))
                yield f"{PatchId.parse(patch_id).position}_s1.webp", rendering.webp(strip)


def missing(tiles: Sequence[Tile], states: Sequence[State] = STATES) -> list[tuple[str, str, int, list[str]]]:
    """Return why patches of the grids are not in the dataset: name, reason, number, and tiles, most affected first."""
    found = []
    for state in states:
        if state.character in IN_SPLIT + _FLAGGED_IN_SPLIT:
            continue
        if state.character == "u":
            failed = [tile for tile in tiles if tile.failed]
            others = [tile for tile in tiles if not tile.failed]
            found.append(_reason("product failed", "its product has a quality result that is not PASSED", failed, "u"))
            found.append(_reason(state.name, state.why.partition(", or ")[0], others, "u"))
        else:
            found.append(_reason(state.name, state.why, tiles, state.character))
    return found


def _reason(name: str, why: str, tiles: Sequence[Tile], state: str) -> tuple[str, str, int, list[str]]:
    most = sorted((tile for tile in tiles if tile.counted[state]), key=lambda tile: (-tile.counted[state], tile.key))
    return name, why, sum(tile.counted[state] for tile in tiles), [tile.key for tile in most]


def split_of(state: str) -> str:
    """Return the split of a patch in the dataset."""
    return SPLITS[IN_SPLIT.index(state.lower())]
