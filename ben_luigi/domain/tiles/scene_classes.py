"""Count cloud, cloud shadow, snow and water on each patch, by the scene classification (SCL) of its L2A product.

Its classes, of Sen2Cor and ESA alike: 0 no data, 1 defective, 3 cloud shadow, 6 water, 8 and 9 cloud of medium and
high probability, 10 thin cirrus, 11 snow or ice.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
import rasterio.errors

from ben_luigi.domain import given
from ben_luigi.domain.errors import BadProduct
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.placement.grid import PatchGrid
from ben_luigi.domain.products.product import checksums_of, verify_image
from ben_luigi.domain.vocabulary import SCENE_CLASSES

INVALID = (0, 1)
COUNTED = dict(zip(SCENE_CLASSES, ((8, 9, 10), (3,), (11,), (6,)), strict=True))
"""What is counted, and the classes that it has."""

_SCL, _PIXELS_M = "SCL", (20, 60)
_REMEDY = "convert or fetch the product again; without [patches] max_cloud its *_SCL_*m.jp2 may be absent"


def find(folder: Path) -> tuple[Path, int] | None:
    """Return the file of the scene classification in an L2A product, and its pixel size in metres; the finest one.

    Raise OSError if a folder cannot be listed.
    """
    for pixel_m in _PIXELS_M:
        for folders in (("*",), ()):
            if found := given.find(folder, "GRANULE", "*", "IMG_DATA", *folders, f"*_SCL_{pixel_m}m.jp2"):
                return found[0], pixel_m
    return None


def read(folder: Path, grid: PatchGrid, *, required: bool = True) -> pd.DataFrame:
    """Return the pixels of each patch of a tile, as `counts` does, from an L2A product's folder.

    A product without scene classification gives no rows, unless it is `required`. Raise BadProduct if it is missing,
    cannot be read, is not of the tile's extent, or does not have the checksum that the manifest states.
    """
    try:
        found = find(folder)
    except OSError as error:
        raise BadProduct(folder, expected="a folder that can be read", found=str(error), remedy=_REMEDY) from error
    if found is None and not required:
        return nothing(grid)
    expected = f"a scene classification of {grid.square.side_m:.0f} m a side, *_SCL_20m.jp2 or *_SCL_60m.jp2"
    if found is None:
        raise BadProduct(f"tile {grid.tile_name}: {folder}", expected=expected, found="none", remedy=_REMEDY)
    path, pixel_m = found
    # GDAL would read a file that is truncated, or has flipped bits, without an error.
    verify_image(ProductName.parse(folder.name), path, checksums_of(folder, {_SCL: path}).get(_SCL))
    try:
        with rasterio.open(path, driver="JP2OpenJPEG") as raster:
            classes = raster.read(1)
    except (rasterio.errors.RasterioError, OSError, ValueError) as error:
        said = str(error.__cause__ or error)
        raise BadProduct(f"tile {grid.tile_name}: {path}", expected=expected, found=said, remedy=_REMEDY) from error
    if set(classes.shape) != {round(grid.square.side_m / pixel_m)}:
        said = f"{classes.shape[1]} x {classes.shape[0]} pixels of {pixel_m} m"
        raise BadProduct(f"tile {grid.tile_name}: {path}", expected=expected, found=said, remedy=_REMEDY)
    return counts(classes, pixel_m, grid)


def nothing(grid: PatchGrid) -> pd.DataFrame:
    """Return the same without rows."""
    return counts(np.zeros((grid.patches_a_side * grid.patch_m // 60,) * 2, dtype="uint8"), 60, grid)


def counts(classes: np.ndarray, pixel_m: int, grid: PatchGrid) -> pd.DataFrame:
    """Return patch_id, pixels, cloud, shadow, snow and water: how many of a patch are valid, and are each of these.

    `classes` are those of the tile, (row, col), from its upper-left corner, `pixel_m` metres a pixel, which divides the
    side of a patch. A patch without a valid pixel has no row.
    """
    a_side, side_px = grid.patches_a_side, grid.patch_m // pixel_m
    covered = classes[: a_side * side_px, : a_side * side_px].reshape(a_side, side_px, a_side, side_px)

    def counted(of: tuple[int, ...]) -> np.ndarray:
        """Return the number of pixels of these classes on each patch, in the order of the grid."""
        return np.asarray(np.isin(covered, of).sum(axis=(1, 3)).T.reshape(-1))

    valid = side_px**2 - counted(INVALID)
    there = np.flatnonzero(valid)
    ids = pd.array(grid.ids(), dtype="str")[there]
    return pd.DataFrame(
        {"patch_id": ids, "pixels": valid[there], **{what: counted(of)[there] for what, of in COUNTED.items()}}
    )
