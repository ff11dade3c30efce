"""Wait for other processes, and log what is awaited and which process of which task on which host holds it.

A process names itself as `123@host ConvertToL2A(tile=33UUP_20170613)`, in the locks that it holds and to the database.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta

import psutil

_log = logging.getLogger(__name__)
_FIRST_S, _AGAIN_S = 10.0, 60.0
_NAME_LETTERS = 63  # of PostgreSQL's application_name, which takes ASCII alone
_HOST_LETTERS = 24
_NAME = re.compile(r"(?P<process>\d+)@(?P<host>\S+) ?(?P<task>.*)")

_task = ""
_of_thread = threading.local()


class Stopped(Exception):
    """A thread ends: another one has failed for good, or the process is asked to end."""


def at_work_on(task: str) -> None:
    """Set the task that this process names as its own from now on."""
    global _task
    _task = task


def name() -> str:
    """Return this process's name: process id, host, task; at most 63 ASCII characters."""
    name = f"{os.getpid()}@{_host()} {_task}".rstrip()[:_NAME_LETTERS]
    return "".join(letter if " " <= letter <= "~" else "?" for letter in name)


def wait_for(holds: Callable[[], bool], what: str, holder: Callable[[], Iterable[str]], poll_s: float = 0.5) -> None:
    """Return as soon as `holds()` is true; it is called every `poll_s` seconds.

    After ten seconds, and then once per minute, the log says that `what` is awaited and who holds it: `holder` returns
    names of processes, or other text.
    """
    began = time.monotonic()
    due = began + _FIRST_S
    while not holds():
        now = time.monotonic()
        if now >= due:
            due = now + _AGAIN_S
            found = ", and ".join(described(name) for name in holder()) or "a holder that cannot be seen from here"
            _log.warning("waiting for %s for %s; it is held by %s", what, timedelta(seconds=round(now - began)), found)
        time.sleep(poll_s)


@contextmanager
def told(what: str) -> Iterator[None]:
    """Log once per minute, as long as the block lasts, that `what` is awaited: for waits that cannot ask in between."""
    began, ended = time.monotonic(), threading.Event()

    def tell() -> None:
        while not ended.wait(_AGAIN_S):
            _log.warning("waiting for %s for %s", what, timedelta(seconds=round(time.monotonic() - began)))

    thread = threading.Thread(target=tell, name="waiting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def until(stop: threading.Event) -> None:
    """End each pause of this thread as soon as `stop` is set: who ends a pool of threads would wait for it."""
    _of_thread.stop = stop


def check_stop() -> None:
    """Raise Stopped if this thread is to end, by `until`: for what it does after it has waited for other threads."""
    if (stop := _stop()) and stop.is_set():
        raise Stopped


def pause(seconds: float, what: str) -> None:
    """Sleep; if that takes longer than a minute, log once per minute that `what` is awaited.

    Raise Stopped as soon as this thread is to end, by `until`.
    """
    stop = _stop()
    with told(what) if seconds > _AGAIN_S else nullcontext():
        if stop is None:
            time.sleep(seconds)
        elif stop.wait(seconds):
            raise Stopped


def _stop() -> threading.Event | None:
    return getattr(_of_thread, "stop", None)


def described(name: str) -> str:
    """Return a process's name in words, with its state if it runs on this host; other text unchanged."""
    match = _NAME.fullmatch(name)
    if match is None:
        return name
    process, host, task = int(match["process"]), match["host"], match["task"]
    state = local(process) if host == _host() else ""
    return f"{task or 'a process without a task'} (process {process} on {host}{state and ', '}{state})"


def local(process: int) -> str:
    """Return the state of a process of this host if it has ended or is stopped, and what to do about it.

    Else nothing.
    """
    try:
        stopped = psutil.Process(process).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    except psutil.NoSuchProcess:
        return "which has ended, while a process that it started still runs"
    return f"which is stopped: `kill -CONT {process}` lets it go on, `kill -KILL {process}` ends it" if stopped else ""


def _host() -> str:
    return socket.gethostname().partition(".")[0][:_HOST_LETTERS]
