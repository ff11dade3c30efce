"""Read how long the tasks of a run took, as each host recorded it, and prepare it for the report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_SHOWN = 25
_WIDTH = 1000
_MOST_S = 250_000_000_000
"""The year 9892: Python knows no later than 9999."""


@dataclass(frozen=True)
class TaskTime:
    """When a task began, in seconds since 1970, how many seconds it took, and on which host.

    `task` is its name with its arguments, `family` its name alone.
    """

    task: str
    family: str
    began: float
    seconds: float
    host: str


def read_times(folder: Path) -> list[TaskTime]:
    """Return the latest run of each task, by begin, from the files `<host>.jsonl` in `folder`.

    Malformed lines are skipped.
    """
    found: dict[str, TaskTime] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                record = json.loads(line)
                began, seconds = (_within(float(record[name]), _MOST_S) for name in ("began", "seconds"))
                one = TaskTime(_text(record["task"]), _text(record["family"]), began, seconds, path.stem)
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                continue
            if one.task not in found or found[one.task].began < one.began:
                found[one.task] = one
    return sorted(found.values(), key=lambda one: (one.began, one.task))


def _within(number: float, most: float) -> float:
    """Return a number from 0 to `most`. Raise ValueError for others."""
    if not 0 <= number <= most:
        raise ValueError(number)
    return number


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def shown(times: Sequence[TaskTime]) -> dict[str, Any]:
    """Return the slowest tasks, and a timeline: one lane per kind of task, with positions from 0 to `width`.

    Hosts are numbered, since their names should not become public with the dataset.
    """
    begin = min(one.began for one in times)
    whole_s = max(max(one.began + one.seconds for one in times) - begin, 1e-3)
    lanes: dict[str, list[dict[str, Any]]] = {}
    for one in times:
        bar = {
            "x": round(_WIDTH * (one.began - begin) / whole_s, 2),
            "width": round(max(_WIDTH * one.seconds / whole_s, 1.0), 2),
            "title": f"{one.task}: {span(one.seconds)}",
        }
        lanes.setdefault(one.family, []).append(bar)
    total_s = {family: sum(one.seconds for one in times if one.family == family) for family in lanes}
    numbers = {host: number for number, host in enumerate(sorted({one.host for one in times}), start=1)}
    slowest = sorted(times, key=lambda one: (-one.seconds, one.task))[:_SHOWN]
    return {
        "width": _WIDTH,
        "begin": _utc(begin),
        "whole": span(whole_s),
        "tasks": len(times),
        "lanes": [{"name": name, "bars": bars, "total": span(total_s[name])} for name, bars in lanes.items()],
        "slowest": [
            {"task": one.task, "seconds": span(one.seconds), "began": _utc(one.began), "host": numbers[one.host]}
            for one in slowest
        ],
    }


def span(seconds: float) -> str:
    """Return a duration in words: `0.4 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _utc(time: float) -> str:
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S} UTC"
