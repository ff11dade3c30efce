"""Collect in one place what is used of Luigi 3.8.1 beyond its documented interface.

`setup.cfg` pins that version. `tests/unit/test_luigi_internals.py` checks each of these; run it when the pin is raised.

    [worker] task_process_context     entered around each task, in the process that runs it
    [worker] check_unfulfilled_deps   false: a task then checks its own requirements
    [core] lock_pid_dir               where Luigi keeps a command from running twice
    Worker._add_task, its history     which tasks it may be given, of those that it reports
    TaskProcess                       which functions of the scheduler it lends to a task
    lock                              which processes run a command, by the files in that folder
    PidLockAlreadyTakenExit           how a run ends whose command runs already: as the cause of SystemExit
    CmdlineParser                     the task that a command line asks for
    Register                          the cache of task instances, which is cleared between two runs
    RemoteScheduler                   what a central scheduler runs; its _request, and where it asks
    Scheduler, SimpleTaskState, Task  which class `luigid` serves, and a run without it uses; its memory of tasks,
                                      what it notes of each, and by which questions it finds the next one
"""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import Any

import luigi.scheduler
from luigi import lock
from luigi.cmdline_parser import CmdlineParser
from luigi.interface import PidLockAlreadyTakenExit
from luigi.rpc import RemoteScheduler, RPCError
from luigi.scheduler import Scheduler
from luigi.task_register import Register, load_task
from luigi.task_status import FAILED, RUNNING
from luigi.worker import TaskProcess, Worker

__all__ = [
    "FAILED",
    "RUNNING",
    "CmdlineParser",
    "PidLockAlreadyTakenExit",
    "RPCError",
    "RemoteScheduler",
    "Scheduler",
    "forget_instances",
    "leave_to_others",
    "lend_statistics",
    "load_task",
    "refuse_other_programs",
    "running",
    "same_command",
    "schedule_here_by",
]


def lend_statistics() -> None:
    """Let tasks report to the metrics of the scheduler, by adding the function to those that Luigi lends them."""
    TaskProcess.forward_reporter_attributes["report_task_statistics"] = "report_task_statistics"


def leave_to_others() -> None:
    """Let workers report a task whose `is_left_to_others()` is true with all that it requires, but never be given it.

    Luigi can do so for external tasks only, whose requirements it does not report.
    """
    report: Any = Worker._add_task

    @wraps(report)
    def reported(own: Any, /, **facts: Any) -> None:
        task = own._scheduled_tasks.get(facts["task_id"])
        if not getattr(task, "is_left_to_others", bool)():
            report(own, **facts)
            return
        report(own, **{**facts, "runnable": False})
        own._add_task_history[-1] = task, facts["status"], facts["runnable"]  # in the summary it is no missing input

    if not hasattr(report, "__wrapped__"):
        Worker._add_task = reported  # type: ignore[method-assign, assignment]


def refuse_other_programs() -> None:
    """Raise RPCError for answers that are none of a scheduler: another program, or a proxy, is where it should be."""
    ask: Any = RemoteScheduler._request

    @wraps(ask)
    def asked(own: Any, *of: Any, **more: Any) -> Any:
        try:
            return ask(own, *of, **more)
        except (ValueError, KeyError, TypeError) as error:
            raise RPCError(f"{own._url} answers as another program does, or a proxy") from error

    if not hasattr(ask, "__wrapped__"):
        RemoteScheduler._request = asked  # type: ignore[method-assign, assignment]


def forget_instances() -> None:
    """Clear the cache of task instances, whose requirements may have changed."""
    Register.clear_instance_cache()


def running(url: str) -> list[str]:
    """Return the tasks that run now at a central scheduler, whoever runs them. Raise RPCError if it does not answer."""
    scheduler: Any = RemoteScheduler(url)
    return sorted(task["display_name"] for task in scheduler.task_list(RUNNING, "").values())


def same_command(folder: Path) -> list[int]:
    """Return the processes of this host that run the same command as this one, by Luigi's lock files in `folder`."""
    own, command, path = lock.get_info(str(folder))
    return sorted(pid for pid in lock._read_pids_file(path) if pid != own and lock.getpcmd(pid) == command)


def schedule_here_by(scheduler: type[Scheduler]) -> None:
    """Make this process schedule by this class where it needs no central scheduler; Luigi has no option for it."""
    luigi.scheduler.Scheduler = scheduler  # type: ignore[misc]
