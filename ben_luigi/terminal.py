"""Bars and log lines on one terminal, from any number of processes.

Only one process writes to the terminal, a program of its own (`screen.py`): the others send it each line and how far
they are, in packets, which arrive whole. So nothing garbles anything, a process that is killed blocks no other, and
none writes while it forks. Where standard error is no terminal nothing is started, and nothing is drawn.
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
"""Whether what started Luigi says itself, at the end, what there is: so `ben-luigi run` does."""

_sender: socket.socket | None = None


class _Outliving(io.FileIO):
    """Standard output or error, written at once and as a whole; what is written after its reader has gone is lost.

    It has no buffer and so no lock, which a thread might hold while its process forks.
    """

    def write(self, data: Any, /) -> int:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self.fileno(), rest) :]
            except BlockingIOError:  # another program has made it so
                select.select([], [self.fileno()], [])
            except OSError:  # a pipe without a reader, a terminal that was closed, a full disk
                break
        return len(data)


def outlive_readers() -> None:
    """Go on to the end, and to the usual exit code, though whoever reads what is printed stops before: `| head`."""
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
    """Draw what this process and those forked from it have to say, until the end; log lines go above the bars."""
    global _sender
    if not sys.stderr.isatty():
        yield
        return
    receiver, _sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with receiver:
        command = [sys.executable, "-P", str(Path(__file__).with_name("screen.py"))]
        environment = surroundings.of_child()
        screen = subprocess.Popen(command, env=environment, stdin=receiver.fileno(), stdout=subprocess.DEVNULL)
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    root.handlers[:] = [_Sending(before)]
    try:
        yield
    finally:
        root.handlers[:] = before
        _end(screen)


def _end(screen: subprocess.Popen[bytes]) -> None:
    """Let what was sent be shown, as long as the terminal takes; for a moment only when the run is stopped."""
    global _sender
    stopped = sys.exc_info()[0] is not None
    try:
        _send({"end": True}, wait=not stopped)
        if _sender is not None:
            _sender.close()
        with suppress(subprocess.TimeoutExpired):
            screen.wait(_LAST_S if stopped else None)
    finally:
        screen.kill()
        screen.wait()
        _sender = None


def is_open() -> bool:
    """Whether there is a terminal to draw bars on."""
    return _sender is not None


def show(key: str, name: str, done: float, total: float | None, unit: str) -> None:
    """Draw the bar `key`, or move it: `done` of `total` in `unit`. Left out where the terminal does not keep up."""
    message = {"bar": key, "name": name, "pid": os.getpid(), "done": round(done), "total": total, "unit": unit}
    _send({**message, "bar_format": bar_format(unit)}, wait=False)


def end(key: str) -> None:
    """Take the bar `key` away."""
    _send({"gone": key})


def expect(usual_s: Mapping[str, float], at_once: Mapping[str, int]) -> None:
    """Say what a task of each kind usually takes, in seconds, and how many of a kind run at once; "" for all kinds."""
    _send({"usual_s": dict(usual_s), "at_once": dict(at_once)})


def task(key: str, family: str, state: str, seconds: float | None = None) -> None:
    """Say that a task waits, runs, is done or has failed (the words of `screen.py`), for the line of the whole run."""
    _send({"task": key, "family": family, "state": state, "pid": os.getpid(), "seconds": seconds})


def _send(message: dict[str, Any], wait: bool = True) -> bool:
    """Whether it could be sent: not where nothing is drawn, or not any more."""
    if _sender is None:
        return False
    with suppress(OSError):
        _sender.send(json.dumps(message).encode(), 0 if wait else socket.MSG_DONTWAIT)
        return True
    return False


class _Sending(logging.Handler):
    """Sends each line to the process that writes; one that is too long for a packet is cut.

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
    """What a bar shows: of a percentage no more than that and the time left."""
    return _PERCENT if unit == "%" else _AMOUNT
