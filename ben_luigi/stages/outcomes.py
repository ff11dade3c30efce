"""React to the success or failure of any task, in the process that ran it."""

from __future__ import annotations

import luigi

from ben_luigi import screen, signals, terminal
from ben_luigi.domain.errors import BadInput, BadOption, BadProduct, Sen2CorError, TooLittleMemory
from ben_luigi.stages import jobs
from ben_luigi.stages.account import FindAccount
from ben_luigi.stages.atmosphere import FindL2A, ReadProduct
from ben_luigi.stages.converter import FindSen2Cor, InstallSen2Cor
from ben_luigi.stages.download import FindL1C
from ben_luigi.stages.prerequisites import FetchInput, GivenInput, TryInput
from ben_luigi.stages.retention import retire_after
from ben_luigi.state import failures, timing

_told: set[str] = set()


def _discovered(task: luigi.Task, needed: luigi.Task) -> None:
    for each in (task, needed):
        if each.task_id not in _told:
            _told.add(each.task_id)
            terminal.task(each.task_id, each.task_family, screen.WAITS)


def _started(task: luigi.Task) -> None:
    terminal.task(task.task_id, task.task_family, screen.RUNS)


def _failed(task: luigi.Task, error: BaseException) -> None:
    terminal.end(task.task_id)
    terminal.task(task.task_id, task.task_family, screen.FAILED)
    if isinstance(error, Exception):  # SystemExit means that the task was only stopped
        is_given = isinstance(error, BadInput) and not isinstance(task, FetchInput | TryInput | InstallSen2Cor)
        is_bad = isinstance(error, BadProduct) and isinstance(task, FindL1C | FindL2A | ReadProduct)
        is_refused = isinstance(error, Sen2CorError) and isinstance(task, InstallSen2Cor)
        is_asked = isinstance(task, GivenInput | FindSen2Cor | FindAccount)
        is_option = isinstance(error, BadOption | TooLittleMemory)
        failures.note(task, error, needs_person=is_given or is_option or is_bad or is_refused or is_asked)


def _not_scheduled(task: luigi.Task, error: BaseException) -> None:
    failures.note_scheduling(error)


def _found_complete(task: luigi.Task) -> None:
    terminal.task(task.task_id, task.task_family, screen.DONE)
    failures.forget(task)


def _succeeded(task: luigi.Task) -> None:
    terminal.end(task.task_id)
    failures.forget(task)
    jobs.submit_after(task)
    retire_after(task)


def _timed(task: luigi.Task, seconds: float) -> None:
    is_made = not getattr(task, "unchanged", False)
    terminal.task(task.task_id, task.task_family, screen.DONE, seconds if is_made else None)
    if is_made:
        timing.note(task, seconds)


for _event, _callback in (
    (luigi.Event.DEPENDENCY_DISCOVERED, _discovered),
    (luigi.Event.START, _started),
    (luigi.Event.PROCESSING_TIME, _timed),
    (luigi.Event.FAILURE, _failed),
    (luigi.Event.BROKEN_TASK, _not_scheduled),
    (luigi.Event.DEPENDENCY_PRESENT, _found_complete),
    (luigi.Event.SUCCESS, _succeeded),
):
    luigi.Task.event_handler(_event)(signals.raised_again(_callback))
