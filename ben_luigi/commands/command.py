"""What all commands share: the form of their help, and of their errors."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from ben_luigi.domain import given, refused
from ben_luigi.domain.errors import BadArgument, BadInput, PipelineError, may_pass
from ben_luigi.domain.files import final
from ben_luigi.exit_codes import ExitCode

PROGRAM = "ben-luigi"


class Parser(argparse.ArgumentParser):
    """A parser that takes options and other arguments in any order."""

    def parse_args(  # type: ignore[override]  # its overloads tell the type of a namespace that is given, as none is here
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """Do what the method of the base does; there, `A --option X B` is refused if B may be left out."""
        if any(action.nargs == argparse.PARSER for action in self._get_positional_actions()):
            return super().parse_args(args, namespace)
        return self.parse_intermixed_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Exit with the message alone: the usage before it, as the base prints it, takes six lines of some commands."""
        option = message.removeprefix("unrecognized arguments: ").split()[0].partition("=")[0]
        close = get_close_matches(option, self._option_string_actions, n=1, cutoff=0.7)
        meant = f"; did you mean {close[0]}?" if close and close[0] != option else ""
        following = "" if "; next: " in message else f"; next: type: {self.prog} --help"
        self.exit(ExitCode.WRONG_ARGUMENTS, f"{self.prog}: {message}{meant}{following}\n")


def parser(prog: str, text: str | None) -> argparse.ArgumentParser:
    """Return the parser of `prog`, such as `ben-luigi plan`; its help is the module docstring, and the exit codes.

    The docstring begins with the usage of the command, and a colon.
    """
    description = (text or "").partition(": ")[2]
    codes = "\n".join(f"  {code.value:>3}  {code.meaning}" for code in ExitCode)
    return Parser(
        prog=prog,
        description=_filled(description[:1].upper() + description[1:]),
        epilog=f"exit codes:\n{codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return the type of an argument that is a whole number of at least `least`, and at most `most`."""
    limits = f"of at least {least}" if most is None else f"from {least} to {most}"

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
            raise argparse.ArgumentTypeError(f"expected a whole number {limits}; found {text!r}")
        return int(text)

    return number


def local(text: str) -> Path:
    """Return the path of a folder that a command reads; a URL is refused."""
    if re.match("[a-z][a-z0-9+]*://", text):
        raise argparse.ArgumentTypeError(
            f"expected a folder on a disk; found the URL {text}; next: fetch it first, as by aws s3 sync; our own "
            "dataset in [dataset] store is taken without FOLDER"
        )
    return Path(text)


def _filled(text: str) -> str:
    """Wrap paragraphs to the width of the terminal; indented text is unchanged."""
    width = shutil.get_terminal_size().columns - 2
    paragraphs = text.strip("\n").split("\n\n")
    return "\n\n".join(
        part if part.startswith(" ") else textwrap.fill(" ".join(part.split()), width, break_on_hyphens=False)
        for part in paragraphs
    )


def as_json(error: PipelineError) -> dict[str, str]:
    """Return the parts of an error, and the whole as one text."""
    parts = {"subject": error.subject, "expected": error.expected, "found": error.found, "next": error.remedy}
    return {**parts, "text": str(error)}


def code_of(error: Exception) -> ExitCode:
    """Return the exit code of a command that an error has ended."""
    if isinstance(error, BadArgument):
        return ExitCode.WRONG_ARGUMENTS
    return ExitCode.FAILED if may_pass(error) else ExitCode.WAITS_FOR_PERSON


def require_folder(folder: Path, what: str, remedy: str, *, is_given: bool) -> None:
    """Raise BadArgument if a folder that is given does not exist, BadInput if it is the pipeline's own."""
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no folder"
        raise (BadArgument if is_given else BadInput)(folder, expected=what, found=found, remedy=remedy)


def require_file(path: Path, what: str) -> None:
    """Raise BadArgument unless a regular file lies at a path that is given; OSError if it may not be read."""
    if (found := given.kind(path)) != given.FILE:
        raise BadArgument(path, expected=what, found=found, remedy="correct the path")
    given.check_file(path)


def beside(folder: Path, ending: str) -> Path:
    """Return where what is made from a folder goes: beside it, by its name and `ending`."""
    here = Path(os.path.abspath(folder))  # noqa: PTH100  # "." has no name, ".." another's; a link is not followed
    if here.name:
        return here.with_name(f"{folder.resolve().name}{ending}")
    found, remedy = "the root of all folders", "say where it goes, as --help tells"
    raise BadArgument(folder, expected="a folder that another can lie beside", found=found, remedy=remedy)


def target(to: Path | None, folder: Path, ending: str) -> Path:
    """Return where what is made from the dataset in `folder` goes: to `to`, else beside it, by its name and `ending`.

    A link is followed. Raise BadArgument for a place in the dataset, which has nothing but what is to be published.
    """
    found = (beside(folder, ending) if to is None else to).resolve()
    if not found.name or found.is_relative_to(folder.resolve()):
        raise BadArgument(
            "--to" if to is not None else found,
            expected="a folder outside of the dataset, which is made or replaced",
            found=f"{str(to)!r}, which is {found}",
            remedy="name another folder by --to",
        )
    return found


def explained(error: Exception) -> Exception:
    """Return the error of ours that says why the system has refused a file; any other `error` as it is."""
    from ben_luigi import config  # takes time to load, which the help does not have

    return refused.explained(error, config.data_dir())


def refuse(
    used: argparse.ArgumentParser, error: Exception | str, code: ExitCode = ExitCode.WRONG_ARGUMENTS
) -> ExitCode:
    """Print why a command cannot do its work; return the exit code."""
    if isinstance(error, OSError) and error.filename and explained(error) is error:
        path = final(Path(os.fsdecode(error.filename)).absolute())
        found, remedy = str(error.strerror), "correct the path, or who may read and write there"
        error = BadInput(path, expected="a file or folder to work with", found=found, remedy=remedy)
    error = explained(error) if isinstance(error, OSError) else error
    print(f"{used.prog}: {error}", file=sys.stderr)
    return code
