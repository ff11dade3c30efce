"""Luigi's scheduler, with a cost per task that does not grow with the number of tasks.

Whenever a worker asks for work, Luigi sorts all pending tasks, looks at the requirements of each, counts those that
wait, and looks for tasks to forget: with the tasks of 1,250 tiles that takes longer than the work of most of them. Here
it looks only at tasks that may be able to run. A task that waits is noted under one unfinished requirement, and looked
at again once that is done: the scheme of watched literals that SAT solvers use (Moskewicz et al. 2001, "Chaff"). Of
tasks that are alike in all that decides, such as a thousand downloads, it looks at the first few.
"""

from __future__ import annotations

import logging
import pickle
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import chain, count
from pathlib import Path
from typing import Any

from luigi.scheduler import WORKER_STATE_DISABLED, Scheduler, SimpleTaskState, Task
from luigi.task_status import DONE, PENDING

from ben_luigi.domain import files
from ben_luigi.domain.errors import PipelineError

_log = logging.getLogger("ben_luigi")
_PRUNING_SHARE = 0.05
"""Most of the time that may be spent on looking for tasks and workers to forget."""
_NOT_COUNTED = {"n_pending_tasks": 1, "n_unique_pending": 0, "n_pending_last_scheduled": 0, "running_tasks": []}
"""What a worker is told of tasks that wait while it is given another: it looks at it only if there is none."""


_Kind = tuple[Any, ...]
"""What decides about a ready task: tasks of one kind are alike."""


def _kind(task: Any) -> _Kind:
    resources = tuple(task.resources.items()) if task.resources else ()
    alone = task.id if task.is_batchable() else ""  # those are given together
    return task.priority, resources, tuple(task.workers), task.runnable, alone


class _Alike:
    """Ready tasks of one kind, from the earliest on."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[float, int, Any]] = {}
        self._heap: list[tuple[float, int, Any]] = []  # with those that have been removed, until they are the earliest
        self._order = count()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, task: Any) -> None:
        """Add a task that is not among them."""
        self._entries[task.id] = entry = task.time, next(self._order), task
        heappush(self._heap, entry)

    def remove(self, name: str) -> None:
        """Remove a task."""
        del self._entries[name]
        if len(self._heap) > 2 * len(self._entries) + 8:
            self._heap = list(self._entries.values())
            heapify(self._heap)

    def first(self, most: int) -> list[Any]:
        """Return the earliest, at most so many."""
        found: list[tuple[float, int, Any]] = []
        while self._heap and len(found) < most:
            entry = heappop(self._heap)
            if self._entries.get(entry[2].id) is entry:
                found.append(entry)
        for entry in found:
            heappush(self._heap, entry)
        return [task for _, _, task in found]


class TaskState(SimpleTaskState):
    """Luigi's memory of tasks, which also knows which of the pending ones may be able to run."""

    def __init__(self, state_path: str) -> None:
        super().__init__(state_path)
        self.only_ready = False
        self._unseen: dict[str, Any] = {}
        self._ready: dict[str, _Kind] = {}
        self._alike: defaultdict[_Kind, _Alike] = defaultdict(_Alike)
        self._waiting: defaultdict[str, dict[str, Any]] = defaultdict(dict)

    def load(self) -> None:
        """Take over the saved state, if there is one; begin with none if it is damaged, and say so."""
        path = Path(self._state_path)
        try:
            if path.exists():
                type(self)(self._state_path).set_state(pickle.loads(path.read_bytes()))
        except Exception as error:  # a damaged pickle may raise anything
            found = f"{type(error).__name__}: {error}"
            _log.warning(
                "%s; expected: the state that luigid has saved; found: %s; next: nothing is to be done, runs report "
                "their tasks again",
                *(path, found),
            )
        else:
            super().load()

    def dump(self) -> None:
        """Save the state, all of it or none: on a full disk the earlier one stays."""
        try:
            with files.atomic_write(Path(self._state_path)) as work:
                work.write_bytes(pickle.dumps(self.get_state()))
        except (PipelineError, OSError) as error:
            _log.warning("the state of luigid is not saved: %s", error)

    def set_state(self, state: Any) -> None:
        """Take over a saved state."""
        super().set_state(state)
        self._ready.clear()
        self._alike.clear()
        self._waiting.clear()
        self._unseen = {name: task for name, task in self._tasks.items() if task.status == PENDING}

    def set_status(self, task: Any, new_status: str, config: Any = None) -> None:
        """Set the status of a task; what has waited for it is looked at again."""
        super().set_status(task, new_status, config)
        self.look_again_at(task)
        if task.status == DONE:
            self._unseen |= self._waiting.pop(task.id, {})

    def look_again_at(self, task: Any) -> None:
        """Note that the status or the requirements of a task may have changed."""
        self._take_away(task.id)
        self._unseen[task.id] = task

    def inactivate_tasks(self, delete_tasks: Any) -> None:
        """Forget tasks."""
        deleted = list(delete_tasks)
        super().inactivate_tasks(deleted)
        for name in deleted:
            self._take_away(name)

    def get_active_tasks_by_status(self, *statuses: str) -> Any:
        """Return the tasks of these states; where `only_ready`, of the pending ones only those that may be able to run.

        Luigi itself looks once more whether their requirements are done.
        """
        if not self.only_ready or PENDING not in statuses:
            return super().get_active_tasks_by_status(*statuses)
        for name, task in self._unseen.items():
            if task.status == PENDING and self._tasks.get(name) is task:
                awaited = self._unfinished(task)
                if awaited is None:
                    self._ready[name] = kind = _kind(task)
                    self._alike[kind].add(task)
                else:
                    self._waiting[awaited][name] = task
        self._unseen.clear()
        others = (status for status in statuses if status != PENDING)
        return chain(self._first_ready(), super().get_active_tasks_by_status(*others))

    def _first_ready(self) -> Iterator[Any]:
        """Yield those of the ready tasks that Luigi can give, or for which it can reserve a worker's resources.

        Resources and workers only become fewer while Luigi goes through its list. So of tasks that are alike only the
        first can be given, and no more are reserved for than all workers can run at once.
        """
        most = 1 + sum(int(worker.info.get("workers", 1)) for worker in self.get_active_workers())
        for tasks in self._alike.values():
            yield from tasks.first(most)

    def _take_away(self, name: str) -> None:
        kind = self._ready.pop(name, None)
        if kind is not None:
            self._alike[kind].remove(name)
            if not self._alike[kind]:
                del self._alike[kind]

    def _unfinished(self, task: Any) -> str | None:
        for name in task.deps or ():
            found = self._tasks.get(name)
            if found is None or found.status != DONE:
                return str(name)
        return None


class ScheduledTask(Task):
    """What Luigi notes of a task, in half of the memory, which every process that runs a task begins by sharing.

    Few tasks ever fail. And CPython keeps the attributes of objects of one class together up to 30 per object: Luigi's
    have 32, each with a dictionary of its own.
    """

    __slots__ = ("_failures", "batch_id", "batchable", "runnable")
    _failures: deque[float] | None

    @property
    def failures(self) -> deque[float]:
        """When it has failed, in seconds since 1970."""
        if self._failures is None:
            self._failures = deque()
        return self._failures

    @failures.setter
    def failures(self, times: deque[float]) -> None:
        self._failures = times or None

    def clear_failures(self) -> None:
        """Forget when it has failed."""
        self._failures = self.first_failure_time = None

    def __reduce__(self) -> Any:
        """Pickle it as Luigi's own, which any version of Luigi and of this package can read."""
        own = {name: getattr(self, name) for name in ("batch_id", "batchable", "runnable")}
        return object.__new__, (Task,), {**vars(self), **own, "failures": self._failures or deque()}


class QuickScheduler(Scheduler):
    """Gives the same tasks to the same workers as Luigi's own."""

    _prune_at = 0.0
    _state: Any

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        collector = self._state._metrics_collector
        self._state = TaskState(self._config.state_path)
        self._state._metrics_collector = collector
        self._make_task: Any = partial(ScheduledTask, **self._make_task.keywords)

    def add_task(self, **facts: Any) -> None:
        """Add or update a task."""
        super().add_task(**facts)
        task = self._state.get_task(facts.get("task_id"))
        if task is not None:
            self._state.look_again_at(task)

    def _update_priority(self, task: Any, prio: Any, worker: str) -> None:
        super()._update_priority(task, prio, worker)
        self._state.look_again_at(task)

    def get_work(self, **asked: Any) -> Any:
        """Return the task that a worker is to run next; if there is none, how many are awaited."""
        self._state.only_ready = True
        try:
            given = super().get_work(**asked)
        finally:
            self._state.only_ready = False
        if given["task_id"] is None and "batch_id" not in given and given["worker_state"] != WORKER_STATE_DISABLED:
            given |= self.count_pending(asked["worker"])
        return given

    def count_pending(self, worker: str) -> Any:
        """Count the tasks that a worker could wait for."""
        if self._state.only_ready:
            return {**_NOT_COUNTED, "worker_state": self._state.get_worker(worker).state}
        return super().count_pending(worker)

    def prune(self) -> None:
        """Forget silent workers and tasks that nobody needs; when a worker asks for work, only if that is quick."""
        began = time.monotonic()
        if self._state.only_ready and began < self._prune_at:
            return
        super().prune()
        ended = time.monotonic()
        self._prune_at = ended + (ended - began) / _PRUNING_SHARE
