"""End what a run has started and what still runs: once Luigi has ended, or where the main thread does not end it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from contextlib import suppress

import psutil
from luigi.worker import fork_lock

from ben_luigi import terminal
from ben_luigi.state import server

GRACE_S = 5.0


def end_workers(grace_s: float) -> None:
    """End tasks that still run although Luigi has ended: by SIGTERM, and by SIGKILL after `grace_s` seconds."""
    workers = multiprocessing.active_children()
    for worker in workers:
        with suppress(ProcessLookupError):
            os.kill(worker.pid or 0, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(worker.pid)
            # Processes with a session of their own are not killed: the database server, and Sen2Cor, which has a guard.
            started = [child for child in process.children(recursive=True) if os.getsid(child.pid) == os.getsid(0)]
            for each in (process, *started):
                each.kill()
            worker.join()


def end_all() -> None:
    """End all tasks and unused servers if the main thread does not; no new task begins."""
    fork_lock.acquire(timeout=GRACE_S)
    end_workers(0)
    server.close_all()
    terminal.close(waits=False)  # so that no bar is drawn over the last line
