"""What the scheduler and the log hear of how far a task is, and how often."""

from __future__ import annotations

import time
from typing import Any

import luigi
import pytest
from luigi.rpc import RPCError

from ben_luigi import terminal
from ben_luigi.stages import progress
from ben_luigi.stages.progress import Progress


class _Told(luigi.Task):
    tile = luigi.Parameter(default="33UUP_20170613")
    report_task_statistics: Any = None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def _told(task: luigi.Task) -> tuple[list[str], list[int]]:
    messages: list[str] = []
    parts: list[int] = []
    task.set_status_message, task.set_progress_percentage = messages.append, parts.append
    return messages, parts


def test_the_scheduler_hears_part_rate_and_time_left_every_few_seconds_at_most(clock: list[float]) -> None:
    task = _Told()
    messages, parts = _told(task)
    progress_of = Progress(task, "download of 33UUP_20170613", "B")
    for second in range(31):
        for _ in range(50):
            progress_of.at(second * 20e6, 800e6)
        clock[0] += 1
    assert messages[0] == "download of 33UUP_20170613: begun"
    assert messages[-1] == "download of 33UUP_20170613: 75 %, 20.0 MB/s, 00:10 left"
    assert len(messages) <= 2 + 31 / 3
    assert parts[-1] == 75

    progress_of.at(0, 800e6)  # begun anew: no rate, and none below zero
    clock[0] += 4
    progress_of.at(40e6, 800e6)
    assert messages[-1] == "download of 33UUP_20170613: 5 %, 10.0 MB/s, 01:16 left"
    clock[0] += 4
    progress_of.at(60e6, None)
    assert messages[-1] == "download of 33UUP_20170613: 60.0 MB, 7.5 MB/s"


def test_a_scheduler_that_does_not_answer_stops_no_task(clock: list[float]) -> None:
    asked = []

    def silent(said: object) -> None:
        asked.append(said)
        raise RPCError("no answer", sub_exception=None)

    task = _Told()
    task.set_status_message = task.set_progress_percentage = task.report_task_statistics = silent
    Progress(task, "patches of 33UUP_20170613", "patches", 10)(0.5)
    progress.report_bytes(task, 7)
    assert asked == ["patches of 33UUP_20170613: begun", 50, "patches of 33UUP_20170613: 50 %", {"bytes": 7}]


def test_the_rate_is_that_of_the_last_minute(clock: list[float]) -> None:
    task = _Told()
    messages, _ = _told(task)
    progress_of = Progress(task, "patches of 33UUP_20170613", "patches", 10_000)
    done = 0
    for second in range(600):
        done += 20 if second < 400 else 4
        progress_of(done / 10_000)
        clock[0] += 1
    assert messages[-1].startswith("patches of 33UUP_20170613: 88 %, 4 patches/s, 05:")


def test_without_a_terminal_there_is_a_line_now_and_then(
    clock: list[float], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_LOG_S", 60.0)
    caplog.set_level("INFO")
    assert not terminal.is_open()
    progress_of = Progress(_Told(), "Sen2Cor on 33UUP_20170613", "%", 100)
    for second in range(0, 1201, 2):
        progress_of(second / 1200)
        clock[0] += 2
    lines = [record.message for record in caplog.records if record.message.startswith("Sen2Cor on")]
    assert 15 <= len(lines) <= 20
    assert lines[9] == "Sen2Cor on 33UUP_20170613: 50 %, 10:00 left"
