"""Decode the twelve bands of a product once, one column of the patch grid after the other.

Columns from west to east are the order of the archive. In each band, only the JPEG 2000 blocks that hold a wanted patch
are decoded, and GDAL's block cache keeps them until the neighbouring column has been read.

Threads share the work band by band, and each lets GDAL use one thread only: with more, GDAL 3.10 leaves out blocks that
it cannot decode without reporting an error, so that a truncated band would come out as zeros. `docs/decoding.md` has
figures.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock

import numpy as np
import rasterio
import rasterio.errors
import rasterio.windows

from ben_luigi.domain.errors import BadProduct
from ben_luigi.domain.placement.grid import PATCH_M
from ben_luigi.domain.products.product import BANDS, Product
from ben_luigi.domain.vocabulary import RESOLUTION_M

CACHE_BYTES = 400 * 2**20
"""GDAL's block cache: two columns of blocks of all bands. With 150 MB a tile takes 2.6 times as long."""

_COSTLY_FIRST = sorted(BANDS, key=RESOLUTION_M.__getitem__)


@dataclass(frozen=True)
class Image:
    """A JPEG 2000 file with one band: pixels of `pixel_m` metres and type `dtype`; `verify` raises if it is damaged."""

    path: Path
    pixel_m: int
    subject: str
    verify: Callable[[], None]
    dtype: str = "uint16"


@dataclass(frozen=True)
class Column:
    """Patches of one column `x` of the grid at `rows`; `pixels` has one array (patch, row, col) per band, of its type.

    The twelve bands are uint16.
    """

    x: int
    rows: np.ndarray
    pixels: dict[str, np.ndarray]

    def valid(self) -> np.ndarray:
        """Return one bool per patch: whether no pixel of any band is 0."""
        valid = np.ones(len(self.rows), dtype=bool)
        for pixels in self.pixels.values():
            valid &= pixels.min(axis=(1, 2)) > 0
        return valid

    def only(self, chosen: np.ndarray) -> Column:
        """Return the column reduced to the chosen patches, one bool per patch."""
        if chosen.all():
            return self
        return Column(self.x, self.rows[chosen], {band: pixels[chosen] for band, pixels in self.pixels.items()})

    def with_offset(self, offset: int) -> tuple[Column, int]:
        """Return the column with a negative offset added to all pixels, and how many would have become 0 or negative.

        0 stays no-data, so these become 1. The pixels of this column are changed.
        """
        clipped = 0
        for pixels in self.pixels.values():
            dark = pixels <= -offset
            no_data = pixels == 0
            clipped += int(np.count_nonzero(dark)) - int(np.count_nonzero(no_data))
            np.maximum(pixels, 1 - offset, out=pixels)
            np.subtract(pixels, -offset, out=pixels)
            pixels[no_data] = 0
        return self, clipped


def decode(
    product: Product, x: np.ndarray, y: np.ndarray, threads: int = 1, *, patch_m: int = PATCH_M
) -> Iterator[Column]:
    """Decode the patches of `patch_m` metres at (x, y), ascending, and yield them column by column; the next column
    is decoded meanwhile.

    Raise BadProduct naming a damaged band, even if the damage lies in a part that is not wanted. Memory: two columns
    and GDAL's block cache.
    """
    key = product.name.tile_key
    images = {
        band: Image(path, RESOLUTION_M[band], f"{key}: {path}", partial(product.verify, band))
        for band in _COSTLY_FIRST
        for path in (product.bands[band],)
    }
    return decode_images(images, x, y, threads, patch_m=patch_m)


def decode_images(
    images: Mapping[str, Image], x: np.ndarray, y: np.ndarray, threads: int = 1, *, patch_m: int = PATCH_M
) -> Iterator[Column]:
    """Do the same for any images of one tile, by name, those that are costly first."""
    with ExitStack() as stack:
        bands = {name: stack.enter_context(_Band(image, patch_m)) for name, image in images.items()}
        pool = stack.enter_context(ThreadPoolExecutor(threads))
        stack.callback(pool.shutdown, cancel_futures=True)  # before the bands are closed
        # GDAL would read a truncated file without an error, so each file is verified before its first block is decoded.
        for _ in pool.map(lambda image: image.verify(), images.values()):
            pass
        begun: deque[tuple[int, np.ndarray, dict[str, Future[np.ndarray]]]] = deque()
        for column in np.unique(x).tolist():
            rows = y[x == column]
            begun.append((column, rows, {name: pool.submit(band.read, column, rows) for name, band in bands.items()}))
            if len(begun) == 2:
                yield _finished(*begun.popleft())
        while begun:
            yield _finished(*begun.popleft())


def _finished(x: int, rows: np.ndarray, pixels: dict[str, Future[np.ndarray]]) -> Column:
    return Column(x, rows, {band: future.result() for band, future in pixels.items()})


class _Band(ExitStack):
    """One band, opened when it is first read; one thread at a time reads it."""

    def __init__(self, image: Image, patch_m: int) -> None:
        super().__init__()
        self._image = image
        self._side_px = patch_m // image.pixel_m
        self._raster: rasterio.DatasetReader | None = None
        self._turn = Lock()

    def read(self, column: int, rows: np.ndarray) -> np.ndarray:
        """Return the pixels of the patches at (column, rows): (patch, row, col)."""
        side_px = self._side_px
        strip = np.empty((len(rows), side_px, side_px), dtype=self._image.dtype)
        try:
            with self._turn, rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES, GDAL_NUM_THREADS=1):
                self._raster = raster = self._raster or self.enter_context(rasterio.open(self._image.path))
                for first, last in spans(rows, side_px, raster.block_shapes[0][0]):
                    start, stop = int(rows[first]), int(rows[last]) + 1
                    window = rasterio.windows.Window(
                        column * side_px, start * side_px, side_px, (stop - start) * side_px
                    )
                    pixels = raster.read(1, window=window).reshape(-1, side_px, side_px)
                    strip[first : last + 1] = pixels[rows[first : last + 1] - start]
        except rasterio.errors.RasterioError as error:
            raise BadProduct(
                self._image.subject,
                expected="JPEG 2000 blocks that can be decoded",
                found=str(error.__cause__ or error),
                remedy="remove the product, and convert or download the tile again",
            ) from error
        return strip


def spans(rows: np.ndarray, side_px: int, block_px: int) -> Iterator[tuple[int, int]]:
    """Yield first and last index of runs of `rows`, split where a row of blocks would be decoded in vain."""
    first_block, last_block = rows * side_px // block_px, ((rows + 1) * side_px - 1) // block_px
    ends = [*np.flatnonzero(first_block[1:] > last_block[:-1] + 1).tolist(), len(rows) - 1]
    start = 0
    for end in ends:
        yield start, end
        start = end + 1
