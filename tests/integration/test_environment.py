"""`scripts/environment` of a copy, with a Python that makes nothing."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.on_terminal import OnTerminal
from tests.integration.running import ROOT

PYTHON = """#!/bin/sh
case "$1 $2" in
  "-c "*) exit 0 ;;
  "-m venv") mkdir -p .venv/bin; ln -sf "$0" .venv/bin/python ;;
  "-m pip") [ -e whole ] && exit; [ "$3" = --version ] && exit 1; echo installing; sleep 1000 & sleep 1000 ;;
esac
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "environment", folder / "scripts")
    for name in ("setup.cfg", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    (tmp_path / "python3.11").write_text(PYTHON)
    (tmp_path / "python3.11").chmod(0o755)
    return folder


def _path(copy: Path) -> str:
    return f"{copy.parent}:{os.environ['PATH']}"


@pytest.mark.parametrize("how", ["Ctrl-C", "its terminal is closed"])
def test_it_is_stopped_while_it_installs(copy: Path, how: str) -> None:
    run = OnTerminal(copy, str(copy / "scripts" / "environment"), PATH=_path(copy))
    run.reach(lambda run: "installing" in run.said)
    if how == "Ctrl-C":
        run.press(b"\x03")
        assert run.code() == 130
        assert run.said.splitlines()[1:] == [
            "installing",
            "^Cstopped by Ctrl-C: the environment is not made; run the same command again",
        ]
    else:
        run.close_terminal()
        assert run.code() == 129
    assert run.left() == []
    assert not (copy / ".venv" / "made-from").exists()


def test_who_waits_for_another_that_makes_it_says_so(copy: Path) -> None:
    """The lock is its owner's alone."""
    script = copy / "scripts" / "environment"
    script.write_text(script.read_text().replace("patience=10\n", "patience=0.01\n"))
    (copy / "whole").touch()
    lock = copy / ".venv-lock"
    lock.write_text("process 7 on a host\n")
    lock.chmod(0o644)
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with subprocess.Popen([script], stderr=subprocess.PIPE, text=True, env={"PATH": _path(copy)}) as waiting:
            assert waiting.stderr
            assert waiting.stderr.readline() == (
                "waiting for another process that makes .venv, last: process 7 on a host\n"
            )
            fcntl.flock(held, fcntl.LOCK_UN)
            waiting.communicate()
    assert lock.stat().st_mode & 0o777 == 0o600
    assert lock.read_text().startswith(f"process {waiting.pid} on ")
