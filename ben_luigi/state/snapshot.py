"""Cache markers and records for a while, so that a question about a tile costs one query."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ben_luigi.state import database

_ALL_MARKERS = "SELECT task, tile, made_from, digest, made_with FROM marker"
_MARKERS = f"{_ALL_MARKERS} WHERE tile = ANY(%(tiles)s)"


class Marker(NamedTuple):
    """The row of `marker` about the rows that a task wrote for a tile."""

    made_from: str
    digest: str
    made_with: str


def marker_of(connection: Any, task: str, tile: str) -> Marker | None:
    """Return the marker of the rows that a task wrote for a tile, as `connection` sees it."""
    with connection.cursor() as cursor:
        cursor.execute(_MARKERS, {"tiles": [tile]})
        return next((Marker(*said) for name, _, *said in cursor.fetchall() if name == task), None)


class Snapshot:
    """Markers and records as they were when they were first read, and answers derived from them.

    With `no_database` there are no markers, and nothing is queried.
    """

    def __init__(self) -> None:
        self.no_database = False
        self.answers: dict[Any, Any] = {}
        self.records: dict[Path, dict[str, Any]] = {}
        self._seen: set[str] | None = set()  # None: all
        self._markers: dict[tuple[str, str], Marker] = {}

    def markers(self, tiles: Sequence[str]) -> dict[tuple[str, str], Marker]:
        """Return markers by task and tile, including those of `tiles`.

        The first query is for the first requested tiles, since those are often all; a second one fetches all others.
        """
        new = [] if self._seen is None else [tile for tile in tiles if tile not in self._seen]
        if new and not self.no_database:
            rows = database.query(_MARKERS, tiles=new) if not self._seen else database.query(_ALL_MARKERS)
            for task, tile, *said in rows.itertuples(index=False, name=None):
                self._markers[task, tile] = Marker(*said)
            self._seen = None if self._seen else {*new}
        return self._markers


_snapshots: list[Snapshot] = []


@contextmanager
def snapshot() -> Iterator[Snapshot]:
    """Yield the current snapshot, the same for nested calls."""
    _snapshots.append(_snapshots[-1] if _snapshots else Snapshot())
    try:
        yield _snapshots[-1]
    finally:
        _snapshots.pop()
