"""Shorten what Luigi's log says of tasks that break before they run, or whose files are taken away meanwhile."""

from __future__ import annotations

import logging
import re

from luigi.worker import TaskException

from ben_luigi import config
from ben_luigi.domain import refused
from ben_luigi.domain.errors import PipelineError

_BROKEN = re.compile(
    r"Will not run (?P<task>.*) or any dependencies due to error in \w+\(\) method:\n(?P<trace>.*)", re.DOTALL
)
_OF_SYSTEM = re.compile(r"^\w*Error: \[Errno (?P<number>\d+)\] (?P<why>[^:]*): '(?P<path>[^']*)'", re.MULTILINE)


def shorten(record: logging.LogRecord) -> bool:
    """Leave of a traceback the message, if the error is ours or the system's; return whether it is of such a task."""
    broken = _BROKEN.fullmatch(record.getMessage())
    if broken:
        record.msg, record.args = "failed    %s: %s", (broken["task"], _message(broken["trace"]))
    return bool(broken)


def vanished(error: BaseException) -> str:
    """Return what to say of Luigi's error that files are not there which were made; an empty text of any other."""
    if not isinstance(error, TaskException) and not str(error).startswith("Unfulfilled dependenc"):
        return ""
    remedy = "look who moves or removes files of the data folder, and run again"
    return (
        f"{config.data_dir()}; expected: the files that were just made; found: they are gone ({error}); next: {remedy}"
    )


def _message(trace: str) -> str:
    """Return the message at the end of a traceback, if it is that of an error of ours; else all of it."""
    _, is_ours, last = trace.rpartition(f"\n{PipelineError.__module__.partition('.')[0]}.")
    of_system = _OF_SYSTEM.search(trace)
    if is_ours or not of_system:
        return last.partition(": ")[2].strip() if is_ours else trace
    error = OSError(int(of_system["number"]), of_system["why"], of_system["path"])
    ours = refused.explained(error, config.data_dir())
    return trace if ours is error else str(ours)
