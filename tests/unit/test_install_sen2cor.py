"""The installer is ESA's, and cannot be had here: a script with the same command line stands for it."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from ben_luigi.commands import install_sen2cor
from ben_luigi.domain.cdse.http import Patience
from ben_luigi.domain.errors import BadArgument, BadInput, Sen2CorError
from ben_luigi.domain.fetching.sen2cor_installer import INSTALLER, install
from ben_luigi.domain.inputs import PinnedFile
from ben_luigi.exit_codes import ExitCode
from ben_luigi.sample.file_server import ESA, FileServer
from ben_luigi.sample.loopback import Fault

SCRIPT = '#!/bin/sh\n[ "$1" = --target ] || exit 2\nmkdir -p "$2/bin" && echo "#!/bin/sh" > "$2/bin/L2A_Process"\n'


def _pinned(path: Path) -> PinnedFile:
    return PinnedFile(path.name, "https://example.invalid/x.run", sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def test_the_installer_is_run_into_the_folder(tmp_path: Path) -> None:
    file = tmp_path / "x.run"
    file.write_text(SCRIPT)
    program = install(tmp_path / "sen2cor", file, _pinned(file))
    assert program == tmp_path / "sen2cor" / "bin" / "L2A_Process"
    assert program.is_file()
    with pytest.raises(BadArgument, match=r"absent or empty.*remove it, if an installation has broken off there"):
        install(tmp_path / "sen2cor", file, _pinned(file))


def test_another_installer_is_not_run(tmp_path: Path) -> None:
    file = tmp_path / "x.run"
    file.write_text(SCRIPT)
    with pytest.raises(BadInput, match=INSTALLER.sha256):
        install(tmp_path / "sen2cor", file)
    assert not (tmp_path / "sen2cor").exists()


@pytest.mark.parametrize("script", ["exit 3\n", "true\n", 'mkdir -p "$2/lib"\nexit 3\n'])
def test_an_installer_that_leaves_no_program_has_failed(tmp_path: Path, script: str) -> None:
    file = tmp_path / "x.run"
    file.write_text(script)
    with pytest.raises(Sen2CorError, match="exit code"):
        install(tmp_path / "sen2cor", file, _pinned(file))
    assert not (tmp_path / "sen2cor").exists()


LASTING = """#!/bin/sh
mkdir -p "$2/lib"
exec 3> "${0%/*}/pipe"
(sleep 60; mkdir -p "$2/late") &
echo begun >&3
wait
"""
"""An installer that has started another process, which writes later."""

INSTALL = """
import sys
from pathlib import Path
from ben_luigi.domain.fetching.sen2cor_installer import install
from ben_luigi.domain.inputs import PinnedFile
install(Path(sys.argv[1]), Path(sys.argv[2]), PinnedFile("x.run", "", sha256=sys.argv[3]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_installation_that_is_stopped_leaves_neither_processes_nor_files(number: int, tmp_path: Path) -> None:
    file = tmp_path / "x.run"
    file.write_text(LASTING)
    os.mkfifo(tmp_path / "pipe")
    command = [sys.executable, "-c", INSTALL, str(tmp_path / "sen2cor"), str(file), _pinned(file).sha256 or ""]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    with (tmp_path / "pipe").open() as pipe:
        assert pipe.readline() == "begun\n"
        process.send_signal(number)
        assert pipe.read() == ""  # the last process that writes to it has ended
    process.communicate()  # and the guard, which has the same output
    assert process.returncode != 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipe", "x.run"]


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        ("500", ExitCode.FAILED, "run again later: what has come is kept"),
        ("short", ExitCode.FAILED, "run again later: what has come is kept"),
        ("404", ExitCode.WAITS_FOR_PERSON, "HTTP 404"),
        ("flipped bit", ExitCode.WAITS_FOR_PERSON, "kept as"),
        ("", ExitCode.WRONG_ARGUMENTS, "an absent or empty folder"),
    ],
)
def test_the_exit_code_says_whether_running_again_helps(
    fault: str,
    code: ExitCode,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if not fault:
        (tmp_path / "sen2cor" / "mine").mkdir(parents=True)
    with FileServer({ESA: SCRIPT.encode()}, [Fault(fault, times=None)]) as server:
        pinned = PinnedFile("x.run", server.url(ESA), sha256=hashlib.sha256(SCRIPT.encode()).hexdigest())
        patient = Patience(tries=2, first_pause_s=0.001)
        monkeypatch.setattr(install_sen2cor, "install", partial(install, pinned=pinned, patience=patient))
        assert install_sen2cor.main([str(tmp_path / "sen2cor")]) == code
    assert said in capsys.readouterr().err
