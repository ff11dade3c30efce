"""Ctrl-C at a terminal, and the end of that terminal, at any moment: one line, the exit code, and nothing left."""

from __future__ import annotations

import re
import select
import signal
import socket
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.on_terminal import OnTerminal
from tests.integration.stopping import living

WHOLE = re.compile(r"\d+ of \d+ tasks, \d+ running")
BAR = re.compile(r".*(%\||\[\d\d:\d\d, )")  # with the total, and before it is known
LOGGED = re.compile(r"\d\d:\d\d:\d\d .*")
DRAWN = re.compile(r"\r?\x1b\[J.*\r")
STOPPED = "stopped by Ctrl-C: FinalizeDataset is not complete; run the same command again: only what is missing is made"


def _says(text: str) -> Callable[[OnTerminal], bool]:
    return lambda run: text in run.said


def _runs(program: str) -> Callable[[OnTerminal], bool]:
    """A process of this program, or with it among its arguments, works in the folder."""

    def moment(run: OnTerminal) -> bool:
        return any(program in words for words in living(run.folder))

    return moment


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stopped")


MOMENTS: dict[str, Callable[[OnTerminal], bool]] = {
    "it begins": _says("FinalizeDataset on the sample world"),
    "initdb runs": _runs("initdb"),
    "a task is done": lambda run: re.search(r" s  \w+\(", run.said) is not None,
    "Sen2Cor runs": _runs("sen2cor_stand_in"),
    "bars are drawn": _says("%|"),
}


@pytest.mark.parametrize("how", ["Ctrl-C", "its terminal is closed"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_ends_at_once_when(folder: Path, moment: str, how: str) -> None:
    """One run after another in one folder; each goes on where the one before was stopped."""
    if moment == "initdb runs" and (folder / "data" / "database" / "cluster").exists():
        (folder / "data").rename(folder / f"data-{uuid.uuid4().hex}")
    run = OnTerminal(folder, sys.executable, "-m", "ben_luigi", "run")
    run.reach(MOMENTS[moment])
    before = len(run.said)
    assert moment != "bars are drawn" or WHOLE.search(run.said)
    if how == "Ctrl-C":
        run.press(b"\x03")
        assert run.code() == 130, run.said
        after = DRAWN.sub("", run.said[before:]).replace("^C", "")
        lines = [line.strip() for line in re.split(r"\n|\r?\x1b\[J", after)]
        drawn = [line for line in lines if BAR.match(line) or WHOLE.match(line)]
        assert [line for line in lines if line and not LOGGED.fullmatch(line) and line not in drawn] == [STOPPED]
    else:
        run.close_terminal()
        assert run.code() == 129
    assert run.left() == []
    assert [path for path in (folder / "data").rglob(".unfinished-*") if "sample" not in path.parts] == []


@pytest.mark.parametrize("command", ["run", "plan", "status", "verify", "cron-rerun", "luigid"])
def test_a_command_that_is_still_being_loaded(tmp_path: Path, command: str) -> None:
    run = OnTerminal(tmp_path, sys.executable, "-X", "importtime", "-m", "ben_luigi", command)
    run.reach(_says("numpy._core._multiarray_umath"))
    run.press(b"\x03")
    assert run.code() == 130, run.said
    lines = [line.removeprefix("^C") for line in run.said.splitlines() if "import time:" not in line]
    assert lines == ["stopped by Ctrl-C"]
    assert run.left() == []


@pytest.mark.parametrize(
    "options",
    [
        "[core]\nlocal_scheduler = false\nscheduler_host = 127.0.0.1\nscheduler_port = {port}\n",
        "[database]\nurl = postgresql://me:secret@127.0.0.1:{port}/none\n",
    ],
    ids=["luigid", "PostgreSQL"],
)
def test_while_a_server_is_asked_and_does_not_answer(tmp_path: Path, options: str) -> None:
    """PostgreSQL's library does not return to Python while it waits; so another thread ends the run."""
    own = tmp_path / "own.cfg"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        own.write_text(f"[dataset]\nworld = sample\n{options.format(port=listening.getsockname()[1])}")
        own.chmod(0o600)
        run = OnTerminal(tmp_path, sys.executable, "-m", "ben_luigi", "run", LUIGI_CONFIG_PATH=str(own))
        run.reach(lambda _: bool(select.select([listening], [], [], 0)[0]))
        with listening.accept()[0]:
            run.press(b"\x03")
            assert run.code() == 130, run.said
    assert re.split(r"\n|\r?\x1b\[J", run.said.rstrip("\r\n\x1b[J"))[-1].endswith(STOPPED)
    assert "Traceback" not in run.said
    assert run.left() == []


def test_nohup_goes_on_without_its_terminal(tmp_path: Path) -> None:
    """What was ignored from the start stays ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run = OnTerminal(tmp_path, sys.executable, "-X", "importtime", "-m", "ben_luigi", "status")
    finally:
        signal.signal(signal.SIGHUP, before)
    run.reach(_says("numpy._core._multiarray_umath"))
    run.close_terminal()
    assert run.code() == 0
    assert run.left() == []
