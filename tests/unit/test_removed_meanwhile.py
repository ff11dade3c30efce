"""What another process removes, or leaves half written, while a command looks at it ends in no traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ben_luigi.commands import fetch_l2a
from ben_luigi.stages import resolve, survey

PRODUCT = "S2A_MSIL2A_20180508T104031_N0207_R008_T31UGR_20180508T124025"


def test_the_size_of_the_data_folder_leaves_out_what_goes(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stays", "goes"):
        (data_dir / name).write_bytes(b"12345")
    look = Path.lstat

    def lstat(path: Path) -> object:
        if path.name == "goes":
            path.unlink()
        return look(path)

    monkeypatch.setattr(Path, "lstat", lstat)
    assert survey.used_bytes() == 5


@pytest.mark.parametrize("text", ["", "{", "[]", '{"31UGR_20180508": 5}'])
def test_a_damaged_list_of_missing_products_counts_as_none(text: str, tmp_path: Path) -> None:
    file = tmp_path / "missing.json"
    file.write_text(text)
    resolve._missing.cache_clear()
    assert resolve._missing(file, 0) == {}


@pytest.mark.parametrize("below", ["", "l2a"])
def test_a_file_where_products_should_go_is_refused(
    below: str, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data_dir / "file").touch()
    folder = data_dir / "file" / below
    assert fetch_l2a.main([str(folder), PRODUCT]) == 2
    assert f"{folder}; expected: a folder" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["plan", "new my-region"])
def test_in_a_folder_that_was_removed_a_command_says_so(name: str, tmp_path: Path) -> None:
    program = f"{sys.executable} -m ben_luigi {name}"
    gone = tmp_path / "gone"
    gone.mkdir()
    ended = subprocess.run(
        ["sh", "-c", f"rmdir {gone}; {program}"], cwd=gone, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr.count("\n")) == (20, 1)
    assert ended.stderr.startswith("the current folder; expected: one that exists")
