"""Greedy set cover: few rows that together have every column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def greedy_cover(has: np.ndarray, taken: Sequence[int], most: int) -> list[int]:
    """`taken`, and then as many rows of `has` (row, column; bool) as it takes to meet every column, `most` in all.

    Each next one is the first of those that meet most of what is still missing.
    """
    taken = list(taken)
    missing = has.any(axis=0) & ~has[taken].any(axis=0)
    while missing.any() and len(taken) < most:
        best = int(has[:, missing].sum(axis=1).argmax())
        taken.append(best)
        missing &= ~has[best]
    return taken
