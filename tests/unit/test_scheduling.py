"""The scheduler, beside Luigi's own: both are told the same, and give the same."""

from __future__ import annotations

import errno
import pickle
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from luigi.task_status import DISABLED, DONE, FAILED, PENDING, RUNNING

from ben_luigi.state.scheduling import QuickScheduler, TaskState

Luigis: Any = QuickScheduler.__base__  # which is not in its place in luigi.scheduler once tasks are loaded
WORKERS = ("first", "second")
ANSWERED = ("task_id", "n_pending_tasks", "n_unique_pending", "n_pending_last_scheduled", "running_tasks")


@dataclass(frozen=True)
class Job:
    """A task as a worker reports it; it needs tasks of smaller numbers."""

    needs: frozenset[int]
    priority: int
    resources: dict[str, int]
    worker: str


@st.composite
def jobs(draw: st.DrawFn) -> list[Job]:
    count = draw(st.integers(1, 24))
    return [
        Job(
            frozenset(draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else ()),
            draw(st.integers(0, 2)),
            draw(st.sampled_from([{}, {}, {"downloads": 1}])),
            draw(st.sampled_from(WORKERS)),
        )
        for number in range(count)
    ]


class Both:
    """Two schedulers that are asked the same; their answers have to agree."""

    def __init__(self) -> None:
        self.luigis, self.ours = (
            Luigis(retry_delay=0.0, resources={"downloads": 1}),
            QuickScheduler(retry_delay=0.0, resources={"downloads": 1}),
        )
        self.running: list[tuple[str, str]] = []

    def tell(self, **facts: Any) -> None:
        for scheduler in (self.luigis, self.ours):
            scheduler.add_task(**facts)

    def ask(self, worker: str) -> str | None:
        current = [task for task, by in self.running if by == worker]
        told = [
            scheduler.get_work(worker=worker, host="here", current_tasks=current)
            for scheduler in (self.luigis, self.ours)
        ]
        assert told[0]["task_id"] == told[1]["task_id"]
        if told[0]["task_id"] is None:
            assert [told[0][name] for name in ANSWERED] == [told[1][name] for name in ANSWERED]
        else:
            self.running.append((told[0]["task_id"], worker))
        task: str | None = told[0]["task_id"]
        return task


@settings(max_examples=150)
@given(jobs(), st.data())
def test_the_same_tasks_are_given_to_the_same_workers(graph: list[Job], data: st.DataObject) -> None:
    """Tasks end well, fail and are tried again, or find out that they need others, also such as nobody has told of."""
    both, order = Both(), data.draw(st.permutations(range(len(graph))))
    for number in order:
        job = graph[number]
        both.tell(
            task_id=f"task {number}",
            deps=[f"task {need}" for need in sorted(job.needs)],
            priority=job.priority,
            resources=job.resources,
            worker=job.worker,
            family="Task",
        )
    for _ in range(4 * len(graph)):
        both.ask(data.draw(st.sampled_from(WORKERS)))
        if not both.running:
            continue
        task, worker = both.running.pop(data.draw(st.integers(0, len(both.running) - 1)))
        resources = graph[int(task.split()[1])].resources
        fate = data.draw(st.sampled_from([DONE, DONE, DONE, FAILED, PENDING]))
        more = {"new_deps": [f"task {data.draw(st.integers(0, len(graph)))}"]} if fate == PENDING else {}
        if more.get("new_deps") == [task]:
            continue
        both.tell(
            task_id=task,
            status=fate,
            worker=worker,
            family="Task",
            resources=resources,
            expl='""',
            runnable=True,
            **more,
        )
        for scheduler in (both.luigis, both.ours):
            scheduler._prune_at = 0.0
            scheduler.prune()


def test_a_task_waits_without_being_looked_at() -> None:
    """Of a thousand that wait for one another, a question about work looks at those that may run."""
    scheduler, looked = QuickScheduler(), []
    for number in range(1000):
        scheduler.add_task(task_id=f"task {number}", deps=[f"task {number - 1}"] if number else [], worker="first")
    found = TaskState._unfinished
    TaskState._unfinished = lambda own, task: looked.append(task.id) or found(own, task)  # type: ignore
    try:
        assert scheduler.get_work(worker="first")["task_id"] == "task 0"
        looked.clear()
        for number in range(100):
            scheduler.add_task(task_id=f"task {number}", status=DONE, worker="first")
            assert scheduler.get_work(worker="first")["task_id"] == f"task {number + 1}"
    finally:
        TaskState._unfinished = found  # type: ignore[method-assign]
    assert len(looked) < 500


def test_of_a_thousand_that_are_alike_luigi_looks_at_the_first_few() -> None:
    scheduler, looked = QuickScheduler(resources={"downloads": 1}), list[str]()
    for number in range(1000):
        scheduler.add_task(task_id=f"task {number}", resources={"downloads": 1}, worker="first")
    scheduler.add_task(task_id="another", worker="first")
    found = scheduler._schedulable
    scheduler._schedulable = lambda task: looked.append(task.id) or found(task)  # type: ignore
    assert [scheduler.get_work(worker="first")["task_id"] for _ in range(3)] == ["task 0", "another", None]
    assert len(looked) < 20


def test_a_task_is_noted_in_half_of_the_memory(told: int = 1000) -> None:
    """Each process that runs a task begins by sharing it."""
    taken = []
    for kind in (Luigis, QuickScheduler):
        scheduler = kind()
        tracemalloc.start()
        try:
            for number in range(told):
                scheduler.add_task(task_id=f"task {number}", worker="first", params={"tile": "33UUP"})
            taken.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
    assert taken[1] < 0.6 * taken[0]


def test_a_task_that_fails_again_and_again_is_given_up_as_by_luigi() -> None:
    for kind in (Luigis, QuickScheduler):
        scheduler = kind(retry_count=2, retry_delay=0.0)
        scheduler.add_task(task_id="task", worker="first")
        states = []
        for _ in range(2):
            scheduler.get_work(worker="first")
            scheduler.add_task(task_id="task", status=FAILED, worker="first")
            states.append(scheduler._state.get_task("task").status)
        assert states == [FAILED, DISABLED] and scheduler._state.get_task("task").num_failures() == 2
        scheduler.add_task(task_id="task", status=DONE, worker="first")
        assert scheduler._state.get_task("task").num_failures() == 0


def test_a_saved_state_goes_on(tmp_path: Path) -> None:
    """Also one that Luigi's own scheduler has saved."""
    for kind in (Luigis, QuickScheduler):
        path = tmp_path / kind.__name__
        before = kind(state_path=str(path))
        before.add_task(task_id="early", worker="first")
        before.add_task(task_id="late", deps=["early"], worker="first")
        before.dump()
        assert {type(task).__module__ for task in pickle.loads(path.read_bytes())[0].values()} == {"luigi.scheduler"}
        after = QuickScheduler(state_path=str(path))
        after.load()
        assert after.get_work(worker="first")["task_id"] == "early"
        after.add_task(task_id="early", status=DONE, worker="first")
        assert after.get_work(worker="first")["task_id"] == "late"
        assert after._state.get_task("late").status == RUNNING


@pytest.mark.parametrize(
    "saved", [b"", b"no pickle", pickle.dumps(({}, {}))[:-3], pickle.dumps({"a": 1}), pickle.dumps(([1], 2, 3))]
)
def test_a_state_that_cannot_be_read_is_told_and_begun_anew(
    saved: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_bytes(saved)
    scheduler = QuickScheduler(state_path=str(tmp_path / "state"))
    scheduler.load()
    scheduler.add_task(task_id="early", worker="first")
    assert scheduler.get_work(worker="first")["task_id"] == "early"
    (record,) = caplog.records
    assert record.message.startswith(f"{tmp_path}/state; expected: the state that luigid has saved; found: ")
    assert not record.exc_info


def test_a_state_for_which_there_is_no_room_leaves_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = QuickScheduler(state_path=str(tmp_path / "state"))
    scheduler.dump()
    before = (tmp_path / "state").read_bytes()
    scheduler.add_task(task_id="early", worker="first")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    scheduler.dump()
    assert (tmp_path / "state").read_bytes() == before and len(list(tmp_path.iterdir())) == 1
    (record,) = caplog.records
    assert record.message.startswith(f"the state of luigid is not saved: {tmp_path}/state; expected: room on the disk")
    assert not record.exc_info
