"""The program that runs the stand-in for Sen2Cor, and how this Python is started again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ben_luigi import terminal
from ben_luigi.domain import surroundings
from ben_luigi.sample import launcher
from ben_luigi.stages.converter import FindSen2Cor


def test_a_stand_in_whose_environment_is_gone_is_written_anew(data_dir: Path) -> None:
    program = data_dir / "sample" / "bin" / "L2A_Process"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nexec /gone/bin/python -P -c x\n")
    program.chmod(0o755)
    find = FindSen2Cor()
    assert not find.complete()
    find.run()
    assert find.complete()
    assert "Sen2Cor" in subprocess.run([program, "-h"], capture_output=True, text=True, check=True).stdout


def test_it_runs_in_folders_with_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "a b \udcfc 'ü'" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(python))
    launcher.write(tmp_path / "bin" / "L2A_Process")
    said = subprocess.run([tmp_path / "bin" / "L2A_Process", "-h"], capture_output=True, text=True, check=False)
    assert "No such file" not in said.stderr and "not found" not in said.stderr


def test_this_python_finds_its_library_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a cluster whose modules set LD_LIBRARY_PATH; other programs do not get it."""
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/python 3/lib")
    assert "LD_LIBRARY_PATH" not in surroundings.of_child()
    assert surroundings.of_own_python()["LD_LIBRARY_PATH"] == "/opt/python 3/lib"
    launcher.write(tmp_path / "bin" / "L2A_Process")
    assert "exec env 'LD_LIBRARY_PATH=/opt/python 3/lib' " in (tmp_path / "bin" / "L2A_Process").read_text()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    started: list[dict[str, str]] = []

    def popen(*_: object, env: dict[str, str], **__: object) -> None:
        started.append(env)
        raise OSError("enough")

    monkeypatch.setattr(subprocess, "Popen", popen)
    with pytest.raises(OSError, match="enough"), terminal.opened():
        pass
    assert started[0]["LD_LIBRARY_PATH"] == "/opt/python 3/lib"
