"""Compare two sources of CORINE's polygons on one tile: which polygons and which pixels of maps differ."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely

from ben_luigi.domain.placement.grid import PatchGrid
from ben_luigi.domain.tiles.clc import Polygons
from ben_luigi.domain.tiles.reference_maps import PIXEL_M, Burnt, burn

_NUMBER = re.compile(r"\d+$")


@dataclass(frozen=True)
class Pixel:
    """A pixel that differs: the patch it is in, its centre (x, y in metres in the tile's CRS), and both codes."""

    patch: str
    x: float
    y: float
    codes: tuple[int, int]


@dataclass(frozen=True)
class Comparison:
    """How the second source differs from the first on a tile; polygons by ID, as far as they reach into the square.

    `codes` has the two codes of each polygon that has others; `outlines` how far apart two outlines are at most
    (Hausdorff distance, metres). Of the pixels at 10 m all that differ are counted, and the first ones are listed.
    """

    polygons: tuple[int, int]
    only_first: Sequence[str]
    only_second: Sequence[str]
    codes: dict[str, tuple[int, int]]
    outlines: dict[str, float]
    differing_pixels: int
    pixels: Sequence[Pixel]

    @property
    def is_equal(self) -> bool:
        """Whether the maps are the same: polygons may still differ, by less than a pixel."""
        return not self.differing_pixels


def compare(first: Polygons, second: Polygons, grid: PatchGrid, most_pixels: int = 100) -> Comparison:
    """Compare polygons of two sources, and the maps burnt from them. IDs count by their numbers: EU-12 is EU_12."""
    ours, theirs = (_by_number(polygons, grid) for polygons in (first, second))
    both = sorted(ours.keys() & theirs.keys())
    codes = {ours[key][0]: (ours[key][1], theirs[key][1]) for key in both if ours[key][1] != theirs[key][1]}
    outlines = {ours[key][0]: apart for key in both if (apart := _apart(ours[key][2], theirs[key][2])) > 0}
    burnt = burn(first, grid), burn(second, grid)
    rows, columns = np.nonzero(_pixels(burnt[0]) != _pixels(burnt[1]))
    shown = [
        _pixel(grid, burnt, row, column)
        for row, column in zip(rows[:most_pixels].tolist(), columns[:most_pixels].tolist(), strict=True)
    ]
    return Comparison(
        (len(ours), len(theirs)),
        [ours[key][0] for key in sorted(ours.keys() - theirs.keys())],
        [theirs[key][0] for key in sorted(theirs.keys() - ours.keys())],
        codes,
        outlines,
        len(rows),
        shown,
    )


def _by_number(polygons: Polygons, grid: PatchGrid) -> dict[str, tuple[str, int, shapely.Geometry]]:
    """ID, code and outline of each polygon that reaches into the tile's square, by the number in its ID."""
    inside = shapely.intersects(polygons.geometries, shapely.box(*grid.square.bounds))
    rows = zip(polygons.ids[inside].tolist(), polygons.codes[inside].tolist(), polygons.geometries[inside], strict=True)
    return {number[0] if (number := _NUMBER.search(name)) else name: (name, code, shape) for name, code, shape in rows}


def _apart(one: shapely.Geometry, other: shapely.Geometry) -> float:
    """Hausdorff distance of two outlines in metres; 0 if they have the same vertices, wherever their rings begin."""
    if shapely.equals_exact(shapely.normalize(one), shapely.normalize(other), 0.0):
        return 0.0
    return max(float(shapely.hausdorff_distance(one, other)), np.finfo(float).tiny)


def _pixels(burnt: Burnt) -> np.ndarray:
    """The codes of all pixels: (row, col), uint16."""
    return np.asarray(burnt.codes.take(burnt.classes, mode="clip"))


def _pixel(grid: PatchGrid, burnt: tuple[Burnt, Burnt], row: int, column: int) -> Pixel:
    x, y = grid.square.left + (column + 0.5) * PIXEL_M, grid.square.top - (row + 0.5) * PIXEL_M
    first, second = (int(one.codes[one.classes[row, column]]) for one in burnt)
    side_px = grid.patch_m // PIXEL_M
    patch = grid.patch_id(column // side_px, row // side_px)
    return Pixel(str(patch), x, y, (first, second))
