"""What the system refuses a file for lack of room or rights: who has to act, and where."""

from __future__ import annotations

import errno
import logging
import os
import pwd
from pathlib import Path

import luigi
import pytest

from ben_luigi.commands import run, setting_up
from ben_luigi.domain import files, refused
from ben_luigi.domain.errors import DiskError, NoRightError, NoRoomError
from ben_luigi.exit_codes import ExitCode
from ben_luigi.state import failures

ME = pwd.getpwuid(os.geteuid()).pw_name
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")


def refusal(number: int, path: Path | None = None) -> OSError:
    return OSError(number, os.strerror(number), *([] if path is None else [str(path)]))


def refusal_text(path: Path) -> str:
    return f"PermissionError: {refusal(errno.EACCES, path)}"


def test_a_closed_folder_is_named_with_its_owner_and_the_file_by_its_final_name(tmp_path: Path) -> None:
    path = tmp_path / "metadata" / "split_leakage.csv"
    path.parent.mkdir(mode=0o500)
    said = str(refused.explained(refusal(errno.EACCES, files.unfinished(path)), tmp_path))
    assert said == (
        f"{path}; expected: that user {ME} may read and write there; "
        f"found: Permission denied; {path.parent} is of user {ME}, mode 500; "
        f"next: allow it: chmod u+rwX {path.parent}; then run again"
    )


@needs_root
def test_what_is_another_user_s_is_given_back_with_all_of_the_data_folder(tmp_path: Path) -> None:
    folder = tmp_path / "metadata"
    folder.mkdir()
    os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
    said = str(refused.explained(refusal(errno.EACCES, folder / "split.csv"), tmp_path))
    assert f"{folder} is of user nobody, mode " in said
    assert f"next: run as user nobody, or let root give it to this user: chown -R {ME} {tmp_path}; then run" in said


def test_a_read_only_file_system_and_a_full_disk_are_said_without_unfinished_names(tmp_path: Path) -> None:
    work = files.unfinished(tmp_path / "a.tar")
    read_only, full = (refused.explained(refusal(number, work), tmp_path) for number in (errno.EROFS, errno.ENOSPC))
    assert isinstance(read_only, NoRightError) and isinstance(full, NoRoomError)
    assert str(read_only).startswith(f"{tmp_path / 'a.tar'}; expected: a file system that can be written to")
    assert str(full).startswith(f"{tmp_path / 'a.tar'}; expected: room on the disk")
    nameless = refused.explained(refusal(errno.ENOSPC), tmp_path)
    assert str(nameless).startswith("a file that the system does not name; expected: room on the disk")
    assert f" MB free in {tmp_path}; " in str(nameless)


@pytest.mark.parametrize("error", [refusal(errno.EIO, Path("a")), refusal(errno.EPERM), ValueError("a bug")])
def test_other_errors_stay(error: Exception, tmp_path: Path) -> None:
    assert refused.explained(error, tmp_path) is error


def test_a_refusal_while_luigi_asks_what_is_complete_is_said_without_its_traceback(tmp_path: Path) -> None:
    trace = f'Traceback (most recent call last):\n  File "a.py"\n{refusal_text(tmp_path / "record")}\n'
    said = f"Will not run A() or any dependencies due to error in complete() method:\n{trace}"
    record = logging.LogRecord("luigi-interface", logging.WARNING, "", 0, said, (), None)
    assert setting_up._only_luigi_says_so(record)
    assert record.getMessage().startswith(f"failed    A(): {tmp_path / 'record'}; expected: that user {ME} may read")
    assert "Traceback" not in record.getMessage()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT])
def test_a_task_that_is_refused_a_file_waits_for_a_person(data_dir: Path, number: int) -> None:
    task = luigi.Task()
    failures.note(task, refusal(number, files.unfinished(data_dir / "split.csv")))
    (noted,) = failures.noted()
    assert noted.error.startswith(f"{data_dir / 'split.csv'}; expected: ")
    assert run.meaning(ExitCode.FAILED, task, []) == ExitCode.WAITS_FOR_PERSON
    assert run.meaning(ExitCode.FAILED, task, [noted]) == ExitCode.FAILED


def test_what_a_full_disk_keeps_from_being_recorded_waits_for_a_person_too(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, text: str) -> None:
        raise NoRoomError(path)

    monkeypatch.setattr("ben_luigi.domain.private.write_text", refuse)
    try:
        child = os.fork()
        if child == 0:
            failures.note(luigi.Task(), DiskError("a file"))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert run.meaning(ExitCode.FAILED, luigi.Task(), []) == ExitCode.WAITS_FOR_PERSON
    finally:
        failures._unrecorded[0] = 0
