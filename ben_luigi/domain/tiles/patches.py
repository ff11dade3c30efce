"""Cut a tile into patches: decode the twelve bands once, test for no-data, write the valid patches to a shard.

The files of a column of patches are filled into one buffer, through numpy views on a template of a patch's twelve
members.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ben_luigi.domain.errors import PipelineError
from ben_luigi.domain.formats import geotiff, shards, tarball
from ben_luigi.domain.names import PatchId
from ben_luigi.domain.placement.grid import PatchGrid
from ben_luigi.domain.products.product import BANDS, Product
from ben_luigi.domain.progress import OnFraction, ignore_fraction
from ben_luigi.domain.tiles.decoding import Column, decode
from ben_luigi.domain.vocabulary import RESOLUTION_M, S2_ARCHIVE

ARCHIVE = S2_ARCHIVE
"""First folder of the member names."""

_AT_ONCE, _AT_ONCE_BYTES = 8, 12 * 2**20
"""Number of patches that are made together, as long as their files have no more bytes in all: 10 MB by default."""


OnClipped = Callable[[int], None]
"""Called with the number of pixels that would not have been positive without the offset."""


def _ignore_clipped(pixels: int) -> None:
    """Do nothing."""


def member_name(patch: PatchId, band: str) -> str:
    """Return the name of a patch's file in the archive."""
    return f"{ARCHIVE}/{patch.tile_name}/{patch}/{patch}_{band}.tif"


def cut(
    product: Product,
    grid: PatchGrid,
    wanted: np.ndarray,
    shard: Path,
    index: Path,
    *,
    threads: int = 1,
    offset: int = 0,
    clipped: OnClipped = _ignore_clipped,
    progress: OnFraction = ignore_fraction,
) -> np.ndarray:
    """Write the wanted patches that are valid to `shard` and its `index`, and return which those are.

    `wanted` holds positions in the grid's arrays, ascending. The result has one bool for each: whether no pixel of any
    band is 0. An `offset`, negative, is added to all pixels that are written, and `clipped` is told how many of them
    would have become 0 or negative, and are 1. Raise BadProduct naming a damaged band. Memory: about 0.7 GB on a real
    tile.
    """
    valid = [np.zeros(0, dtype=bool)]
    writer = PatchWriter(grid)
    with shards.writing(shard, index) as file:
        for column in decode(product, *grid.columns_rows(wanted), threads, patch_m=grid.patch_m):
            valid.append(column.valid())
            column = column.only(valid[-1])
            if offset:
                column, dark = column.with_offset(offset)
                clipped(dark)
            writer.write(file, column)
            progress(sum(map(len, valid)) / len(wanted))
    return np.concatenate(valid)


@dataclass(frozen=True)
class _File:
    """The position of one band's file in a patch's block, in bytes; `tie_point` and `pixels` lie within `data`."""

    band: str
    member: slice
    data: slice
    tie_point: slice
    pixels: slice
    kind: geotiff.Template


class PatchWriter:
    """Write the patches of one tile to a shard.

    A *block* is the twelve members of one patch as bytes; the blocks of a tile differ only in the patch id, the tie
    points and the pixels. A few blocks together are filled, hashed and written while they are in the processor's cache;
    a whole column together takes half as long again.
    """

    def __init__(self, grid: PatchGrid) -> None:
        self._grid = grid
        self._checked = False
        block, self._files = _block(grid)
        self._ids = _occurrences(block, str(grid.patch_id(0, 0)).encode())
        at_once = max(1, min(_AT_ONCE, _AT_ONCE_BYTES // len(block)))
        self._buffer = np.tile(np.frombuffer(block, dtype="uint8"), (at_once, 1))

    def write(self, shard: shards.ShardWriter, column: Column) -> None:
        """Append the patches of a column. Raise PipelineError if GDAL would write other bytes than ours."""
        patches = [self._grid.patch_id(column.x, int(row)) for row in column.rows]
        for start in range(0, len(patches), len(self._buffer)):
            some = slice(start, start + len(self._buffer))
            self._append(shard, patches[some], {band: pixels[some] for band, pixels in column.pixels.items()})

    def _append(self, shard: shards.ShardWriter, patches: list[PatchId], pixels: dict[str, np.ndarray]) -> None:
        blocks = self._filled(patches, pixels)
        if not self._checked:
            self._check(blocks[0], patches[0], pixels)
            self._checked = True
        ids = [str(patch) for patch in patches]
        shard.append(
            blocks.reshape(-1).data,
            [patch for patch in ids for _ in self._files],
            [f"{patch}_{file.band}" for patch in ids for file in self._files],
            [file.member.stop - file.member.start for file in self._files] * len(patches),
            [hashlib.sha256(block[file.data]).hexdigest() for block in blocks for file in self._files],
        )

    def _filled(self, patches: list[PatchId], pixels: dict[str, np.ndarray]) -> np.ndarray:
        """Return one row of bytes per patch, valid until the next call."""
        blocks = self._buffer[: len(patches)]
        letters = np.array([list(str(patch).encode()) for patch in patches], dtype="uint8")
        for at in self._ids:
            blocks[:, at : at + letters.shape[1]] = letters
        corners = np.array([self._corner(patch) for patch in patches], dtype="<f8").view("uint8")
        for file in self._files:
            blocks[:, file.tie_point] = corners
            blocks[:, file.pixels] = pixels[file.band].astype("<u2", copy=False).reshape(len(patches), -1).view("uint8")
        return blocks

    def _corner(self, patch: PatchId) -> tuple[float, float]:
        return self._grid.corner(patch.x, patch.y)

    def _check(self, block: np.ndarray, patch: PatchId, pixels: dict[str, np.ndarray]) -> None:
        """Compare the first patch of a tile with GDAL's own files."""
        for file in self._files:
            file.kind.check(block[file.data].tobytes(), pixels[file.band][0], *self._corner(patch))


def _block(grid: PatchGrid) -> tuple[bytes, list[_File]]:
    """Return the block of the patch at (0, 0) without pixels, and the position of each file in it."""
    last = 10**grid.digits - 1
    patch, other = grid.patch_id(0, 0), grid.patch_id(last, last)
    block, files = b"", []
    for band in BANDS:
        kind = geotiff.template(grid.patch_m // RESOLUTION_M[band], RESOLUTION_M[band], grid.square.epsg)
        header, another = (tarball.header(member_name(each, band), kind.size) for each in (patch, other))
        if header.replace(str(patch).encode(), str(other).encode()) != another:
            raise PipelineError(
                f"tar header of {patch}",
                expected="one that differs in the patch id only",
                found="other differences",
                remedy="report it with this message: it is an error of this program",
            )
        at = len(block) + len(header)
        block += header + kind.header.ljust(kind.size, b"\0") + tarball.padding(kind.size)
        files.append(
            _File(
                band,
                member=slice(at - len(header), len(block)),
                data=slice(at, at + kind.size),
                tie_point=slice(at + kind.tie_point_at, at + kind.tie_point_at + 16),
                pixels=slice(at + len(kind.header), at + kind.size),
                kind=kind,
            )
        )
    return block, files


def _occurrences(text: bytes, part: bytes) -> list[int]:
    return [match.start() for match in re.finditer(re.escape(part), text)]
