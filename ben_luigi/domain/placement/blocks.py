"""Divide the ground into blocks, and give each block to one split, so that no ground is in two splits.

A block is a whole MGRS square, or a cell of a grid of rows of equal height in latitude, each cut into cells of equal
width in longitude, about as wide as high. Neighbouring tiles overlap, and their patches do not lie on one grid. So a
patch on the border of two splits is left out where a tile of another square shows the same ground:

- of whole squares, a patch that reaches into another square of another split, whose name comes first;
- of cells, a patch that reaches into a cell of another split.

All other patches of two splits have no ground in common, over any number of dates, zones and tiles.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ben_luigi.domain.errors import BadOption
from ben_luigi.domain.names import TileName
from ben_luigi.domain.placement.footprints import LONGITUDE_LATITUDE, transformer
from ben_luigi.domain.placement.grid import PatchGrid
from ben_luigi.domain.recipe.model import Split
from ben_luigi.domain.vocabulary import SPLITS

LEFT_OUT = ""
"""The split of a patch that is left out."""

_EARTH_M = 6_371_008.8
_DEGREE_M = math.radians(_EARTH_M)
_ROW = 2**20
"""A cell is known by row * _ROW + column; a row has at most 40,030 columns."""

_TRIED = 8
"""With at most so many blocks, all ways to divide them are compared."""

_SWAPPED = 600
_ROUNDING = 1e-6

Block = int | str
Division = dict[Block, str]


@dataclass(frozen=True)
class Cells:
    """The cells of the Earth's grid, `side_km` high and about as wide, on a sphere of the Earth's mean radius."""

    side_km: int

    @property
    def rows(self) -> int:
        """Number of rows from pole to pole."""
        return max(1, round(180 * _DEGREE_M / 1000 / self.side_km))

    def of(self, longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
        """Return the cell of each point, in degrees, any shape, int64; longitudes may go beyond 180 degrees."""
        row = np.clip(np.floor((latitude + 90) / 180 * self.rows), 0, self.rows - 1)
        middle = np.radians((row + 0.5) / self.rows * 180 - 90)
        columns = np.maximum(1, np.round(360 * _DEGREE_M / 1000 * np.cos(middle) / self.side_km))
        column = np.minimum(np.floor(np.mod(longitude + 180, 360) / 360 * columns), columns - 1)
        return np.asarray(row * _ROW + column, dtype="int64")

    def touched(self, grid: PatchGrid) -> tuple[np.ndarray, np.ndarray]:
        """Return the cell of each patch's centre, (patch,), and the cells that the patch reaches into, (patch, 4).

        A patch is at most half as wide as a cell; see `check`.
        """
        points = np.concatenate([_corners(grid), _corners(grid).mean(axis=1, keepdims=True)], axis=1)
        to = transformer(grid.square.epsg, LONGITUDE_LATITUDE)
        longitude, latitude = (part.reshape(-1, 5) for part in to.transform(*points.reshape(-1, 2).T))
        centre = longitude[:, 4:]
        longitude = centre + np.mod(longitude - centre + 180, 360) - 180  # on both sides of the 180th meridian
        # Edges are straight in the zone and bend in degrees, by their sagitta against a parallel.
        sagitta_m = grid.patch_m**2 / (8 * _EARTH_M) * np.tan(np.radians(np.abs(latitude).max(axis=1))) + 0.01
        north = sagitta_m / _DEGREE_M
        east = north / np.cos(np.radians(np.abs(latitude).max(axis=1)))
        west, east = longitude.min(axis=1) - east, longitude.max(axis=1) + east
        south, north = latitude.min(axis=1) - north, latitude.max(axis=1) + north
        around = self.of(np.stack([west, east, west, east], axis=1), np.stack([south, south, north, north], axis=1))
        return self.of(longitude[:, 4], latitude[:, 4]), around


def check(rule: Split, patch_m: int) -> None:
    """Raise BadOption if a patch may reach over more than two blocks."""
    if rule.block_km and rule.block_km * 1000 < 2 * patch_m:
        raise BadOption(
            "recipe: [split] block_km",
            expected=f"0 for whole MGRS squares, or at least {math.ceil(patch_m / 500)}, two patches of {patch_m} m",
            found=str(rule.block_km),
            remedy="correct the recipe",
        )


def splits(grid: PatchGrid, rule: Split, listed: Iterable[PatchGrid]) -> np.ndarray:
    """Return the split of each patch of a tile, LEFT_OUT if it is left out, in the order of the grid's arrays.

    `listed` are the grids of all tiles of the dataset, each date for itself. Raise BadOption if there are fewer blocks
    than splits with a share.
    """
    check(rule, grid.patch_m)
    numbers = Counter((_mgrs(one), PatchGrid("", one.square, one.patch_m)) for one in listed)
    division = _divided(tuple(sorted(numbers.items(), key=lambda one: one[0][0])), rule)
    squares = dict(numbers.keys())
    here = _mgrs(grid)
    others = {mgrs: of for mgrs, of in squares.items() if mgrs != here and _are_near(of, grid)}
    if not rule.block_km:
        earlier = [of for mgrs, of in others.items() if mgrs < here and division[mgrs] != division[here]]
        return np.where(_reach_into(grid, earlier), LEFT_OUT, division[here])
    own, around = Cells(rule.block_km).touched(grid)
    found = _looked_up(division, own)
    on_border = (_looked_up(division, around) != found[:, None]).any(axis=1)
    return np.where(on_border & _reach_into(grid, list(others.values())), LEFT_OUT, found)


def assigned(sizes: dict[Block, int], rule: Split) -> Division:
    """Return the split of each block, so that the shares of `sizes`, numbers of patches, come close to the rule's.

    The sum of the squared differences is the least that there is for up to 8 blocks; for more, no block can be moved
    and no two of up to 600 be exchanged that would make it less. The seed chooses among what is as good.
    """
    wanted = [split for split, share in zip(SPLITS, rule.shares, strict=True) if share > 0]
    if len(sizes) < len(wanted):
        raise BadOption(
            'recipe: [split] rule = "blocks"',
            expected=f"at least {len(wanted)} blocks of ground, for {' and '.join(wanted)}",
            found=f"{len(sizes)} in the tiles of the dataset",
            remedy="name a smaller block_km, or take products of more MGRS squares",
        )
    order = sorted(sizes, key=lambda block: hashlib.sha256(f"{rule.seed} {block}".encode()).digest())
    size = np.array([sizes[block] for block in order], dtype="float64")
    target = np.array([share for share in rule.shares if share > 0]) * size.sum()
    chosen = _best(size, target) if len(size) <= _TRIED else _improved(size, target, _greedy(size, target))
    return {block: wanted[index] for block, index in zip(order, chosen.tolist(), strict=True)}


@lru_cache(maxsize=4)
def _divided(numbers: tuple[tuple[tuple[str, PatchGrid], int], ...], rule: Split) -> Division:
    """Return the split of each block of the dataset, by the numbers of dates of each square."""
    sizes: Counter[Block] = Counter()
    every: set[int] = set()
    for (mgrs, grid), dates in numbers:
        if not rule.block_km:
            sizes[mgrs] += grid.patches_a_side**2 * dates
            continue
        own, around = Cells(rule.block_km).touched(grid)
        every.update(np.unique(around).tolist())
        for block, patches in zip(*(found.tolist() for found in np.unique(own, return_counts=True)), strict=True):
            sizes[block] += patches * dates
    # A cell without the centre of a patch holds no patch, but patches reach into it.
    return {**dict.fromkeys(sorted(every - sizes.keys(), key=int), LEFT_OUT), **assigned(dict(sizes), rule)}


def _best(size: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the best of all ways to divide the blocks: the index of the split of each."""
    ways = np.indices((len(target),) * len(size)).reshape(len(size), -1).T
    off = sum((((ways == split) @ size) - target[split]) ** 2 for split in range(len(target)))
    return np.asarray(ways[np.flatnonzero(off <= np.min(off) + _ROUNDING)[0]])


def _greedy(size: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Give each block, in order, to the split that lacks most."""
    lacking, chosen = target.copy(), np.zeros(len(size), dtype="int64")
    for place, number in enumerate(size):
        chosen[place] = lacking.argmax()
        lacking[chosen[place]] -= number
    return chosen


def _improved(size: np.ndarray, target: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Move a block, or exchange two, as long as the sum of the squared differences becomes less by it."""
    while True:
        excess = np.bincount(chosen, size, len(target)) - target
        move = size[:, None] * (excess[None, :] - excess[chosen][:, None] + size[:, None])
        place, split = np.unravel_index(move.argmin(), move.shape)
        if move[place, split] < -_ROUNDING:
            chosen[place] = split
            continue
        if len(size) > _SWAPPED:
            return chosen
        more = size[:, None] - size[None, :]
        swap = np.where(
            chosen[:, None] == chosen[None, :], 0, more * (excess[chosen][None, :] - excess[chosen][:, None] + more)
        )
        one, other = np.unravel_index(swap.argmin(), swap.shape)
        if swap[one, other] >= -_ROUNDING:
            return chosen
        chosen[one], chosen[other] = chosen[other], chosen[one]


def _looked_up(division: Division, cells: np.ndarray) -> np.ndarray:
    known, place = np.unique(cells, return_inverse=True)
    return np.array([division.get(cell, LEFT_OUT) for cell in known.tolist()])[place].reshape(cells.shape)


def _reach_into(grid: PatchGrid, others: Sequence[PatchGrid]) -> np.ndarray:
    """Return whether each patch of a tile may share ground with some patch of another."""
    result = np.zeros(grid.patches_a_side**2, dtype=bool)
    for other in others:
        corners = _corners(grid)
        margin = 0.0
        if other.square.epsg != grid.square.epsg:
            to = transformer(grid.square.epsg, other.square.epsg)
            corners = np.stack(to.transform(*corners.reshape(-1, 2).T), axis=1).reshape(-1, 4, 2)
            margin = 0.01 + grid.patch_m**2 / _EARTH_M  # edges bend from zone to zone, less than this
        (west, south), (east, north) = corners.min(axis=1).T - margin, corners.max(axis=1).T + margin
        left, bottom, right, top = other.covered.bounds
        result |= (west < right) & (east > left) & (south < top) & (north > bottom)
    return result


def _corners(grid: PatchGrid) -> np.ndarray:
    """Return the corners of each patch: (patch, 4, 2), x and y in metres."""
    return np.asarray(grid.edges[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2))


def _are_near(one: PatchGrid, other: PatchGrid) -> bool:
    """Return whether two tiles may meet, wherever they lie."""
    places = []
    for square in (one.square, other.square):
        x, y = square.left + square.side_m / 2, square.top - square.side_m / 2
        east, north = map(math.radians, transformer(square.epsg, LONGITUDE_LATITUDE).transform(x, y))
        places.append((math.cos(north) * math.cos(east), math.cos(north) * math.sin(east), math.sin(north)))
    return math.dist(*places) * _EARTH_M < 0.75 * (one.square.side_m + other.square.side_m)


def _mgrs(grid: PatchGrid) -> str:
    return TileName.parse(grid.tile_name).mgrs
