"""Report how far a task is, how fast, and how long it will take: to the visualiser, the terminal and the log."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import luigi
from tqdm import tqdm

from ben_luigi import terminal
from ben_luigi.state.luigi_internals import RPCError, lend_statistics, refuse_other_programs

_log = logging.getLogger(__name__)
_SCHEDULER_S = 3.0
"""Least seconds between two reports to the scheduler, since each is a remote call."""
_LOG_S = 60.0
_BAR_S = 0.3
_RATE_S = 60.0
"""The rate is that of the last minute, so that it reflects the present."""

lend_statistics()
refuse_other_programs()


def report_bytes(task: luigi.Task, number: int) -> None:
    """Report how many bytes a task has downloaded or written, for the metrics of luigid."""
    _tell(getattr(task, "report_task_statistics", None), {"bytes": number})


def _tell(scheduler: Callable[[Any], None] | None, what: Any) -> None:
    """Report something to the scheduler, if there is one. A task does not fail if the scheduler does not answer."""
    if scheduler is not None:
        with suppress(RPCError):
            scheduler(what)


class Progress:
    """A callback for the fraction done, from 0 to 1; `at` takes the amount done of a total, in `unit`."""

    def __init__(self, task: luigi.Task, what: str, unit: str = "%", total: float = 100.0) -> None:
        self._task, self._what, self._unit, self._total = task, what, unit, total
        self._seen: deque[tuple[float, float]] = deque()
        self._due_s = {"scheduler": 0.0, "bar": 0.0, "log": time.monotonic() + _LOG_S}
        _tell(task.set_status_message, f"{what}: begun")

    def __call__(self, fraction: float) -> None:
        """Report how far the task is, unless it was reported a moment ago."""
        self.at(fraction * self._total, self._total)

    def at(self, done: float, total: float | None) -> None:
        """Do the same with the amount done so far; `total` is None if it is unknown."""
        now = time.monotonic()
        if not self._seen or done < self._seen[-1][1]:  # started, or restarted
            self._seen = deque([(now, done)])
        if terminal.is_open():
            if self._is_due("bar", _BAR_S, now):
                terminal.show(self._task.task_id, self._what, done, total, self._unit)
        elif self._is_due("log", _LOG_S, now):
            _log.info("%s", self._message(done, total, now))
        if self._is_due("scheduler", _SCHEDULER_S, now):
            if total:
                _tell(self._task.set_progress_percentage, int(100 * done / total))
            _tell(self._task.set_status_message, self._message(done, total, now))

    def _is_due(self, where: str, every_s: float, now: float) -> bool:
        due = now >= self._due_s[where]
        if due:
            self._due_s[where] = now + every_s
        return due

    def _message(self, done: float, total: float | None, now: float) -> str:
        """Return, for example, `download of 33UUP_20170613: 45 %, 18.3 MB/s, 00:25 left`."""
        rate = self._rate(done, now)
        parts = [f"{done / total:.0%}".replace("%", " %") if total else _amount(done, self._unit)]
        if rate and self._unit != "%":
            parts.append(f"{_amount(rate, self._unit)}/s")
        if rate and total:
            parts.append(f"{tqdm.format_interval((total - done) / rate)} left")
        return f"{self._what}: {', '.join(parts)}"

    def _rate(self, done: float, now: float) -> float:
        """Return the amount done per second during the last minute; 0 while it is unknown."""
        self._seen.append((now, done))
        while now - self._seen[0][0] > _RATE_S and len(self._seen) > 2:
            self._seen.popleft()
        passed_s, before = now - self._seen[0][0], self._seen[0][1]
        return (done - before) / passed_s if passed_s else 0.0


def _amount(number: float, unit: str) -> str:
    return f"{number / 1e6:.1f} MB" if unit == "B" else f"{number:,.0f} {unit}"
