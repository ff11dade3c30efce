"""Sen2Cor's licence is asked for once at a terminal; nothing is fetched before somebody has accepted it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ben_luigi.domain import files
from ben_luigi.sample.file_server import ESA, FileServer
from tests.integration.on_terminal import OnTerminal
from tests.integration.running import ROOT, environment

INSTALLER = b'#!/bin/sh\nmkdir -p "$2/bin" && echo "#!/bin/sh" > "$2/bin/L2A_Process"\n'
RUN = """
import sys
from dataclasses import replace
from ben_luigi.commands import run
from ben_luigi.domain.fetching import sen2cor_installer as esa
esa.INSTALLER = replace(esa.INSTALLER, url=sys.argv[1], sha256=sys.argv[2])
sys.exit(run.main(["InstallSen2Cor", "--world=real"]))
"""
"""`ben-luigi run InstallSen2Cor`, with another installer than ESA's, which is not at hand."""

QUESTION = "Do you accept them? [y/N]"
REMEDY = "[sen2cor] accept_licence = true"
DECLINED = "it was declined at a terminal"


@dataclass
class Machine:
    """A machine without Sen2Cor, and ESA's site."""

    folder: Path
    esa: FileServer

    @property
    def command(self) -> list[str]:
        """What installs Sen2Cor."""
        return [sys.executable, "-c", RUN, self.esa.url(ESA), hashlib.sha256(INSTALLER).hexdigest()]

    @property
    def more(self) -> dict[str, str]:
        """Its environment: no Sen2Cor on PATH."""
        own = self.folder / "own.cfg"
        return {"LUIGI_CONFIG_PATH": str(own), "HOME": str(self.folder), "PATH": "/usr/bin:/bin"}

    def at_terminal(self) -> OnTerminal:
        """Run it as a person does."""
        return OnTerminal(self.folder, *self.command, **self.more)

    def in_the_background(self) -> tuple[int, str]:
        """Run it as cron does: without a terminal."""
        done = subprocess.run(
            self.command,
            cwd=self.folder,
            env={**environment(**self.more), "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            check=False,
        )
        return done.returncode, done.stdout

    @property
    def sen2cor(self) -> Path:
        """The folder in which it is installed."""
        return self.folder / "data" / "sen2cor"

    @property
    def is_installed(self) -> bool:
        """Whether it is there."""
        return bool([*self.sen2cor.glob("*/bin/L2A_Process")])


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    (tmp_path / "own.cfg").write_text("[dataset]\nworld = real\n")
    with FileServer({ESA: INSTALLER}) as esa:
        yield Machine(tmp_path, esa)


def test_yes_is_asked_for_once(machine: Machine) -> None:
    run = machine.at_terminal()
    run.reach(lambda run: QUESTION in run.said)
    assert "https://step.esa.int/" in run.said and not machine.esa.counts
    run.press(b"Yes\n")
    assert run.code() == 0, run.said
    assert machine.is_installed and machine.esa.counts["whole"] == 1
    for path in machine.sen2cor.iterdir():
        if path.name != "licence_accepted.json":
            files.remove(path)
    again = machine.at_terminal()
    assert again.code() == 0, again.said
    assert QUESTION not in again.said and machine.is_installed


@pytest.mark.parametrize("answer", [b"n\n", b"\n"], ids=["no", "enter"])
def test_no_is_remembered_until_the_user_says_otherwise(answer: bytes, machine: Machine) -> None:
    run = machine.at_terminal()
    run.reach(lambda run: QUESTION in run.said)
    run.press(answer)
    assert run.code() == 20, run.said
    assert DECLINED in run.said and REMEDY in run.said and "Traceback" not in run.said
    assert not machine.esa.counts and not (machine.sen2cor / "licence_accepted.json").exists()
    again = machine.at_terminal()
    assert again.code() == 20, again.said
    assert QUESTION not in again.said and DECLINED in again.said and REMEDY in again.said
    code, said = machine.in_the_background()
    assert code == 20 and DECLINED in said, said
    assert not machine.esa.counts


def test_a_licence_once_declined_is_accepted_by_the_option(machine: Machine) -> None:
    run = machine.at_terminal()
    run.reach(lambda run: QUESTION in run.said)
    run.press(b"n\n")
    assert run.code() == 20, run.said
    (machine.folder / "own.cfg").write_text("[dataset]\nworld = real\n[sen2cor]\naccept_licence = true\n")
    code, said = machine.in_the_background()
    assert code == 0 and machine.is_installed, said


def test_a_question_that_nobody_answers_is_asked_again(machine: Machine) -> None:
    for _ in range(2):
        run = machine.at_terminal()
        run.reach(lambda run: QUESTION in run.said)
        run.press(b"\x04")
        assert run.code() == 20, run.said
        assert REMEDY in run.said and DECLINED not in run.said and "Traceback" not in run.said
    assert not machine.esa.counts and not (machine.sen2cor / "licence_accepted.json").exists()


def test_ctrl_c_at_the_question_stops_the_run(machine: Machine) -> None:
    run = machine.at_terminal()
    run.reach(lambda run: QUESTION in run.said)
    run.press(b"\x03")
    assert run.code() == 130, run.said
    assert "Traceback" not in run.said and run.left() == [] and not machine.esa.counts


def test_nobody_is_asked_where_there_is_no_terminal(machine: Machine) -> None:
    code, said = machine.in_the_background()
    assert code == 20 and REMEDY in said and QUESTION not in said, said
    assert not machine.esa.counts
    (machine.folder / "own.cfg").write_text("[dataset]\nworld = real\n[sen2cor]\naccept_licence = true\n")
    code, said = machine.in_the_background()
    assert code == 0 and machine.is_installed, said


def test_the_option_accepts_it_at_a_terminal_too(machine: Machine) -> None:
    (machine.folder / "own.cfg").write_text("[dataset]\nworld = real\n[sen2cor]\naccept_licence = true\n")
    run = machine.at_terminal()
    assert run.code() == 0, run.said
    assert QUESTION not in run.said and machine.is_installed
