"""Our central scheduler on a clock of the test: workers that die, are silent for a while, or live through a jump."""

from __future__ import annotations

import socket
import time
from functools import partial
from typing import Any

import luigi.server
import pytest

from ben_luigi.commands import arguments
from ben_luigi.commands.luigid import CentralScheduler, _listening
from ben_luigi.domain.errors import BadInput

HOUR_S = 3600.0
DELAYS = {"worker_disconnect_delay": 120, "retry_delay": 6 * HOUR_S, "remove_delay": 14 * 24 * HOUR_S}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1.8e9]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


@pytest.fixture
def scheduler(clock: list[float]) -> Any:
    """One that two hosts have told of the same task, which the first of them runs."""
    made: Any = CentralScheduler(**DELAYS, resources={})
    for host in ("north", "south"):
        made.add_task(task_id="CutPatches_1", family="CutPatches", worker=host)
    assert made.get_work(worker="north")["task_id"] == "CutPatches_1"
    return made


def _given_to_south(scheduler: Any) -> bool:
    scheduler.ping(worker="south")
    scheduler.prune()
    return bool(scheduler.get_work(worker="south", current_tasks=[])["task_id"])


def test_what_a_dead_worker_ran_is_there_for_another_within_minutes(scheduler: Any, clock: list[float]) -> None:
    clock[0] += 119
    assert not _given_to_south(scheduler)
    clock[0] += 2
    assert _given_to_south(scheduler)


def test_what_has_failed_rests(scheduler: Any, clock: list[float]) -> None:
    scheduler.add_task(task_id="CutPatches_1", family="CutPatches", worker="north", status="FAILED")
    clock[0] += 5 * HOUR_S
    assert not _given_to_south(scheduler)
    clock[0] += 2 * HOUR_S
    assert _given_to_south(scheduler)


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
def test_a_worker_that_pings_lives_through_a_jump_of_the_clock(
    scheduler: Any, clock: list[float], jump_s: float
) -> None:
    clock[0] += jump_s
    scheduler.ping(worker="north")
    for _ in range(10):
        clock[0] += 100
        scheduler.ping(worker="north")
        assert not _given_to_south(scheduler)
    clock[0] += 121
    assert _given_to_south(scheduler), "it has died at last"


def test_a_worker_taken_for_dead_may_end_its_task_and_goes_on(scheduler: Any, clock: list[float]) -> None:
    """It tells of the task that it has now lost, tells the scheduler anew what it can do, and is given work."""
    clock[0] += 121
    assert _given_to_south(scheduler)
    scheduler.add_task(task_id="CutPatches_1", family="CutPatches", worker="north", status="DONE")
    assert scheduler.task_list("RUNNING", "")["CutPatches_1"]["worker_running"] == "south"
    scheduler.add_task(task_id="CutPatches_2", family="CutPatches", worker="north")
    assert scheduler.get_work(worker="north", current_tasks=[])["task_id"] == "CutPatches_2"


@pytest.mark.parametrize("port", ["0", "65536", "99999", "x"])
def test_no_port_beyond_the_last_one_is_taken(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The system would listen at what is left of it after a division by 65536, where no run asks."""
    with pytest.raises(SystemExit):
        arguments.luigid().parse_args(["--port", port])
    assert "expected a whole number from 1 to 65535" in capsys.readouterr().err


def test_a_port_that_is_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        where = {"api_port": port, "address": "127.0.0.1", "unix_socket": None}
        opens = partial(luigi.server._init_api, CentralScheduler(**DELAYS, resources={}))
        with pytest.raises(BadInput, match=f"luigid at 127.0.0.1:{port}; .*already in use; next: .* --port"):
            _listening(opens, **where)
