"""One configuration at a time in a data folder."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from ben_luigi import config
from ben_luigi.domain import locks
from ben_luigi.domain.errors import BadInput
from ben_luigi.state.locks import configuration

FORK = multiprocessing.get_context("fork")
SIX = {"archive.level": 6, "dataset.tiles": ""}


@pytest.fixture(autouse=True)
def nothing_held() -> Iterator[None]:
    yield
    for descriptor in configuration._held.values():
        os.close(descriptor)
    configuration._held.clear()


def _work(folder: Path, level: int, entered: Event, leave: Event) -> None:
    configuration.enter(folder, lambda: {**SIX, "archive.level": level})
    entered.set()
    leave.wait()


def _at_work(folder: Path, level: int) -> tuple[multiprocessing.process.BaseProcess, Event]:
    entered, leave = FORK.Event(), FORK.Event()
    process = FORK.Process(target=_work, args=(folder, level, entered, leave))
    process.start()
    assert entered.wait(60)
    return process, leave


def test_another_configuration_is_refused_by_name_while_somebody_is_at_work(tmp_path: Path) -> None:
    process, leave = _at_work(tmp_path, 9)
    try:
        with pytest.raises(BadInput, match=rf"{process.pid}.*\[archive\] level = 9, here 6.*wait until it has ended"):
            configuration.enter(tmp_path, lambda: SIX)
        configuration.enter(tmp_path, lambda: {**SIX, "archive.level": 9})
    finally:
        leave.set()
        process.join()


def test_whoever_comes_when_all_have_ended_may_have_another_one(tmp_path: Path) -> None:
    process, leave = _at_work(tmp_path, 9)
    leave.set()
    process.join()
    configuration.enter(tmp_path, lambda: SIX)
    with pytest.raises(BadInput, match=r"\[archive\] level = 6, here 9"):
        configuration._held.clear()
        configuration.enter(tmp_path, lambda: {**SIX, "archive.level": 9})


def test_many_that_begin_together_agree(tmp_path: Path) -> None:
    begun = [_at_work(tmp_path, 6) for _ in range(4)]
    for process, leave in begun:
        leave.set()
        process.join()
        assert process.exitcode == 0


@pytest.mark.parametrize("text", ["", "{", "1", "[1]", "[[1, 2]]", "{}", '{"by": "1@here"}', '{"configuration": {}}'])
def test_a_damaged_file_says_nothing_of_who_is_at_work(tmp_path: Path, text: str) -> None:
    path = tmp_path / configuration._LOCK
    ours, theirs = locks.opened(path), locks.opened(path)
    try:
        assert locks.try_take(theirs, locks.SHARED)
        path.write_text(text)
        assert configuration._agreed(ours, SIX) is None
    finally:
        os.close(ours)
        os.close(theirs)


def test_what_results_are_made_from_is_told_and_no_account() -> None:
    options = config.result_options()
    assert {"archive.level", "inputs.clc_gpkg", "metadata.unlabeled_limit", "retention.l1c"} <= set(options)
    assert not [name for name in options if name.startswith("database") or "password" in name or "data_dir" in name]
