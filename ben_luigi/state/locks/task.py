"""Surround each running task: it ends with its worker, and no other process makes its result, on any host.

Luigi's scheduler gives a task to one worker. But two runs with schedulers of their own may share a data folder, and a
worker that has lost its connection counts as dead while it goes on. So the process that makes a result holds a lock,
and one that had to wait for it finds the result there. The lock is the database's, and is released with the connection
of a process that dies. One that loses its lock and comes back publishes nothing more (`turn`).
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import psycopg2.extensions

from ben_luigi import config
from ben_luigi.domain import fence, waiting
from ben_luigi.domain.errors import DatabaseError, TakenOver
from ben_luigi.state import database
from ben_luigi.state.locks import data_folder
from ben_luigi.state.locks.turn import DatabaseTurn

_log = logging.getLogger(__name__)
_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of linux/prctl.h


class Turn:
    """The context in which Luigi runs a task (`[worker] task_process_context`)."""

    def __init__(self, process: Any) -> None:
        self._task = process.task

    def __enter__(self) -> None:
        """Enter the data folder, and end with the worker."""
        _end_with_parent()
        waiting.at_work_on(str(self._task))
        data_folder.enter(config.data_dir())

    def __exit__(self, *_: object) -> None:
        """Do nothing: the locks are released with the process."""


def _end_with_parent() -> None:
    """Have the kernel send SIGTERM to this task's process when its worker dies, so that it cleans up."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    with suppress(OSError, AttributeError):  # not on Linux
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != parent.pid:
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def alone_with(task_id: str) -> Iterator[None]:
    """Hold the lock of a task, after waiting until it is free, and have its fence asked before anything is published.

    Raise TakenOver if another process has taken the task over meanwhile, whatever else has come of that. Raise
    DatabaseError if the user's server does not answer, since other hosts may share it. Where none of our own can be
    made there is no lock, and the work may still be possible; if it is not, it raises its own error.
    """
    turn = None
    try:
        turn = DatabaseTurn(task_id)
    except DatabaseError:
        if config.database().url:
            raise
    if turn is None:
        yield
        return
    with closing(turn):
        turn.wait()
        try:
            with database.explained(), fence.within(turn):
                yield
        except Exception as error:
            lost = error if isinstance(error, TakenOver) else turn.lost()
            if lost is None:
                raise
            turn.forget()
            raise lost from error


@contextmanager
def transaction(what: str) -> Iterator[psycopg2.extensions.cursor]:
    """Yield a cursor in a transaction that publishes `what`: in the session of the turn at the task, if there is one.

    It is committed at the end, or rolled back on an error. Raise TakenOver if another process makes it now.
    """
    turn = fence.current()
    with turn.transaction(what) if isinstance(turn, DatabaseTurn) else database.transaction() as cursor:
        yield cursor
