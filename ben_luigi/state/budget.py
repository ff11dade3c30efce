"""Limit downloads over all workers and hosts: how many at once, and how often a tile may fail before it rests.

Both are kept in the database, which all of them share: places as advisory locks, which are released with the connection
of a process that dies; failed attempts as rows, which are deleted when the tile has arrived or the user clears them.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import NamedTuple

from ben_luigi.domain import fence
from ben_luigi.domain.errors import RestingError
from ben_luigi.state import database, recipes
from ben_luigi.state.locks import advisory

_FAILED_TRIES = "SELECT at, error, extract(epoch FROM now() - at) FROM failed_try WHERE tile = %(tile)s ORDER BY at"


@contextmanager
def slot(at_once: int) -> Iterator[None]:
    """Hold one of `at_once` places, after waiting until one is free."""
    with database.lock_connection() as connection, connection.cursor() as cursor:
        advisory.wait_for(cursor, f"one of {at_once} places for downloads", advisory.DOWNLOADS, *range(at_once))
        yield


def note_failure(tile: str, error: str) -> None:
    """Record that an attempt to download a tile failed. Raise TakenOver instead if the failure may come of that."""
    fence.require(f"tile {tile}")
    with database.transaction() as cursor:
        values = (tile, socket.gethostname(), error)
        cursor.execute("INSERT INTO failed_try (tile, host, error) VALUES (%s, %s, %s)", values)


def clear(tile: str) -> int:
    """Forget the failed attempts of a tile, since it has arrived or the user asked for it; return their number."""
    with database.transaction() as cursor:
        cursor.execute("DELETE FROM failed_try WHERE tile = %s", (tile,))
        return cursor.rowcount


def tries_left(tile: str, tries: int, cool_down: timedelta) -> int:
    """Return how many of its `tries` a tile has left. Raise RestingError, with its last error, while it rests.

    It rests from its last failed attempt until the cool-down has passed; then it has all its attempts again. All times
    are the database's, so the clocks of hosts need not agree. An attempt farther in the future than the cool-down,
    after the clock was set back, counts as past.
    """
    failed = _failed(tile)
    if failed and not _rests(failed[-1], cool_down):
        clear(tile)
        failed = []
    if len(failed) < tries:
        return tries - len(failed)
    last, again = failed[-1], f"ben-luigi clear-tries {tile}{recipes.option()}"
    raise RestingError(
        f"tile {tile}",
        expected=f"fewer than {tries} failed attempts within {cool_down}",
        found=f"{len(failed)}, the last one at {last.at:%Y-%m-%d %H:%M %Z}: {last.error}",
        remedy=f"run again after {last.at + cool_down:%Y-%m-%d %H:%M %Z}, or clear them: {again}",
    )


def _rests(last: _Failed, cool_down: timedelta) -> bool:
    return abs(last.rested_s) <= cool_down.total_seconds()


class Tried(NamedTuple):
    """The failed attempts of a tile; while it rests, `rests_until` says when the next attempt is due."""

    tries: int
    last_error: str
    last_at: datetime
    rests_until: datetime | None


def tried(tries: int, cool_down: timedelta) -> dict[str, Tried]:
    """Return the tiles with failed attempts, by tile key."""
    found = {}
    for (tile,) in database.rows("SELECT DISTINCT tile FROM failed_try ORDER BY tile"):
        failed = _failed(tile)
        if failed:
            last = failed[-1]
            rests = len(failed) >= tries and _rests(last, cool_down)
            found[tile] = Tried(len(failed), last.error, last.at, last.at + cool_down if rests else None)
    return found


class _Failed(NamedTuple):
    at: datetime
    error: str
    rested_s: float


def _failed(tile: str) -> list[_Failed]:
    rows = database.rows(_FAILED_TRIES, tile=tile)
    return [_Failed(at, error, float(rested_s)) for at, error, rested_s in rows]
