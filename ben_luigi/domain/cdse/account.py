"""Find user name and password for CDSE: in the environment, in a netrc-style file, or typed in at a terminal."""

from __future__ import annotations

import errno
import getpass
import netrc
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ben_luigi.domain import given, private
from ben_luigi.domain.cdse.errors import CredentialsError

_TERMINAL = Path("/dev/tty")
USER, PASSWORD = "CDSE_USER", "CDSE_PASSWORD"


@dataclass(frozen=True)
class Credentials:
    """An account at CDSE; the password is never shown."""

    user: str
    password: str = field(repr=False)


def find_credentials(environment: Mapping[str, str], file: Path, host: str) -> Credentials:
    """Return credentials from CDSE_USER and CDSE_PASSWORD, else the entry of `host` in `file`, else from the terminal.

    Raise CredentialsError if there are none, or if others than its owner can read `file`.
    """
    found = given_credentials(environment, file, host)
    if found is None and has_terminal():
        found = _typed_in(host)
    if found is None:
        raise CredentialsError(
            "CDSE account",
            expected=f"{USER} and {PASSWORD} in the environment, or an entry of {host} in {file}",
            found="neither, and nothing was typed in" if has_terminal() else "neither, and no terminal to ask at",
            remedy=f"write 'machine {host} login NAME password PASSWORD' to {file}, and chmod 600 it",
        )
    return found


def credentials_file(named: str) -> Path:
    """Return the path of the file, with `~` expanded; as it is, where this user has no home."""
    return Path(os.path.expanduser(named))  # noqa: PTH111 - which raises there


def given_credentials(environment: Mapping[str, str], file: Path, host: str) -> Credentials | None:
    """Return the credentials in the environment or the file, without asking the user."""
    if environment.get(USER) and environment.get(PASSWORD):
        return Credentials(environment[USER], environment[PASSWORD])
    what = given.kind(file)
    if what == os.strerror(errno.EACCES):  # as where HOME is that of another user, after `sudo -u`
        raise CredentialsError(
            str(file),
            expected=f"a place that this user, {os.geteuid()}, may look at",
            found=what,
            remedy=f"set {USER} and {PASSWORD}, or [cdse] credentials to a file of yours; is HOME that of this user?",
        )
    return _from_file(file, host) if what == given.FILE else None


def _from_file(file: Path, host: str) -> Credentials | None:
    if private.is_open_to_others(file):
        raise CredentialsError(
            str(file),
            expected="a file that only its owner can read",
            found="one that others can read",
            remedy=f"type: chmod 600 {file}",
        )
    try:
        entry = netrc.netrc(str(file)).hosts.get(host)
    except (netrc.NetrcParseError, UnicodeDecodeError, PermissionError):
        # The parser's message may quote the password, so it is not shown.
        raise CredentialsError(
            str(file),
            expected=f"lines 'machine {host} login NAME password PASSWORD'",
            found="something else",
            remedy="write that line anew; it is not shown here",
        ) from None
    return Credentials(entry[0], entry[2]) if entry and entry[0] and entry[2] else None


def has_terminal() -> bool:
    """Return whether the user can be asked: there is a terminal, and this process is in its foreground.

    Workers have no standard input, but they have the terminal. A process in the background would be stopped by asking.
    """
    try:
        terminal = os.open(_TERMINAL, os.O_RDWR)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def ask_code() -> str:
    """Return the code of the second factor, typed in at the terminal; empty if there is none."""
    try:
        return getpass.getpass("CDSE two-factor code: ").strip()
    except EOFError:
        return ""


def _typed_in(host: str) -> Credentials | None:
    """Return what is typed in at the terminal, whatever standard input and output are; None if nothing is."""
    with _TERMINAL.open("w", encoding="utf-8") as shown, _TERMINAL.open(encoding="utf-8") as typed:
        print(f"CDSE user name (for {host}): ", end="", file=shown, flush=True)
        user = typed.readline().strip()
    try:
        password = getpass.getpass("CDSE password: ") if user else ""
    except EOFError:
        password = ""
    return Credentials(user, password) if user and password else None


def confirmed(question: str) -> bool | None:
    """Return whether the person at the terminal says yes to a question; None if nobody answers."""
    with suppress(OSError), _TERMINAL.open("w", encoding="utf-8") as shown, _TERMINAL.open(encoding="utf-8") as typed:
        print(f"{question} [y/N] ", end="", file=shown, flush=True)
        line = typed.readline()
        return line.strip().lower() in ("y", "yes") if line else None
    return None
