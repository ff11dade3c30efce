"""How far a task is: for the visualiser, every few seconds at most, since each word is a remote call."""

from __future__ import annotations

import time

import luigi

_EVERY_S = 3.0


class Progress:
    """Called with the part that is done, from 0 to 1."""

    def __init__(self, task: luigi.Task, what: str) -> None:
        self._task = task
        self._what = what
        self._started = self._said = time.monotonic()

    def __call__(self, part: float) -> None:
        """Say how far the task is, unless that was said a moment ago."""
        now = time.monotonic()
        if now - self._said < _EVERY_S:
            return
        self._said = now
        left_s = (now - self._started) * (1 - part) / part if part else 0.0
        if self._task.set_progress_percentage is not None:
            self._task.set_progress_percentage(round(100 * part))
        if self._task.set_status_message is not None:
            self._task.set_status_message(f"{self._what}: {part:.0%}, {left_s:.0f} s left")
