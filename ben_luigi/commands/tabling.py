"""Make the table of tasks and options, `task_table.json`, from the tasks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import luigi
from luigi.task_register import Register

from ben_luigi.commands import task_table, usage
from ben_luigi.configuration import check, luigi_options
from ben_luigi.configuration.kinds import plain_of
from ben_luigi.configuration.sections import SECTIONS, options_of
from ben_luigi.domain import plain_values
from ben_luigi.domain.forms.export import FORMS
from ben_luigi.stages import planning

_SECTIONS = ("forms", "subset")
_OURS, _SERVER = ("luigi", "ben_luigi"), "luigi.server"


def made() -> str:
    """Return the table as JSON."""
    found = {
        "tasks": {name: _task(task) for name, task in usage.tasks().items()},
        "options": dict(_options()),
        "values": dict(_values()),
        "sections": {name: _section(name) for name in _SECTIONS},
        "forms": {name: form.title for name, form in FORMS.items()},
    }
    return f"{_json(found)}\n"


def _json(value: Any, margin: str = "") -> str:
    """Return a value as JSON, with each kind of values on one line."""
    if not isinstance(value, dict) or not value or "kind" in value:
        return json.dumps(value)
    inner = f"{margin} "
    lines = ",\n".join(f"{inner}{json.dumps(key)}: {_json(one, inner)}" for key, one in value.items())
    return f"{{\n{lines}\n{margin}}}"


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


def _values() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the options whose values can be judged alone, with their kinds, in the order of the pipeline's checks."""
    flags = dict(_options())
    for option, _, name, parameter in check.of_command_line():
        if (kind := plain_of(parameter)) and flags.get(option, "0") != "0":
            yield option, plain_values.as_table(replace(kind, is_quoted=check.is_quoted(name, parameter)))


def _task(task: type[luigi.Task]) -> dict[str, Any]:
    return {"text": task.__doc__ or "", "options": dict(_option(task, *named) for named in task.get_params())}


def _option(task: type[luigi.Task], name: str, parameter: luigi.Parameter) -> tuple[str, dict[str, Any]]:
    text, _, choices = str(parameter.description).partition(" Choices: ")  # Luigi appends them, unsorted
    family = task.get_task_family()
    default = parameter.task_value(family, name) if parameter.has_task_value(family, name) else None
    metavar = "|".join(sorted(choices.strip("{}").split(", "))) if choices else name.upper()
    told: dict[str, Any] = {"text": text, "default": default, "metavar": metavar}
    if (kind := plain_of(parameter)) != plain_values.Text():
        told["value"] = kind and plain_values.as_table(kind)
    if name == planning.TILE:
        told["is_tile_key"] = True
    return f"--{name.replace('_', '-')}", told


def _section(name: str) -> dict[str, str]:
    options = options_of(SECTIONS[name])
    return {option: f"{one.description}: {luigi_options.allowed(one)}" for option, one in options.items()}


def write() -> None:
    """Write the table to its file."""
    task_table.PATH.write_text(made(), encoding="utf-8")
