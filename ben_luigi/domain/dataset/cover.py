"""Which rows have which values, and greedy set cover: few rows that together have every one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_ROWS_AT_ONCE = 2**15


def have(lists: pa.ChunkedArray, values: Sequence[str]) -> np.ndarray:
    """Return whether each list has each value, (row, column); few lists at once, since they are copied for that."""
    found = np.zeros((len(lists), len(values)), dtype=bool)
    for start in range(0, len(lists), _ROWS_AT_ONCE):
        some = lists[start : start + _ROWS_AT_ONCE].combine_chunks()
        numbers = pc.index_in(pc.list_flatten(some), pa.array(values, pa.string()))
        is_known = numbers.is_valid()
        found[start + pc.list_parent_indices(some).filter(is_known).to_numpy(), numbers.drop_null().to_numpy()] = True
    return found


def greedy_cover(has: np.ndarray, taken: Sequence[int], most: int) -> list[int]:
    """Return `taken` and the rows of `has` (row, column) that greedily meet every column, at most `most` in all."""
    taken = list(taken)
    missing = has.any(axis=0) & ~has[taken].any(axis=0)
    while missing.any() and len(taken) < most:
        best = int(has[:, missing].sum(axis=1).argmax())
        taken.append(best)
        missing &= ~has[best]
    return taken
