"""Show progress bars and log lines of any number of processes on one terminal.

Only one process writes to the terminal, a program of its own (`screen.py`); the others send it lines and progress in
packets, which arrive complete. So output is never garbled, a killed process blocks no other, and none writes while it
forks. If standard error is not a terminal, nothing is started or drawn.
"""

from __future__ import annotations

import io
import json
import logging
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ben_luigi.domain import surroundings

_LINE_LETTERS = 8_000
_LAST_S = 5.0
_PERCENT = "{desc} {percentage:3.0f} %|{bar}| {remaining} left"
_AMOUNT = "{desc} {percentage:3.0f} %|{bar}| {n_fmt}/{total_fmt}{unit} {rate_fmt}, {remaining} left"

summary_follows = False
"""Whether the program that started Luigi prints the result itself, as `ben-luigi run` does."""

_sender: socket.socket | None = None
_screen: subprocess.Popen[bytes] | None = None


class _Outliving(io.FileIO):
    """Standard output or error, written unbuffered; what is written after its reader has closed it is lost.

    Without a buffer there is no lock that a thread could hold while its process forks.
    """

    def write(self, data: Any, /) -> int:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self.fileno(), rest) :]
            except BlockingIOError:  # another program has made it non-blocking
                select.select([], [self.fileno()], [])
            except OSError:  # a pipe without a reader, a terminal that was closed, a full disk
                break
        return len(data)


def outlive_readers() -> None:
    """Continue to the end, with the usual exit code, even if the reader of the output stops early, such as `| head`."""
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is not None:
            stream.flush()
        text = io.TextIOWrapper(
            _Outliving(descriptor, "w", closefd=False),
            stream.encoding if stream else "utf-8",
            stream.errors if stream else "backslashreplace",
            line_buffering=stream.line_buffering if stream else True,
        )
        setattr(sys, name, text)


@contextmanager
def opened() -> Iterator[None]:
    """Draw the progress of this process and those forked from it until the end of the block.

    Log lines go above the bars.
    """
    global _sender, _screen
    if not sys.stderr.isatty():
        yield
        return
    receiver, _sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with receiver:
        command = [sys.executable, "-P", str(Path(__file__).with_name("screen.py"))]
        environment = surroundings.of_own_python()
        _screen = subprocess.Popen(command, env=environment, stdin=receiver.fileno(), stdout=subprocess.DEVNULL)
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    root.handlers[:] = [_Sending(before)]
    try:
        yield
    finally:
        root.handlers[:] = before
        close(waits=sys.exc_info()[0] is None)


def close(*, waits: bool) -> None:
    """Show what was sent, and remove the bars. Without `waits`, for a run that is being stopped, take only a moment."""
    global _sender, _screen
    if _screen is None:
        return
    try:
        _send({"end": True}, wait=waits)
        if _sender is not None:
            _sender.close()
        with suppress(subprocess.TimeoutExpired):
            _screen.wait(None if waits else _LAST_S)
    finally:
        _screen.kill()
        _screen.wait()
        _sender = _screen = None


def is_open() -> bool:
    """Return whether there is a terminal to draw bars on."""
    return _sender is not None


def show(key: str, name: str, done: float, total: float | None, unit: str) -> None:
    """Draw or move the bar `key`: `done` of `total` in `unit`. The update is dropped if the terminal cannot keep up."""
    message = {"bar": key, "name": name, "pid": os.getpid(), "done": round(done), "total": total, "unit": unit}
    _send({**message, "bar_format": bar_format(unit)}, wait=False)


def end(key: str) -> None:
    """Remove the bar `key`."""
    _send({"gone": key})


@contextmanager
def asking() -> Iterator[None]:
    """Keep bars and lines away from the terminal while a person is asked something there."""
    if _send({"asks": os.getpid()}) and _sender is not None and select.select([_sender], [], [], _LAST_S)[0]:
        with suppress(OSError):
            _sender.recv(64, socket.MSG_DONTWAIT)
    try:
        yield
    finally:
        _send({"asked": os.getpid()})


def expect(usual_s: Mapping[str, float], at_once: Mapping[str, int]) -> None:
    """Set the usual duration of a task of each kind, in seconds, and how many of a kind run at once.

    "" stands for all.
    """
    _send({"usual_s": dict(usual_s), "at_once": dict(at_once)})


def task(key: str, family: str, state: str, seconds: float | None = None) -> None:
    """Report the state of a task, in the words of `screen.py`, for the line of the whole run."""
    _send({"task": key, "family": family, "state": state, "pid": os.getpid(), "seconds": seconds})


def _send(message: dict[str, Any], wait: bool = True) -> bool:
    """Send a message; return whether it was sent, which it is not if nothing is drawn."""
    if _sender is None:
        return False
    with suppress(OSError):
        _sender.send(json.dumps(message).encode(), 0 if wait else socket.MSG_DONTWAIT)
        return True
    return False


class _Sending(logging.Handler):
    """Send each line to the process that writes; a line too long for a packet is cut.

    If that process has ended, lines are written as before.
    """

    def __init__(self, before: list[logging.Handler]) -> None:
        super().__init__()
        self._before = before
        self.setFormatter(before[0].formatter if before else None)

    def emit(self, record: logging.LogRecord) -> None:
        if not _send({"line": self.format(record)[:_LINE_LETTERS]}):
            for handler in self._before:
                handler.handle(record)


def bar_format(unit: str) -> str:
    """Return the format of a bar; a percentage is shown with nothing but the time left."""
    return _PERCENT if unit == "%" else _AMOUNT
