"""Find the task that a command line asks for, and tell what fits no task."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr
from io import StringIO

import luigi
from luigi.cmdline_parser import CmdlineParser
from luigi.parameter import ParameterException
from luigi.task_register import Register

import ben_luigi
from ben_luigi import config
from ben_luigi.commands import task_table
from ben_luigi.configuration import check, loading
from ben_luigi.stages import planning

_STAGES = f"{ben_luigi.__name__}.stages."


def tasks() -> dict[str, type[luigi.Task]]:
    """Return the tasks that users can run, by name."""
    known = {name: Register.get_task_cls(name) for name in Register.task_names()}
    return {
        name: task
        for name, task in sorted(known.items())
        if task.__module__.startswith(_STAGES) and not name.startswith("_") and not task.__subclasses__()
    }


def task_of(arguments: Sequence[str]) -> tuple[luigi.Task, argparse.Namespace]:
    """Return the task that a command line asks for, and its options.

    Raise BadName or BadArgument if there is no task with these arguments. Exit if Luigi's own help is asked for.
    """
    with _parsed(arguments) as (task, options):
        planning.check_arguments(task)  # in the data folder that the options name
        return task, options


def options_of(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options alone, as `task_of` does; whether its tile, for example, exists is not asked."""
    with _parsed(arguments) as (_, options):
        return options


@contextmanager
def _parsed(arguments: Sequence[str]) -> Iterator[tuple[luigi.Task, argparse.Namespace]]:
    """Yield the task and the options of a command line; within, they count."""
    task_table.check(arguments)
    with ExitStack() as stack:
        output = StringIO()
        try:
            with redirect_stderr(output):
                words = ["--module", ben_luigi.__name__, *arguments]
                parsed = stack.enter_context(CmdlineParser.global_instance(words))
            wrong = check.command_line(parsed.known_args, Register.get_task_cls(arguments[0]))
            if wrong:
                raise task_table.unfit(arguments, "; ".join(map(str, wrong)))
            luigi.interface.core()
            task: luigi.Task = parsed.get_task_obj()
        except SystemExit as end:
            if not end.code:
                raise
            raise task_table.unfit(arguments, output.getvalue().rpartition("error: ")[2].strip()) from end
        except (ParameterException, ValueError) as error:
            raise task_table.unfit(
                arguments, f"{str(error).rpartition('}]: ')[2]}{f': {error.__cause__}' if error.__cause__ else ''}"
            ) from error
        yield task, parsed.known_args


def passed_on(options: argparse.Namespace) -> list[str]:
    """Return the options of a command line that a job has to follow too: ours, and where luigid is.

    Passwords for CDSE, and addresses for notices, are none of it: no job needs them, and Slurm keeps its script.
    """
    return [
        f"{flag}={text}"
        for flag, section, name, _ in check.of_command_line()
        if (section in config.SECTIONS and section != "cron") or name in config.SCHEDULER
        if (section, name) not in loading.SECRETS
        if (text := getattr(options, f"{section}_{name}", None)) is not None
    ]
