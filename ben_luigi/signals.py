"""Stop a command in one line at Ctrl-C, a closed terminal or SIGTERM, with exit code 128 + the signal.

The first of these signals raises SystemExit in the main thread, so that started work is undone; further signals do not
interrupt that. Where Python cannot propagate the exception, for example from code called at a fork, it is raised again.
Other code that catches everything may swallow it, and a library may not return for minutes: so a thread, which the
kernel wakes by a byte in a pipe whatever the main thread does, finally ends the process. A forked process has no such
thread; the process that forked it ends it.

This module is loaded before everything else, so it loads nothing but the standard library.
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

_reason, _code = "", 0  # of `stop`

last_resort: Callable[[], None] | None = None
"""Ends started work in a limited time, if the main thread does not."""

_undoing = threading.Event()
_is_passed_on = False
_pipe: tuple[int, int] | None = None  # of this process's thread
_MARK, _are_seen = 0, threading.Event()  # no signal has this number


def catch() -> None:
    """Handle the signals from now on, except those that were ignored from the start, as by `nohup`."""
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


def stop(reason: str, code: int) -> None:
    """Stop this process from another thread, as a signal would, for a reason of its own, with that exit code.

    Do nothing if a signal has come already.
    """
    global _reason, _code
    handled = [number for number in _SAID if signal.getsignal(number) is _stop]
    if handled and not came:
        _reason, _code = reason, code
        os.kill(os.getpid(), handled[-1])


def undo() -> int:
    """Declare that the main thread undoes started work, if a signal came. Return the exit code then, else 0."""
    if came:
        _undoing.set()
    return _exit_code(came) if came else 0


def _exit_code(number: int) -> int:
    return _code or 128 + number


@contextmanager
def passed_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Forward the signals to another process, for which this one waits."""
    global _is_passed_on
    before = {number: signal.getsignal(number) for number in _SAID}
    _is_passed_on = True
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, lambda came, _: process.send_signal(came))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if _pipe is not None and not came:  # until the thread has seen all that were passed on, however late it comes
            _are_seen.clear()
            os.write(_pipe[1], bytes([_MARK]))
            _are_seen.wait(_PATIENCE_S)
        _is_passed_on = False


def raised_again(callback: Callable[..., None]) -> Callable[..., None]:
    """Wrap a callback of Luigi, which swallows exceptions, so that a signal during it still stops the run."""

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
        sys.exit(_exit_code(number))


def _ignored(unraisable: sys.UnraisableHookArgs) -> None:
    """Handle an exception that Python cannot propagate. Others that occur while a process ends help nobody."""
    if not came:
        sys.__unraisablehook__(unraisable)
    elif unraisable.exc_type is SystemExit:
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)


def _stop_again(*_: object) -> None:
    if came and not _undoing.is_set():
        sys.exit(_exit_code(came))


def _watch(reading: int) -> None:
    number = 0
    while number not in _SAID or _is_passed_on:
        number = os.read(reading, 1)[0]
        if number == _MARK:
            _are_seen.set()
    if not _undoing.wait(_PATIENCE_S):
        global came
        came = came or number
        if last_resort is not None:
            last_resort()
        _say()
        os._exit(_exit_code(number))


def _say() -> None:
    if came:
        with suppress(OSError):  # the terminal may have been closed
            os.write(2, f"stopped by {_reason or _SAID[signal.Signals(came)]}{consequence}\n".encode())


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

    Otherwise the next file to be opened would take their place, and be written to.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # POSIX: takes the lowest free descriptor


os.register_at_fork(after_in_child=_fork)

PROGRAM = "ben-luigi"


def _starts_program() -> bool:
    words = sys.orig_argv
    as_module = sys.argv[:1] == ["-m"] and words[words.index("-m") + 1 :][:1] == ["ben_luigi"]
    return as_module or os.path.basename(sys.argv[0]) == PROGRAM  # noqa: PTH119 (pathlib is slow to load)


STARTS_PROGRAM = _starts_program()
"""Whether `python -m ben_luigi` or `ben-luigi` is starting, rather than a program that imports this package."""

if STARTS_PROGRAM:
    fill_descriptors()
    catch()
