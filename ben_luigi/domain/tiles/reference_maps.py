"""Burn CLC polygons at 10 m, write one reference map per patch, and count the classes on each.

A pixel has the code of the polygon that its centre lies in, of the last one in ascending order of ID where several
overlap, and 999 where there is none. One rasterisation of the whole tile gives the same pixels as the published method,
which burns patch by patch and polygon by polygon. Of a raster, a pixel has the code that lies at its centre.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
import rasterio.features
import rasterio.transform
import shapely

from ben_luigi.domain.formats import geotiff, shards
from ben_luigi.domain.names import MAP_SUFFIX, PatchId
from ben_luigi.domain.placement.grid import PATCH_M, PatchGrid, pixel_window
from ben_luigi.domain.progress import OnFraction, ignore_fraction
from ben_luigi.domain.tiles import land_raster
from ben_luigi.domain.tiles.clc import Polygons
from ben_luigi.domain.tiles.decoding import CACHE_BYTES
from ben_luigi.domain.tiles.land_raster import Raster
from ben_luigi.domain.tiles.nomenclature import NO_CLC
from ben_luigi.domain.vocabulary import MAPS_ARCHIVE

ARCHIVE = MAPS_ARCHIVE
"""First folder of the member names."""

PIXEL_M = 10
"""Side of a pixel of a reference map in metres."""


def member_name(patch: PatchId) -> str:
    """Return the name of a patch's reference map in the archive."""
    return f"{ARCHIVE}/{patch.tile_name}/{patch}/{patch}{MAP_SUFFIX}.tif"


def make_maps(
    land_cover: Polygons | Raster,
    grid: PatchGrid,
    written: np.ndarray,
    shard: Path,
    index: Path,
    *,
    nothing: int = NO_CLC,
    progress: OnFraction = ignore_fraction,
) -> pd.DataFrame:
    """Write the reference maps of the `written` patches that the land cover reaches into, and count their classes.

    Return patch_id, code, pixels by patch and code. Pixels without a polygon, or without data in a raster, are
    `nothing`. `written` holds positions in the grid's arrays, ascending. Memory: 0.5 GB on a real tile.
    """
    burnt = burn(land_cover, grid, nothing)
    counts = burnt.counts(*grid.columns_rows(written))
    # Most patches have a covered pixel, and need no geometry; only the others are tested against the polygons.
    with_map = counts[:, burnt.nothing] < burnt.side_px**2
    if isinstance(land_cover, Polygons):
        with_map[~with_map] = crossed(land_cover, grid, written[~with_map])
    written, counts = written[with_map], counts[with_map]
    kind = geotiff.template(burnt.side_px, PIXEL_M, grid.square.epsg, packed=True)
    with shards.writing(shard, index) as writer:
        for done, (x, y) in enumerate(zip(*grid.columns_rows(written), strict=True)):
            patch = grid.patch_id(int(x), int(y))
            pixels = burnt.on_patch(patch.x, patch.y)
            corner = grid.corner(patch.x, patch.y)
            data = kind.pack(pixels, *corner)
            if done == 0:
                kind.check(data, pixels, *corner)
            writer.add(str(patch), member_name(patch), data)
            if done % 256 == 0:
                progress(done / len(written))
    row, column = np.nonzero(counts)
    ids = pd.array(grid.ids(), dtype="str")[written[row]]
    return pd.DataFrame({"patch_id": ids, "code": burnt.codes[column].astype("int64"), "pixels": counts[row, column]})


@dataclass(frozen=True)
class Burnt:
    """The polygons of a tile as pixels: `classes`, an array (row, col) of indexes of `codes`, which are ascending.

    A patch has `side_px` pixels a side. One byte per pixel is burnt twice as fast as two.
    """

    classes: np.ndarray
    codes: np.ndarray
    side_px: int = PATCH_M // PIXEL_M
    nothing_code: int = NO_CLC

    @property
    def nothing(self) -> int:
        """The index in `codes` of what pixels without a polygon have."""
        return int(np.searchsorted(self.codes, self.nothing_code))

    def on_patch(self, x: int, y: int) -> np.ndarray:
        """Return the codes on the patch at (x, y): (row, col), uint16."""
        return np.asarray(self.codes.take(self.classes[pixel_window(x, y, self.side_px)], mode="clip"))

    def counts(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the number of pixels of each of `codes` on the patches at (x, y): (patch, code), int64."""
        side, kinds = len(self.classes) // self.side_px, len(self.codes)
        column = np.repeat(np.arange(side) * kinds, self.side_px)
        counts = np.empty((side, side * kinds), dtype="int64")
        for row, strip in enumerate(self.classes.reshape(side, self.side_px, -1)):
            counts[row] = np.bincount((strip + column).reshape(-1), minlength=side * kinds)
        return np.asarray(counts.reshape(side, side, kinds)[y, x])


def burn(land_cover: Polygons | Raster, grid: PatchGrid, nothing: int = NO_CLC) -> Burnt:
    """Burn the land cover of a whole tile at 10 m, from its upper-left corner; the rest is `nothing`."""
    patch_px = grid.patch_m // PIXEL_M
    side_px = grid.patches_a_side * patch_px
    if isinstance(land_cover, Raster):
        pixels = land_raster.read(land_cover, grid.covered, nothing, grid.tile_name)
        codes = np.unique([*land_cover.codes, nothing]).astype("uint16")
        classes = np.searchsorted(codes, pixels).astype(np.min_scalar_type(len(codes)))
        return Burnt(classes, codes, patch_px, nothing)
    polygons = land_cover
    codes = np.unique(np.append(polygons.codes, nothing)).astype("uint16")
    burnt = Burnt(np.empty((side_px, side_px), np.min_scalar_type(len(codes))), codes, patch_px, nothing)
    burnt.classes.fill(burnt.nothing)
    if len(polygons.geometries):
        with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
            rasterio.features.rasterize(
                zip(polygons.geometries, np.searchsorted(codes, polygons.codes).tolist(), strict=True),
                out=burnt.classes,
                transform=rasterio.transform.from_origin(grid.square.left, grid.square.top, PIXEL_M, PIXEL_M),
            )
    return burnt


def crossed(polygons: Polygons, grid: PatchGrid, positions: np.ndarray) -> np.ndarray:
    """Return for each patch whether some polygon shares more than its edge with it.

    This matters for patches where no pixel centre is covered: the published data has a map of nothing but 999 for a
    patch that only a sliver crosses, and no map for a patch that a polygon merely touches.
    """
    result = np.zeros(len(positions), dtype=bool)
    if not len(positions) or not len(polygons.geometries):
        return result
    patches = shapely.box(*grid.edges[positions].T)
    near_patch, near_polygon = shapely.STRtree(polygons.geometries).query(patches)
    # Reprojection vertex by vertex can make a polygon cross itself, and predicates are defined for valid ones only.
    polygon = shapely.make_valid(polygons.geometries[near_polygon])
    patch = patches[near_patch]
    inside = shapely.intersects(patch, polygon) & ~shapely.touches(patch, polygon)
    result[near_patch[inside]] = True
    return result
