"""Know the tasks and all options of a run from a table, since loading them takes half a second.

So help, arguments that are none, and values that can be judged alone are answered at once. What other values mean is
left to who loads the tasks (`usage.py`). `python -m ben_luigi.documentation` makes the table from the tasks.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from ben_luigi.commands import command
from ben_luigi.domain import plain_values
from ben_luigi.domain.errors import BadArgument, BadName, PipelineError, without_userinfo
from ben_luigi.domain.findings import Finding, NotAllowed

PATH = Path(__file__).with_name("task_table.json")
WHOLE = "FinalizeDataset"
"""The task that is run if none is named."""
_HELP = {"-h", "--help"}
_MOST_MEANT = 3
_OF_EACH = ("--world", "--recipe", "--workers", "--help-all")
"""What users type most of the options that every task takes."""
_USAGE = """`ben-luigi run TASK --help` lists the arguments of a task. Luigi's own ones work too, such as --workers N,
and so does every option of the configuration, such as --dataset-tiles 33UUP_20170613; --help-all lists them. Tasks:"""


_TEXT = {"kind": "Text"}
"""The kind of a task's option of which the table has none."""


class Unfit(BadName):
    """A command line whose arguments are none of its task."""


@cache
def table() -> dict[str, Any]:
    """Return the table: `tasks`, the `options` of all of them and of Luigi, and `sections` of the configuration.

    `values` has the kinds of those options whose values can be judged alone.
    """
    found: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
    return found


def help_is_wanted(arguments: Sequence[str]) -> bool:
    """Return whether the command line asks for help only."""
    return bool(_HELP & set(arguments))


def parser(arguments: Sequence[str], text: str | None, prog: str = "") -> argparse.ArgumentParser:
    """Return the parser for the help that `arguments` ask for: of the task in them, or of `ben-luigi run`."""
    tasks = table()["tasks"]
    name = next(iter(arguments), "")
    if name not in tasks:
        listed = "\n".join(f"  {one:<22} {told['text'].splitlines()[0]}" for one, told in tasks.items())
        used = command.parser(prog or "ben-luigi run", f"{text}\n\n{_USAGE}\n\n{listed}")
        used.usage = f"{used.prog} [-h] [--world WORLD] [TASK ARGUMENTS...]"
        return used
    used = command.parser(prog or f"ben-luigi run {name}", f"{name}: {tasks[name]['text']}")
    for flag, told in tasks[name]["options"].items():
        default = told["default"]
        help_text = f"{told['text']}; by default {default}" if default else told["text"]
        used.add_argument(flag, required=default is None, metavar=told["metavar"], help=help_text)
    if not prog:
        used.epilog = f"ben-luigi run --help lists the options that every task takes.\n\n{used.epilog}"
    return used


def named(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the task that they mean."""
    return [*arguments] if arguments and not arguments[0].startswith("-") else [WHOLE, *arguments]


def require_task(name: str) -> None:
    """Raise BadName for a task that is none."""
    tasks = table()["tasks"]
    if name not in tasks:
        near = get_close_matches(name, tasks, n=1, cutoff=0.5)
        found = f"none of that name; did you mean {near[0]}?" if near else "none of that name"
        raise BadName(
            f"task {name}", expected="a task", found=found, remedy="type: ben-luigi run --help, which lists them"
        )


def check(arguments: Sequence[str]) -> None:
    """Raise BadName for a task that is none, Unfit for options that are none of its, or lack, or for wrong values.

    As Luigi does, the beginning of an option counts as the option.
    """
    name = arguments[0]
    require_task(name)
    given = _given(arguments)
    for option, told in table()["tasks"][name]["options"].items():
        key = _key(option)
        if told["default"] is None and given[key] is None and given[f"{name}_{key}"] is None:
            raise unfit(arguments, f"requires the '{key}' parameter to be set")
    if not given["help_all"]:
        _check_values(arguments, {key: text for key, text in given.items() if isinstance(text, str) and key != "task"})


def _given(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the values of all options by their keys. Raise Unfit for arguments that are none."""
    used = _Quiet(add_help=False)
    used.add_argument("task", help=argparse.SUPPRESS)
    for option, kind in table()["options"].items():
        used.add_argument(option, help=argparse.SUPPRESS, **_KINDS[kind])
    for option in table()["tasks"][arguments[0]]["options"]:
        used.add_argument(option, help=argparse.SUPPRESS)
    try:
        return vars(used.parse_args(arguments))
    except _WrongError as error:
        raise unfit(arguments, str(error)) from None


def _key(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


def _check_values(arguments: Sequence[str], given: dict[str, str]) -> None:
    """Raise Unfit for wrong values, BadName for what is no tile key; `given` are the values by the keys of options.

    If one of them cannot be judged alone, all are left to who loads the tasks, whose message is about all of them.
    """
    kinds, own = table()["values"], table()["tasks"][arguments[0]]["options"]
    of_all = [(option, kinds[option], given.pop(_key(option))) for option in kinds if _key(option) in given]
    of_task = list(_of_task(arguments[0], given))
    if given:
        return
    values = [*of_all, *((option, own[option].get("value", _TEXT), text) for option, text in of_task)]
    wrong = [found for option, kind, text in values if (found := _finding(option, plain_values.from_table(kind), text))]
    if wrong:
        raise unfit(arguments, "; ".join(map(str, wrong)))
    for option, text in of_task:
        if own[option].get("is_tile_key"):
            from ben_luigi.domain.names import TileKey  # its regular expressions take time

            TileKey.parse(text)


def _of_task(name: str, given: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Take the values of a task's own options out of `given`; yield them. As Luigi has it, an empty one is none."""
    for option, told in table()["tasks"][name]["options"].items():
        key = _key(option)
        if told.get("value", _TEXT):
            text, by_long_name = given.pop(key, ""), given.pop(f"{name}_{key}", "")
            if text or by_long_name:
                yield option, text or by_long_name


def _finding(option: str, kind: plain_values.Plain, text: str) -> Finding | None:
    """Return what is wrong with the value of an option; None if nothing is."""
    try:
        plain_values.check(kind.parse, text)
    except NotAllowed as error:
        return plain_values.finding(option, "", error, kind.allowed, is_quoted=kind.is_quoted)
    return None


_KINDS: dict[str, dict[str, Any]] = {"": {}, "?": {"nargs": "?", "const": True}, "0": {"action": "store_true"}}
"""How `argparse` is told how many values an option has: one, one or none, none."""


class _WrongError(Exception):
    """What `argparse` has to say."""


class _Quiet(argparse.ArgumentParser):
    """A parser that raises what it would print."""

    def error(self, message: str) -> NoReturn:
        """Raise it."""
        raise _WrongError(message)


def unfit(arguments: Sequence[str], found: str) -> Unfit:
    """Return the error about arguments that are none of their task."""
    name = arguments[0]
    of_task = name if table()["tasks"].get(name, {}).get("options") else ""
    meant = " or ".join(_meant(name, arguments[1:], found))
    said = without_userinfo(found)
    return Unfit(
        _without_secrets(arguments),
        expected=f"arguments of {name}",
        found=f"{said}; did you mean {meant}?" if meant else said,
        remedy=f"type: ben-luigi run {of_task} --help" if of_task else "type: ben-luigi run --help",
    )


def _meant(name: str, given: Sequence[str], found: str) -> list[str]:
    """Return what the first of the unrecognized arguments may mean, as the message `found` names them.

    An option of the configuration is often typed without its section, and a value without its option.
    """
    _, said, unknown = found.partition("unrecognized arguments: ")
    word = unknown.partition(" ")[0].partition("=")[0]
    options = table()["tasks"].get(name, {}).get("options", {})
    if not said or not word.startswith("--"):
        typed = {argument.partition("=")[0] for argument in given}
        needed = [option for option, told in options.items() if told["default"] is None and option not in typed]
        return [f"{option} {word}" for option in needed[:1] if word and not word.startswith("-")]
    of_all = [option for option in table()["options"] if option.islower()]  # `--CutPatches-tile` is Luigi's spelling
    ends = (word[1:].replace("_", "-"), f"{word[1:]}s")
    close = get_close_matches(word, [*options, *_OF_EACH], n=1, cutoff=0.75)
    others = [option for option in of_all if option.endswith(ends)]
    return close or (others if len(others) <= _MOST_MEANT else [])


def _without_secrets(arguments: Sequence[str]) -> str:
    """Return a command line without the values that errors may not quote, nor passwords in other URLs."""
    hidden = [option for option, kind in table()["values"].items() if not kind.get("is_quoted", True)]
    words, rest = [], iter(arguments)
    for argument in rest:
        flag, is_whole, _ = argument.partition("=")
        if len(flag) > len("--") and any(option.startswith(flag) for option in hidden):
            words += [f"{flag}=..."] if is_whole else [flag, *("..." for _ in islice(rest, 1))]
        else:
            words.append(argument)
    return without_userinfo(" ".join(words))


def of_program(error: PipelineError, prog: str) -> PipelineError:
    """Return an error about arguments that are none of a task as one about those of the command that asks for it."""
    if not prog or not isinstance(error, Unfit):
        return error
    found = error.found
    for section in ("forms", "subset"):
        for option in table()["sections"][section]:
            flag = option.replace("_", "-")
            found = found.replace(f"--{section}-{flag}", f"--{flag}")
    return BadArgument("arguments", expected=f"those of {prog}", found=found, remedy=f"type: {prog} --help")
