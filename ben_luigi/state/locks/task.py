"""Surround each running task: it ends with its worker, and no other process makes its result, on any host.

Luigi's scheduler gives a task to one worker. But two runs with schedulers of their own may share a data folder, and a
worker that has lost its connection counts as dead while it goes on. So the process that makes a result holds a lock,
and one that had to wait for it finds the result there. The lock is the database's, and is released with the connection
of a process that dies.
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import sqlalchemy as sa

from ben_luigi import config
from ben_luigi.domain import waiting
from ben_luigi.domain.errors import DatabaseError
from ben_luigi.state import database
from ben_luigi.state.locks import advisory, data_folder

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
    """Hold the lock of a task, after waiting until it is free.

    Without a database there is no lock, and the work may still be possible; if it is not, it raises its own error.
    """
    with ExitStack() as stack:
        with suppress(DatabaseError):
            stack.enter_context(_lock(task_id))
        yield


@contextmanager
def _lock(task_id: str) -> Iterator[None]:
    with database.lock_connection() as connection:
        key = connection.execute(sa.select(sa.func.hashtext(task_id))).scalar_one()
        advisory.wait_for(connection, f"the turn of {task_id}", advisory.TASKS, key)
        yield
