"""Which lines of Luigi's log are shown."""

from __future__ import annotations

import logging
import time
from typing import Any

import luigi
import pytest
from luigi.worker import TaskException

from ben_luigi.commands import plain_luigi, setting_up


def _record(url: str) -> logging.LogRecord:
    return logging.LogRecord("luigi-interface", logging.WARNING, "", 0, setting_up._NO_SCHEDULER, (url,), None)


def _shown(url: str) -> bool:
    return setting_up._only_luigi_says_so(_record(url))


@pytest.mark.parametrize("judge", [setting_up._only_luigi_says_so, plain_luigi._without_traceback])
def test_the_password_in_the_address_of_luigid_is_not_logged(judge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setting_up, "_said_at", {})
    record = _record("http://user:s3cret@127.0.0.1:9/")
    record.exc_info = (ConnectionError, ConnectionError("refused"), None)
    assert judge(record)
    assert "s3cret" not in record.getMessage() and "http://127.0.0.1:9/" in record.getMessage()


def test_that_luigid_does_not_answer_is_said_once_per_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads of a worker ask it: the one that looks for work, and the one that says that it is alive."""
    monkeypatch.setattr(setting_up, "_said_at", {})
    now = time.monotonic()
    shown = []
    for later_s in (0.0, 0.1, 30.0, 30.1):
        monkeypatch.setattr(time, "monotonic", lambda later_s=later_s: now + later_s)
        shown.append(_shown("http://here:8082"))
    assert shown == [True, False, True, False]
    assert _shown("http://there:8082")


@pytest.mark.parametrize(
    "error",
    [
        TaskException("Task finished running, but complete() is still returning false."),
        RuntimeError("Unfulfilled dependency at run time: CutPatches_33UUP"),
    ],
)
def test_files_that_are_taken_away_meanwhile_are_told_without_a_traceback(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    record = logging.LogRecord(
        "luigi-interface", logging.ERROR, "", 0, "failed %s", ("Some",), (type(error), error, None)
    )
    assert plain_luigi._without_traceback(record) and record.exc_info is None
    setting_up._failed(luigi.Task(), error)
    for said in (record.getMessage(), caplog.text):
        assert "the files that were just made; found: they are gone" in said and "; next: look who" in said
        assert "Traceback" not in said


def test_errors_of_the_program_keep_their_traceback(caplog: pytest.LogCaptureFixture) -> None:
    error = RuntimeError("of ours")
    record = logging.LogRecord("luigi-interface", logging.ERROR, "", 0, "failed", (), (type(error), error, None))
    assert plain_luigi._without_traceback(record) and record.exc_info is not None
    setting_up._failed(luigi.Task(), error)
    assert "RuntimeError: of ours" in caplog.text
