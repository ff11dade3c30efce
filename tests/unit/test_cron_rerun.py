"""What `ben-luigi cron-rerun` makes of the failures that a run leaves, whatever the clock says of them."""

from __future__ import annotations

import errno
import fcntl
import json
import socket
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import luigi
import pytest

from ben_luigi.commands import cron_rerun
from ben_luigi.domain import files, surroundings
from ben_luigi.exit_codes import ExitCode
from ben_luigi.state.failures import Failure

BEFORE = Failure("CutPatches()", "", "BadProduct", "failed long ago", False, "2026-11-24T10:00:00Z", "north")
AN_HOUR_BACK = Failure("GivenInput()", "", "BadInput", "no path given", True, "2026-11-24T09:00:00Z", "north")


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    settings = luigi.configuration.get_config()
    settings.set("dataset", "data_dir", str(tmp_path))
    monkeypatch.setattr(cron_rerun, "configure", lambda: None)
    yield tmp_path
    settings.remove_option("dataset", "data_dir")


def test_what_fails_while_the_clock_is_set_back_waits_for_a_person_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(failure: Failure) -> None:
        files.write_text(tmp_path / "failed" / f"{failure.task}.json", json.dumps(asdict(failure)))

    def run(arguments: list[str], lock: int) -> tuple[Path, int]:
        fail(AN_HOUR_BACK)
        files.write_text(tmp_path / "logs" / "run-1.log", "the log")
        return tmp_path / "logs" / "run-1.log", 20

    settings = luigi.configuration.get_config()
    settings.set("dataset", "data_dir", str(tmp_path))
    monkeypatch.setattr(cron_rerun, "configure", lambda: None)
    monkeypatch.setattr(cron_rerun, "_run", run)
    try:
        fail(BEFORE)
        assert cron_rerun.main([]) == ExitCode.WAITS_FOR_PERSON
    finally:
        settings.remove_option("dataset", "data_dir")
    said = capsys.readouterr().out
    assert "waiting for a person" in said
    assert "no path given" in said
    assert "failed long ago" not in said


def test_a_file_system_without_locks_is_an_error_of_three_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(descriptor: int, kind: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(cron_rerun, "configure", lambda: None)
    monkeypatch.setattr(cron_rerun, "_folder", lambda: tmp_path)
    assert cron_rerun.main([]) == ExitCode.WAITS_FOR_PERSON
    said = capsys.readouterr().err
    assert said.startswith(f"ben-luigi cron-rerun: {tmp_path}; expected: a file system with locks")
    assert said.count("\n") <= 3


def test_a_notice_is_sent_though_it_cannot_be_recorded(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = data_dir / "logs" / "run-1.log"
    files.write_text(log, "")
    monkeypatch.setattr(cron_rerun, "_run", lambda arguments, lock: (log, 30))
    state = cron_rerun._state()
    state.mkdir(parents=True)  # as a full disk: nothing can be written under that name
    assert cron_rerun.main([]) == ExitCode.WAITS_FOR_PERSON
    said = capsys.readouterr()
    assert "has ended: failed." in said.out and "That log is empty: " in said.out
    assert said.err.startswith(f"ben-luigi cron-rerun: {state}; ")
    assert "next: correct that; until then each run tells the same again" in said.err


def test_only_older_logs_of_this_host_are_removed_and_never_that_of_the_run(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Though the clock was ahead before, and though the other host's name ends as this one's."""
    host, logs = socket.gethostname(), data_dir / "logs"
    ahead, other = logs / f"run-20990101T000000-{host}.log", logs / f"run-20200101T000000-x-{host}.log"
    for log in (ahead, other):
        files.write_text(log, "before")
    settings = luigi.configuration.get_config()
    settings.set("cron", "keep_logs", "1")
    try:
        assert cron_rerun.main(["NoSuchTask"]) == ExitCode.WRONG_ARGUMENTS
    finally:
        settings.remove_option("cron", "keep_logs")
    own, of_other = sorted(logs.iterdir(), reverse=True)
    assert (of_other, own == ahead, "NoSuchTask" in own.read_text()) == (other, False, True)
    said = capsys.readouterr()
    assert "NoSuchTask" in said.out and not said.err


def test_a_log_that_somebody_has_removed_is_no_reason_to_tell_nothing(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = data_dir / "logs" / "run-1.log"
    monkeypatch.setattr(cron_rerun, "_run", lambda arguments, lock: (log, 30))
    assert cron_rerun.main([]) == ExitCode.FAILED
    said = capsys.readouterr()
    assert "has ended: failed." in said.out and "That log cannot be read: No such file" in said.out
    assert not said.err


def test_a_log_that_is_not_utf8_is_told(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its last lines may begin in the midst of a character, too."""
    log = data_dir / "run-1.log"
    log.write_bytes(b"\xa4 a path: \xe4")
    monkeypatch.setattr(cron_rerun, "_run", lambda arguments, lock: (log, 30))
    assert cron_rerun.main([]) == ExitCode.FAILED
    assert "\n? a path: ?\n" in capsys.readouterr().out


def test_why_no_run_can_be_begun_is_sent_once(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = data_dir / "sendmail"
    program.write_text(f"#!/bin/sh\ncat >>{data_dir}/mail\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{data_dir}:/usr/bin:/bin")
    luigi.configuration.get_config().set("cron", "mail_to", "who@example.org")
    try:
        (data_dir / "logs").write_text("in the way of a folder")
        for _ in range(2):
            assert cron_rerun.main([]) == ExitCode.WAITS_FOR_PERSON
            assert f"ben-luigi cron-rerun: {data_dir / 'logs'}; expected: " in capsys.readouterr().err
    finally:
        luigi.configuration.get_config().remove_option("cron", "mail_to")
    mail = (data_dir / "mail").read_text()
    assert mail.count("Subject: ") == 1
    assert "waiting for a person" in mail


def test_its_run_has_the_variables_that_only_some_libraries_may_have(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where results live in a bucket, boto3 may find its credentials there."""
    monkeypatch.setitem(surroundings._taken_out, "AWS_PROFILE", "mine")
    monkeypatch.setattr(surroundings, "own_python", lambda: ["sh", "-c", "echo $AWS_PROFILE"])
    (data_dir / "cron").mkdir()
    with (data_dir / "cron" / "lock").open("w") as lock:
        log, code = cron_rerun._run([], lock.fileno())
    assert (code, log.read_text()) == (0, "mine\n")


def test_a_data_folder_that_has_gone_meanwhile_is_told_and_nothing_is_made_in_its_place(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    away = data_dir.with_name("away")
    monkeypatch.setattr(surroundings, "own_python", lambda: ["sh", "-c", f"mv '{data_dir}' '{away}'"])
    code = cron_rerun.main([])
    said = capsys.readouterr().err
    assert code == ExitCode.WAITS_FOR_PERSON and f"{data_dir}; expected: the data folder in which" in said
    assert not data_dir.exists()
