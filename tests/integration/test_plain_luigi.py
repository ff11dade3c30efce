"""Plain `luigi --module ben_luigi`: what a user or a network can do wrong is said in a line, as by `ben-luigi run`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ben_luigi.state.server import close_server, open_server
from tests.integration.own_postgres import free_port
from tests.integration.running import environment
from tests.integration.stopping import PATIENCE_S, wait_for


def luigi(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("luigi")
    return subprocess.run(
        [program, "--module", "ben_luigi", *words],
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("FinalizDataset", "did you mean FinalizeDataset?"),
        ("RenderTile", "found: requires the 'tile' parameter to be set"),
        ("--workers x FinalizeDataset", "found: --workers: found 'x'; allowed: a whole number"),
        ("FinalizeDataset --archive-level 99", "--archive-level: found '99'; allowed: a whole number from 1 to 22"),
        ("RenderTile --tile nope", "expected: a tile key"),
    ],
)
def test_arguments_that_fit_no_task_are_refused_before_anything_runs(words: str, said: str, tmp_path: Path) -> None:
    done = luigi(tmp_path, *words.split(), "--local-scheduler")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr and done.stderr.startswith("luigi: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_luigid_that_does_not_answer_is_no_traceback(tmp_path: Path) -> None:
    own = tmp_path / "own.cfg"
    options = f"scheduler_port = {free_port()}\nrpc_retry_attempts = 1\nrpc_retry_wait = 0\n"
    own.write_text(f"[dataset]\ndata_dir = data\n[core]\nlocal_scheduler = false\n{options}")
    done = luigi(tmp_path, "HashL1C", LUIGI_CONFIG_PATH=str(own))
    assert done.returncode == 40
    assert "luigid does not answer: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_data_folder_that_is_moved_away_ends_it(tmp_path: Path) -> None:
    """Nothing is made in its place, where a new database was begun and all was tried for ever.

    A task that is at work says what it misses, and one that begins, that it is another folder.
    """
    data, away = tmp_path / "data", tmp_path / "away"
    words = [
        str(Path(sys.executable).with_name("luigi")),
        "--module",
        "ben_luigi",
        "FinalizeDataset",
        "--local-scheduler",
    ]
    with (tmp_path / "said").open("w") as said:
        run = subprocess.Popen([*words, "--workers", "2"], cwd=tmp_path, env=environment(), stdout=said, stderr=said)
    try:
        wait_for((data / "made_from").is_dir, (tmp_path / "said").read_text)
        data.rename(away)
        assert run.wait(PATIENCE_S) == 30
    finally:
        run.kill()
        open_server(away / "database")  # which the run could not find any more to stop it
        close_server(away / "database")
    lost = (tmp_path / "said").read_text()
    assert "the data folder in which this run works" in lost or "No such file or directory" in lost
    assert "Traceback" not in lost
    assert not (data / "database").exists()
