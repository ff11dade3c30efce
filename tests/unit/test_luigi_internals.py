"""Luigi as it is relied on beyond its documented interface: to be run when its version is raised."""

from __future__ import annotations

import collections.abc
import importlib.metadata
from pathlib import Path
from typing import Any

import luigi
import luigi.execution_summary
import luigi.interface
import luigi.scheduler
import luigi.server
import luigi.worker
import pytest
from luigi.configuration import get_config

import ben_luigi.pipeline  # noqa: F401  # which declares the tasks
from ben_luigi.state import luigi_internals
from ben_luigi.state.scheduling import QuickScheduler

PINNED = (Path(__file__).parents[2] / "setup.cfg").read_text(encoding="utf-8")
SEEN: list[str] = []


class Context:
    """As `[worker] task_process_context`."""

    def __init__(self, process: Any) -> None:
        self.task = process.task

    def __enter__(self) -> None:
        SEEN.append(f"enter {self.task.task_family}")

    def __exit__(self, *_: object) -> None:
        SEEN.append("exit")


class Late(luigi.Task):
    """Complete once it has run."""

    done = False

    def complete(self) -> bool:
        return type(self).done

    def run(self) -> None:
        type(self).done = True
        SEEN.append("Late")


class Asks(luigi.Task):
    """Finds while running that what it requires is missing, and asks for it."""

    done = False

    def complete(self) -> bool:
        return type(self).done

    def run(self) -> collections.abc.Iterator[luigi.Task]:
        if not Late.done:
            yield Late()
        type(self).done = True


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> collections.abc.Iterator[Any]:
    monkeypatch.chdir(tmp_path)  # the times of tasks go to `data` there
    parser, set_before = get_config(), []

    def change(section: str, name: str, value: str) -> None:
        set_before.append((section, name))
        parser.set(section, name, value)

    yield change
    for section, name in set_before:
        parser.remove_option(section, name)


def test_the_pinned_version_is_the_one_that_is_installed() -> None:
    assert f"luigi=={importlib.metadata.version('luigi')}\n" in PINNED


def test_a_task_runs_within_its_context_and_asks_for_what_it_lacks(options: Any) -> None:
    SEEN.clear()
    options("worker", "task_process_context", f"{__name__}.Context")
    options("worker", "check_unfulfilled_deps", "false")
    options("worker", "force_multiprocessing", "false")  # so that the lists here see what it did
    assert luigi.build([Asks()], local_scheduler=True, no_lock=True, workers=1)
    assert SEEN == ["enter Asks", "exit", "enter Late", "Late", "exit", "enter Asks", "exit"]


def test_tasks_are_lent_the_statistics_of_the_scheduler() -> None:
    luigi_internals.lend_statistics()
    assert hasattr(luigi.worker.TaskStatusReporter, "report_task_statistics")
    assert luigi.worker.TaskProcess.forward_reporter_attributes["report_task_statistics"] == "report_task_statistics"


@pytest.mark.parametrize("page", ["<html>It works!</html>", "[]", '{"ok": true}', ""])
def test_another_program_at_the_place_of_luigid_is_an_error_of_the_connection(
    page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    luigi_internals.refuse_other_programs()
    monkeypatch.setattr(luigi_internals.RemoteScheduler, "_fetch", lambda *_: page)
    with pytest.raises(luigi_internals.RPCError, match="http://host:80 answers as another program does"):
        luigi_internals.running("http://host:80/")


def test_luigid_and_a_run_without_it_use_the_class_that_they_find(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(QuickScheduler):
        """Ours."""

    monkeypatch.setattr(luigi.scheduler, "Scheduler", QuickScheduler)
    luigi_internals.schedule_here_by(Own)
    assert type(luigi.interface._WorkerSchedulerFactory().create_local_scheduler()) is Own
    assert vars(luigi.server)["Scheduler"] is not Own  # a name of its own, which `ben-luigi luigid` sets
    assert {"prune", "forgive_failures", "_state"} <= {*dir(Own), *vars(Own())}


def test_a_command_line_asks_for_a_task() -> None:
    with luigi_internals.CmdlineParser.global_instance(["--module", "ben_luigi", "FinalizeDataset"]) as parser:
        assert parser.get_task_obj().task_family == "FinalizeDataset"


def test_a_task_is_made_again_from_what_a_record_says() -> None:
    task = luigi_internals.load_task("ben_luigi", "CompressPart", {"archive_name": "BigEarthNet-S2", "part": "x"})
    assert task.part == "x"
    before = luigi_internals.load_task("ben_luigi", "FinalizeDataset", {})
    assert luigi_internals.load_task("ben_luigi", "FinalizeDataset", {}) is before
    luigi_internals.forget_instances()
    assert luigi_internals.load_task("ben_luigi", "FinalizeDataset", {}) is not before


class Before(luigi.Task):
    """What the task below requires."""

    done = False

    def complete(self) -> bool:
        return type(self).done

    def run(self) -> None:
        type(self).done = True
        SEEN.append("Before")


class ForOthers(Before):
    """A task that a run may leave to others."""

    done, is_left = False, True

    def requires(self) -> luigi.Task:
        return Before()

    def run(self) -> None:
        type(self).done = True
        SEEN.append("ForOthers")

    def is_left_to_others(self) -> bool:
        return type(self).is_left


def test_a_task_that_is_left_to_others_is_reported_but_not_given(options: Any) -> None:
    """What it requires is made, no input counts as missing, and another worker of the same scheduler is given it."""
    SEEN.clear()
    options("worker", "force_multiprocessing", "false")
    luigi_internals.leave_to_others()
    scheduler = QuickScheduler()
    with luigi.worker.Worker(scheduler, worker_id="head") as head:
        head.add(ForOthers())
        head.run()
    assert SEEN == ["Before"]
    assert luigi.execution_summary._summary_dict(head)["not_run"] == {ForOthers()}
    assert not luigi.execution_summary._summary_dict(head)["still_pending_ext"]
    ForOthers.is_left = False
    with luigi.worker.Worker(scheduler, worker_id="job") as job:
        job.add(ForOthers())
        job.run()
    assert SEEN == ["Before", "ForOthers"]
