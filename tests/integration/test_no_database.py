"""A database that cannot be made here: it is said once, at once, it is not tried again, and it waits for a person."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import luigi
import pytest

from ben_luigi.commands import run
from ben_luigi.domain.errors import BadDatabase, DatabaseError
from ben_luigi.exit_codes import ExitCode
from ben_luigi.stages import task
from ben_luigi.state import cluster, database, failures
from tests.integration.running import command, pipeline


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder where a file is in the way of the database, in a process that has opened none."""
    monkeypatch.setattr(database, "_with_tables", set())
    settings = luigi.configuration.get_config()
    settings.set("dataset", "data_dir", str(tmp_path))
    (tmp_path / "database").write_text("in the way")
    yield tmp_path
    settings.remove_option("dataset", "data_dir")


def test_it_is_said_once_and_not_tried_again(data_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        task._share(luigi.Task())
    (said,) = (record.getMessage() for record in caplog.records if record.name == task.__name__)
    assert said.startswith(f"what needs the database will fail: PostgreSQL in {data_dir / 'database'}; expected: ")
    (data_dir / "database").unlink()
    with pytest.raises(BadDatabase, match="File exists"):
        database.connect()
    with pytest.raises(BadDatabase, match="File exists"):
        database.address()
    assert not (data_dir / "database").exists()


def test_it_waits_for_a_person_from_the_first_run_on(data_dir: Path) -> None:
    with pytest.raises(BadDatabase) as caught:
        database.connect()
    failures.note(luigi.Task(), caught.value)
    assert run.meaning(ExitCode.FAILED, luigi.Task(), []) == ExitCode.WAITS_FOR_PERSON
    failures.note(luigi.Task(), DatabaseError("PostgreSQL at db", found="no answer"))
    assert run.meaning(ExitCode.FAILED, luigi.Task(), []) == ExitCode.FAILED


class AsksRows(task.PipelineTask):
    """A task whose result is rows."""

    def is_true(self) -> bool:
        """Whether it has any."""
        return bool(database.rows("SELECT 1"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://ben@127.0.0.1:1/ben", ExitCode.FAILED),
        ("no url", ExitCode.WAITS_FOR_PERSON),
    ],
)
def test_what_cannot_be_scheduled_waits_for_a_person_unless_it_may_pass(
    data_dir: Path, caplog: pytest.LogCaptureFixture, url: str, expected: ExitCode
) -> None:
    """A server that does not answer while the tasks are looked at may do so for the next run."""
    settings = luigi.configuration.get_config()
    settings.set("database", "url", url)
    settings.set("retcode", "scheduling_error", "35")
    try:
        code = run._luigi_run([AsksRows.__name__, "--local-scheduler", "--no-lock"])
    finally:
        settings.remove_option("database", "url")
        settings.remove_option("retcode", "scheduling_error")
    assert code == 35, caplog.text
    assert run.meaning(code, AsksRows(), []) == expected


def test_without_a_server_or_a_store_that_answers_the_next_run_tries_again(tmp_path: Path) -> None:
    """One command that asks a database, and a run that asks its store first."""
    config = tmp_path / "own.cfg"
    config.write_text("[database]\nurl = postgresql://ben@127.0.0.1:1/ben\n")
    code, said = command("clear-tries", tmp_path, config, "33UUP_20170613")
    assert code == ExitCode.FAILED and "expected: a server that answers" in said, said
    config.write_text("[dataset]\nstore = s3://bucket/run\n")
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}
    run = pipeline(tmp_path, config=config, **keys)
    assert run.code == ExitCode.FAILED and "s3://bucket/run; expected: an answer" in run.said, run.said


def test_of_a_program_s_output_what_is_wrong_is_said() -> None:
    output = "creating\nFATAL:  could not write: No space left on device\nHINT:  Check free disk space.\nremoving\n" * 2
    assert cluster.last_words(output).startswith("FATAL:  could not write: No space left on device / HINT: ")
    assert cluster.last_words("one\ntwo\n") == "one / two"
