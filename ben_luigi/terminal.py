"""Bars and log lines on one terminal, from any number of processes.

Only the process that opened the terminal writes to it: the others, which are forked from it, send it each line and how
far they are, in packets, which arrive whole. So nothing garbles anything, and a process that is killed blocks no other.
Where standard error is no terminal nothing is opened, and nothing is drawn.
"""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tqdm import tqdm

_PACKET_BYTES = 2**16
_LINE_LETTERS = 8_000
_LOOK_S = 1.0
_COLUMNS = 100
_PERCENT = "{desc} {percentage:3.0f} %|{bar}| {remaining} left"
_AMOUNT = "{desc} {percentage:3.0f} %|{bar}| {n_fmt}/{total_fmt}{unit} {rate_fmt}, {remaining} left"

summary_follows = False
"""Whether what started Luigi says itself, at the end, what there is: so `scripts/run` does."""

_sender: socket.socket | None = None


class _Outliving(io.FileIO):
    """A pipe; what is written after its reader has gone goes nowhere."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(data)


def outlive_readers() -> None:
    """Go on to the end, and to the usual exit code, though whoever reads what is printed stops before: `| head`."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode):
            pipe = io.BufferedWriter(_Outliving(stream.fileno(), "w", closefd=False))
            line_buffering = stream.line_buffering
            text = io.TextIOWrapper(pipe, stream.encoding, stream.errors, line_buffering=line_buffering)
            setattr(sys, name, text)


@contextmanager
def opened() -> Iterator[None]:
    """Draw what this process and those forked from it have to say, until the end; log lines go above the bars."""
    global _sender
    if not sys.stderr.isatty():
        yield
        return
    receiver, _sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    screen = _Screen(receiver)
    screen.start()
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    sending = _Sending()
    sending.setFormatter(before[0].formatter if before else None)
    root.handlers[:] = [sending]
    try:
        yield
    finally:
        root.handlers[:] = before
        _send({"end": True})
        screen.join()
        _sender.close()
        _sender = None


def is_open() -> bool:
    """Whether there is a terminal to draw bars on."""
    return _sender is not None


def show(key: str, name: str, done: float, total: float | None, unit: str) -> None:
    """Draw the bar `key`, or move it: `done` of `total` in `unit`. Left out where the terminal does not keep up."""
    _send({"bar": key, "name": name, "pid": os.getpid(), "done": round(done), "total": total, "unit": unit}, wait=False)


def end(key: str) -> None:
    """Take the bar `key` away."""
    _send({"gone": key})


def _send(said: dict[str, Any], wait: bool = True) -> None:
    if _sender is not None:
        with suppress(OSError):  # the terminal is gone, the work goes on
            _sender.send(json.dumps(said).encode(), 0 if wait else socket.MSG_DONTWAIT)


class _Sending(logging.Handler):
    """Sends each line to the process that writes; one that is too long for a packet is cut."""

    def emit(self, record: logging.LogRecord) -> None:
        _send({"line": self.format(record)[:_LINE_LETTERS]})


class _Screen(threading.Thread):
    """The one that writes: lines, and below them the bars of all processes."""

    def __init__(self, receiver: socket.socket) -> None:
        super().__init__(name="terminal", daemon=True)
        self._receiver = receiver
        self._bars: dict[str, tuple[int, tqdm[Any]]] = {}
        self._looked_s = time.monotonic()
        tqdm.monitor_interval = 0  # it would be another thread

    def run(self) -> None:
        self._receiver.settimeout(_LOOK_S)
        with self._receiver:
            said: dict[str, Any] = {}
            while "end" not in said:
                said = self._received()
                self._do(said)
                self._drop_dead()
        for key in list(self._bars):
            self._drop(key)
        print(end="\r", file=sys.stderr, flush=True)

    def _received(self) -> dict[str, Any]:
        try:
            packet = self._receiver.recv(_PACKET_BYTES)
        except TimeoutError:
            return {}
        return dict(json.loads(packet)) if packet else {"end": True}

    def _do(self, said: dict[str, Any]) -> None:
        if "line" in said:
            tqdm.write(said["line"], file=sys.stderr)
        elif "bar" in said:
            self._move(said["bar"], said["pid"], said["name"], said["done"], said["total"], said["unit"])
        elif "gone" in said:
            self._drop(said["gone"])

    def _move(self, key: str, pid: int, name: str, done: float, total: float | None, unit: str) -> None:
        bar = self._bars[key][1] if key in self._bars else None
        if bar is None or done < bar.n:  # begun, or begun again
            self._drop(key)
            bar = tqdm(
                desc=name,
                initial=done,
                total=total,
                unit=unit if len(unit) == 1 else f" {unit}",
                unit_scale=unit == "B",
                leave=False,
                dynamic_ncols=bool(_columns()),
                ncols=None if _columns() else _COLUMNS,
                file=sys.stderr,
                bar_format=bar_format(unit) if total else None,
                miniters=0,
                mininterval=0,
            )
            self._bars[key] = (pid, bar)
        bar.update(done - bar.n)

    def _drop(self, key: str) -> None:
        if key in self._bars:
            self._bars.pop(key)[1].close()

    def _drop_dead(self) -> None:
        """A process that was killed takes no bar away."""
        if time.monotonic() - self._looked_s < _LOOK_S:
            return
        self._looked_s = time.monotonic()
        for key in [key for key, (pid, _) in self._bars.items() if not _lives(pid)]:
            self._drop(key)


def bar_format(unit: str) -> str:
    """What a bar shows: of a percentage no more than that and the time left."""
    return _PERCENT if unit == "%" else _AMOUNT


def _columns() -> int:
    """Width of the terminal; 0 where it does not say."""
    return os.get_terminal_size(sys.stderr.fileno()).columns


def _lives(pid: int) -> bool:
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True
