"""What surrounds each task while it runs: nobody else runs it, on whatever host, and it ends with its worker.

Luigi's scheduler gives a task to one worker. But two runs with a scheduler of their own may share a data folder, and a
worker that has lost its connection is taken for dead while it goes on. So who runs a task holds a lock, and who had to
wait for it finds the task done. The lock is the database's, and goes with the connection of a process that dies.
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType
from typing import Any

import sqlalchemy as sa
from luigi.task import flatten

from ben_luigi import config
from ben_luigi.domain import waiting
from ben_luigi.domain.errors import PipelineError
from ben_luigi.state import database, occupancy

_log = logging.getLogger(__name__)
_TASKS = 20180503
_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of linux/prctl.h


class Turn:
    """The context in which Luigi runs a task (`[worker] task_process_context`)."""

    def __init__(self, process: Any) -> None:
        self._task = process.task
        self._stack = ExitStack()

    def __enter__(self) -> None:
        """Wait until nobody else runs the task; if it is done by then, nothing is left to do."""
        _end_with_parent()
        waiting.at_work_on(str(self._task))
        occupancy.enter(config.data_dir())
        # Without a database the task may still be possible; if it is not, it says so itself.
        with suppress(PipelineError):
            self._stack.enter_context(alone_with(self._task.task_id))
            if flatten(self._task.output()) and self._task.complete():
                self._task.unchanged, self._task.run = True, lambda: None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Let others have their turn."""
        self._stack.close()


def _end_with_parent() -> None:
    """Have the kernel send SIGTERM to this task's process when its worker dies, so that it is undone."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    with suppress(OSError, AttributeError):  # not on Linux
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != parent.pid:
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def alone_with(task_id: str) -> Iterator[None]:
    """Hold the lock of a task, waiting until it is free."""
    with database.lock_connection() as connection:
        key = connection.execute(sa.select(sa.func.hashtext(task_id))).scalar_one()
        database.wait_for_lock(connection, f"the turn of {task_id}", _TASKS, key)
        yield
