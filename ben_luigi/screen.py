"""The one process that writes to the terminal while there are bars: lines, and below them the bars of all processes.

It is a program of its own, `python screen.py`, started before anything forks: a thread of a process that forks would
hold the lock of standard error at that moment, for which its child would wait at its end, for ever. It reads packets
(JSON) from the socket that is its standard input, until nobody can send any, and writes to standard error.

What it shows is written whole, in one go. The cursor rests at the first letter of the bars, so that a `^C` that the
terminal shows there breaks no line, and a terminal that has become narrower is cleared from there on.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import Any

from tqdm import tqdm
from tqdm.utils import disp_trim

_PACKET_BYTES = 2**16
_AT_ONCE = 1000
_LOOK_S = 1.0
_COLUMNS = 100
_CLEAR = "\r\x1b[J"  # from here to the end of the screen


class _Nowhere:
    """What tqdm writes to: of it only the words of a bar, and its rate, are taken."""

    encoding = sys.stderr.encoding

    def write(self, text: str) -> None:
        """Write nothing."""

    def flush(self) -> None:
        """Write nothing."""


class Screen:
    """Lines and bars, as the packets that come say."""

    def __init__(self, receiver: socket.socket) -> None:
        self._receiver = receiver
        self._lines: list[str] = []
        self._bars: dict[str, tuple[int, tqdm[Any]]] = {}
        self._is_drawn = False
        self._looked_s = time.monotonic()
        self._open = True
        tqdm.monitor_interval = 0  # it would be a thread

    def run(self) -> None:
        """Show what comes, until the end of it."""
        while self._open:
            for said in self._received():
                self._do(said)
            self._drop_dead()
            self._draw()
        self._bars.clear()
        self._draw()

    def _received(self) -> list[dict[str, Any]]:
        """What has come, waited for a moment; a terminal that is slower than what comes is shown less often."""
        found: list[dict[str, Any]] = []
        self._receiver.settimeout(_LOOK_S)
        with suppress(TimeoutError, BlockingIOError):
            while len(found) < _AT_ONCE and self._open:
                packet = self._receiver.recv(_PACKET_BYTES)
                self._open = bool(packet)
                found += [json.loads(packet)] if packet else []
                self._receiver.setblocking(False)
        return found

    def _do(self, said: dict[str, Any]) -> None:
        if "line" in said:
            self._lines.append(said["line"])
        elif "bar" in said:
            self._move(**said)
        elif "gone" in said:
            self._bars.pop(said["gone"], None)
        elif "end" in said:
            self._open = False

    def _move(self, bar: str, pid: int, name: str, done: float, total: float | None, unit: str, form: str) -> None:
        shown = self._bars[bar][1] if bar in self._bars else None
        if shown is None or done < shown.n:  # begun, or begun again
            shown = tqdm(
                desc=name,
                initial=done,
                total=total,
                unit=unit if len(unit) == 1 else f" {unit}",
                unit_scale=unit == "B",
                file=_Nowhere(),
                bar_format=form if total else None,
                miniters=0,
                mininterval=0,
            )
            self._bars[bar] = (pid, shown)
        shown.update(done - shown.n)

    def _drop_dead(self) -> None:
        """A process that was killed takes no bar away."""
        if time.monotonic() - self._looked_s < _LOOK_S:
            return
        self._looked_s = time.monotonic()
        for key in [key for key, (pid, _) in self._bars.items() if not _lives(pid)]:
            self._bars.pop(key)

    def _draw(self) -> None:
        size = os.get_terminal_size(2)
        bars = [bar for _, bar in self._bars.values()][: size.lines - 1 if size.lines else None]
        width = size.columns - 1 if size.columns else _COLUMNS
        for bar in bars:
            bar.ncols = width
        shown = [disp_trim(str(bar), width) for bar in bars]
        if not (self._lines or shown or self._is_drawn):
            return  # what others write there is left alone
        self._is_drawn = bool(shown)
        back = "\x1b[A" * (len(shown) - 1) + "\r" if shown else ""
        _write(_CLEAR + "".join(f"{line}\n" for line in self._lines) + "\n".join(shown) + back)
        self._lines.clear()


def _write(text: str) -> None:
    rest = text.encode(sys.stderr.encoding, "backslashreplace")
    while rest:
        rest = rest[os.write(2, rest) :]


def _lives(pid: int) -> bool:
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True


def main() -> None:
    """Show what comes at standard input. What stops the run comes to its end by the run's own end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError), socket.socket(fileno=0) as receiver:  # OSError: the terminal is gone
        Screen(receiver).run()


if __name__ == "__main__":
    main()
