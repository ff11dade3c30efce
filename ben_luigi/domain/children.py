"""Run programs that end, with everything they have started, when the process that started them ends in any way."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from ben_luigi.domain import surroundings

_DONE = b"done\n"
_POLL_S = 0.02
_GUARD = """
read -r group; [ "$group" != done ] || exit
read -r _ && exit
[ -z "$group" ] || kill -s KILL -- "-$group"
rm -rf -- "$@"
"""
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextmanager
def running(
    command: list[str], *, env: Mapping[str, str], grace_s: float, unfinished: Sequence[Path] = (), **how: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a session of its own; when the block ends, none of its processes is left.

    Processes that are still running then get SIGTERM, and SIGKILL after `grace_s` seconds. If this process itself is
    killed, they are killed at once and the paths in `unfinished` are removed. Within the block SIGTERM, SIGINT and
    SIGHUP raise in this process, so that the block ends. `how` is passed to Popen.
    """
    with _signals_raise() as from_now_on, _guard(unfinished) as tell:
        # The child reports itself to the guard: this process may be killed before it could report the child.
        process = subprocess.Popen(command, env=env, start_new_session=True, preexec_fn=tell, **how)
        try:
            from_now_on()
            yield process
        finally:
            _end(process, grace_s)


@contextmanager
def _guard(unfinished: Sequence[Path]) -> Iterator[Callable[[], None]]:
    """Kill a session and remove `unfinished` if this process is killed.

    Yield the function that the session's first process has to call. A shell waits at the read end of a pipe whose write
    end is ours; the child's copy of it is closed when the child loads its program (close-on-exec), so the pipe ends
    with us.
    """
    command = ["/bin/sh", "-c", _GUARD, "guard", *map(str, unfinished)]
    how: dict[str, Any] = {"stdin": subprocess.PIPE, "stderr": subprocess.DEVNULL, "start_new_session": True}
    guard = subprocess.Popen(command, env=surroundings.of_child(), **how)
    assert guard.stdin
    try:
        yield partial(_tell, guard.stdin.fileno())
    finally:
        with suppress(BrokenPipeError), guard.stdin:
            os.write(guard.stdin.fileno(), _DONE)
        _reap(guard)


def _tell(pipe: int) -> None:
    os.write(pipe, b"%d\n" % os.getpid())


@contextmanager
def _signals_raise() -> Iterator[Callable[[], None]]:
    """Turn the signals that stop a process into exceptions, so that `finally` runs; this works in a main thread only.

    A signal that arrives before the yielded function has been called is held back until then, so that no process is
    left half started.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    waiting: list[int] | None = []
    found = {number: signal.getsignal(number) for number in _STOPPING}
    before = {number: handler for number, handler in found.items() if handler not in (None, signal.SIG_IGN)}

    def leave(number: int, frame: FrameType | None = None) -> None:
        handler = before[signal.Signals(number)]
        if waiting is not None:
            waiting.append(number)
        elif callable(handler):
            handler(number, frame)
        else:
            raise SystemExit(128 + number)

    def from_now_on() -> None:
        nonlocal waiting
        came, waiting = waiting or [], None
        for number in came:
            leave(number)

    for number in before:
        signal.signal(number, leave)
    try:
        yield from_now_on
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Terminate the process, then kill it and whatever else lives in its session."""
    with suppress(ProcessLookupError):
        if not _has_ended(process, 0.0):
            os.killpg(process.pid, signal.SIGTERM)
            _has_ended(process, grace_s)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    _reap(process)


def _has_ended(process: subprocess.Popen[bytes], patience_s: float) -> bool:
    """Return whether the process has ended, or ends within this time; its exit code is not taken.

    Popen's own functions hold a lock meanwhile, which stays locked if a signal raises just before they release it.
    """
    deadline = time.monotonic() + patience_s
    while process.returncode is None:
        try:
            if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return True
        except ChildProcessError:
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of the process, without Popen's lock, as in `_has_ended`."""
    if process.returncode is None:
        with suppress(ChildProcessError):
            process.returncode = os.waitstatus_to_exitcode(os.waitpid(process.pid, 0)[1])
