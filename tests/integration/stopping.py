"""Runs of the pipeline that stop at a stage until the test lets them go on, or has killed what it wants to kill.

A process imports the pipeline once, and forks for each run: so dozens of runs cost no more than a few. It runs

    run FOLDER ENVIRONMENT ARGUMENTS    the pipeline as `ben-luigi run` does; all it prints goes to FOLDER/said
    luigid PORT                         a central scheduler
    poll PROCESS                        tells the exit code of either, if it has ended

A run stops within the next task of one of the families listed in FOLDER/stop, in the worst moment: all is made, and
nothing has its final name or is committed; for `<family>/asked`, it has just been told that the turn is its own, and is
about to rename; or, for `<family>/record`, all is in place, and nothing is recorded. It writes which one to
FOLDER/stopped, and waits for that file to go. Of what FOLDER/die lists in the same way it waits for
nobody: the task's process kills itself; and of what FOLDER/full lists, where it finds no space on the disk.

With BEN_SAMPLE_WORLD in the environment the sample world is a copy of that one, since making it takes its time. With
BEN_PINNED the table of pinned inputs is that one.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.integration.running import ROOT, environment

POLL_S = 0.01
PATIENCE_S = 300.0
RECORD, ASKED = "/record", "/asked"


class Launcher:
    """The process that forks runs; `inside` is what to start it by, `more` its environment."""

    def __init__(self, *inside: str, cwd: Path | None = None, **more: str) -> None:
        self._process = subprocess.Popen(
            [*inside, sys.executable, "-m", "tests.integration.stopping"],
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(PYTHONPATH=str(ROOT), **more),
            text=True,
        )

    @property
    def process(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, *words: object) -> Any:
        """Send one command and give the answer."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End the launcher."""
        self._process.communicate()


class StoppingRun:
    """A run in `folder`, which may stop on its way."""

    def __init__(
        self,
        launcher: Launcher,
        folder: Path,
        *stop: str,
        config: Path | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self.folder, self._launcher = folder, launcher
        self.go_on(*stop)
        own = {} if config is None else {"LUIGI_CONFIG_PATH": str(config)}
        self.process = int(launcher.ask("run", str(folder), own, [*arguments]))
        self._code: int | None = None

    @property
    def said(self) -> str:
        """All that runs in the folder have printed so far."""
        said = self.folder / "said"
        return said.read_text(encoding="utf-8") if said.exists() else ""

    def go_on(self, *stop: str) -> None:
        """Until the next task of one of these families."""
        (self.folder / "stop").write_text(" ".join(stop), encoding="utf-8")
        (self.folder / "stopped").unlink(missing_ok=True)

    def code(self) -> int | None:
        """The exit code, or None as long as it runs."""
        if self._code is None:
            self._code = self._launcher.ask("poll", self.process)
        return self._code

    def stopped(self) -> str:
        """Wait until the run has stopped, and give the family of the task; empty if it ended before."""
        stopped = self.folder / "stopped"
        wait_for(lambda: stopped.exists() or self.code() is not None, self.where)
        return stopped.read_text(encoding="utf-8") if stopped.exists() and self.code() is None else ""

    def ended(self) -> int:
        """Wait for the end, and give the exit code."""
        wait_for(lambda: self.code() is not None, self.where)
        code = self.code()
        assert code is not None
        return code

    def where(self) -> str:
        """What to say of a run that does not come to where it should."""
        return f"told to stop at {(self.folder / 'stop').read_text()!r}; it said: {self.said[-3000:]}"


def wait_for(holds: Callable[[], bool], what: Callable[[], str]) -> None:
    """Wait until something holds, for minutes if need be."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, what()
        time.sleep(POLL_S)


def living(folder: Path) -> list[str]:
    """Command lines of the processes that work in `folder` or below, or were told its name."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            place = (process / "cwd").readlink()
            if process.name != str(os.getpid()) and (place.is_relative_to(folder) or str(folder) in words):
                found.append(f"{process.name} {words}")
    return found


# What follows happens in the launcher.


_running: list[Any] = []  # tasks that this process makes
_session = 0  # of the run and its tasks


def _stop_if_it_makes(moment: str = "") -> None:
    """Stop within a task; the sample's server, which has a session of its own, does not stop."""
    if _running and os.getsid(0) == _session:
        _stop(_running[-1].task_family + moment)


def _stop_before(holder: Any, name: str, moment: str = "") -> None:
    original = getattr(holder, name)

    def stopping(*arguments: Any, **options: Any) -> Any:
        _stop_if_it_makes(moment)
        return original(*arguments, **options)

    setattr(holder, name, stopping)


def _stop_in_tasks() -> None:
    """Have tasks stop when what they make is all there, but not yet under its name, or not committed."""
    from ben_luigi.domain import fence, files
    from ben_luigi.domain.cdse.download import Download
    from ben_luigi.stages.task import PipelineTask
    from ben_luigi.state.targets import MadeFile
    from ben_luigi.state.tile_rows import TileRows

    global _session
    _session = os.getsid(0)
    publish = PipelineTask.publish

    def publishing(task: PipelineTask) -> None:
        if not task.targets():
            _stop(task.task_family)
        _running.append(task)
        try:
            publish(task)
        finally:
            _running.pop()

    pipeline_task: Any = PipelineTask
    pipeline_task.publish = publishing
    _stop_before(files, "_sync_all")
    _stop_before(TileRows, "touch")
    _stop_before(Download, "_publish")
    _stop_before(MadeFile, "record", RECORD)
    require = fence.require

    def asking(what: Any) -> None:
        require(what)
        _stop_if_it_makes(ASKED)

    fence.require = asking
    _stop_while_sen2cor_runs()


def _stop_while_sen2cor_runs() -> None:
    from ben_luigi.domain import children

    run: Any = children.running

    @contextmanager
    def stopping_while_running(command: list[str], **how: Any) -> Iterator[Any]:
        with run(command, **how) as process:
            if "unfinished" not in how:  # Sen2Cor, and not the database that is being made
                _stop("ConvertToL2A")
            yield process

    children.running = stopping_while_running


def _stop(family: str) -> None:
    for mishap, happens in (("die", _die), ("full", _fill)):
        place = Path(mishap)
        if place.exists() and family in (left := place.read_text(encoding="utf-8").split()):
            place.write_text(" ".join(name for name in left if name != family), encoding="utf-8")
            happens()
    if family not in Path("stop").read_text(encoding="utf-8").split():
        return
    Path("stop").write_text("", encoding="utf-8")
    work = Path(f"stopped-{os.getpid()}")
    work.write_text(family, encoding="utf-8")
    work.rename("stopped")
    while Path("stopped").exists():
        time.sleep(POLL_S)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fill() -> None:
    from ben_luigi.domain import files

    files.raise_if_full(Path("its record"), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


def _set_clock() -> None:
    """The clock goes wrong by the seconds in the file `clock`, if there is one."""
    right = time.time

    def wrong() -> float:
        with suppress(OSError, ValueError):
            return right() + float(Path("clock").read_text())
        return right()

    time.time = wrong


def _copy_world() -> None:
    """Make the sample world by copying."""
    from ben_luigi.stages import sample_world

    source = os.environ.get("BEN_SAMPLE_WORLD", "")

    def copy(folder: Path, progress: Callable[[float], None] = lambda fraction: None) -> None:
        shutil.copytree(source, folder)

    if source:
        stage: Any = sample_world
        stage.make_world = copy


def _pin() -> None:
    """Take another table of pinned inputs, and the table of products beside it."""
    from ben_luigi.domain import inputs
    from ben_luigi.stages import prerequisites, product_list

    table, read = os.environ.get("BEN_PINNED", ""), inputs.read_pinned
    domain: Any = inputs
    if table:
        domain.read_pinned = lambda _: read(Path(table))
        for stage in (prerequisites, product_list):
            vars(stage)["PRODUCTS"] = Path(table).with_name("products.csv")


def _run(folder: str, own: dict[str, str], arguments: list[str]) -> int:
    import luigi

    from ben_luigi import config
    from ben_luigi.commands import run
    from ben_luigi.configuration import loading

    os.chdir(folder)
    said = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(own)
    settings = luigi.configuration.get_config()
    for section in settings.sections():  # the launcher's
        settings.remove_section(section)
    config._set_by_us.clear()
    loading.load()
    config.set_defaults()
    _stop_in_tasks()
    _set_clock()
    _copy_world()
    _pin()
    return run.main(arguments)


def _luigid(port: int, folder: str) -> int:
    from luigi import server

    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    server.run(api_port=port, address="127.0.0.1")
    return 0


def _poll(process: int) -> int | None:
    ended, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _main() -> None:
    importlib.import_module("ben_luigi.commands.run")
    for line in iter(sys.stdin.readline, ""):
        what, *words = json.loads(line)
        if what == "poll":
            print(json.dumps(_poll(*words)), flush=True)
            continue
        process = os.fork()
        if not process:
            sys.exit(_run(*words) if what == "run" else _luigid(*words))
        print(json.dumps(process), flush=True)


if __name__ == "__main__":
    _main()
