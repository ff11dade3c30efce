"""What the commands have in common: their help, and what they say when they cannot do their work."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from collections.abc import Callable

from ben_luigi.domain.errors import BadInput, PipelineError
from ben_luigi.exit_codes import ExitCode

PROGRAM = "ben-luigi"


def parser(prog: str, text: str | None) -> argparse.ArgumentParser:
    """The parser of `prog`, as `ben-luigi plan`, whose help is the docstring of its module, and what exit codes mean.

    The docstring begins with how the command is used, and a colon.
    """
    description = (text or "").partition(": ")[2]
    codes = "\n".join(f"  {code.value:>3}  {code.meaning}" for code in ExitCode)
    return argparse.ArgumentParser(
        prog=prog,
        description=_filled(description[:1].upper() + description[1:]),
        epilog=f"exit codes:\n{codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def whole(least: int) -> Callable[[str], int]:
    """The type of an argument: a whole number of at least `least`."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}; found {text!r}")
        return int(text)

    return number


def _filled(text: str) -> str:
    """Paragraphs as wide as the terminal; what is indented stays as it is."""
    width = shutil.get_terminal_size().columns - 2
    paragraphs = text.strip("\n").split("\n\n")
    return "\n\n".join(
        part if part.startswith(" ") else textwrap.fill(" ".join(part.split()), width, break_on_hyphens=False)
        for part in paragraphs
    )


def as_json(error: PipelineError) -> dict[str, str]:
    """What an error says, part by part, and as one text."""
    parts = {"subject": error.subject, "expected": error.expected, "found": error.found, "next": error.remedy}
    return {**parts, "text": str(error)}


def refuse(
    used: argparse.ArgumentParser, error: Exception | str, code: ExitCode = ExitCode.WRONG_ARGUMENTS
) -> ExitCode:
    """Say why a command cannot do its work; gives the exit code."""
    if isinstance(error, OSError) and error.filename:
        path, found, remedy = error.filename, str(error.strerror), "correct the path, or who may read and write there"
        error = BadInput(path, expected="a file or folder to work with", found=found, remedy=remedy)
    print(f"{used.prog}: {error}", file=sys.stderr)
    return code
