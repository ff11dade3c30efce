"""Find and check the configuration files, and pass them on to Luigi; if anything is wrong, print it and exit.

Later files override earlier ones: this project's defaults; its `luigi.cfg`, if it runs from a checkout; Luigi's places,
`/etc/luigi/luigi.cfg` and `luigi.cfg` in the current folder; and the file that LUIGI_CONFIG_PATH names.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from configparser import InterpolationError
from pathlib import Path
from typing import Any

from luigi.configuration.cfg_parser import EnvironmentInterpolation, InterpolationMissingEnvvarError, LuigiConfigParser
from luigi.parameter import UnconsumedParameterWarning

from ben_luigi.configuration import check, luigi_options, sections
from ben_luigi.configuration.files import ConfigFile, Entry, read
from ben_luigi.configuration.kinds import PathName, Words
from ben_luigi.domain import given
from ben_luigi.domain.errors import BadInput, printable
from ben_luigi.domain.findings import Finding, NotAllowed, nearest
from ben_luigi.domain.vocabulary import RECIPE_OPTIONS

WAITS_FOR_PERSON = 20
"""The exit code if the configuration has to be corrected."""

VARIABLE = "LUIGI_CONFIG_PATH"
_CHECKOUT = Path(__file__).resolve().parents[2] / "luigi.cfg"
_SHARED = (Path("/etc/luigi/luigi.cfg"), Path("luigi.cfg"))
_MEANT = (given.FILE, os.strerror(errno.EACCES))
"""What is read where a file is looked for: one that may not be read would be missed in silence."""


class _FromEnvironment(EnvironmentInterpolation):
    """Interpolate `${NAME}` from the environment, and nothing else; Luigi gives `%` a meaning too."""

    def before_get(self, parser: Any, section: str, option: str, value: str, defaults: Any) -> str:
        """Raise InterpolationError for a variable that is not set.

        Luigi's own error quotes the value, which may be a secret.
        """
        try:
            return str(super().before_get(parser, section, option, value, defaults))
        except InterpolationMissingEnvvarError:
            raise InterpolationError(option, section, f"[{section}] {option}: no such variable") from None


def own_path(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the file that LUIGI_CONFIG_PATH names, if it is set. Raise NotAllowed if a variable in it is not set."""
    named = environment.get(VARIABLE, "")
    return Path(PathName(description="").parse(named)) if named else None


def found(environment: Mapping[str, str] = os.environ) -> list[ConfigFile]:
    """Read the files, and return them in their order."""
    files: dict[Path, ConfigFile] = {}
    for path in (_CHECKOUT, *_SHARED):
        if given.kind(path) in _MEANT:
            files.setdefault(path.resolve(), read(path, _name(path), shared=path != _CHECKOUT))
    named = environment.get(VARIABLE, "")
    try:
        own = own_path(environment)
    except NotAllowed as error:
        return [*files.values(), ConfigFile(named, findings=[Finding(VARIABLE, named, error.found, error.allowed)])]
    if own is None:
        return [*files.values()]
    if given.kind(own) != given.FILE:
        return [*files.values(), ConfigFile(named, findings=[_no_file(own)])]
    files.pop(own.resolve(), None)  # it must come last
    return [*files.values(), read(own, _name(own))]


def _name(path: Path) -> str:
    """Return what findings call a file: its path relative to the current folder, if it is below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _no_file(path: Path) -> Finding:
    there = sorted(one for one in path.parent.glob("*.cfg") if one.is_file()) if path.parent.is_dir() else []
    near = nearest(path.name, [one.name for one in there])
    found = f"{given.kind(path)} at {path}"
    if not path.is_absolute() and not path.exists():
        found += f" below the current folder, {Path.cwd()}"
    return Finding(VARIABLE, "", found, "a configuration file", str(path.with_name(near)) if near else "")


def report(findings: Sequence[Finding]) -> str:
    """Return the text about the findings, one line each."""
    number = f"{len(findings)} findings" if len(findings) > 1 else "1 finding"
    lines = [f"{number} in the configuration; nothing has been started:", *(printable(str(one)) for one in findings)]
    return "\n".join([*lines, "next: correct them; docs/configuration.md lists every option"])


def load() -> None:
    """Pass the configuration to Luigi. If anything is wrong in it, print the findings and exit."""
    _require_current_folder()
    files = found()
    users = [file for file in files if file.name != _name(_CHECKOUT)]
    writes = is_luigi() or any(_says_where(file) for file in users)
    asked = [ConfigFile(argument, entries=[Entry(argument, "dataset", "recipe", name)]) for argument, name in _asked()]
    _end_if(
        check.findings([*files, *asked])
        + (check.data_dir(files, only_reads=_only_reads()) if writes and not _asked_elsewhere() else [])
    )
    give(files)


def _require_current_folder() -> None:
    """Exit if the current folder was removed: relative paths, such as that of the data folder, mean nothing there."""
    try:
        Path.cwd()
    except OSError as error:
        found, remedy = error.strerror or "", "change to another folder, as by cd, and type it again"
        print(BadInput("the current folder", expected="one that exists", found=found, remedy=remedy), file=sys.stderr)
        raise SystemExit(WAITS_FOR_PERSON) from None


def _asked() -> Iterator[tuple[str, str]]:
    """Yield the argument of the command line that names a recipe, and the recipe, by which the options are checked."""
    for at, word in enumerate(sys.argv):
        name, is_whole, value = word.partition("=")
        if name in RECIPE_OPTIONS and (is_whole or sys.argv[at + 1 :]):
            yield name, value if is_whole else sys.argv[at + 1]


def follow(recipe: str, argument: str) -> None:
    """Follow the recipe that an argument names; if anything is wrong in it, print the findings and exit."""
    asked = ConfigFile(argument, entries=[Entry(argument, "dataset", "recipe", recipe)])
    _end_if(check.findings([*found(), asked]))
    LuigiConfigParser.instance().set("dataset", "recipe", recipe)


def require_data_dir() -> None:
    """Exit if the data folder cannot be used: for commands that need it, since the default is in the current folder."""
    _end_if([] if _asked_elsewhere() else check.data_dir(found(), only_reads=_only_reads()))


def _end_if(wrong: Sequence[Finding]) -> None:
    if wrong:
        print(report(wrong), file=sys.stderr)
        raise SystemExit(WAITS_FOR_PERSON)


def _only_reads() -> bool:
    """Return whether this is a command that says what is there, which others than the owner of the folder may ask."""
    return not is_luigi() and sys.argv[1:2] in (["status"], ["plan"], ["verify"], ["view"])


def is_luigi() -> bool:
    """Return whether this is plain `luigi`, which calls nothing of this project once it has loaded it."""
    return Path(sys.argv[0]).name == "luigi" or Path(sys.argv[0]).parts[-2:] == ("luigi", "__main__.py")


def _says_where(file: ConfigFile) -> bool:
    return "data_dir" in file.values().get("dataset", {})


def _asked_elsewhere() -> bool:
    """Return whether the command line names another data folder."""
    return any(word.startswith("--dataset-data-dir") for word in sys.argv)


def give(files: Sequence[ConfigFile]) -> None:
    """Set Luigi's configuration to our defaults, overridden by the files."""
    interpolation: Any = _FromEnvironment()
    LuigiConfigParser._DEFAULT_INTERPOLATION = interpolation
    settings = LuigiConfigParser.instance()
    settings._interpolation = interpolation  # made when Luigi was imported
    warnings.simplefilter("ignore", UnconsumedParameterWarning)  # it quotes values; `check` covers it
    settings.read_dict(luigi_options.DEFAULTS)
    for file in files:
        settings.read_dict(file.values())


SECRETS = {("cdse", "password"), ("cron", "webhook"), ("smtp", "password"), ("sendgrid", "apikey")}
_PASSWORD_IN_URL = re.compile(r"\w[\w+.-]*://[^/?#]*:.+@|.*[?&](ssl)?password=", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{[^}]+\}")


def files_that_tell_secrets() -> Iterator[Path]:
    """Yield the user's own file, if it contains a password and others can read it; `${NAME}` is not a password."""
    path = own_path()
    if path and path.stat().st_mode & 0o077 and tells_secrets(read(path, str(path))):
        yield path


def tells_secrets(file: ConfigFile) -> bool:
    """Return whether a file contains a password."""
    return any(_tells_secret(entry) for entry in file.entries)


def _tells_secret(entry: Entry) -> bool:
    """Return whether a value is a secret, or one of those that are not shown, with a password in a URL."""
    text = _VARIABLE.sub("", entry.text)
    if (entry.section, entry.option) in SECRETS:
        return bool(text)
    if entry.section in sections.SECTIONS:
        option = sections.options_of(sections.SECTIONS[entry.section]).get(entry.option)
    else:
        option = (luigi_options.declared().get(entry.section) or {}).get(entry.option)
    if option is None or check.is_quoted(entry.option, option):
        return False
    urls = option.words(text) if isinstance(option, Words) else [text]
    return any(_PASSWORD_IN_URL.match(url) for url in urls)
