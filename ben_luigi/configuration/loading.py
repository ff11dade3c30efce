"""The configuration's files, found, checked, and given to Luigi; or what is wrong in them, and the end.

Each counts more than those before it: this project's own defaults; its `luigi.cfg`, where it runs from its checkout;
Luigi's places, `/etc/luigi/luigi.cfg` and `luigi.cfg` in the current folder; and what LUIGI_CONFIG_PATH names.
"""

from __future__ import annotations

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

from ben_luigi.configuration import check, luigi_options
from ben_luigi.configuration.files import ConfigFile, Finding, read
from ben_luigi.configuration.kinds import NotAllowed, PathName, nearest
from ben_luigi.domain import given
from ben_luigi.domain.errors import printable

WAITS_FOR_PERSON = 20
"""The exit code where the configuration has to be corrected."""

VARIABLE = "LUIGI_CONFIG_PATH"
_CHECKOUT = Path(__file__).resolve().parents[2] / "luigi.cfg"
_SHARED = (Path("/etc/luigi/luigi.cfg"), Path("luigi.cfg"))


class _FromEnvironment(EnvironmentInterpolation):
    """`${NAME}` is taken from the environment, and nothing else means anything, as `%` does for Luigi."""

    def before_get(self, parser: Any, section: str, option: str, value: str, defaults: Any) -> str:
        """InterpolationError for a variable that is not there; Luigi's own quotes the value, which may be a secret."""
        try:
            return str(super().before_get(parser, section, option, value, defaults))
        except InterpolationMissingEnvvarError:
            raise InterpolationError(option, section, f"[{section}] {option}: no such variable") from None


def own_path(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The file that LUIGI_CONFIG_PATH names, if it does; NotAllowed if a variable in it is not there."""
    named = environment.get(VARIABLE, "")
    return Path(PathName(description="").parse(named)) if named else None


def found(environment: Mapping[str, str] = os.environ) -> list[ConfigFile]:
    """The files, read, in their order."""
    files: dict[Path, ConfigFile] = {}
    for path in (_CHECKOUT, *_SHARED):
        if path.is_file():
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
    files.pop(own.resolve(), None)  # it comes last
    return [*files.values(), read(own, _name(own))]


def _name(path: Path) -> str:
    """How a file is called: from the current folder, if it lies there."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _no_file(path: Path) -> Finding:
    there = sorted(path.parent.glob("*.cfg")) if path.parent.is_dir() else []
    near = nearest(path.name, [one.name for one in there])
    found = f"{given.kind(path)} at {path}"
    return Finding(VARIABLE, "", found, "a configuration file", str(path.with_name(near)) if near else "")


def report(findings: Sequence[Finding]) -> str:
    """What is said of the findings, a line for each."""
    number = f"{len(findings)} findings" if len(findings) > 1 else "1 finding"
    lines = [f"{number} in the configuration; nothing has been started:", *(printable(str(one)) for one in findings)]
    return "\n".join([*lines, "next: correct them; docs/configuration.md lists every option"])


def load() -> None:
    """Give the configuration to Luigi. Ends here, with what is wrong, if anything in it is."""
    files = found()
    users = [file for file in files if file.name != _name(_CHECKOUT)]
    writes = _is_luigi() or any(_says_where(file) for file in users)
    _end_if(check.findings(files) + (check.data_dir(files) if writes and not _asked_elsewhere() else []))
    give(files)


def require_data_dir() -> None:
    """Ends here if there is nowhere to work: for commands that need it, since the default is in the current folder."""
    _end_if([] if _asked_elsewhere() else check.data_dir(found()))


def _end_if(wrong: Sequence[Finding]) -> None:
    if wrong:
        print(report(wrong), file=sys.stderr)
        raise SystemExit(WAITS_FOR_PERSON)


def _is_luigi() -> bool:
    """Whether this is plain `luigi`, which asks nothing of us once it has loaded us."""
    return Path(sys.argv[0]).name == "luigi"


def _says_where(file: ConfigFile) -> bool:
    return "data_dir" in file.values().get("dataset", {})


def _asked_elsewhere() -> bool:
    """Whether the command line names another folder to work in."""
    return any(word.startswith("--dataset-data-dir") for word in sys.argv)


def give(files: Sequence[ConfigFile]) -> None:
    """Have Luigi take what the files say over our defaults."""
    interpolation: Any = _FromEnvironment()
    LuigiConfigParser._DEFAULT_INTERPOLATION = interpolation
    settings = LuigiConfigParser.instance()
    settings._interpolation = interpolation  # it is made as Luigi is imported
    warnings.simplefilter("ignore", UnconsumedParameterWarning)  # which quotes a value; `check` knows what is none
    settings.read_dict(luigi_options.DEFAULTS)
    for file in files:
        settings.read_dict(file.values())


_SECRETS = {("cdse", "password"), ("cron", "webhook")}
_URLS = {("database", "url"), ("core", "scheduler_url")}
_PASSWORD_IN_URL = re.compile(r"\w[\w+.-]*://[^/?#]*:.+@|.*[?&](ssl)?password=", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{[^}]+\}")


def files_that_tell_secrets() -> Iterator[Path]:
    """The user's own file, if it has a password in it that others can read; `${NAME}` of the environment is none."""
    path = own_path()
    if path and path.stat().st_mode & 0o077 and tells_secrets(read(path, str(path))):
        yield path


def tells_secrets(file: ConfigFile) -> bool:
    """Whether a password stands in a file."""
    entries = {(entry.section, entry.option): _VARIABLE.sub("", entry.text) for entry in file.entries}
    return any(entries.get(where) for where in _SECRETS) or any(
        _PASSWORD_IN_URL.match(entries.get(where, "")) for where in _URLS
    )
