"""What the commands in `scripts/` have in common: their help, and what they say when they cannot do their work."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from collections.abc import Mapping

from ben_luigi.domain.errors import BadInput, PipelineError

CANNOT = 2
"""The exit code of a command that cannot do its work, as of one that does not understand its arguments."""


_WRONG_CONFIGURATION = 20
"""The exit code of every command that finds the configuration wrong, before it looks at its arguments."""


def parser(command: str, text: str | None, codes: Mapping[int, str]) -> argparse.ArgumentParser:
    """The parser of `scripts/<command>`, whose help is the docstring of its module, and what its exit codes mean.

    The docstring begins with how the command is used, and a colon.
    """
    said = (text or "").partition(": ")[2]
    everywhere = {_WRONG_CONFIGURATION: "the configuration has to be corrected"} | dict(codes)
    meanings = "; ".join(f"{code} {meaning}" for code, meaning in sorted(everywhere.items()))
    return argparse.ArgumentParser(
        prog=f"scripts/{command}",
        description=_filled(said[:1].upper() + said[1:]),
        epilog=_filled(f"Exit codes: {meanings}."),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


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


def refuse(used: argparse.ArgumentParser, error: Exception | str, code: int = CANNOT) -> int:
    """Say why a command cannot do its work; gives the exit code."""
    if isinstance(error, OSError) and error.filename:
        path, found, remedy = error.filename, str(error.strerror), "correct the path, or who may read and write there"
        error = BadInput(path, expected="a file or folder to work with", found=found, remedy=remedy)
    print(f"{used.prog}: {error}", file=sys.stderr)
    return code
