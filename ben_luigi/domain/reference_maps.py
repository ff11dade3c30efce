"""Reference maps: CLC polygons burnt at 10 m, one map a patch, and the classes counted on each.

A pixel has the code of the polygon that its centre falls inside, of the last one in ascending order of ID where they
overlap, and 999 where there is none. One rasterisation of the whole tile gives the pixels of all patches.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
import shapely
from rasterio.features import rasterize
from rasterio.transform import from_origin

from ben_luigi.domain import geotiff, shards
from ben_luigi.domain.clc import Polygons
from ben_luigi.domain.grid import PATCH_M, PatchGrid
from ben_luigi.domain.names import PatchId
from ben_luigi.domain.nomenclature import NO_CLC
from ben_luigi.domain.patches import CACHE_BYTES

ARCHIVE = "Reference_Maps"
"""First folder of the member names."""

PIXEL_M = 10
SIDE_PX = PATCH_M // PIXEL_M


def member_name(patch: PatchId) -> str:
    """The name of a patch's reference map in the archive."""
    return f"{ARCHIVE}/{patch.tile_name}/{patch}/{patch}_reference_map.tif"


def make_maps(
    polygons: Polygons,
    grid: PatchGrid,
    written: np.ndarray,
    shard: Path,
    index: Path,
    *,
    progress: Callable[[float], None] = lambda part: None,
) -> pd.DataFrame:
    """Write the reference maps of the `written` patches that some CLC polygon reaches into, and count their classes.

    Gives patch_id, code, pixels by patch and code. `written` holds positions in the grid (x * patches a side + y), ascending. Memory: 0.5 GB on a real tile.
    """
    tile = burn(polygons, grid)
    x, y = np.divmod(written, grid.patches_a_side)
    with_map = np.array([_on_patch(tile, *at).min() != NO_CLC for at in zip(x, y, strict=True)], dtype=bool)
    with_map[~with_map] = crossed(polygons, grid, written[~with_map])
    kind = geotiff.template(SIDE_PX, PIXEL_M, grid.square.epsg, packed=True)
    counts = []
    with shards.writing(shard, index) as writer:
        for done, position in enumerate(np.flatnonzero(with_map)):
            patch = PatchId(grid.tile_name, int(x[position]), int(y[position]))
            pixels = _on_patch(tile, patch.x, patch.y)
            left, top = grid.square.left + patch.x * PATCH_M, grid.square.top - patch.y * PATCH_M
            data = kind.pack(pixels, left, top)
            if done == 0:
                kind.check(data, pixels, left, top)
            writer.add(str(patch), member_name(patch), data)
            counts.append(_counted(patch, pixels))
            if done % 256 == 0:
                progress(position / len(written))
    return _table(counts)


def burn(polygons: Polygons, grid: PatchGrid) -> np.ndarray:
    """The whole tile's codes, (row, col) at 10 m from its upper-left corner, uint16."""
    side_px = grid.patches_a_side * SIDE_PX
    tile = np.full((side_px, side_px), NO_CLC, dtype="uint16")
    if not len(polygons.geometries):
        return tile
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
        rasterize(
            zip(polygons.geometries, polygons.codes.tolist(), strict=True),
            out=tile,
            transform=from_origin(grid.square.left, grid.square.top, PIXEL_M, PIXEL_M),
        )
    return tile


def crossed(polygons: Polygons, grid: PatchGrid, positions: np.ndarray) -> np.ndarray:
    """Whether some polygon shares more than its edge with each patch: for patches where no pixel centre is covered."""
    result = np.zeros(len(positions), dtype=bool)
    if not len(positions) or not len(polygons.geometries):
        return result
    left, top = grid.left[positions], grid.top[positions]
    patches = shapely.box(left, top - PATCH_M, left + PATCH_M, top)
    near_patch, near_polygon = shapely.STRtree(polygons.geometries).query(patches)
    polygon = shapely.make_valid(polygons.geometries[near_polygon])
    patch = patches[near_patch]
    inside = shapely.intersects(patch, polygon) & ~shapely.touches(patch, polygon)
    result[near_patch[inside]] = True
    return result


def _on_patch(tile: np.ndarray, x: int, y: int) -> np.ndarray:
    return tile[y * SIDE_PX : (y + 1) * SIDE_PX, x * SIDE_PX : (x + 1) * SIDE_PX]


def _counted(patch: PatchId, pixels: np.ndarray) -> tuple[str, np.ndarray, np.ndarray]:
    count = np.bincount(pixels.reshape(-1), minlength=NO_CLC + 1)
    codes = np.flatnonzero(count)
    return str(patch), codes, count[codes]


def _table(counts: list[tuple[str, np.ndarray, np.ndarray]]) -> pd.DataFrame:
    empty = np.empty(0, dtype="int64")
    return pd.DataFrame(
        {
            "patch_id": pd.array([patch for patch, codes, _ in counts for _ in codes], dtype="str"),
            "code": np.concatenate([empty, *(codes for _, codes, _ in counts)]),
            "pixels": np.concatenate([empty, *(pixels for _, _, pixels in counts)]),
        }
    )
