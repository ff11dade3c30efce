"""What tells that the content of a user's files may have changed, and what it is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ben_luigi.state import contents


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("given/a", "given/deep/b", "given/deep/er/c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path / "given"


def _replace_as_it_was(path: Path) -> None:
    """By a file of the same length and time, as `cp -p` makes one."""
    before, other = path.stat(), path.with_name("other")
    other.write_text(path.read_text()[::-1])
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


def _write_later(path: Path) -> None:
    path.write_text(path.read_text()[::-1])
    os.utime(path, (2_000_000_000, 2_000_000_000))


def _move(path: Path) -> None:
    path.rename(path.with_name("z"))


CHANGES: dict[str, Callable[[Path], object]] = {
    "in place": _write_later,
    "replaced": _replace_as_it_was,
    "longer": lambda path: path.write_text(path.read_text() + "."),
    "removed": Path.unlink,
    "renamed": _move,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("name", ["a", "deep/b", "deep/er/c"])
def test_any_change_of_a_file_shows(change: Callable[[Path], object], name: str, folder: Path) -> None:
    before = contents.signature(folder), contents.sha256(folder)
    change(folder / name)
    after = contents.signature(folder), contents.sha256(folder)
    assert after[0] != before[0] and after[1] != before[1]


def test_what_is_only_touched_or_copied_has_the_same_content(folder: Path) -> None:
    before = contents.signature(folder), contents.sha256(folder)
    copy = shutil.copytree(folder, folder.with_name("copy"))
    os.utime(folder / "a", (2_000_000_000, 2_000_000_000))
    assert contents.signature(folder) != before[0]
    assert contents.sha256(folder) == contents.sha256(copy) == before[1]


def test_hidden_files_do_not_count(folder: Path) -> None:
    before = contents.signature(folder), contents.sha256(folder)
    for name in (".a", ".S2A.SAFE/b", "deep/.c"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    assert (contents.signature(folder), contents.sha256(folder)) == before


def test_of_too_many_files_only_the_upper_level_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not contents.is_too_large(folder)
    monkeypatch.setattr(contents, "_MOST_ENTRIES", 2)
    assert contents.is_too_large(folder)
    before = contents.sha256(folder)
    assert before == contents.signature(folder)
    (folder / "deep" / "new").touch()
    assert contents.sha256(folder) != before, "the time of its folder"


def test_a_fifo_in_a_folder_is_named(folder: Path) -> None:
    os.mkfifo(folder / "deep" / "pipe")
    with pytest.raises(OSError, match="a FIFO, not a file"):
        contents.sha256(folder)
