"""Timing in alternating pairs, each piece of work in a process of its own, and what is printed of it."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from multiprocessing.connection import Connection

Work = Callable[[], object]


@dataclass(frozen=True)
class Spent:
    """What one run of a piece of work took: seconds on the clock, seconds of CPU, peak memory in MB."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def spent(work: Work) -> Spent:
    """Run `work` in a forked process and measure it; RuntimeError if it fails."""
    ours, theirs = multiprocessing.get_context("fork").Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_measured, args=(work, theirs))
    process.start()
    theirs.close()
    try:
        result: Spent = ours.recv()
    except EOFError as error:
        process.join()
        raise RuntimeError(f"{work} failed with exit code {process.exitcode}") from error
    process.join()
    return result


def _measured(work: Work, pipe: Connection) -> None:
    started = time.perf_counter()
    work()
    wall_s = time.perf_counter() - started
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu_s = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    pipe.send(Spent(wall_s, cpu_s, max(own.ru_maxrss, children.ru_maxrss) / 1024))


@dataclass(frozen=True)
class Ratio:
    """Our work against reference work, medians over the runs; the ratios are taken pair by pair."""

    name: str
    runs: int
    ours: Spent
    reference: Spent
    wall: float
    cpu: float
    at_most: float | None = None


def pairs(
    name: str,
    ours: Work,
    reference: Work,
    *,
    runs: int = 5,
    at_most: float | None = None,
    tidy: Work = lambda: None,
) -> Ratio:
    """Run both in turn, `runs` times, after one warm-up of each. `at_most` is the ratio on the clock aimed at.

    `tidy` is called after each run, and not measured.
    """
    spent(reference), tidy(), spent(ours), tidy()
    return rounds(reference, {name: (ours, at_most)}, runs=runs, tidy=tidy)[0]


def rounds(
    reference: Work,
    all_of_ours: Mapping[str, tuple[Work, float | None]],
    *,
    runs: int,
    tidy: Work = lambda: None,
) -> list[Ratio]:
    """Like `pairs` for several works against one reference, run in turn with it, without warm-up: for long ones."""

    def once(work: Work) -> Spent:
        took = spent(work)
        tidy()
        return took

    taken = [(once(reference), {name: once(ours) for name, (ours, _) in all_of_ours.items()}) for _ in range(runs)]
    return [
        Ratio(
            name,
            runs,
            _median([ours[name] for _, ours in taken]),
            _median([theirs for theirs, _ in taken]),
            statistics.median(ours[name].wall_s / theirs.wall_s for theirs, ours in taken),
            statistics.median(ours[name].cpu_s / theirs.cpu_s for theirs, ours in taken),
            at_most,
        )
        for name, (_, at_most) in all_of_ours.items()
    ]


def _median(runs: Sequence[Spent]) -> Spent:
    columns = zip(*(asdict(run).values() for run in runs), strict=True)
    return Spent(*(statistics.median(column) for column in columns))


def machine(packages: Sequence[str] = ()) -> dict[str, str]:
    """What it was measured on: cores, processor type, Python, packages."""
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "machine": platform.machine(),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def report(ratios: Sequence[Ratio], facts: Mapping[str, object], packages: Sequence[str] = ()) -> None:
    """Print a table, and then the same as one JSON object on one line."""
    print(f"{'what':<44} {'ours':>9} {'reference':>9} {'ratio':>6} {'cpu':>6} {'peak MB':>8}  aim")
    for one in ratios:
        aim = f"<= {one.at_most}" if one.at_most is not None else ""
        print(
            f"{one.name:<44} {one.ours.wall_s:>8.2f}s {one.reference.wall_s:>8.2f}s {one.wall:>6.2f} {one.cpu:>6.2f} "
            f"{one.ours.peak_mb:>8.0f}  {aim}"
        )
    for name, value in facts.items():
        print(f"{name}: {value}")
    print(json.dumps({"ratios": [asdict(one) for one in ratios], **facts, "machine": machine(packages)}))
