"""Divide patches into train, validation and test, by the rule of the recipe."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import numpy as np

from ben_luigi.domain.errors import BadInput, PipelineError, some
from ben_luigi.domain.given import read_bytes
from ben_luigi.domain.names import TileName
from ben_luigi.domain.placement import blocks
from ben_luigi.domain.placement.blocks import LEFT_OUT as LEFT_OUT
from ben_luigi.domain.placement.grid import PatchGrid
from ben_luigi.domain.recipe.model import BLOCKS, CSV, Split
from ben_luigi.domain.remembered import remembered
from ben_luigi.domain.vocabulary import SPLITS

COLUMNS = ("patch_id", "split")
_MOST_BYTES = 2**30
_EXPECTED = f"a CSV with the columns {' and '.join(COLUMNS)}, each patch once, splits {', '.join(SPLITS)}"
_REMEDY = "correct the file that [split] file of the recipe names"


def splits(grid: PatchGrid, rule: Split, listed: Iterable[PatchGrid] = ()) -> np.ndarray:
    """Return the split of each patch of a tile, in the order of the grid's arrays; LEFT_OUT for one that has none.

    `listed` are the grids of all tiles of the dataset, which the rule BLOCKS takes into account. With the rule CSV, a
    patch that the file does not list has none. Raise BadInput if the file is malformed, or lists no patch of the tile.
    """
    if rule.rule == BLOCKS:
        return blocks.splits(grid, rule, listed)
    if rule.rule == CSV and rule.file is not None:
        given = read(rule.file)
        found = np.array([given.get(patch, LEFT_OUT) for patch in grid.ids().to_pylist()])
        if (found == LEFT_OUT).all():
            raise _missing(rule.file, [grid.tile_name])
        return found
    return grid.splits()


def problems(rule: Split, listed: Collection[PatchGrid]) -> Iterator[PipelineError]:
    """Yield what makes it impossible to divide the patches of all tiles of the dataset, before any of them is there."""
    try:
        if rule.rule == BLOCKS and listed:
            blocks.splits(next(iter(listed)), rule, listed)
        if rule.rule == CSV and rule.file is not None:
            yield from _strangers(rule.file, read(rule.file), listed)
            yield from _by_date(rule.file, read(rule.file), listed)
    except PipelineError as error:
        yield error


@remembered()
def read(path: Path) -> dict[str, str]:
    """Read the split of each patch from a CSV in UTF-8 with the columns patch_id and split, in any order.

    Raise BadInput, with the line, if a column is missing, a patch is listed twice, or a split is none of SPLITS.
    """
    found: dict[str, str] = {}
    try:
        rows = csv.reader(read_bytes(path, _MOST_BYTES).decode("utf-8-sig").splitlines(), strict=True)
        header = [name.strip() for name in next(rows, [])]
        if any(header.count(column) != 1 for column in COLUMNS):
            raise ValueError(f"the columns {some(header) or 'none'}")
        id_at, split_at = map(header.index, COLUMNS)
        for row in filter(None, rows):
            if len(row) != len(header):
                raise ValueError(f"line {rows.line_num}: {len(row)} values")
            patch, split = row[id_at].strip(), row[split_at].strip()
            if split not in SPLITS or patch in found:
                raise ValueError(f"line {rows.line_num}: {f'{patch} again' if split in SPLITS else repr(split)}")
            found[patch] = split
    except (OSError, ValueError, csv.Error) as error:
        raise BadInput(path, expected=_EXPECTED, found=str(error), remedy=_REMEDY) from error
    return found


def _strangers(path: Path, given: dict[str, str], listed: Collection[PatchGrid]) -> Iterator[BadInput]:
    """Yield an error about patches of the file that no tile has, and one about tiles without a patch in the file."""
    unknown = set(given)
    without = []
    for grid in listed:
        of_tile = set(grid.ids().to_pylist())
        if of_tile.isdisjoint(given):
            without.append(grid.tile_name)
        unknown -= of_tile
    if unknown:
        yield BadInput(
            path,
            expected="patches of the tiles of the dataset",
            found=f"{len(unknown)} others: {some(sorted(unknown), 3)}",
            remedy=f"{_REMEDY}, or give the products of these patches as well",
        )
    if without:
        yield _missing(path, without)


def _by_date(path: Path, given: dict[str, str], listed: Collection[PatchGrid]) -> Iterator[BadInput]:
    """Yield an error about squares whose dates the file puts into different splits."""
    splits: dict[str, set[str]] = {}
    for grid in listed:
        mgrs, start = TileName.parse(grid.tile_name).mgrs, len(grid.tile_name)
        for patch in grid.ids().to_pylist():
            if patch in given:
                splits.setdefault(mgrs + patch[start:], set()).add(given[patch])
    several = sorted(square for square, found in splits.items() if len(found) > 1)
    if several:
        yield BadInput(
            path,
            expected="one split for all dates of a square",
            found=f"several of {len(several)} squares: {some(several, 3)}",
            remedy=_REMEDY,
        )


def _missing(path: Path, tiles: Collection[str]) -> BadInput:
    return BadInput(path, expected=f"patches of each tile, with {some(tiles, 3)}", found="none", remedy=_REMEDY)
