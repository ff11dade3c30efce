"""Cache markers and records for a while, so that a question about a tile costs one query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ben_luigi.configuration.kept import held
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
    """Markers and records, by the paths of their files, as they were when first read, and answers derived from them.

    It is current, and the configuration stays what it was, as long as a `with` statement with it lasts. With
    `no_database` there are no markers, and nothing is queried.
    """

    def __init__(self) -> None:
        self._configuration = held()
        self.no_database = False
        self.answers: dict[Any, Any] = {}
        self.records: dict[str, dict[str, Any]] = {}
        self._seen: set[str] | None = set()  # None: all
        self._markers: dict[tuple[str, str], Marker] = {}

    def __enter__(self) -> Snapshot:
        if not _snapshots:
            self._configuration.__enter__()
        _snapshots.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        _snapshots.pop()
        if not _snapshots:
            self._configuration.__exit__(None, None, None)

    def markers(self, tiles: Sequence[str]) -> dict[tuple[str, str], Marker]:
        """Return markers by task and tile, including those of `tiles`.

        The first query is for the first requested tiles, since those are often all; a second one fetches all others.
        """
        new = [] if self._seen is None else [tile for tile in tiles if tile not in self._seen]
        if new and not self.no_database:
            rows = database.rows(_MARKERS, tiles=new) if not self._seen else database.rows(_ALL_MARKERS)
            for task, tile, *said in rows:
                self._markers[task, tile] = Marker(*said)
            self._seen = None if self._seen else {*new}
        return self._markers


_snapshots: list[Snapshot] = []


def snapshot() -> Snapshot:
    """Return the current snapshot, or a new one; nested calls get the same."""
    return _snapshots[-1] if _snapshots else Snapshot()
