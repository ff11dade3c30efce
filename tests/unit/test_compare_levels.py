"""`ben-luigi compare-levels` beside the zstd program."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ben_luigi.commands import compare_levels
from ben_luigi.domain.formats import levels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files that compress, the larger of more than a chunk, and an empty one in a folder of its own."""
    draw = np.random.default_rng(0)
    for name, size in (("a.tif", 1_300_000), ("b.tif", 5_000)):
        (tmp_path / name).write_bytes(draw.integers(0, 40, size, dtype="uint16").tobytes())
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "empty.tif").touch()
    return tmp_path


def test_sizes_are_those_of_the_zstd_program(folder: Path) -> None:
    zstd = shutil.which("zstd")
    if zstd is None:
        pytest.skip("needs the zstd program")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for level in (1, 6):
        found = levels.compress(files, level)
        command = [zstd, f"-{level}", "-q", "-c", "-T1", "--check"]
        packed = sum(len(subprocess.run([*command, path], capture_output=True, check=True).stdout) for path in files)
        assert abs(found.compressed_bytes - packed) < 0.005 * packed
        assert found.content_bytes == 2_610_000
        assert found.seconds > 0


def test_it_prints_a_row_a_level(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare_levels.main([str(folder), "--levels", "1", "9"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3 files, 2,610,000 bytes"
    rows = [line.split() for line in lines[2:]]
    assert [row[0] for row in rows] == ["1", "9"]
    for row in rows:
        assert float(row[4]) == pytest.approx(2_610_000 / int(row[3].replace(",", "")), abs=0.001)


@pytest.mark.parametrize(("path", "said"), [("sub", "found: none"), ("missing.tar", "missing.tar")])
def test_without_content_there_is_nothing_to_compare(
    folder: Path, path: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare_levels.main([str(folder / path)]) == 2
    assert said in capsys.readouterr().err


def test_a_fifo_that_nobody_writes_into_is_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And refused, if it is named itself."""
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to("nothing")
    assert compare_levels.main([str(folder), "--levels", "1"]) == 0
    assert capsys.readouterr().out.startswith("3 files, 2,610,000 bytes")
    assert compare_levels.main([str(folder / "pipe")]) == 2
    assert "found: a FIFO" in capsys.readouterr().err
