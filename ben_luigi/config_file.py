"""The user's own configuration file, looked at before Luigi reads it: its errors quote the line, and so a password."""

from __future__ import annotations

import configparser
import os
import re
import stat
from pathlib import Path

from ben_luigi.domain.errors import BadInput

_FROM_ENVIRONMENT = re.compile(r"\$\{([^}]+)\}")
_SECRETS = {("cdse", "password"), ("cron", "webhook")}
_URLS = {("database", "url"), ("core", "scheduler_url")}
_PASSWORD_IN_URL = re.compile(r"\w[\w+.-]*://[^/?#]*:.+@|.*[?&](ssl)?password=", re.IGNORECASE)


def own() -> Path | None:
    """The file that LUIGI_CONFIG_PATH names, if it does. BadInput if it cannot be read, or something is wrong in it."""
    named = os.environ.get("LUIGI_CONFIG_PATH")
    if not named:
        return None
    path = Path(named)
    for section, options in _read(path).items():
        for option, value in options.items():
            for name in _FROM_ENVIRONMENT.findall(value):
                if name not in os.environ:
                    raise BadInput(
                        f"{path}: [{section}] {option}",
                        expected=f"a variable {name} in the environment, since it says ${{{name}}}",
                        found="none",
                        remedy="export it, or write the value into the file and give that mode 0600",
                    )
    return path


def tells_secrets(path: Path) -> bool:
    """Whether the file has a password in it that others can read; `${NAME}` of the environment is none."""
    if not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return False
    said = {
        (section, option): _FROM_ENVIRONMENT.sub("", value)
        for section, options in _read(path).items()
        for option, value in options.items()
    }
    if any(said.get(where) for where in _SECRETS):
        return True
    return any(_PASSWORD_IN_URL.match(said.get(where, "")) for where in _URLS)


def _read(path: Path) -> dict[str, dict[str, str]]:
    """All that a file says, as it stands there."""
    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        with path.open() as file:
            parser.read_file(file)
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise BadInput(
            f"LUIGI_CONFIG_PATH: {path}",
            expected="a configuration file: [section], then lines `option = value`, each option once",
            found=_reason(error),
            remedy="correct it; luigi.cfg shows how it looks",
        ) from None
    return {section: dict(parser.items(section)) for section in parser.sections()}


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"nothing that can be read: {error.strerror}"
    if isinstance(error, UnicodeDecodeError):
        return f"bytes that are no {error.encoding}"
    lines = [line for line, _ in getattr(error, "errors", [])]
    number = lines[0] if lines else getattr(error, "lineno", None)
    return f"another line: number {number}" if number else type(error).__name__
