"""A database that cannot be made here: it waits for a person."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import luigi
import pytest

from ben_luigi.commands import run
from ben_luigi.domain.errors import BadDatabase, DatabaseError
from ben_luigi.exit_codes import ExitCode
from ben_luigi.state import database, failures


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder where a file is in the way of the database, in a process that has opened none."""
    monkeypatch.setattr(database, "_engines", {})
    settings = luigi.configuration.get_config()
    settings.set("dataset", "data_dir", str(tmp_path))
    (tmp_path / "database").write_text("in the way")
    yield tmp_path
    settings.remove_option("dataset", "data_dir")


def test_it_waits_for_a_person_from_the_first_run_on(data_dir: Path) -> None:
    with pytest.raises(BadDatabase) as caught:
        database.engine()
    failures.note(luigi.Task(), caught.value)
    assert run.meaning(ExitCode.FAILED, luigi.Task(), []) == ExitCode.WAITS_FOR_PERSON
    failures.note(luigi.Task(), DatabaseError("PostgreSQL at db", found="no answer"))
    assert run.meaning(ExitCode.FAILED, luigi.Task(), []) == ExitCode.FAILED
