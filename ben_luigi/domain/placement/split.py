"""Divide patches into train, validation and test, by the rule of the recipe."""

from __future__ import annotations

import numpy as np

from ben_luigi.domain.errors import BadOption
from ben_luigi.domain.placement.grid import PatchGrid
from ben_luigi.domain.recipe.model import RINGS, Split


def splits(grid: PatchGrid, rule: Split) -> np.ndarray:
    """Return the split of each patch of a tile, in the order of the grid's arrays."""
    if rule.rule == RINGS:
        return grid.splits()
    raise BadOption(
        f"tile {grid.tile_name}",
        expected=f'[split] rule = "{RINGS}"',
        found=f'rule = "{rule.rule}"',
        remedy="change the recipe",
    )
