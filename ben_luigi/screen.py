"""Write log lines, and below them the progress bars of all processes, from a single process.

It is a program of its own, `python screen.py`, started before anything forks: a process forked while a thread holds the
lock of standard error would wait for that lock at its end for ever. It reads packets (JSON) from the socket that is its
standard input until all senders have closed it, and writes to standard error.

Above the bars is one line for the whole run. Each update is written at once. The cursor rests at its first character,
so that a `^C` echoed by the terminal breaks no line, and a terminal that has become narrower is cleared from there.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm
from tqdm.utils import disp_trim

_PACKET_BYTES = 2**16
_AT_ONCE = 1000
_LOOK_S = 1.0
_COLUMNS = 100
_LEAST_BAR = 10
_NARROW = "{desc} {percentage:3.0f} %|{bar}| {remaining} left"
"""The format of a bar whose own format does not fit."""
_CLEAR = "\r\x1b[J"  # from here to the end of the screen


class _Nowhere:
    """The file that tqdm writes to; only the text and the rate of a bar are used."""

    encoding = sys.stderr.encoding

    def write(self, text: str) -> None:
        """Write nothing."""

    def flush(self) -> None:
        """Write nothing."""


WAITS, RUNS, DONE, FAILED = "waits", "runs", "done", "failed"


@dataclass
class _Task:
    """A task: its kind, its state, and the process that runs it."""

    family: str
    state: str
    pid: int = 0


class Overall:
    """The line for the whole run: how many of its tasks are done, how many run, and how long the rest will take."""

    def __init__(self) -> None:
        self._tasks: dict[str, _Task] = {}
        self._usual_s: Mapping[str, float] = {}
        self._at_once: Mapping[str, int] = {}
        self._took_s: dict[str, list[float]] = {}

    def expect(self, usual_s: Mapping[str, float], at_once: Mapping[str, int]) -> None:
        """Set the usual duration of a task of each kind, in seconds, and how many of a kind run at once.

        "" stands for all.
        """
        self._usual_s, self._at_once = usual_s, at_once

    def note(self, key: str, family: str, state: str, pid: int = 0, seconds: float | None = None) -> None:
        """Note the state of a task; that it waits does not replace a later state."""
        known = self._tasks.setdefault(key, _Task(family, WAITS))
        if state != WAITS:
            known.state, known.pid = state, pid
        if seconds is not None:
            self._took_s.setdefault(family, []).append(seconds)

    def drop_dead(self, lives: Callable[[int], bool]) -> None:
        """Reset the tasks of processes that have died: they wait for another process, or for other tasks."""
        for task in self._tasks.values():
            if task.state == RUNS and not lives(task.pid):
                task.state = WAITS

    def line(self) -> str:
        """Return, for example, `31 of 85 tasks, 4 running, about 9 h left`; empty while no task is known."""
        if not self._tasks:
            return ""
        states = Counter(task.state for task in self._tasks.values())
        parts = [f"{states[DONE]:,} of {len(self._tasks):,} tasks", f"{states[RUNS]} running"]
        parts += [f"{states[FAILED]} failed"] if states[FAILED] else []
        left_s = self._left_s()
        return ", ".join([*parts, *([f"{_about(left_s)} left"] if left_s else [])])

    def _left_s(self) -> float:
        """Return the seconds to the end: those of the busiest kind, or of all together.

        0 if they cannot be estimated.
        """
        left = Counter(task.family for task in self._tasks.values() if task.state in (WAITS, RUNS))
        means = {family: self._mean_s(family) for family in left}
        by_family = {family: number * means[family] for family, number in left.items()}
        together = sum(by_family.values()) / max(1, self._at_once.get("", 1))
        alone = [
            total_s / max(1, self._at_once.get(family, 1))
            for family, total_s in by_family.items()
            if family in self._at_once
        ]
        return max([together, *alone, *means.values()], default=0.0)

    def _mean_s(self, family: str) -> float:
        took = self._took_s.get(family, [])
        return sum(took) / len(took) if took else self._usual_s.get(family, 0.0)


def _about(seconds: float) -> str:
    if seconds < 60:
        return "less than a minute"
    if seconds < 100 * 60:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.0f} h" if seconds < 72 * 3600 else f"about {seconds / 86400:.0f} days"


class Screen:
    """Lines and bars, as described by the packets received."""

    def __init__(self, receiver: socket.socket) -> None:
        self._receiver = receiver
        self._lines: list[str] = []
        self._bars: dict[str, tuple[int, tqdm[Any]]] = {}
        self._overall = Overall()
        self._is_drawn = False
        self._askers: set[int] = set()
        self._looked_s = time.monotonic()
        self._open = True
        tqdm.monitor_interval = 0  # it would start a thread

    def run(self) -> None:
        """Show what arrives, until the senders are done."""
        while self._open:
            for message in self._received():
                self._do(message)
            self._drop_dead()
            self._draw()
        self._bars.clear()
        self._draw()

    def _received(self) -> list[dict[str, Any]]:
        """Return what has arrived within a moment; if the terminal is slow, updates are shown less often."""
        found: list[dict[str, Any]] = []
        self._receiver.settimeout(_LOOK_S)
        with suppress(TimeoutError, BlockingIOError):
            while len(found) < _AT_ONCE and self._open:
                packet = self._receiver.recv(_PACKET_BYTES)
                self._open = bool(packet)
                found += [json.loads(packet)] if packet else []
                self._receiver.setblocking(False)
        return found

    def _do(self, message: dict[str, Any]) -> None:
        if "line" in message:
            self._lines.append(message["line"])
        elif "bar" in message:
            self._move(**message)
        elif "task" in message:
            self._overall.note(message.pop("task"), **message)
        elif "usual_s" in message:
            self._overall.expect(**message)
        elif "gone" in message:
            self._bars.pop(message["gone"], None)
        elif "asks" in message:
            self._clear()
            self._askers.add(message["asks"])
            with suppress(OSError):
                self._receiver.send(b"cleared")
        elif "asked" in message:
            self._askers.discard(message["asked"])
        elif "end" in message:
            self._open = False

    def _move(
        self, bar: str, pid: int, name: str, done: float, total: float | None, unit: str, bar_format: str
    ) -> None:
        shown = self._bars[bar][1] if bar in self._bars else None
        if shown is None or done < shown.n:  # started, or restarted
            shown = tqdm(
                desc=name,
                initial=done,
                total=total,
                unit=unit if len(unit) == 1 else f" {unit}",
                unit_scale=unit == "B",
                file=_Nowhere(),
                bar_format=bar_format if total else None,
                miniters=0,
                mininterval=0,
            )
            self._bars[bar] = (pid, shown)
        shown.update(done - shown.n)

    def _drop_dead(self) -> None:
        """Remove the bars of processes that were killed."""
        if time.monotonic() - self._looked_s < _LOOK_S:
            return
        self._looked_s = time.monotonic()
        for key in [key for key, (pid, _) in self._bars.items() if not _lives(pid)]:
            self._bars.pop(key)
        self._overall.drop_dead(_lives)
        self._askers = {pid for pid in self._askers if _lives(pid)}

    def _clear(self) -> None:
        """Show the lines that have arrived, and remove the bars: somebody is asked something there."""
        if self._lines or self._is_drawn:
            _write(_CLEAR + "".join(f"{line}\n" for line in self._lines))
        self._lines.clear()
        self._is_drawn = False

    def _draw(self) -> None:
        if self._askers and self._open:
            return
        size = os.get_terminal_size(2)
        width = size.columns - 1 if size.columns else _COLUMNS
        whole = [self._overall.line()] if self._open and self._overall.line() else []
        room = max(0, size.lines - 1 - len(whole)) if size.lines else None
        shown = [disp_trim(line, width) for line in whole]
        shown += [_bar_line(bar, width) for _, bar in list(self._bars.values())[:room]]
        if not (self._lines or shown or self._is_drawn):
            return  # leave the output of other programs alone
        self._is_drawn = bool(shown)
        back = "\x1b[A" * (len(shown) - 1) + "\r" if shown else ""
        _write(_CLEAR + "".join(f"{line}\n" for line in self._lines) + "\n".join(shown) + back)
        self._lines.clear()


def _bar_line(bar: tqdm[Any], width: int) -> str:
    """Return a bar of this width; if it does not fit, drop its amounts first, then shorten the middle of its name."""
    if not bar.total:
        bar.ncols = width
        return disp_trim(str(bar), width)
    name = bar.desc or ""
    for bar_format in (bar.bar_format or _NARROW, _NARROW):
        if len(_filled(bar, bar_format.replace("{bar}", ""), name, width)) + _LEAST_BAR <= width:
            return disp_trim(_filled(bar, bar_format, name, width), width)
    rest = len(_filled(bar, _NARROW.replace("{bar}", ""), "", width)) + _LEAST_BAR
    return disp_trim(_filled(bar, _NARROW, _shortened(name, max(width - rest, _LEAST_BAR)), width), width)


def _filled(bar: tqdm[Any], bar_format: str, name: str, width: int) -> str:
    return str(tqdm.format_meter(**{**bar.format_dict, "bar_format": bar_format, "prefix": name, "ncols": width}))


def _shortened(name: str, most: int) -> str:
    """Return a name of up to `most` characters, with its beginning and its end, which both identify it."""
    if len(name) <= most:
        return name
    end = (most - 3) // 2
    return f"{name[: most - 3 - end]}...{name[len(name) - end :]}"


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
    """Show what arrives at standard input. Signals are ignored, since this program ends when the run does."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError), socket.socket(fileno=0) as receiver:  # OSError: the terminal is gone
        Screen(receiver).run()


if __name__ == "__main__":
    main()
