"""Make the help of `ben-luigi run` and of each task, and the errors about a command line that fits no task."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import redirect_stderr
from difflib import get_close_matches
from io import StringIO

import luigi
from luigi.cmdline_parser import CmdlineParser
from luigi.parameter import ParameterException
from luigi.task_register import Register

import ben_luigi
from ben_luigi.commands import command
from ben_luigi.commands.arguments import add_world
from ben_luigi.configuration import check
from ben_luigi.domain.errors import BadName
from ben_luigi.stages import planning

_STAGES = f"{ben_luigi.__name__}.stages."
_HELP = {"-h", "--help"}
_USAGE = """`ben-luigi run TASK --help` lists the arguments of a task. Luigi's own ones work too, such as --workers N,
and so does every option of the configuration, such as --dataset-tiles 33UUP_20170613; --help-all lists them. Tasks:"""


class Unfit(BadName):
    """A command line whose arguments are none of its task."""


def tasks() -> dict[str, type[luigi.Task]]:
    """Return the tasks that users can run, by name."""
    known = {name: Register.get_task_cls(name) for name in Register.task_names()}
    return {
        name: task
        for name, task in sorted(known.items())
        if task.__module__.startswith(_STAGES) and not name.startswith("_") and not task.__subclasses__()
    }


def parser(arguments: Sequence[str], text: str | None) -> argparse.ArgumentParser:
    """Return the parser for the help that `arguments` ask for: of the task in them, or of `ben-luigi run`."""
    task = tasks().get(next(iter(arguments), ""))
    if task is None:
        used = command.parser("ben-luigi run", f"{text}\n\n{_USAGE}\n\n{_listed()}")
        used.usage = f"{used.prog} [-h] [--world WORLD] [TASK ARGUMENTS...]"
        add_world(used)
        return used
    name = task.__name__
    used = command.parser(f"ben-luigi run {name}", f"{name}: {task.__doc__}")
    for option, parameter in task.get_params():
        output, _, choices = str(parameter.description).partition(" Choices: ")  # Luigi appends them, unsorted
        default = parameter.task_value(name, option) if parameter.has_task_value(name, option) else None
        used.add_argument(
            f"--{option.replace('_', '-')}",
            required=default is None,
            metavar="|".join(sorted(choices.strip("{}").split(", "))) if choices else option.upper(),
            help=f"{output}; by default {default}" if default else output,
        )
    return used


def _listed() -> str:
    """Return one line per task."""
    return "\n".join(f"  {name:<22} {(task.__doc__ or '').splitlines()[0]}" for name, task in tasks().items())


def help_is_wanted(arguments: Sequence[str]) -> bool:
    """Return whether the command line asks for help only."""
    return bool(_HELP & set(arguments))


def task_of(arguments: Sequence[str]) -> tuple[luigi.Task, argparse.Namespace]:
    """Return the task that a command line asks for, and its options.

    Raise BadName or BadArgument if there is no task with these arguments. Exit if Luigi's own help is asked for.
    """
    name = arguments[0]
    if name not in tasks():
        near = get_close_matches(name, tasks(), n=1, cutoff=0.5)
        found = f"none of that name; did you mean {near[0]}?" if near else "none of that name"
        raise BadName(
            f"task {name}", expected="a task", found=found, remedy="type: ben-luigi run --help, which lists them"
        )
    output = StringIO()
    try:
        with (
            redirect_stderr(output),
            CmdlineParser.global_instance(["--module", ben_luigi.__name__, *arguments]) as parsed,
        ):
            wrong = check.command_line(parsed.known_args)
            if wrong:
                raise _unfit(arguments, "; ".join(map(str, wrong)))
            luigi.interface.core()
            task: luigi.Task = parsed.get_task_obj()
    except SystemExit as end:
        if not end.code:
            raise
        raise _unfit(arguments, output.getvalue().rpartition("error: ")[2].strip()) from end
    except (ParameterException, ValueError) as error:
        raise _unfit(
            arguments, f"{str(error).rpartition('={}]: ')[2]}{f': {error.__cause__}' if error.__cause__ else ''}"
        ) from error
    planning.check_arguments(task)
    return task, parsed.known_args


def _unfit(arguments: Sequence[str], found: str) -> Unfit:
    return Unfit(
        " ".join(arguments),
        expected=f"arguments of {arguments[0]}",
        found=found,
        remedy=f"type: ben-luigi run {arguments[0]} --help",
    )
