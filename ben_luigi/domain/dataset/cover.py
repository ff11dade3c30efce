"""Greedy set cover: few rows that together have every column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def greedy_cover(has: np.ndarray, taken: Sequence[int], most: int) -> list[int]:
    """Return `taken` and the rows of `has` (row, column.

    Bool) that greedily meet every column, at most `most` in all.
    """
    taken = list(taken)
    missing = has.any(axis=0) & ~has[taken].any(axis=0)
    while missing.any() and len(taken) < most:
        best = int(has[:, missing].sum(axis=1).argmax())
        taken.append(best)
        missing &= ~has[best]
    return taken
