"""Cut rasters of other people on the grid of a tile's patches: further layers, and Sentinel-1.

A raster is warped by GDAL onto the grid of the tile's pixels, in whatever CRS it is, and each patch gets its own file.
The values are computed with 64-bit floats and then converted to the type of the layer; whole numbers are rounded half
to even. A value that does not fit into the type is an error, as is a pixel with data that would get the value for no
data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio
import rasterio.enums
import rasterio.transform
import rasterio.vrt
import rasterio.windows

from ben_luigi.domain.errors import BadInput, some
from ben_luigi.domain.formats import geotiff, rasters, shards
from ben_luigi.domain.names import PatchId
from ben_luigi.domain.placement import coverage
from ben_luigi.domain.placement.grid import PatchGrid
from ben_luigi.domain.progress import OnFraction, ignore_fraction
from ben_luigi.domain.recipe.model import Layer

_TOLERANCE_PX = 0.01
"""How far GDAL's interpolation between transformed points may be off, in pixels of the raster."""

_CACHE_BYTES = 2**28
"""What GDAL may keep of a raster and of what is warped."""

_AT_ONCE_BYTES = 2**28
"""Many columns of patches are read at once: a raster in strips of its whole width is read anew for each."""


@dataclass(frozen=True)
class Source:
    """A raster that is cut: the `kind` that follows the patch's name in file names, the file, and how it is cut.

    `where` is the section of the recipe that names it. Without `nodata`, no pixel may be without data. `band` is which
    of a raster with several is cut, from 1.
    """

    kind: str
    path: Path
    resolution_m: int
    resampling: str
    dtype: str
    nodata: float | None
    where: str
    band: int | None = None

    @classmethod
    def of(cls, layer: Layer, path: Path) -> Source:
        """Return the source of a layer of the recipe, of which `path` is the file for one tile."""
        where = f"[layers.{layer.name}]"
        how = layer.resolution_m, layer.resampling, layer.dtype, layer.nodata
        return cls(layer.name, path, *how, where, layer.band)

    def check(self, grid: PatchGrid) -> None:
        """Raise BadInput unless the raster can be read and covers the patches of the tile."""
        with rasterio.Env(), self._opened(grid):
            pass

    def unapplied_scale(self) -> str:
        """Return the scale and offset that the file states for its values, in words; empty if it states none.

        They are not applied: patches have the values that are stored. Raise BadInput if the raster cannot be read.
        """
        number = (self.band or 1) - 1
        with (
            rasterio.Env(),
            rasters.opened(self.path, band=self.band, remedy=self._remedy()),
            rasterio.open(self.path) as file,
        ):
            scale, offset = file.scales[number], file.offsets[number]
        return "" if (scale, offset) == (1, 0) else f"scale {scale:g} and offset {offset:g}"

    def template(self, grid: PatchGrid) -> geotiff.Template:
        """Return what the files of the tile's patches have in common."""
        side_px = grid.patch_m // self.resolution_m
        return geotiff.template(side_px, self.resolution_m, grid.square.epsg, dtype=self.dtype, nodata=self.nodata)

    @contextmanager
    def _opened(self, grid: PatchGrid) -> Iterator[Any]:
        with rasters.opened(self.path, band=self.band, remedy=self._remedy()) as file:
            coverage.check_covers(file, self.path, grid.covered, grid.tile_name, self.where)
            yield file

    def _remedy(self) -> str:
        return f"correct {self.where} of the recipe, or the file"

    def patches(self, grid: PatchGrid, positions: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the values of each patch at `positions`, ascending: (row, col), float64, NaN without data."""
        patch_px = grid.patch_m // self.resolution_m
        side_px = grid.patches_a_side * patch_px
        place = {
            "crs": f"EPSG:{grid.square.epsg}",
            "transform": rasterio.transform.from_origin(
                grid.square.left, grid.square.top, self.resolution_m, self.resolution_m
            ),
            "width": side_px,
            "height": side_px,
        }
        how = {"resampling": rasterio.enums.Resampling[self.resampling], "tolerance": _TOLERANCE_PX, "dtype": "float64"}
        with self._opened(grid) as file:
            nothing = {"src_nodata": np.nan if file.nodata is None else file.nodata, "nodata": np.nan}
            with rasterio.vrt.WarpedVRT(
                file, **place, **how, **nothing, **_scales(file, grid, self.resolution_m)
            ) as view:
                columns, rows = grid.columns_rows(positions)
                wide = max(1, _AT_ONCE_BYTES // (8 * patch_px * side_px))
                first, values = -wide, np.empty(0)
                for x, y in zip(columns.tolist(), rows.tolist(), strict=True):
                    if x >= first + wide:
                        first = x - x % wide
                        stop = min((first + wide) * patch_px, side_px)
                        values = view.read(
                            1, window=rasterio.windows.Window(first * patch_px, 0, stop - first * patch_px, side_px)
                        )
                    at = (x - first) * patch_px
                    yield values[y * patch_px : (y + 1) * patch_px, at : at + patch_px]

    def converted(self, values: np.ndarray, patch: PatchId) -> np.ndarray:
        """Return values (row, col), float64 with NaN for no data, in the type of the layer.

        Raise BadInput if that is not possible.
        """
        absent, dtype = np.isnan(values), np.dtype(self.dtype)
        if absent.any() and self.nodata is None:
            raise self._bad(patch, "data on every pixel, since there is no nodata", f"none on {int(absent.sum())}")
        if dtype.kind in "ui":
            values, limits = np.rint(values), np.iinfo(dtype)
            fits = absent | ((values >= limits.min) & (values <= limits.max))
        else:
            fits = absent | (np.abs(values) <= np.finfo(dtype).max)
        if not fits.all():
            outside = some((f"{value:g}" for value in np.unique(values[~fits]).tolist()), 3)
            raise self._bad(patch, f"values that fit into {self.dtype}", outside)
        filled: np.ndarray = np.where(absent, 0 if self.nodata is None else self.nodata, values).astype(dtype)
        if self.nodata is not None and (filled[~absent] == dtype.type(self.nodata)).any():
            raise self._bad(patch, "a nodata that no pixel with data has", f"{self.nodata:g} as a value")
        return filled

    def _bad(self, patch: PatchId, expected: str, found: str) -> BadInput:
        remedy = f"correct dtype or nodata in {self.where} of the recipe, or the file"
        return BadInput(f"patch {patch}: {self.path}", expected=expected, found=found, remedy=remedy)


def _scales(file: Any, grid: PatchGrid, resolution_m: int) -> dict[str, str]:
    """Return how many pixels of the grid lie on one of a raster, along its columns and its rows, in mid-tile.

    By this GDAL chooses how many pixels it takes into account where it makes them fewer. By itself it does so for each
    part of the grid that it is asked for: then pixels would depend on how many are read at once.
    """
    square = grid.covered
    centre = np.array([square.left + square.side_m / 2, square.top - square.side_m / 2])
    steps = centre + np.array([[0.0, 0.0], [resolution_m, 0.0], [0.0, resolution_m]])
    to = pyproj.Transformer.from_crs(square.epsg, pyproj.CRS.from_wkt(file.crs.to_wkt()), always_xy=True)
    columns, rows = ~file.transform @ to.transform(*steps.T)
    per_pixel = [float(np.hypot(*(along[1:] - along[0]))) for along in (columns, rows)]
    return {name: f"{1 / pixels:.9g}" for name, pixels in zip(("XSCALE", "YSCALE"), per_pixel, strict=True)}


def archive_of(layer: str) -> str:
    """Return the name of a layer's archive, which is the first folder of its member names."""
    return f"Layer_{layer}"


def member_name(patch: PatchId, layer: str, kind: str = "") -> str:
    """Return the name of a patch's file of a layer in its archive; of one with several bands, that of one `kind`."""
    return f"{archive_of(layer)}/{patch.tile_name}/{patch}/{patch}_{kind or layer}.tif"


def without_data(sources: Sequence[Source], grid: PatchGrid, positions: np.ndarray) -> np.ndarray:
    """Return of each patch at `positions`, ascending, whether a pixel of any of the rasters on it is without data."""
    with rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES):
        found = [[bool(np.isnan(values).any()) for values in source.patches(grid, positions)] for source in sources]
    return np.asarray(np.any(found, axis=0))


def cut(
    sources: Sequence[Source],
    grid: PatchGrid,
    written: np.ndarray,
    shard: Path,
    index: Path,
    name_of: Callable[[PatchId, str], str],
    *,
    progress: OnFraction = ignore_fraction,
) -> None:
    """Write a file of each raster for each of the `written` patches to a shard and its index.

    `written` holds positions in the grid's arrays, ascending; `sources` ascend by kind. `name_of` gives the member name
    of a patch and a kind. Raise BadInput if a raster does not cover the tile, or has values that do not fit. Memory:
    0.3 GB per raster, and as much for GDAL.
    """
    kinds = [source.template(grid) for source in sources]
    with shards.writing(shard, index) as writer, rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES):
        read = zip(*(source.patches(grid, written) for source in sources), strict=True)
        for done, (x, y) in enumerate(zip(*grid.columns_rows(written), strict=True)):
            patch = grid.patch_id(int(x), int(y))
            corner = grid.corner(patch.x, patch.y)
            for source, kind, values in zip(sources, kinds, next(read), strict=True):
                pixels = source.converted(values, patch)
                data = kind.plain(pixels, *corner)
                if done == 0:
                    kind.check(data, pixels, *corner)
                writer.add(str(patch), name_of(patch, source.kind), data)
            progress((done + 1) / len(written))
