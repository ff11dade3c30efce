"""Exit codes of the commands that work on folders of the user: what was typed is wrong, or a person has to act."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import ModuleType

import pytest

from ben_luigi.commands import check_published, compare_levels, hash_folder, new
from ben_luigi.domain import files
from ben_luigi.exit_codes import ExitCode


def _full(path: Path, text: str) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def test_on_a_full_disk_a_person_has_to_make_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(files, "write_text", _full)
    assert new.main(["my-region", str(tmp_path)]) == ExitCode.WAITS_FOR_PERSON
    assert "expected: room" in capsys.readouterr().err


def test_a_name_that_is_taken_is_a_wrong_argument(tmp_path: Path) -> None:
    (tmp_path / "my-region.toml").touch()
    assert new.main(["my-region", str(tmp_path)]) == ExitCode.WRONG_ARGUMENTS
    assert new.main(["other", str(tmp_path), "--like", "nope"]) == ExitCode.WRONG_ARGUMENTS


@pytest.mark.parametrize("command", [check_published, compare_levels, hash_folder])
def test_a_path_that_leads_nowhere_is_a_wrong_argument(
    command: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = command.main
    assert main([str(tmp_path / "none")]) == ExitCode.WRONG_ARGUMENTS
    assert f"{tmp_path / 'none'}; expected: " in capsys.readouterr().err


@pytest.mark.parametrize("command", [check_published, hash_folder])
def test_a_folder_that_lacks_files_waits_for_a_person(command: ModuleType, tmp_path: Path) -> None:
    assert command.main([str(tmp_path)]) == ExitCode.WAITS_FOR_PERSON
