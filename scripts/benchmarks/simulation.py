"""Simulate workers that share connections, memory, a disk and a scheduler, and bound what no simulation can undercut.

A task waits for others, then for a worker and a unit of each resource that it needs, all at once. Of the tasks that can
begin, the one of the highest priority does, as with Luigi. It first asks the scheduler, which answers one task after
the other. Then it works, and reads and writes all the while: where the disk is too slow for all that work at a moment,
it is shared fairly (max-min), and who gets less than needed is slower by as much.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

WORKER, DISK, SCHEDULER, CHAIN = "workers", "disk", "luigid", "the longest chain"


@dataclass(frozen=True)
class Task:
    """A task of `stage`: seconds of work, bytes at the disk, further resources, and the numbers of tasks before it."""

    stage: str
    work_s: float
    disk_bytes: float = 0.0
    needs: tuple[str, ...] = ()
    after: tuple[int, ...] = ()
    priority: int = 0


@dataclass(frozen=True)
class Site:
    """How many workers and units of each resource there are, bytes/s of the disk, and seconds of luigid per task."""

    limits: Mapping[str, int]
    disk_bytes_s: float = math.inf
    scheduler_s: float = 0.0

    def alone_s(self, task: Task) -> float:
        """Return how long a task works if nothing else is there."""
        return max(task.work_s, task.disk_bytes / self.disk_bytes_s)


@dataclass(frozen=True)
class Outcome:
    """When each task has begun and ended, in seconds."""

    tasks: Sequence[Task]
    began: Sequence[float]
    ended: Sequence[float]

    def seconds(self) -> float:
        """Return how long all took."""
        return max(self.ended, default=0.0)

    def stage_end(self, *stages: str) -> float:
        """Return when the last task of these stages has ended."""
        return max(end for task, end in zip(self.tasks, self.ended, strict=True) if task.stage in stages)


def bounds(tasks: Sequence[Task], site: Site) -> dict[str, float]:
    """Return seconds that all tasks take at least: by each resource alone, and by the longest chain of tasks."""
    alone = [site.scheduler_s + site.alone_s(task) for task in tasks]
    held = dict.fromkeys(site.limits, 0.0)
    longest: list[float] = []
    for task, seconds in zip(tasks, alone, strict=True):
        longest.append(seconds + max((longest[before] for before in task.after), default=0.0))
        for name in (WORKER, *task.needs):
            held[name] += seconds
    return {
        **{name: seconds / site.limits[name] for name, seconds in held.items()},
        DISK: sum(task.disk_bytes for task in tasks) / site.disk_bytes_s,
        SCHEDULER: site.scheduler_s * len(tasks),
        CHAIN: max(longest, default=0.0),
    }


def simulate(tasks: Sequence[Task], site: Site) -> Outcome:
    """Run all tasks, each of which comes after those that it waits for. Raise ValueError if one can never begin."""
    run = _Run(tasks, site)
    run.to_end()
    return Outcome(tasks, run.began, run.ended)


@dataclass
class _Kind:
    """Tasks of one length and demand, which all work at one speed: `done` counts its seconds since the beginning."""

    alone_s: float
    demand: float
    speed: float = 1.0
    done: float = 0.0
    ends: list[tuple[float, int]] = field(default_factory=list)

    def left_s(self) -> float:
        """Return in how many seconds the next one ends."""
        return max(0.0, self.ends[0][0] - self.done) / self.speed if self.ends else math.inf


class _Work:
    """All who work, by kind."""

    def __init__(self, disk_bytes_s: float) -> None:
        self._rate, self.now = disk_bytes_s, 0.0
        self._kinds: dict[tuple[float, float], _Kind] = {}

    def add(self, number: int, alone_s: float, disk_bytes: float) -> None:
        demand = disk_bytes / alone_s if disk_bytes and self._rate < math.inf else 0.0
        kind = self._kinds.setdefault((alone_s, demand), _Kind(alone_s, demand))
        heapq.heappush(kind.ends, (kind.done + alone_s, number))
        self._share()

    def next_end(self) -> float:
        return self.now + min((kind.left_s() for kind in self._kinds.values()), default=math.inf)

    def at(self, now: float) -> None:
        for kind in self._kinds.values():
            if kind.ends:
                kind.done += (now - self.now) * kind.speed
        self.now = now

    def pop(self) -> int:
        """Take out the task that ends now."""
        kind = min(self._kinds.values(), key=_Kind.left_s)
        number = heapq.heappop(kind.ends)[1]
        self._share()
        return number

    def _share(self) -> None:
        """Give each task what it needs of the disk, or an equal share of what those leave that need less."""
        left, users = self._rate, sum(len(kind.ends) for kind in self._kinds.values())
        for kind in sorted(self._kinds.values(), key=lambda kind: kind.demand):
            given = min(kind.demand, left / users) if users else kind.demand
            kind.speed = given / kind.demand if kind.demand else 1.0
            left -= given * len(kind.ends)
            users -= len(kind.ends)


class _Run:
    def __init__(self, tasks: Sequence[Task], site: Site) -> None:
        self.tasks, self.site = tasks, site
        self.began, self.ended = [math.nan] * len(tasks), [math.nan] * len(tasks)
        self._free = dict(site.limits)
        self._missing = [len(task.after) for task in tasks]
        self._followers: list[list[int]] = [[] for _ in tasks]
        self._ready: dict[tuple[int, tuple[str, ...]], deque[int]] = {}
        self._asking: deque[tuple[float, int]] = deque()
        self._work = _Work(site.disk_bytes_s)
        for number, task in enumerate(tasks):
            for before in task.after:
                self._followers[before].append(number)
            if not task.after:
                self._add(number)

    def _add(self, number: int) -> None:
        task = self.tasks[number]
        self._ready.setdefault((-task.priority, task.needs), deque()).append(number)

    def to_end(self) -> None:
        left = len(self.tasks)
        while left:
            self._begin(self._work.now)
            answer = self._asking[0][0] if self._asking else math.inf
            now = min(answer, self._work.next_end())
            if now == math.inf:
                raise ValueError("a task can never begin: it needs what there is none of, or waits for itself")
            self._work.at(now)
            if answer <= now:
                number = self._asking.popleft()[1]
                self._work.add(number, self.site.alone_s(self.tasks[number]), self.tasks[number].disk_bytes)
            else:
                self._end(self._work.pop(), now)
                left -= 1

    def _begin(self, now: float) -> None:
        """Begin every task that can begin, those of the highest priority first."""
        for key in sorted(self._ready):
            queue, names = self._ready[key], (WORKER, *key[1])
            while queue and all(self._free[name] > 0 for name in names):
                number = queue.popleft()
                for name in names:
                    self._free[name] -= 1
                self.began[number] = now
                before = self._asking[-1][0] if self._asking else now
                self._asking.append((before + self.site.scheduler_s, number))

    def _end(self, number: int, now: float) -> None:
        self.ended[number] = now
        for name in (WORKER, *self.tasks[number].needs):
            self._free[name] += 1
        for follower in self._followers[number]:
            self._missing[follower] -= 1
            if not self._missing[follower]:
                self._add(follower)
