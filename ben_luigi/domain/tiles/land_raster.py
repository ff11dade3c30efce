"""Read the land cover of one tile from a raster of codes: each pixel of 10 m has the code that lies at its centre."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import rasterio
import rasterio.enums
import rasterio.transform
import rasterio.vrt
import rasterio.windows

from ben_luigi.domain.errors import BadInput, some
from ben_luigi.domain.formats import rasters
from ben_luigi.domain.placement import coverage
from ben_luigi.domain.placement.grid import Square
from ben_luigi.domain.remembered import remembered

PIXEL_M = 10
_MOST_CODE = 65_535
_ROWS = 1024
_TOLERANCE_PX = 0.01
"""How far GDAL's interpolation between transformed points may be off, in pixels of the raster."""

_EXPECTED = "a raster with one band of land cover codes, and a CRS"
_WHERE = "[land_cover]"
_REMEDY = "correct [land_cover] of the recipe, the nomenclature, or the file"
T = TypeVar("T")


@dataclass(frozen=True)
class Raster:
    """A raster of land cover: its file, and the codes that it may have; pixels without data mean nothing."""

    path: Path
    codes: frozenset[int]


@remembered()
def check(path: Path) -> None:
    """Raise BadInput unless the file is a raster with one band and a CRS."""
    _opened(path, lambda file: None)


def check_covers(path: Path, square: Square, tile: str) -> None:
    """Raise BadInput, with both extents in the raster's CRS, unless the raster covers a tile's square."""
    _opened(path, lambda file: coverage.check_covers(file, path, square, tile, _WHERE))


def read(raster: Raster, square: Square, nothing: int, tile: str) -> np.ndarray:
    """Return the codes on a square at 10 m, nearest neighbour, from its upper-left corner: (row, col), uint16.

    Pixels without data are `nothing`. Raise BadInput if the raster does not cover the square, or has another code.
    """
    side_px = int(square.side_m // PIXEL_M)

    def warped(file: Any) -> np.ndarray:
        coverage.check_covers(file, raster.path, square, tile, _WHERE)
        codes = np.empty((side_px, side_px), "uint16")
        place = {
            "transform": rasterio.transform.from_origin(square.left, square.top, PIXEL_M, PIXEL_M),
            "crs": f"EPSG:{square.epsg}",
        }
        masked = rasters.is_masked(file)
        how = {"resampling": rasterio.enums.Resampling.nearest, "tolerance": _TOLERANCE_PX, "add_alpha": masked}
        with rasterio.vrt.WarpedVRT(file, width=side_px, height=side_px, **place, **how) as view:
            for row in range(0, side_px, _ROWS):
                window = rasterio.windows.Window(0, row, side_px, min(_ROWS, side_px - row))
                values = view.read(1, window=window)
                absent = _absent(values, file.nodata)
                if masked:
                    absent |= view.read(2, window=window) == 0
                unknown = _translate(values, absent, raster.codes, nothing, codes[row : row + len(values)])
                if unknown:
                    raise _unknown(raster.path, tile, unknown, file.nodata)
        return codes

    return _opened(raster.path, warped)


def _absent(values: np.ndarray, nodata: float | None) -> np.ndarray:
    """Return which pixels have the value for no data."""
    return np.zeros(values.shape, bool) if nodata is None else (values == nodata) | (values != values)


def _translate(
    values: np.ndarray, absent: np.ndarray, codes: Collection[int], nothing: int, into: np.ndarray
) -> list[float]:
    """Write the codes of pixels into an array, `nothing` where they are absent, and return values that are none."""
    fits = absent | ((values >= 0) & (values <= _MOST_CODE))
    if values.dtype.kind == "f":
        fits &= absent | (values == np.floor(values))
    into[:] = nothing  # not by np.where, which would make it a number of the raster's type
    np.copyto(into, values, casting="unsafe", where=fits & ~absent)
    known = np.zeros(_MOST_CODE + 1, bool)
    known[[*codes, nothing]] = True
    fits &= absent | known[into]
    return [] if fits.all() else np.unique(values[~fits]).tolist()


def _unknown(path: Path, tile: str, values: list[float], nodata: float | None) -> BadInput:
    return BadInput(
        f"tile {tile}: {path}",
        expected="codes of the nomenclature only",
        found=f"{some((f'{value:g}' for value in values), 8)}; its value for no data is {nodata}",
        remedy="add these codes to the nomenclature, or set the raster's value for no data: gdal_edit.py -a_nodata",
    )


def _opened(path: Path, use: Callable[[Any], T]) -> T:
    """Call a function with the open raster. Raise BadInput for all that GDAL cannot read."""
    with rasterio.Env(), rasters.opened(path, expected=_EXPECTED, remedy=_REMEDY) as file:
        return use(file)
