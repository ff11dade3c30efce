"""Cut a tile into patches: decode the twelve bands once, test for no-data, write the valid patches to a shard.

Works column by column of the patch grid, the order of the archive. Of each band only the rows of JPEG 2000 blocks that
hold a wanted patch are decoded, and GDAL's block cache keeps them until the neighbouring column has had its share. The
files of a column are filled into one buffer as numpy views on a template of a patch's twelve tar members.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import RasterioIOError
from rasterio.windows import Window

from ben_luigi.domain import geotiff, shards, tarball
from ben_luigi.domain.errors import BadProduct
from ben_luigi.domain.grid import PATCH_M, PatchGrid
from ben_luigi.domain.names import PatchId
from ben_luigi.domain.product import BANDS, RESOLUTION_M, Product

ARCHIVE = "BigEarthNet-S2"
"""First folder of the member names."""

CACHE_BYTES = 400 * 2**20
"""GDAL's block cache: two columns of blocks of all bands. With 150 MB a tile takes 2.6 times as long."""


def member_name(patch: PatchId, band: str) -> str:
    """The name of a patch's file in the archive."""
    return f"{ARCHIVE}/{patch.tile_name}/{patch}/{patch}_{band}.tif"


def cut(
    product: Product,
    grid: PatchGrid,
    wanted: np.ndarray,
    shard: Path,
    index: Path,
    *,
    threads: int = 1,
    progress: Callable[[float], None] = lambda part: None,
) -> np.ndarray:
    """Write the wanted patches that are valid to `shard` and its `index`, and tell which those are.

    `wanted` holds positions in the grid (x * patches a side + y), ascending. The result has a bool for each: whether no
    pixel of any band is 0. BadProduct names the band that cannot be decoded. Memory: about 0.7 GB on a real tile.
    """
    valid = np.zeros(len(wanted), dtype=bool)
    block = PatchBlock.of(grid, product.name.epsg)
    x, y = np.divmod(wanted, grid.patches_a_side)
    with (
        rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES, GDAL_NUM_THREADS=threads),
        _Bands(product) as bands,
        shards.writing(shard, index) as writer,
    ):
        for column in np.unique(x):
            of_column = np.flatnonzero(x == column)
            rows = y[of_column]
            pixels = {band: bands.read(band, int(column), rows) for band in BANDS}
            whole = np.logical_and.reduce([strip.all(axis=(1, 2)) for strip in pixels.values()])
            valid[of_column] = whole
            block.write(writer, int(column), rows[whole], {band: strip[whole] for band, strip in pixels.items()})
            progress((of_column[-1] + 1) / len(wanted))
    return valid


class _Bands(ExitStack):
    """The open bands of a product, read as strips of patches."""

    def __init__(self, product: Product) -> None:
        super().__init__()
        self._product = product
        self._open: dict[str, rasterio.DatasetReader] = {}

    def read(self, band: str, column: int, rows: np.ndarray) -> np.ndarray:
        """Pixels of the patches at (column, rows): (patch, row, col), uint16."""
        path = self._product.bands[band]
        side_px = PATCH_M // RESOLUTION_M[band]
        strip = np.empty((len(rows), side_px, side_px), dtype="uint16")
        try:
            if band not in self._open:
                self._open[band] = self.enter_context(rasterio.open(path))
            raster = self._open[band]
            for first, last in _spans(rows, side_px, raster.block_shapes[0][0]):
                start, stop = int(rows[first]), int(rows[last]) + 1
                window = Window(column * side_px, start * side_px, side_px, (stop - start) * side_px)
                pixels = raster.read(1, window=window).reshape(-1, side_px, side_px)
                strip[first : last + 1] = pixels[rows[first : last + 1] - start]
        except RasterioIOError as error:
            raise BadProduct(
                f"{self._product.name.tile_key}: {path}",
                expected="a whole JPEG 2000 file",
                found=str(error.__cause__ or error),
                remedy="remove the product, and convert or download the tile again",
            ) from error
        return strip


def _spans(rows: np.ndarray, side_px: int, block_px: int) -> Iterator[tuple[int, int]]:
    """First and last index of the runs of `rows` between which no row of blocks lies that would be decoded in vain."""
    first_block, last_block = rows * side_px // block_px, ((rows + 1) * side_px - 1) // block_px
    ends = [*np.flatnonzero(first_block[1:] > last_block[:-1] + 1).tolist(), len(rows) - 1]
    start = 0
    for end in ends:
        yield start, end
        start = end + 1


@dataclass(frozen=True)
class _File:
    """Where in a patch's block one band's file is: all offsets in bytes from the block's first."""

    band: str
    member_at: int
    data_at: int
    size: int
    tie_point_at: int
    pixels_at: int
    side_px: int
    kind: geotiff.Template


@dataclass(frozen=True)
class PatchBlock:
    """The twelve tar members of one patch, as bytes: the same for all patches of a tile but for id, place and pixels."""

    grid: PatchGrid
    template: np.ndarray
    id_at: np.ndarray
    files: tuple[_File, ...]

    @classmethod
    def of(cls, grid: PatchGrid, epsg: int) -> PatchBlock:
        """Make the block of a tile's patches."""
        patch = PatchId(grid.tile_name, 0, 0)
        parts: list[bytes] = []
        files, at = [], 0
        for band in BANDS:
            kind = geotiff.template(PATCH_M // RESOLUTION_M[band], RESOLUTION_M[band], epsg)
            header = tarball.header(member_name(patch, band), kind.size)
            data_at = at + len(header)
            member = header + kind.header + bytes(kind.size - len(kind.header)) + tarball.padding(kind.size)
            files.append(
                _File(
                    band,
                    at,
                    data_at,
                    kind.size,
                    data_at + kind.tie_point_at,
                    data_at + len(kind.header),
                    kind.side_px,
                    kind,
                )
            )
            parts.append(member)
            at += len(member)
        block = b"".join(parts)
        return cls(grid, np.frombuffer(block, dtype="uint8"), _occurrences(block, str(patch).encode()), tuple(files))

    def write(self, writer: shards.ShardWriter, column: int, rows: np.ndarray, pixels: dict[str, np.ndarray]) -> None:
        """Append the patches at (column, rows) to a shard; `pixels` are (patch, row, col) a band."""
        if not len(rows):
            return
        patches = [PatchId(self.grid.tile_name, column, int(row)) for row in rows]
        buffer = self._filled(patches, pixels)
        writer.append(
            buffer.reshape(-1).data,
            [str(patch) for patch in patches for _ in self.files],
            [f"{patch}_{file.band}" for patch in patches for file in self.files],
            [end - start for start, end in self._members()] * len(patches),
            [
                hashlib.sha256(row[file.data_at : file.data_at + file.size].data).hexdigest()
                for row in buffer
                for file in self.files
            ],
        )

    def _filled(self, patches: list[PatchId], pixels: dict[str, np.ndarray]) -> np.ndarray:
        """One row of bytes a patch."""
        buffer = np.tile(self.template, (len(patches), 1))
        ids = np.array([str(patch).encode() for patch in patches])
        letters = ids.view("uint8").reshape(len(patches), -1)
        for at in self.id_at:
            buffer[:, at : at + letters.shape[1]] = letters
        square = self.grid.square
        corners = np.array([(square.left + p.x * PATCH_M, square.top - p.y * PATCH_M) for p in patches], dtype="<f8")
        for file in self.files:
            buffer[:, file.tie_point_at : file.tie_point_at + 16] = corners.view("uint8")
            end = file.pixels_at + 2 * file.side_px**2
            buffer[:, file.pixels_at : end] = pixels[file.band].reshape(len(patches), -1).view("uint8")
        self._check(buffer[0], patches[0], corners[0], pixels)
        return buffer

    def _check(self, row: np.ndarray, patch: PatchId, corner: np.ndarray, pixels: dict[str, np.ndarray]) -> None:
        """Hold the first patch of a column against the slow way: ready-made tar headers, and GDAL's own files."""
        for file in self.files:
            header = row[file.member_at : file.data_at].tobytes()
            if header != tarball.header(member_name(patch, file.band), file.size):
                raise ValueError(f"tar header of {member_name(patch, file.band)} depends on more than its name block")
            data = row[file.data_at : file.data_at + file.size].tobytes()
            file.kind.check(data, pixels[file.band][0], float(corner[0]), float(corner[1]))

    def _members(self) -> Iterator[tuple[int, int]]:
        starts = [file.member_at for file in self.files]
        return zip(starts, [*starts[1:], len(self.template)], strict=True)


def _occurrences(block: bytes, text: bytes) -> np.ndarray:
    found, at = [], block.find(text)
    while at >= 0:
        found.append(at)
        at = block.find(text, at + 1)
    return np.array(found)
