"""The simulation of many hosts, by what holds for any: bounds, closed forms; and by a run that was measured."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ben_luigi.domain.dataset import estimate
from benchmarks import scale
from benchmarks.archive import S2_OF_ALL
from benchmarks.simulation import CHAIN, DISK, SCHEDULER, WORKER, Site, Task, bounds, simulate

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
seconds = st.integers(0, 50).map(float)


@st.composite
def graphs(draw: st.DrawFn, needs: bool = True) -> list[Task]:
    made: list[Task] = []
    for number in range(draw(st.integers(1, 15))):
        after = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        needed = draw(st.sampled_from([(), ("a",), ("b",), ("a", "b")])) if needs else ()
        disk = draw(st.integers(0, 90)) if needs else 0
        made.append(Task("any", draw(seconds), float(disk), needed, tuple(after), draw(st.integers(0, 2))))
    return made


@given(graphs(), st.integers(1, 4), st.integers(1, 3), st.sampled_from([math.inf, 3.0]), st.sampled_from([0.0, 0.5]))
def test_no_run_is_quicker_than_a_bound_and_none_slower_than_one_by_one(
    tasks: list[Task], workers: int, units: int, disk: float, scheduler_s: float
) -> None:
    site = Site({WORKER: workers, "a": units, "b": 1}, disk, scheduler_s)
    outcome = simulate(tasks, site)
    least = max(bounds(tasks, site).values())
    one_by_one = sum(scheduler_s + site.alone_s(task) for task in tasks)
    assert least <= outcome.seconds() * (1 + 1e-9) + 1e-9
    assert outcome.seconds() <= one_by_one * (1 + 1e-9) + 1e-9


@given(graphs(), st.integers(1, 4), st.sampled_from([math.inf, 3.0]))
def test_a_task_begins_after_those_before_it_and_no_resource_is_used_twice(
    tasks: list[Task], workers: int, disk: float
) -> None:
    limits = {WORKER: workers, "a": 2, "b": 1}
    outcome = simulate(tasks, Site(limits, disk))
    for number, task in enumerate(tasks):
        assert all(outcome.ended[before] <= outcome.began[number] for before in task.after)
        for name, limit in limits.items():
            at = outcome.began[number]
            users = [n for n, one in enumerate(tasks) if name in (WORKER, *one.needs)]
            assert sum(outcome.began[n] <= at < outcome.ended[n] for n in users) <= limit


@given(graphs(needs=False), st.integers(1, 5))
def test_workers_alone_keep_the_bound_of_graham(tasks: list[Task], workers: int) -> None:
    """List scheduling: work / m + (1 - 1/m) times the longest chain (Graham, 1969)."""
    site = Site({WORKER: workers})
    least = bounds(tasks, site)
    most = least[WORKER] + (1 - 1 / workers) * least[CHAIN]
    assert least[CHAIN] <= simulate(tasks, site).seconds() * (1 + 1e-9)
    assert simulate(tasks, site).seconds() <= most * (1 + 1e-9)
    assert simulate(tasks, Site({WORKER: len(tasks)})).seconds() == pytest.approx(least[CHAIN])
    assert simulate(tasks, Site({WORKER: 1})).seconds() == pytest.approx(sum(task.work_s for task in tasks))


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 20), st.integers(1, 200))
def test_equal_tasks_take_what_their_number_says(number: int, workers: int, work_s: int, rate: int) -> None:
    """By workers: the rounds; by a disk too slow for them: all bytes at its rate; by the scheduler: one by one."""
    one = Task("any", float(work_s))
    assert simulate([one] * number, Site({WORKER: workers})).seconds() == math.ceil(number / workers) * work_s
    reads = replace(one, disk_bytes=1000.0 * work_s)
    together = simulate([reads] * number, Site({WORKER: number}, float(rate))).seconds()
    assert together == pytest.approx(max(work_s, number * 1000 * work_s / rate))
    asked = simulate([one] * number, Site({WORKER: number}, scheduler_s=0.25)).seconds()
    assert asked == pytest.approx(0.25 * number + work_s)


@given(st.integers(1, 20), st.integers(1, 9), st.integers(0, 9))
def test_a_chain_behind_one_connection_is_a_pipeline(tiles: int, fetch_s: int, faster: int) -> None:
    """Each tile follows its download; if that takes longer than the rest, the last tile's rest alone is added."""
    rest_s = max(0, fetch_s - faster)
    tasks = [Task("fetch", float(fetch_s), needs=("a",)) for _ in range(tiles)]
    tasks += [Task("rest", float(rest_s), after=(number,)) for number in range(tiles)]
    outcome = simulate(tasks, Site({WORKER: 2 * tiles, "a": 1}))
    assert outcome.seconds() == tiles * fetch_s + rest_s
    assert outcome.stage_end("fetch") == tiles * fetch_s


def test_a_task_that_needs_little_of_the_disk_is_not_held_up() -> None:
    """Max-min: of 10 bytes/s the first gets the 1 that it needs, and the others 4.5 each."""
    tasks = [Task("a little", 10.0, 10.0), *[Task("much", 10.0, 100.0)] * 2]
    outcome = simulate(tasks, Site({WORKER: 3}, 10.0))
    assert outcome.ended[0] == pytest.approx(10)
    assert outcome.ended[1:] == pytest.approx([10 + 2 * (100 - 45) / 10] * 2)


def test_what_can_never_begin_is_told() -> None:
    with pytest.raises(ValueError, match="never begin"):
        simulate([Task("any", 1.0, needs=("a",))], Site({WORKER: 1, "a": 0}))


def test_a_measured_run_of_the_sample_world_is_met_within_a_tenth() -> None:
    """From the seconds of its tasks, with its two workers."""
    lines = (scale.MEASURED / "times.jsonl").read_text(encoding="utf-8").splitlines()
    outcome, took_s = scale.replay([json.loads(line) for line in lines], {WORKER: 2, "DownloadL1C": 1})
    assert len(outcome.ended) == len(lines)
    assert outcome.seconds() == pytest.approx(took_s, rel=0.1)


def test_the_work_of_a_run_is_that_of_its_parts() -> None:
    """One host of one core, without a disk or a network that limits: all work, one after the other."""
    parts = scale.Parts(0.0, 100.0, 20.0, 2.0, 1e-8, 1e-9, 2e-9, 2.0, {10: 0.0, 1000: 1.0})
    assumed = scale.Assumed(cores=1, memory_gb=6, connection_mb_s=1e12, disk_mb_s=1e12, sen2cor_min=10)
    line = scale.simulated(3, 1, parts, assumed)
    tars = 3 * estimate._SHARD_BYTES / S2_OF_ALL
    expected_s = 3 * (600 + 120 + 2) + tars * (1e-8 + 1e-9 + 2e-9)
    assert line.hours == pytest.approx(expected_s / 3600)
    assert line.core_hours == pytest.approx(expected_s / 3600) and line.bound == WORKER
    assert (parts.scheduler_s_of(4), parts.scheduler_s_of(900)) == (0.0, 1.0)


@settings(max_examples=10)
@given(st.floats(0, 10), st.floats(0, 100), st.floats(0, 100))
def test_money_is_what_the_prices_say(core: float, disk: float, fetched: float) -> None:
    line = scale.Line(1, 2, 6.0, {"verify": 3.0}, DISK, 1.0, 6.0, 50.0, 0.5, 0.24, 0.1, 16)
    assert scale._cost(line, core, disk, fetched) == pytest.approx(96 * core + 0.001 * disk + 0.5 * fetched)
    assert "| 96.00 |" in scale.tables([line], (1.0, 0.0, 0.0))
    assert "cost" not in scale.tables([line])


def test_the_page_has_the_tables_that_the_measurements_give(capsys: pytest.CaptureFixture[str]) -> None:
    assert scale.main([]) == 0
    *lines, as_json, _ = capsys.readouterr().out.split("\n")
    assert "\n".join(lines).strip() in PAGE
    runs = json.loads(as_json)["runs"]
    assert len(runs) == 12 and all(run["bound_h"] <= max(run["ended_h"].values()) for run in runs)
    assert {run["bound"] for run in runs} <= {scale.CONVERSION, scale.CONNECTION, DISK, WORKER, SCHEDULER, CHAIN}
