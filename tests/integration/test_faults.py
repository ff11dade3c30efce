"""What a run survives: kills of worker, PostgreSQL and luigid at each stage, a full disk, a wrong clock, SIGTERM.

Each test prints what it did, and where; all end with the bytes of an undisturbed run and nothing left over.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from ben_luigi.exit_codes import ExitCode
from tests.integration.running import Run, dataset_digests
from tests.integration.stopping import RECORD, Launcher, StoppingRun, living, wait_for

TILE = "31UGR_20180508"
YEAR_S = 365 * 86_400
WITHOUT_FILES = {
    *("ProcessTiles", "FinalizeDataset", "ReadProduct"),
    *("GridPatches", "AlignPatches", "AssignSplits", "AssignCountries", "ClassifyPatches", "LabelPatches"),
}
"""Stages that leave rows, which are recorded in the same transaction, or nothing of their own."""


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    launcher = Launcher()
    yield launcher
    launcher.close()


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print a line of the table in the output of the tests."""

    def said(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}", end="")

    return said


def settings(folder: Path, data: Path | None = None, **core: object) -> Path:
    """One tile, and one worker, with each task in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["[core]", "workers = 1", *(f"{name} = {value}" for name, value in core.items())]
    lines += [
        "[dataset]",
        f"data_dir = {data or 'data'}",
        f"tiles = {TILE}",
        "[worker]",
        "force_multiprocessing = true",
    ]
    path = folder / "own.cfg"
    path.write_text("\n".join(lines) + "\n")
    return path


def run_to_the_end(launcher: Launcher, folder: Path, config: Path) -> None:
    run = StoppingRun(launcher, folder, config=config)
    assert run.ended() == 0, run.said


def done(folder: Path) -> list[str]:
    """The tasks that runs in the folder have said to be done."""
    return Run(0, (folder / "said").read_text(encoding="utf-8"), folder / "data").tasks()


def leftovers(data: Path) -> list[Path]:
    patterns = (".unfinished-*", ".work-*", "*.part", "*.err")
    return [path for pattern in patterns for path in data.rglob(pattern)]


@dataclass(frozen=True)
class Undisturbed:
    """What a run leaves that nothing happened to, and the families of the tasks that it ran."""

    digests: dict[str, str]
    stages: list[str]
    data: Path

    def give_world(self, data: Path) -> None:
        """The sample world, so that a run begins with it."""
        for place in ("sample", "made_from/sample", "inputs/sample.json", "made_from/inputs/sample.json.json"):
            (data / place).parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-a", self.data / place, data / place], check=True)


@pytest.fixture(scope="module")
def undisturbed(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    run_to_the_end(launcher, folder, settings(folder))
    stages = list(dict.fromkeys(task.partition("(")[0] for task in done(folder)))
    return Undisturbed(dataset_digests(folder / "data"), stages, folder / "data")


def assert_whole(data: Path, undisturbed: Undisturbed) -> None:
    """The bytes of an undisturbed run, and nothing else left of all that has happened."""
    assert dataset_digests(data) == undisturbed.digests
    assert not leftovers(data)
    assert not living(data)


def kill_worker(run: StoppingRun) -> None:
    """And what it has started ends with it, but for the database server, which the next run finds."""
    os.kill(run.process, signal.SIGKILL)
    assert run.ended() == -signal.SIGKILL
    wait_for(lambda: all("postgres" in line for line in living(run.folder)), lambda: f"lives: {living(run.folder)}")


def kill_database(run: StoppingRun) -> None:
    process = int((run.folder / "data/database/cluster/postmaster.pid").read_text().split()[0])
    os.kill(process, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{process}/cwd").exists(), lambda: "a server that does not die")


class Luigid:
    """A central scheduler that the launcher runs."""

    def __init__(self, launcher: Launcher, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._launcher, self._folder = launcher, folder
        self.start()

    def start(self) -> None:
        """Start it, as init does when it has died."""
        self.process = int(self._launcher.ask("luigid", self.port, str(self._folder)))
        wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", self.port)) == 0, lambda: "no luigid")

    def stop(self) -> None:
        """Kill it."""
        os.kill(self.process, signal.SIGKILL)
        wait_for(lambda: self._launcher.ask("poll", self.process) is not None, lambda: "a luigid that does not die")

    def kill(self, run: StoppingRun) -> None:
        """Kill it, and start another, which knows nothing."""
        self.stop()
        self.start()


def kill_at_each_stage(
    launcher: Launcher, folder: Path, config: Path, stages: list[str], kill: Callable[[StoppingRun], None]
) -> dict[str, str]:
    """Run until the next stage, kill, and go on; or run again, if that was the end of the run. Gives what became of it.

    In the end a run without kills completes what there is.
    """
    fate: dict[str, str] = {}
    while left := [stage for stage in stages if stage not in fate]:
        run = StoppingRun(launcher, folder, *left, config=config)
        while stage := run.stopped():
            kill(run)
            left.remove(stage)
            fate[stage] = "went on" if run.code() is None else "run again"
            run.go_on(*left)
        if run.ended() == 0:
            # These leave nothing of their own, and so need not run when the stage before has ended after the kill.
            assert set(left) <= {"ProcessTiles", "FinalizeDataset"}, f"never at {left}: {run.said}"
            fate |= dict.fromkeys(left, "not needed")
        else:
            fate |= dict.fromkeys(list(fate)[-1:], "run again")
    run_to_the_end(launcher, folder, config)
    return fate


def die_at_each_record(launcher: Launcher, folder: Path, config: Path, stages: list[str]) -> dict[str, str]:
    """The process of a task of each stage kills itself when its files are in place, and nothing is recorded yet.

    The run goes on with what does not need that task; the next one makes it again.
    """
    die, fate = folder / "die", dict.fromkeys(stages, "no file")
    die.write_text(" ".join(f"{stage}{RECORD}" for stage in stages))
    for _ in stages:
        before = set(die.read_text().split())
        run = StoppingRun(launcher, folder, config=config)
        code, killed = run.ended(), before - set(die.read_text().split())
        assert (code == 0) == (not killed), run.said
        fate |= dict.fromkeys((name.removesuffix(RECORD) for name in killed), "run again")
        if not killed:
            break
    return fate


def test_kills_at_each_stage(undisturbed: Undisturbed, tmp_path: Path, say: Callable[[str], None]) -> None:
    """Four data folders side by side, for the worker, PostgreSQL, luigid, and tasks that have not recorded yet.

    The worker is killed at each stage, and the servers at every fourth one after the world is made; with
    BEN_KILLS_EVERY=N in the environment all of them at every Nth, from the BEN_KILLS_FROMth on.
    """
    every, begin = (int(os.environ.get(f"BEN_KILLS_{name}", "0")) for name in ("EVERY", "FROM"))
    killed_at = undisturbed.stages[begin % (every or 1) :: every or 1]
    served = [stage for stage in undisturbed.stages if stage != "MakeSampleWorld"][begin % (every or 4) :: every or 4]

    def disturbed(victim: str) -> dict[str, str]:
        launcher, folder = Launcher(), tmp_path / victim
        config = settings(folder)
        if victim in ("PostgreSQL", "luigid"):
            undisturbed.give_world(folder / "data")
        if victim == "its record":
            fate = die_at_each_record(launcher, folder, config, killed_at)
        elif victim == "luigid":
            luigid = Luigid(launcher, folder)
            config = settings(folder, local_scheduler="false", scheduler_port=luigid.port, rpc_retry_wait=1)
            fate = kill_at_each_stage(launcher, folder, config, served, luigid.kill)
            luigid.stop()
        else:
            kill, stages = {
                "worker": (kill_worker, killed_at),
                "PostgreSQL": (kill_database, served),
            }[victim]
            fate = kill_at_each_stage(launcher, folder, config, stages, kill)
        launcher.close()
        assert_whole(folder / "data", undisturbed)
        return fate

    victims = ("worker", "its record", "PostgreSQL", "luigid")
    with ThreadPoolExecutor(len(victims)) as pool:
        fates = dict(zip(victims, pool.map(disturbed, victims), strict=True))
    say(f"{'kill -9 at':<24}" + "".join(f"{victim:<14}" for victim in victims) + "survived")
    for stage in dict.fromkeys([*killed_at, *served]):
        say(f"{stage:<24}" + "".join(f"{fates[victim].get(stage, '-'):<14}" for victim in victims) + "yes")
    unrecorded = {stage for stage, fate in fates["its record"].items() if fate == "no file"}
    assert unrecorded == WITHOUT_FILES & {*killed_at}


def test_sigterm_undoes_the_step_and_ends_everything(
    launcher: Launcher, undisturbed: Undisturbed, tmp_path: Path, say: Callable[[str], None]
) -> None:
    """Exit code 143; no half of anything is left but what came of a download, no process, no server."""
    config, data = settings(tmp_path), tmp_path / "data"
    left = ["DownloadL1C", "ConvertToL2A", "GridPatches", "CutPatches", "ArchiveS2"]
    undisturbed.give_world(data)
    for stage in left:
        run = StoppingRun(launcher, tmp_path, stage, config=config)
        assert run.stopped() == stage
        os.kill(run.process, signal.SIGTERM)
        assert run.ended() == 143
        wait_for(lambda: not living(tmp_path), lambda: f"lives: {living(tmp_path)}")
        assert not [path for path in leftovers(data) if path.name[0] == "." and ".work-" not in path.name]
        say(f"SIGTERM at {stage:<22}exit code 143, undone; survived: yes")
    run_to_the_end(launcher, tmp_path, config)
    assert_whole(data, undisturbed)


def test_a_data_folder_that_is_moved_away_and_comes_back(
    launcher: Launcher, undisturbed: Undisturbed, tmp_path: Path, say: Callable[[str], None]
) -> None:
    """The run ends by itself, and makes nothing in its place, where a volume that is unmounted leaves a folder."""
    config, data, away = settings(tmp_path), tmp_path / "data", tmp_path / "away"
    undisturbed.give_world(data)
    for stage, is_mounted, found in (("CutPatches", False, "no such folder"), ("ArchiveS2", True, "another folder")):
        run = StoppingRun(launcher, tmp_path, stage, config=config)
        assert run.stopped() == stage
        data.rename(away)
        if is_mounted:
            data.mkdir()
        assert run.ended() == ExitCode.WAITS_FOR_PERSON, run.said
        assert f"{data}; expected: the data folder in which this run works" in run.said and found in run.said
        assert "stopped by the loss of its data folder: FinalizeDataset is not complete" in run.said
        assert "Traceback" not in run.said
        assert not data.exists() or not list(data.iterdir())
        if is_mounted:
            data.rmdir()
        away.rename(data)
        say(f"data folder lost at {stage:<14}exit code 20; survived: yes")
    run_to_the_end(launcher, tmp_path, config)
    assert_whole(data, undisturbed)


def test_a_clock_that_jumps(
    launcher: Launcher, undisturbed: Undisturbed, tmp_path: Path, say: Callable[[str], None]
) -> None:
    """A year to and fro in the middle of tasks. Files then seem to be from the future, and tokens long expired."""
    config, data = settings(tmp_path), tmp_path / "data"
    jumps = {"AskCatalogue": -YEAR_S, "DownloadL1C": YEAR_S, "GridPatches": -YEAR_S, "WriteMetadata": YEAR_S}
    undisturbed.give_world(data)
    run = StoppingRun(launcher, tmp_path, *jumps, config=config)
    while stage := run.stopped():
        (tmp_path / "clock").write_text(str(jumps[stage]))
        for path in data.rglob("*.json"):
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime + jumps[stage]))
        say(f"clock {jumps.pop(stage) // 86_400:+} days at {stage:<15}survived: yes")
        run.go_on(*jumps)
    assert run.ended() == 0, run.said
    assert not jumps
    ran = done(tmp_path)
    run_to_the_end(launcher, tmp_path, config)
    assert done(tmp_path) == ran
    assert_whole(data, undisturbed)


def test_two_runs_at_once_on_one_data_folder(
    launcher: Launcher, undisturbed: Undisturbed, tmp_path: Path, say: Callable[[str], None]
) -> None:
    """Of one command only one runs. Two that do not know of each other share the work: each task is done once."""
    folders, data = [tmp_path / name for name in ("first", "second")], tmp_path / "data"
    configs = [settings(folder, data, lock_pid_dir=folder / "lock") for folder in folders]
    first = StoppingRun(launcher, folders[0], "MakeSampleWorld", config=configs[0])
    assert first.stopped()
    third = StoppingRun(launcher, settings(tmp_path / "third").parent, config=configs[0])
    assert third.ended() == 10
    second = StoppingRun(launcher, folders[1], config=configs[1])
    first.go_on()
    assert (first.ended(), second.ended()) == (0, 0), first.said + second.said
    each = [task for folder in folders for task in done(folder) if not task.startswith(("ProcessTiles", "Finalize"))]
    assert sorted(each) == sorted(set(each))
    assert len({task.partition("(")[0] for task in each}) == len(undisturbed.stages) - 2
    assert_whole(data, undisturbed)
    say(f"two runs at once: {len(done(folders[0]))} and {len(done(folders[1]))} tasks, none twice; survived: yes")


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk in memory, whose size can be set."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not _mount("-t", "tmpfs", "-o", "size=2g", "none", str(disk)):
        pytest.skip("a small disk can be had by mounting one only, and this user may not mount")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_disk_that_is_full_again_and_again(
    launcher: Launcher, undisturbed: Undisturbed, tmp_path: Path, small_disk: Path, say: Callable[[str], None]
) -> None:
    """After the download, which asks for room beforehand, it grows by 16 MB whenever a run has failed for it."""
    data = small_disk / "data"
    config = settings(tmp_path, data)
    undisturbed.give_world(data)
    run = StoppingRun(launcher, tmp_path, "ConvertToL2A", config=config)
    assert run.stopped()
    kill_worker(run)
    used = os.statvfs(small_disk)
    size_b, failed = (used.f_blocks - used.f_bfree) * used.f_frsize, 0
    while True:
        size_b += 16_000_000
        assert _mount("-o", f"remount,size={size_b}", str(small_disk))
        before = len(run.said)
        run = StoppingRun(launcher, tmp_path, config=config)
        if run.ended() == 0:
            break
        failed += 1
        lines = [line for line in run.said[before:].splitlines() if " failed  " in line or "exit code" in line]
        say(f"disk full: {lines[0][9:150]}; survived: yes")
    assert failed >= 3
    assert_whole(data, undisturbed)
