"""Read the land cover of one tile from a raster of codes: each pixel of 10 m has the code that lies at its centre."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import rasterio
import shapely
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.transform import from_origin
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from ben_luigi.domain import given
from ben_luigi.domain.errors import BadInput, some
from ben_luigi.domain.placement.footprints import outline
from ben_luigi.domain.placement.grid import Square
from ben_luigi.domain.remembered import remembered

PIXEL_M = 10
_MOST_CODE = 65_535
_ROWS = 1024
_TOLERANCE_PX = 0.01
"""How far GDAL's interpolation between transformed points may be off, in pixels of the raster."""

_EXPECTED = "a raster with one band of land cover codes, and a CRS"
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
    _opened(path, lambda file: _check_covers(file, path, square, tile))


def read(raster: Raster, square: Square, nothing: int, tile: str) -> np.ndarray:
    """Return the codes on a square at 10 m, nearest neighbour, from its upper-left corner: (row, col), uint16.

    Pixels without data are `nothing`. Raise BadInput if the raster does not cover the square, or has another code.
    """
    side_px = int(square.side_m // PIXEL_M)

    def warped(file: Any) -> np.ndarray:
        _check_covers(file, raster.path, square, tile)
        codes = np.empty((side_px, side_px), "uint16")
        place = {"transform": from_origin(square.left, square.top, PIXEL_M, PIXEL_M), "crs": f"EPSG:{square.epsg}"}
        how = {"resampling": Resampling.nearest, "tolerance": _TOLERANCE_PX}
        with WarpedVRT(file, width=side_px, height=side_px, **place, **how) as view:
            for row in range(0, side_px, _ROWS):
                values = view.read(1, window=Window(0, row, side_px, min(_ROWS, side_px - row)))
                part = codes[row : row + len(values)]
                unknown = _translate(values, file.nodata, raster.codes, nothing, part)
                if unknown:
                    raise _unknown(raster.path, tile, unknown, file.nodata)
        return codes

    return _opened(raster.path, warped)


def _translate(
    values: np.ndarray, nodata: float | None, codes: Collection[int], nothing: int, into: np.ndarray
) -> list[float]:
    """Write the codes of pixels into an array, and return values that are none."""
    absent = np.zeros(values.shape, bool) if nodata is None else (values == nodata) | (values != values)
    fits = absent | ((values >= 0) & (values <= _MOST_CODE))
    if values.dtype.kind == "f":
        fits &= absent | (values == np.floor(values))
    into[:] = np.where(fits & ~absent, values, nothing)
    known = np.zeros(_MOST_CODE + 1, bool)
    known[[*codes, nothing]] = True
    fits &= absent | known[into]
    return [] if fits.all() else np.unique(values[~fits]).tolist()


def _check_covers(file: Any, path: Path, square: Square, tile: str) -> None:
    wkt = file.crs.to_wkt()
    of_tile = outline(square.epsg, square.bounds, wkt, 1000)
    corners = [
        file.transform @ corner for corner in ((0, 0), (file.width, 0), (file.width, file.height), (0, file.height))
    ]
    covered = shapely.Polygon(corners)
    if covered.covers(of_tile):
        return
    extents = (some(f"{edge:.6g}" for edge in one.bounds) for one in (of_tile, covered))
    wanted, found = extents
    raise BadInput(
        f"tile {tile}: {path}",
        expected=f"a raster that covers the tile: {wanted} (west, south, east, north in {CRS.from_wkt(wkt).name})",
        found=found,
        remedy="give a raster of a larger area in [land_cover] of the recipe, or take the tile out",
    )


def _unknown(path: Path, tile: str, values: list[float], nodata: float | None) -> BadInput:
    return BadInput(
        f"tile {tile}: {path}",
        expected="codes of the nomenclature only",
        found=f"{some((f'{value:g}' for value in values), 8)}; its value for no data is {nodata}",
        remedy="add these codes to the nomenclature, or set the raster's value for no data: gdal_edit.py -a_nodata",
    )


def _opened(path: Path, use: Callable[[Any], T]) -> T:
    """Call a function with the open raster. Raise BadInput for all that GDAL cannot read."""
    try:
        given.check_file(path)
        with rasterio.Env(), rasterio.open(path) as file:
            found = f"{file.count} bands" if file.count != 1 else "" if file.crs else "no CRS"
            if found or file.dtypes[0].startswith("complex"):
                raise BadInput(path, expected=_EXPECTED, found=found or file.dtypes[0], remedy=_REMEDY)
            return use(file)
    except (RasterioError, CRSError, OSError, ValueError) as error:
        raise BadInput(path, expected=_EXPECTED, found=str(error), remedy=_REMEDY) from error
