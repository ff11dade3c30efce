"""Make the table of tasks and options, `task_table.json`, from the tasks."""

from __future__ import annotations

import argparse
import json
from typing import Any

import luigi
from luigi.cmdline_parser import CmdlineParser

from ben_luigi.commands import task_table, usage
from ben_luigi.configuration import luigi_options
from ben_luigi.configuration.sections import SECTIONS, options_of
from ben_luigi.domain.forms.export import FORMS

_SECTIONS = ("forms", "subset")
_HOW_MANY = {None: "", "?": "?", 0: "0"}


def made() -> str:
    """Return the table as JSON."""
    flags = {
        action.option_strings[0]: _kind(action)
        for action in CmdlineParser._build_parser()._actions
        if action.option_strings
    }
    of_server = f"--{luigi_options.OF_SERVER}-"  # known only where its web server is loaded
    return (
        json.dumps(
            {
                "tasks": {name: _task(task) for name, task in usage.tasks().items()},
                "options": {flag: kind for flag, kind in flags.items() if not flag.startswith(of_server)},
                "sections": {name: _section(name) for name in _SECTIONS},
                "forms": {name: form.title for name, form in FORMS.items()},
            },
            indent=1,
        )
        + "\n"
    )


def _kind(action: argparse.Action) -> str:
    return _HOW_MANY[action.nargs]


def _task(task: type[luigi.Task]) -> dict[str, Any]:
    return {"text": task.__doc__ or "", "options": dict(_option(task, *named) for named in task.get_params())}


def _option(task: type[luigi.Task], name: str, parameter: luigi.Parameter) -> tuple[str, dict[str, Any]]:
    text, _, choices = str(parameter.description).partition(" Choices: ")  # Luigi appends them, unsorted
    family = task.get_task_family()
    default = parameter.task_value(family, name) if parameter.has_task_value(family, name) else None
    metavar = "|".join(sorted(choices.strip("{}").split(", "))) if choices else name.upper()
    return f"--{name.replace('_', '-')}", {"text": text, "default": default, "metavar": metavar}


def _section(name: str) -> dict[str, str]:
    options = options_of(SECTIONS[name])
    return {option: f"{one.description}: {luigi_options.allowed(one)}" for option, one in options.items()}


def write() -> None:
    """Write the table to its file."""
    task_table.PATH.write_text(made(), encoding="utf-8")
