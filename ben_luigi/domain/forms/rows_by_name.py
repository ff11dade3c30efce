"""Find rows by name, in names that stay in Arrow: a dictionary of them would take ten times the memory."""

from __future__ import annotations

from bisect import bisect_left

import pyarrow as pa
import pyarrow.compute as pc


class RowsByName:
    """The rows that have a name, of an array of names with nulls. Memory: 4 bytes per row."""

    def __init__(self, names: pa.Array) -> None:
        self._names = names
        self._order = pc.sort_indices(names).to_numpy()[: len(names) - names.null_count].astype("int32")
        self._rank = 0

    def of(self, name: str) -> list[int]:
        """Return the rows that have a name, ascending; none of a name that is not there, or empty.

        That of the next name is found without a search: most archives and forms are in the order of the names.
        """
        if not name:
            return []
        rank = self._rank
        if self._name_at(rank) != name:
            rank = bisect_left(range(len(self._order)), name, key=self._name_at)
        stop = rank
        while self._name_at(stop) == name:
            stop += 1
        self._rank = stop
        rows: list[int] = self._order[rank:stop].tolist()
        return rows

    def _name_at(self, rank: int) -> str:
        """Return the name of a rank; an empty text behind the last one."""
        return str(self._names[self._order[rank]].as_py()) if rank < len(self._order) else ""
