"""Compute where a tile lies, how it is cut into patches, and the split of each patch.

A *tile* is a square of `side_m` metres (109,800 on real products) in a UTM zone; its upper-left corner follows from its
MGRS square. A *patch* is a square of `patch_m` metres (1200 by default) in a regular grid from that corner; `x` counts
east and `y` south, both from 0. Patches are listed in the order of x, then y, which is the order of their ids.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from mgrs import MGRS

from ben_luigi.domain.errors import BadInput, BadName, some
from ben_luigi.domain.names import PatchId, TileName, position_digits
from ben_luigi.domain.vocabulary import PATCH_M as PATCH_M
from ben_luigi.domain.vocabulary import SPLITS as SPLITS
from ben_luigi.domain.vocabulary import TILE_SIDE_M as TILE_SIDE_M

_FALSE_NORTHING_M = 10_000_000
"""Northing of the equator in the zones of the southern hemisphere."""


@dataclass(frozen=True)
class Square:
    """An axis-parallel square in a UTM zone: upper-left corner and side in metres, EPSG code of the zone."""

    left: float
    top: float
    side_m: float
    epsg: int

    @property
    def right(self) -> float:
        """East edge, metres."""
        return self.left + self.side_m

    @property
    def bottom(self) -> float:
        """South edge, metres."""
        return self.top - self.side_m

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north, metres."""
        return self.left, self.bottom, self.right, self.top

    def corner(self, x: int, y: int, patch_m: int = PATCH_M) -> tuple[float, float]:
        """Return west and north edge, in metres, of the patch of `patch_m` metres at column `x` and row `y`."""
        return self.left + x * patch_m, self.top - y * patch_m

    def patch(self, x: int, y: int, patch_m: int = PATCH_M) -> Square:
        """Return the square of the patch of `patch_m` metres at column `x` and row `y` of the square."""
        return Square(*self.corner(x, y, patch_m), patch_m, self.epsg)

    def patch_edges(self, x: np.ndarray, y: np.ndarray, patch_m: int = PATCH_M) -> np.ndarray:
        """Return west, south, east and north edge, in metres, of the patches at (`x`, `y`): (patch, 4), float64."""
        left, top = self.left + x * float(patch_m), self.top - y * float(patch_m)
        return np.stack([left, top - patch_m, left + patch_m, top], axis=1)


def check_squares(names: Iterable[TileName], source: Path, *, southern: bool = False) -> None:
    """Raise BadInput, naming each tile, unless all products are of MGRS squares that exist.

    They must be in the northern hemisphere unless `southern`. `source` is the list or folder that they come from.
    """
    wrong = []
    for name in names:
        try:
            if not southern and name.is_southern:
                wrong.append(f"{name.tile_key} (latitude band {name.mgrs[2]}, south of the equator)")
            else:
                tile_square(name)
        except BadName as error:
            wrong.append(f"{name.tile_key} ({error.found})")
    if wrong:
        where = "" if southern else " of the northern hemisphere, of latitude bands N to X"
        raise BadInput(
            source,
            expected=f"tiles of existing MGRS squares{where}",
            found=some(wrong),
            remedy="take these products out of it, or name only others in [dataset] tiles",
        )


@lru_cache(maxsize=4096)
def tile_square(name: TileName, side_m: int = TILE_SIDE_M) -> Square:
    """Return the square of a product's tile, from its MGRS square with south-west corner (E, N).

    left = floor(E / 60) * 60, top = ceil((N + 100000) / 60) * 60: ESA's tiling, snapped to the 60 m pixel. South of the
    equator the pixels count from there: top = 10000000 - floor((10000000 - N - 100000) / 60) * 60. Raise BadName if
    there is no such square.
    """
    try:
        with (
            warnings.catch_warnings()
        ):  # mgrs warns of squares that begin just below their latitude band, such as 33UUP
            warnings.simplefilter("ignore", RuntimeWarning)
            _, _, easting, northing = MGRS().MGRSToUTM(f"{name.mgrs}0000000000")
    except Exception as error:  # mgrs raises plain exceptions of its own
        raise BadName(
            f"product {name}",
            expected="an existing MGRS square",
            found=f"no square {name.mgrs}",
            remedy="take the product out of the list or folder that it comes from",
        ) from error
    # mgrs returns the middle of the square metre, as 300000.5, whose half round() removes: it goes to the even number.
    left, north = math.floor(round(easting) / 60) * 60, round(northing) + 100_000
    if name.is_southern:
        top = _FALSE_NORTHING_M - math.floor((_FALSE_NORTHING_M - north) / 60) * 60
    else:
        top = math.ceil(north / 60) * 60
    return Square(left, top, side_m, name.epsg)


@dataclass(frozen=True)
class PatchGrid:
    """The patches of one tile, `patch_m` metres a side.

    Arrays have one element per patch, in the order of x, then y.
    """

    tile_name: str
    square: Square
    patch_m: int = PATCH_M

    @property
    def patches_a_side(self) -> int:
        """Number of complete patches from west to east, and from north to south: 91 on a real tile."""
        return int(self.square.side_m // self.patch_m)

    @property
    def digits(self) -> int:
        """Number of digits of column and row in a patch id, so that ids ascend as patches do: 2, or more if needed."""
        return position_digits(self.patches_a_side)

    def patch_id(self, x: int, y: int) -> PatchId:
        """Return the id of the patch at column `x` and row `y`."""
        return PatchId(self.tile_name, x, y, self.digits)

    def corner(self, x: int, y: int) -> tuple[float, float]:
        """Return west and north edge, in metres, of the patch at column `x` and row `y`."""
        return self.square.corner(x, y, self.patch_m)

    def patch(self, x: int, y: int) -> Square:
        """Return the square of the patch at column `x` and row `y`."""
        return self.square.patch(x, y, self.patch_m)

    def patch_edges(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return west, south, east and north edge, in metres, of the patches at (`x`, `y`): (patch, 4), float64."""
        return self.square.patch_edges(x, y, self.patch_m)

    @property
    def x(self) -> np.ndarray:
        """Column of each patch, int64."""
        # int64, though int16 holds every column: x * 1200 m would overflow it from column 28 on.
        return np.repeat(np.arange(self.patches_a_side), self.patches_a_side)

    @property
    def y(self) -> np.ndarray:
        """Row of each patch, int64."""
        return np.tile(np.arange(self.patches_a_side), self.patches_a_side)

    @property
    def covered(self) -> Square:
        """The square that the patches cover together."""
        return Square(self.square.left, self.square.top, self.patches_a_side * self.patch_m, self.square.epsg)

    @property
    def edges(self) -> np.ndarray:
        """West, south, east and north edge of each patch, metres: (patch, 4), float64."""
        return self.patch_edges(self.x, self.y)

    def positions(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the positions in this grid's arrays of the patches at columns `x` and rows `y`, int64."""
        return np.asarray(np.asarray(x, dtype="int64") * self.patches_a_side + y)

    def position(self, x: int, y: int) -> int:
        """Return the position in this grid's arrays of the patch at column `x` and row `y`."""
        return x * self.patches_a_side + y

    def columns_rows(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return columns and rows of the patches at `positions` in this grid's arrays, int64."""
        return np.divmod(positions, self.patches_a_side)

    def image(self, values: Sequence[int]) -> np.ndarray:
        """Return the values of the patches, given in the order of this grid's arrays, as an image: (row, col)."""
        return np.asarray(values).reshape(self.patches_a_side, self.patches_a_side).T

    def place(self, left: np.ndarray, top: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return columns and rows of the patches that corners (west, north, in metres) lie in, int64.

        They may be outside of the grid.
        """
        x, y = (left - self.square.left) / self.patch_m, (self.square.top - top) / self.patch_m
        return np.floor(x).astype("int64"), np.floor(y).astype("int64")

    def ids(self) -> pa.Array:
        """Return the patch ids, ascending."""
        return pc.binary_join_element_wise(self.tile_name, _suffixes(self.patches_a_side), "_")

    def splits(self) -> np.ndarray:
        """Return `train`, `validation` or `test` for each patch, by the ring of the tile that its centre lies in.

        The rings are three concentric squares on the tile's full extent of side s: the outer ring of width s(2 - sqrt
        2)/4 is train, the next of width s(sqrt 2 - 1)/4 validation, the inner square test. They are not symmetric in
        the grid, since 91 patches leave 600 m of the tile over.
        """
        side = self.square.side_m
        train_m, test_m = side * (2 - math.sqrt(2)) / 4, side / 4
        centre_x, centre_y = (self.x + 0.5) * self.patch_m, (self.y + 0.5) * self.patch_m
        to_edge = np.minimum.reduce([centre_x, centre_y, side - centre_x, side - centre_y])
        return np.select([to_edge < train_m, to_edge < test_m], ["train", "validation"], "test")

    def table(self) -> pd.DataFrame:
        """Return one row per patch: patch_id, x, y, epsg, left_m, bottom_m, right_m, top_m."""
        left, bottom, right, top = self.edges.T
        return pd.DataFrame(
            {
                "patch_id": pd.array(self.ids(), dtype="str"),
                "x": self.x,
                "y": self.y,
                "epsg": self.square.epsg,
                "left_m": left,
                "bottom_m": bottom,
                "right_m": right,
                "top_m": top,
            }
        )


def pixel_window(x: int, y: int, side_px: int) -> tuple[slice, slice]:
    """Return rows and columns of the patch at (x, y) in an image of its tile with `side_px` pixels per patch side."""
    return slice(y * side_px, (y + 1) * side_px), slice(x * side_px, (x + 1) * side_px)


@lru_cache(maxsize=8)
def _suffixes(patches_a_side: int) -> pa.Array:
    each = [f"{number:0{position_digits(patches_a_side)}d}" for number in range(patches_a_side)]
    return pa.array([f"{x}_{y}" for x in each for y in each], pa.string())
