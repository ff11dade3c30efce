"""What happens when a task has succeeded or failed, whichever it is: in the process that ran it."""

from __future__ import annotations

import luigi

from ben_luigi import terminal
from ben_luigi.stages.prerequisites import FindAccount, FindSen2Cor, GivenInput
from ben_luigi.stages.retention import retire_after
from ben_luigi.state import failures


def _failed(task: luigi.Task, error: BaseException) -> None:
    terminal.end(task.task_id)
    if isinstance(error, Exception):  # not one that was only stopped
        failures.note(task, error, needs_person=isinstance(task, GivenInput | FindSen2Cor | FindAccount))


def _found_complete(task: luigi.Task) -> None:
    failures.forget(task)


def _succeeded(task: luigi.Task) -> None:
    terminal.end(task.task_id)
    failures.forget(task)
    retire_after(task)


luigi.Task.event_handler(luigi.Event.FAILURE)(_failed)
luigi.Task.event_handler(luigi.Event.DEPENDENCY_PRESENT)(_found_complete)
luigi.Task.event_handler(luigi.Event.SUCCESS)(_succeeded)
