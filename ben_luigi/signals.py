"""Ctrl-C, a closed terminal, SIGTERM: a command says in one line that it was stopped, and exits with 128 + the signal.

The first of these signals raises SystemExit in the main thread, so that what was begun is undone; others that follow
do not come in between. Where Python cannot pass that on, as out of what it calls at a fork, it is raised again. Other
code that catches everything may swallow it, and a library may not return for minutes: so a thread, which the kernel
wakes by a byte in a pipe whatever the main thread does, ends the process in the end. A forked process has no such
thread: whoever forked it ends it.

This comes before all else that a command loads, and so loads nothing but the standard library.
"""

from __future__ import annotations

import atexit
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess

_SAID = {signal.SIGINT: "Ctrl-C", signal.SIGHUP: "its terminal, which was closed", signal.SIGTERM: "SIGTERM"}
_AGAIN_S = 0.05
_PATIENCE_S = 10.0

came = 0
"""The signal that has stopped this process; 0 if none has."""

consequence = ""
"""What the line says after `stopped by ...`."""

last_resort: Callable[[], None] | None = None
"""Ends what was begun, in a limited time, where the main thread does not do it."""

_undoing = threading.Event()
_pipe: tuple[int, int] | None = None  # of this process's thread


def catch() -> None:
    """Catch them from now on, but for those that were ignored from the start, as by `nohup`."""
    global _pipe
    for number in _SAID:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    if _pipe is None:
        _pipe = os.pipe()
        os.set_blocking(_pipe[1], False)
        signal.set_wakeup_fd(_pipe[1], warn_on_full_buffer=False)
        threading.Thread(target=_watch, args=(_pipe[0],), name="signals", daemon=True).start()
        atexit.register(_say)
        signal.signal(signal.SIGALRM, _stop_again)
        sys.unraisablehook = _ignored


def undo() -> int:
    """The main thread ends what was begun, if a signal came: the exit code then, else 0. Nobody else has to."""
    if came:
        _undoing.set()
    return 128 + came if came else 0


@contextmanager
def passed_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Have another process stopped in place of this one, which waits for it."""
    before = {number: signal.getsignal(number) for number in _SAID}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, lambda came, _: process.send_signal(came))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def raised_again(callback: Callable[..., None]) -> Callable[..., None]:
    """A callback of Luigi, which swallows what it raises: a signal that comes meanwhile stops the run afterwards."""

    @functools.wraps(callback)
    def outlasted(*given: object, **named: object) -> None:
        try:
            callback(*given, **named)
        except SystemExit:
            if came:
                signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
            raise

    return outlasted


def _stop(number: int, _: FrameType | None) -> None:
    global came
    if not came:
        came = number
        sys.exit(128 + number)


def _ignored(unraisable: sys.UnraisableHookArgs) -> None:
    """An exception that Python cannot pass on. While a process ends there may be others, which help nobody."""
    if not came:
        sys.__unraisablehook__(unraisable)
    elif unraisable.exc_type is SystemExit:
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)


def _stop_again(*_: object) -> None:
    if came and not _undoing.is_set():
        sys.exit(128 + came)


def _watch(reading: int) -> None:
    number = 0
    while number not in _SAID or signal.getsignal(number) is not _stop:
        number = os.read(reading, 1)[0]
    if not _undoing.wait(_PATIENCE_S):
        global came
        came = came or number
        if last_resort is not None:
            last_resort()
        _say()
        os._exit(128 + number)


def _say() -> None:
    if came:
        with suppress(OSError):  # the terminal may be what has gone
            os.write(2, f"stopped by {_SAID[signal.Signals(came)]}{consequence}\n".encode())


def _fork() -> None:
    global _pipe
    if _pipe is not None:
        signal.set_wakeup_fd(-1)
        for descriptor in _pipe:
            os.close(descriptor)
        _pipe = None
        atexit.unregister(_say)


def fill_descriptors() -> None:
    """Open the null device for standard input, output and error where they are closed.

    Else the next file that is opened would take their place, and be written to.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


os.register_at_fork(after_in_child=_fork)

if sys.argv[:1] == ["-m"]:  # a command of ours is being loaded
    fill_descriptors()
    catch()
