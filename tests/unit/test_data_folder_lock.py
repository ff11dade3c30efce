"""Who is alone in a data folder removes what the dead have left there."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from ben_luigi.domain import files
from ben_luigi.domain.errors import BadInput
from ben_luigi.state.locks import data_folder


def _work(folder: Path, entered: Event, leave: Event) -> None:
    data_folder.enter(folder)
    entered.set()
    leave.wait(60)


def test_what_is_unfinished_goes_when_nobody_else_is_there(tmp_path: Path) -> None:
    left = [files.unfinished(tmp_path / place / "a.tar") for place in ("", "patches", "made_from/tiles", "l2a")]
    kept = [tmp_path / place / left[0].name for place in ("l2a/X.SAFE", "database", "sample")]
    kept += [tmp_path / "patches" / "b.tar"]
    for path in (*left, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    fork = multiprocessing.get_context("fork")
    entered, leave = fork.Event(), fork.Event()
    other = fork.Process(target=_work, args=(tmp_path, entered, leave))
    other.start()
    assert entered.wait(60)
    assert data_folder.sweep_if_alone(tmp_path) == []
    other.kill()
    other.join()
    assert sorted(data_folder.sweep_if_alone(tmp_path)) == sorted(left)
    assert all(path.exists() for path in kept) and not any(path.exists() for path in left)


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert data_folder.sweep_if_alone(tmp_path / "none") == []
    assert not list(tmp_path.iterdir())


def _say_whether_same(folder: Path) -> str:
    try:
        data_folder.require_same(folder)
    except BadInput as error:
        return error.found
    return ""


def test_a_folder_that_is_another_one_is_told_until_it_is_left(tmp_path: Path) -> None:
    data, away = tmp_path / "data", tmp_path / "away"
    assert _say_whether_same(data) == ""
    data_folder.enter(data)
    try:
        assert _say_whether_same(data) == ""
        data.rename(away)
        assert _say_whether_same(data) == "no such folder"
        data.write_text("a file")
        assert _say_whether_same(data) == "no such folder"
        data.unlink()
        data.mkdir()
        assert "another folder" in _say_whether_same(data)
        (data / data_folder.LOCK).touch()
        assert "another folder" in _say_whether_same(data)
        shutil.rmtree(data)
        away.rename(data)
        assert _say_whether_same(data) == ""
        (data / data_folder.LOCK).unlink()
        assert _say_whether_same(data) == "", "the folder is the same without its lock file"
        data.rename(away)
    finally:
        data_folder.leave(data)
    assert _say_whether_same(data) == ""


def test_a_folder_of_a_file_system_without_lasting_numbers_is_the_same_by_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "samestat", lambda *_: False)
    data_folder.enter(tmp_path)
    try:
        assert _say_whether_same(tmp_path) == ""
        (tmp_path / data_folder.LOCK).unlink()
        assert "another folder" in _say_whether_same(tmp_path)
        (tmp_path / data_folder.LOCK).touch()
        assert "another folder" in _say_whether_same(tmp_path)
    finally:
        data_folder.leave(tmp_path)
