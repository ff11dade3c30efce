"""What a run survives: kills of worker, PostgreSQL and luigid at each stage, a full disk, a wrong clock, SIGTERM."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.running import Run
from tests.integration.stopping import Launcher, StoppingRun, living, wait_for

TILE = "31UGR_20180508"


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    launcher = Launcher()
    yield launcher
    launcher.close()


def settings(folder: Path, **core: object) -> Path:
    """One tile, one worker, each task in a process of its own: so the stages come in one order."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["[core]", "workers = 1", *(f"{name} = {value}" for name, value in core.items())]
    lines += ["[dataset]", "data_dir = data", f"tiles = {TILE}", "[worker]", "force_multiprocessing = true"]
    path = folder / "own.cfg"
    path.write_text("\n".join(lines) + "\n")
    return path


def digests(data: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((data / "dataset").iterdir())}


def leftovers(data: Path) -> list[Path]:
    patterns = (".unfinished-*", ".work-*", "*.part", "*.err")
    return [path for pattern in patterns for path in data.rglob(pattern)]


@dataclass(frozen=True)
class Undisturbed:
    """What a run leaves that nothing happened to, and the families of the tasks that it ran."""

    digests: dict[str, str]
    stages: list[str]


@pytest.fixture(scope="module")
def undisturbed(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    run = StoppingRun(launcher, folder, config=settings(folder))
    assert run.ended() == 0, run.said
    ran = Run(0, run.said, folder / "data").tasks()
    return Undisturbed(digests(folder / "data"), list(dict.fromkeys(task.partition("(")[0] for task in ran)))


def assert_whole(folder: Path, undisturbed: Undisturbed) -> None:
    """The bytes of an undisturbed run, and nothing else left of all that has happened."""
    assert digests(folder / "data") == undisturbed.digests
    assert not leftovers(folder / "data")
    assert not living(folder)


def kill_worker(run: StoppingRun) -> None:
    """And what it has started ends with it, but for the database server, which the next run finds."""
    os.kill(run.process, signal.SIGKILL)
    assert run.ended() == -signal.SIGKILL
    wait_for(lambda: all("postgres" in line for line in living(run.folder)), lambda: f"lives: {living(run.folder)}")


def kill_database(run: StoppingRun) -> None:
    process = int((run.folder / "data/database/cluster/postmaster.pid").read_text().split()[0])
    os.kill(process, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{process}/cwd").exists(), lambda: "a server that does not die")


@pytest.mark.parametrize("victim", ["worker", "PostgreSQL"])
def test_kill_at_each_stage(
    victim: str, launcher: Launcher, undisturbed: Undisturbed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run until the next stage, kill, and go on; or run again, if that was the end of the run."""
    kill = {"worker": kill_worker, "PostgreSQL": kill_database}[victim]
    left, config = list(undisturbed.stages), settings(tmp_path)
    run = StoppingRun(launcher, tmp_path, *left, config=config)
    runs = 1
    while left:
        stage = run.stopped()
        if stage:
            kill(run)
            left.remove(stage)
            run.go_on(*left)
        else:
            assert run.ended() != 0, f"never at {left}: {run.said}"
        if run.code() is not None:
            run, runs = StoppingRun(launcher, tmp_path, *left, config=config), runs + 1
    if run.ended():
        run = StoppingRun(launcher, tmp_path, config=config)
    assert run.ended() == 0, run.said
    assert_whole(tmp_path, undisturbed)
    with capsys.disabled():
        print(f"\n{victim}: {runs} runs")
