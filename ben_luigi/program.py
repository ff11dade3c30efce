"""Run `ben-luigi COMMAND`: find the command that is asked for. Help and version load nothing that takes time."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

import ben_luigi
from ben_luigi import terminal
from ben_luigi.commands import COMMANDS, command, task_arguments
from ben_luigi.domain import surroundings
from ben_luigi.domain.errors import BadName, PipelineError, printable

_TEXT = """`ben-luigi COMMAND`: rebuild BigEarthNet v2 from its sources.

`ben-luigi COMMAND --help` explains a command. LUIGI_CONFIG_PATH names your own configuration file.
"""


def console() -> int:
    """Run the installed package in an isolated Python, out of reach of PYTHONPATH and the locale (the console script).

    A package that is not installed in the environment, but found by PYTHONPATH or in the user's site, runs as it is.
    """
    installed = Path(sysconfig.get_path("purelib"), ben_luigi.__name__, "__main__.py")
    if installed.is_file() and not sys.flags.isolated:
        isolated = [sys.executable, *surroundings.ISOLATED, "-m", ben_luigi.__name__, *sys.argv[1:]]
        os.execve(sys.executable, isolated, surroundings.as_found())
    return main(sys.argv[1:])


def main(arguments: Sequence[str]) -> int:
    """Run the command that is asked for, and return its exit code."""
    terminal.outlive_readers()
    used = command.parser(command.PROGRAM, _TEXT)
    used.usage = f"{command.PROGRAM} [-h] [--version] COMMAND [ARGUMENTS...]"
    used.add_argument(
        "--version", action="version", version=f"{command.PROGRAM} {ben_luigi.__version__}", help="print the version"
    )
    listed = used.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for name, (_, line) in COMMANDS.items():
        listed.add_parser(name, help=line, add_help=False)
    name = arguments[0] if arguments else "--help"
    if name not in COMMANDS and not name.startswith("-"):
        return command.refuse(used, _unknown(name))
    used.parse_args([name])
    task_arguments.check(name, arguments[1:])
    try:
        return int(load(name).main(list(arguments[1:])))
    except (PipelineError, OSError) as error:
        explained = command.explained(error)
        if not isinstance(explained, PipelineError):
            raise
        used.prog = f"{command.PROGRAM} {name}"
        return command.refuse(used, explained, command.code_of(explained))


def load(name: str) -> Any:
    """Return the module of a command, once the configuration has been checked and all tasks are known."""
    import_module(f"{ben_luigi.__name__}.pipeline")
    return import_module(f"{ben_luigi.__name__}.commands.{COMMANDS[name][0]}")


def _unknown(name: str) -> BadName:
    near = get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
    found = f"none of that name; did you mean {near[0]}?" if near else "none of that name"
    return BadName(
        f"command {printable(name)}",
        expected="a command",
        found=found,
        remedy=f"type: {command.PROGRAM} --help, which lists them",
    )
