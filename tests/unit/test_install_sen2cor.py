"""The installer is ESA's, and cannot be had here: a script with the same command line stands for it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ben_luigi.domain.errors import BadInput, Sen2CorError
from ben_luigi.domain.fetching.sen2cor_installer import INSTALLER, install
from ben_luigi.domain.inputs import PinnedFile

SCRIPT = '#!/bin/sh\n[ "$1" = --target ] || exit 2\nmkdir -p "$2/bin" && echo "#!/bin/sh" > "$2/bin/L2A_Process"\n'


def _pinned(path: Path) -> PinnedFile:
    return PinnedFile(path.name, "https://example.invalid/x.run", sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def test_the_installer_is_run_into_the_folder(tmp_path: Path) -> None:
    file = tmp_path / "x.run"
    file.write_text(SCRIPT)
    program = install(tmp_path / "sen2cor", file, _pinned(file))
    assert program == tmp_path / "sen2cor" / "bin" / "L2A_Process"
    assert program.is_file()
    with pytest.raises(Sen2CorError, match="absent or empty"):
        install(tmp_path / "sen2cor", file, _pinned(file))


def test_another_installer_is_not_run(tmp_path: Path) -> None:
    file = tmp_path / "x.run"
    file.write_text(SCRIPT)
    with pytest.raises(BadInput, match=INSTALLER.sha256):
        install(tmp_path / "sen2cor", file)
    assert not (tmp_path / "sen2cor").exists()


@pytest.mark.parametrize("script", ["exit 3\n", "true\n"])
def test_an_installer_that_leaves_no_program_has_failed(tmp_path: Path, script: str) -> None:
    file = tmp_path / "x.run"
    file.write_text(script)
    with pytest.raises(Sen2CorError, match="exit code"):
        install(tmp_path / "sen2cor", file, _pinned(file))
