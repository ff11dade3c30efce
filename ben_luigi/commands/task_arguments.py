"""The arguments of the commands that run a task: some of their own, then those of the task, by the table of tasks.

They are read without loading the pipeline: `--help`, and arguments that are none, are answered at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ben_luigi.commands import COMMANDS, command, task_table
from ben_luigi.commands.arguments import (
    PARSERS,
    PASS_ON,
    RECIPE_OPTIONS,
    add_world,
    require_world,
    taken_out,
    text_of,
)
from ben_luigi.domain import plain_values
from ben_luigi.domain.errors import BadName

FORM_TASK, PATCHES_TASK = "ExportForm", "ExportPatches"
PICTURES_TASK = "RenderPatches"
FORMS_OPTIONS = ("seed", "file_mb", "pixels")
"""The options in `[forms]` that `ben-luigi export` takes."""
_CLUSTERS = ("slurm",)


def run(arguments: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return the parser of the help of `ben-luigi run`, or that of the task in `arguments`."""
    used = task_table.parser(arguments, text_of("run"))
    if not used.usage:
        return used
    add_world(used)
    return used


def plan() -> argparse.ArgumentParser:
    """Return the parser of `ben-luigi plan`; the others name a task."""
    used = command.parser("ben-luigi plan", text_of("plan"))
    used.usage = f"{used.prog} [-h] [--json] [--world WORLD] [--recipe RECIPE] [TASK ARGUMENTS...]"
    add_world(used)
    used.add_argument("--json", action="store_true", help="print the plan as JSON")
    return used


def submit() -> argparse.ArgumentParser:
    """Return the parser of `ben-luigi submit`."""
    used = command.parser("ben-luigi submit", text_of("submit"))
    used.usage = f"{used.prog} [-h] [--dry-run] [--world WORLD] [--recipe RECIPE] CLUSTER [TASK ARGUMENTS...]"
    used.add_argument("cluster", choices=_CLUSTERS, metavar="CLUSTER", help=", ".join(_CLUSTERS))
    used.add_argument("--dry-run", action="store_true", help="show what would be submitted, and submit nothing")
    add_world(used)
    return used


def cron_rerun() -> argparse.ArgumentParser:
    """Return the parser of the help of `ben-luigi cron-rerun`."""
    used = command.parser("ben-luigi cron-rerun", text_of("cron_rerun"))
    used.usage = f"{used.prog} [-h] [TASK ARGUMENTS...]"
    used.add_argument("task", nargs="?", metavar="TASK ARGUMENTS...", help="as ben-luigi run takes them")
    return used


def subset() -> argparse.ArgumentParser:
    """Return the parser of the options that select patches."""
    used = command.parser("ben-luigi subset", text_of("subset"))
    for option, told in task_table.table()["sections"]["subset"].items():
        used.add_argument(f"--{option}", metavar=option.upper(), help=told.replace("%", "%%"))
    return used


def export() -> argparse.ArgumentParser:
    """Return the parser of `ben-luigi export FORM`; a tile is left to the task."""
    used, known = command.parser("ben-luigi export", text_of("export")), task_table.table()
    titles = "; ".join(f"{name}: {title}" for name, title in known["forms"].items())
    used.add_argument("form", choices=list(known["forms"]), metavar="FORM", help=titles)
    used.add_argument(
        "folder", type=command.local, nargs="?", metavar="FOLDER", help="folder of the dataset; by default ours"
    )
    used.add_argument("--to", type=Path, metavar="DIR", help="where the form goes; by default FOLDER-FORM")
    used.add_argument("--without-s1", action="store_true", help="leave out Sentinel-1, whose archive need not be there")
    for section, names in (("forms", FORMS_OPTIONS), ("subset", None)):
        for option, told in known["sections"][section].items():
            if option != "name" if names is None else option in names:
                flag = f"--{option.replace('_', '-')}"
                used.add_argument(flag, metavar=option.upper(), help=told.replace("%", "%%"))
    return used


def render() -> argparse.ArgumentParser:
    """Return the parser of the help of `ben-luigi render`, which is that of the task."""
    used = run([PICTURES_TASK])
    used.prog = "ben-luigi render"
    return used


def check(name: str, arguments: Sequence[str]) -> None:
    """Print help, or what is wrong with the arguments of a command, and exit; return if they are right.

    What cannot be checked without the pipeline is left to the command: values that cannot be judged alone, and all
    arguments of which the recipe is one.
    """
    module, (left, taken) = COMMANDS[name][0], taken_out(arguments)
    if module in PARSERS and not taken:
        used = PARSERS[module]()
        (used.parse_known_args if module in PASS_ON else used.parse_args)(arguments)
    elif module in _ASKED and not any(option in RECIPE_OPTIONS for option, _ in taken):
        used, asked = _ASKED[module](left)
        if task_table.help_is_wanted(left):
            used.print_help()
            sys.exit()
        try:
            for option, text in taken if module != _LEAVES_ALL else ():
                require_world(option, text)
            task_table.check(asked)
        except BadName as error:
            sys.exit(command.refuse(used, task_table.of_program(error, "" if module in _NAME_A_TASK else used.prog)))


_Asked = tuple[argparse.ArgumentParser, list[str]]


def _of_run(arguments: Sequence[str]) -> _Asked:
    return run(arguments), task_table.named(arguments)


def _of_plan(arguments: Sequence[str]) -> _Asked:
    used = plan()
    return used, task_table.named(used.parse_known_args(arguments)[1])


def _of_submit(arguments: Sequence[str]) -> _Asked:
    used = submit()
    return used, task_table.named(used.parse_known_args(arguments)[1])


def _of_cron_rerun(arguments: Sequence[str]) -> _Asked:
    """Leave the task to the run, whose end is recorded and told, whatever it is."""
    used = cron_rerun()
    used.parse_known_args(arguments)
    return used, [task_table.WHOLE]


def _of_subset(arguments: Sequence[str]) -> _Asked:
    used = subset()
    given, others = used.parse_known_args(arguments)
    return used, [task_table.WHOLE, *selection_options(given), *others]


def selection_options(given: argparse.Namespace) -> list[str]:
    """Return the options that select patches as those of the configuration."""
    return [f"--subset-{option}={text}" for option, text in vars(given).items() if text is not None]


def _of_export(arguments: Sequence[str]) -> _Asked:
    used = export()
    if names_a_tile(arguments):
        return used, [PATCHES_TASK, *arguments]
    given, others = used.parse_known_intermixed_args(arguments)
    _check_values(used, given)
    if given.folder is None and given.to is None:
        return used, [FORM_TASK, "--form-name", given.form, *others]
    used.parse_args(arguments)
    return used, [task_table.WHOLE]


def _check_values(used: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    """Exit with a message if an option of the form has a wrong value, as far as the values can be judged alone."""
    known = task_table.table()
    for section in ("forms", "subset"):
        for option in known["sections"][section]:
            if (text := getattr(given, option, None)) is None:
                continue
            kind = known["values"].get(f"--{section}-{option}".replace("_", "-"))
            if kind is None:
                return
            value = plain_values.from_table(kind)
            check_value(used, option, value.parse, value.allowed, text)


def check_value(
    used: argparse.ArgumentParser, option: str, parse: Callable[[str], object], allowed: str, text: str
) -> None:
    """Exit with a message if `parse` does not accept the value of an option."""
    try:
        parse(text)
    except ValueError as error:
        used.error(f"argument --{option.replace('_', '-')}: expected {allowed}; {error}")


def names_a_tile(arguments: Sequence[str]) -> bool:
    """Return whether `ben-luigi export` is asked for the patches of a tile, and not for a form."""
    is_form = bool(set(arguments) & set(task_table.table()["forms"]))
    has_tile = any(argument.partition("=")[0] == "--tile" for argument in arguments)
    return has_tile and not is_form and not task_table.help_is_wanted(arguments)


def _of_render(arguments: Sequence[str]) -> _Asked:
    return render(), [PICTURES_TASK, *arguments]


_ASKED: dict[str, Callable[[Sequence[str]], _Asked]] = {
    "run": _of_run,
    "plan": _of_plan,
    "submit": _of_submit,
    "cron_rerun": _of_cron_rerun,
    "subset": _of_subset,
    "export": _of_export,
    "render": _of_render,
}
"""What these commands ask for: the parser of each, and the task with its arguments."""
_LEAVES_ALL = "cron_rerun"
"""The command that leaves its arguments to the run that it starts."""
_NAME_A_TASK = ("run", "plan", "cron_rerun")
