"""Downloads over all workers and hosts: how many at once, and how often a tile may fail before it rests.

Both are kept in the database, which all of them share: places as advisory locks, which go with the connection of a
process that dies; failed tries as rows, which go when the tile has come, or when the user clears them.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from ben_luigi.domain.cdse.errors import RestingError
from ben_luigi.state import database
from ben_luigi.state.schema import FAILED_TRY

_PLACES = 20180502


@contextmanager
def slot(at_once: int) -> Iterator[None]:
    """Hold one of `at_once` places, waiting until one is free."""
    with database.lock_connection() as connection:
        database.wait_for_lock(connection, f"one of {at_once} places for downloads", _PLACES, *range(at_once))
        yield


def note_failure(tile: str, error: str) -> None:
    """Remember that a try to download a tile failed."""
    with database.engine().begin() as connection:
        connection.execute(sa.insert(FAILED_TRY).values(tile=tile, host=socket.gethostname(), error=error))


def clear(tile: str) -> int:
    """Forget the failed tries of a tile, since it has come or the user says so; gives how many there were."""
    with database.engine().begin() as connection:
        return connection.execute(sa.delete(FAILED_TRY).where(FAILED_TRY.c.tile == tile)).rowcount


def tries_left(tile: str, tries: int, cool_down: timedelta) -> int:
    """How many of its `tries` a tile has left; RestingError, with its last error, while it rests.

    It rests from its last failed try on until the cool-down is over; then it has all its tries again. All times are the
    database's, so hosts need not agree. A try further in the future than that, since the clock was set back, is past.
    """
    failed = _failed(tile)
    if failed and not _rests(failed[-1], cool_down):
        clear(tile)
        failed = []
    if len(failed) < tries:
        return tries - len(failed)
    last = failed[-1]
    raise RestingError(
        f"tile {tile}",
        expected=f"fewer than {tries} failed tries within {cool_down}",
        found=f"{len(failed)}, the last one at {last.at:%Y-%m-%d %H:%M %Z}: {last.error}",
        remedy=f"run again after {last.at + cool_down:%Y-%m-%d %H:%M %Z}, or clear them: ben-luigi clear-tries {tile}",
    )


def _rests(last: _Failed, cool_down: timedelta) -> bool:
    return abs(last.rested_s) <= cool_down.total_seconds()


class Tried(NamedTuple):
    """What is known of a tile's failed tries; while it rests, `rests_until` says when it may be tried again."""

    tries: int
    last_error: str
    last_at: datetime
    rests_until: datetime | None


def tried(tries: int, cool_down: timedelta) -> dict[str, Tried]:
    """The tiles with failed tries, by tile key."""
    with database.engine().begin() as connection:
        names = connection.execute(sa.select(FAILED_TRY.c.tile).distinct().order_by(FAILED_TRY.c.tile)).scalars().all()
    found = {}
    for tile in names:
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
    rested = sa.extract("epoch", sa.func.now() - FAILED_TRY.c.at)
    query = sa.select(FAILED_TRY.c.at, FAILED_TRY.c.error, rested).where(FAILED_TRY.c.tile == tile)
    with database.engine().begin() as connection:
        return [_Failed(at, error, float(s)) for at, error, s in connection.execute(query.order_by(FAILED_TRY.c.at))]
