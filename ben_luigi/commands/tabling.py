"""Make the table of tasks and options, `task_table.json`, from the tasks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import luigi
from luigi.task_register import Register

from ben_luigi.commands import task_table, usage
from ben_luigi.configuration import luigi_options
from ben_luigi.configuration.sections import SECTIONS, options_of
from ben_luigi.domain.forms.export import FORMS

_SECTIONS = ("forms", "subset")
_OURS, _SERVER = ("luigi", "ben_luigi"), "luigi.server"


def made() -> str:
    """Return the table as JSON."""
    return (
        json.dumps(
            {
                "tasks": {name: _task(task) for name, task in usage.tasks().items()},
                "options": dict(_options()),
                "sections": {name: _section(name) for name in _SECTIONS},
                "forms": {name: form.title for name, form in FORMS.items()},
            },
            indent=1,
        )
        + "\n"
    )


def _options() -> Iterator[tuple[str, str]]:
    """Yield each option that a command line may set, whatever the task: Luigi's and ours, with how many values it has.

    Those of luigid's server are left out, which Luigi knows only where that is loaded.
    """
    for section, is_bare, name, parameter in Register.get_all_params():
        module = Register.get_task_cls(section).__module__
        if module.partition(".")[0] in _OURS and module != _SERVER:
            flag = (name if is_bare else f"{section}_{name}").replace("_", "-")
            words = parameter._parser_kwargs(name, section)
            yield f"--{flag}", "0" if words["action"] == "store_true" else words.get("nargs", "")


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
