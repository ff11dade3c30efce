"""Measure cloud and snow on each patch, by the scene classification (SCL) of its L2A product.

Its classes, of Sen2Cor and ESA alike: 0 no data, 1 defective, 3 cloud shadow, 8 and 9 cloud of medium and high
probability, 10 thin cirrus, 11 snow or ice.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
from rasterio.errors import RasterioError

from ben_luigi.domain.errors import BadProduct
from ben_luigi.domain.placement.grid import PatchGrid
from ben_luigi.domain.products import jpeg2000

INVALID = (0, 1)
CLOUD = (3, 8, 9, 10)
SNOW = (11,)
_PIXELS_M = (20, 60)
_REMEDY = "fetch the product again, or leave out [patches] max_cloud of the recipe"


def find(folder: Path) -> tuple[Path, int] | None:
    """Return the file of the scene classification in an L2A product, and its pixel size in metres; the finest one."""
    for pixel_m in _PIXELS_M:
        if found := sorted(folder.glob(f"GRANULE/*/IMG_DATA/**/*_SCL_{pixel_m}m.jp2")):
            return found[0], pixel_m
    return None


def read(folder: Path, grid: PatchGrid, *, required: bool = True) -> pd.DataFrame:
    """Return the shares of each patch of a tile, as `shares` does, from an L2A product's folder.

    A product without scene classification gives no rows, unless it is `required`. Raise BadProduct if it is missing,
    cannot be read, or is not of the tile's extent.
    """
    found = find(folder)
    if found is None and not required:
        return _table(grid, *(np.empty(0) for _ in range(3)))
    expected = f"a scene classification of {grid.square.side_m:.0f} m a side, *_SCL_20m.jp2 or *_SCL_60m.jp2"
    if found is None:
        raise BadProduct(f"tile {grid.tile_name}: {folder}", expected=expected, found="none", remedy=_REMEDY)
    path, pixel_m = found
    try:
        jpeg2000.check_whole(path)  # GDAL would read a truncated file without an error
        with rasterio.open(path, driver="JP2OpenJPEG") as raster:
            classes = raster.read(1)
    except (RasterioError, OSError, ValueError) as error:
        said = str(error.__cause__ or error)
        raise BadProduct(f"tile {grid.tile_name}: {path}", expected=expected, found=said, remedy=_REMEDY) from error
    if set(classes.shape) != {round(grid.square.side_m / pixel_m)}:
        said = f"{classes.shape[1]} x {classes.shape[0]} pixels of {pixel_m} m"
        raise BadProduct(f"tile {grid.tile_name}: {path}", expected=expected, found=said, remedy=_REMEDY)
    return shares(classes, pixel_m, grid)


def shares(classes: np.ndarray, pixel_m: int, grid: PatchGrid) -> pd.DataFrame:
    """Return patch_id, cloud and snow: the shares, 0 to 1, of a patch's valid pixels that are cloud, cloud shadow
    included, and snow.

    `classes` are those of the tile, (row, col), from its upper-left corner, `pixel_m` metres a pixel, which divides the
    side of a patch. A patch without a valid pixel has no row.
    """
    a_side, side_px = grid.patches_a_side, grid.patch_m // pixel_m
    covered = classes[: a_side * side_px, : a_side * side_px]

    def counted(of: tuple[int, ...]) -> np.ndarray:
        """Return the number of pixels of these classes on each patch, in the order of the grid."""
        tiled = np.isin(covered, of).reshape(a_side, side_px, a_side, side_px)
        return np.asarray(tiled.sum(axis=(1, 3)).T.reshape(-1))

    valid = side_px**2 - counted(INVALID)
    there = valid > 0
    return _table(grid, np.flatnonzero(there), *(counted(of)[there] / valid[there] for of in (CLOUD, SNOW)))


def _table(grid: PatchGrid, positions: np.ndarray, cloud: np.ndarray, snow: np.ndarray) -> pd.DataFrame:
    ids = pd.array(grid.ids(), dtype="str")[positions.astype("int64")]
    return pd.DataFrame({"patch_id": ids, "cloud": cloud, "snow": snow})
