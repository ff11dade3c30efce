from __future__ import annotations

import logging
import multiprocessing
import os
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import timedelta
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path

import luigi
import pytest

from ben_luigi import config
from ben_luigi.commands import clear_tries
from ben_luigi.domain import waiting
from ben_luigi.domain.errors import PermanentError, TakenOver
from ben_luigi.state import budget, database, server
from ben_luigi.state.locks import advisory, task
from ben_luigi.state.locks.turn import DatabaseTurn
from tests.integration.test_recipes import OWN
from tests.unit.test_waiting import on_message

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module", autouse=True)
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("budget")
    settings = luigi.configuration.get_config()
    settings.set("dataset", "data_dir", str(folder))
    yield folder
    database.forget()
    server.close_server(folder / "database")
    settings.remove_option("dataset", "data_dir")


def test_a_tile_rests_after_its_tries_and_then_has_them_all_again() -> None:
    assert budget.tries_left("33UUP_20170613", 3, HOUR) == 3
    for left in (2, 1):
        budget.note_failure("33UUP_20170613", "503")
        assert budget.tries_left("33UUP_20170613", 3, HOUR) == left
    budget.note_failure("33UUP_20170613", "the last error")
    with pytest.raises(PermanentError, match=r"33UUP_20170613.*the last error"):
        budget.tries_left("33UUP_20170613", 3, HOUR)
    assert budget.tries_left("33UUP_20170614", 3, HOUR) == 3

    with database.transaction() as cursor:
        cursor.execute("UPDATE failed_try SET at = at - %s", (2 * HOUR,))
    assert budget.tries_left("33UUP_20170613", 3, HOUR) == 3
    budget.note_failure("33UUP_20170613", "503")
    assert budget.tries_left("33UUP_20170613", 3, HOUR) == 2
    assert budget.clear("33UUP_20170613") == 1
    assert budget.tries_left("33UUP_20170613", 3, HOUR) == 3


def test_what_is_typed_to_clear_the_tries_of_a_tile_clears_those_of_its_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each recipe has a data folder, and a database, of its own."""
    own, settings = tmp_path / "my own.toml", luigi.configuration.get_config()
    own.write_text(OWN)
    monkeypatch.setattr(clear_tries, "configure", lambda: None)
    settings.set("dataset", "recipe", str(own))
    try:
        for _ in range(3):
            budget.note_failure("33UUP_20170613", "503")
        with pytest.raises(PermanentError) as resting:
            budget.tries_left("33UUP_20170613", 3, HOUR)
        typed = resting.value.remedy.partition("ben-luigi clear-tries ")[2]
        settings.remove_option("dataset", "recipe")
        assert clear_tries.main(shlex.split(typed)) == 0
        assert capsys.readouterr().out == "33UUP_20170613: 3 failed tries cleared\n"
    finally:
        database.forget()
        server.close_server(config.data_dir() / "database")
        settings.remove_option("dataset", "recipe")


def test_failed_tries_from_the_future_hold_nobody_up() -> None:
    """The database's clock was a year ahead when they were noted, and has been set right."""
    for _ in range(3):
        budget.note_failure("33UUP_20170613", "503")
    assert budget.tried(3, HOUR)["33UUP_20170613"].rests_until
    with database.transaction() as cursor:
        cursor.execute("UPDATE failed_try SET at = at + %s", (365 * 24 * HOUR,))
    assert budget.tried(3, HOUR)["33UUP_20170613"].rests_until is None
    assert budget.tries_left("33UUP_20170613", 3, HOUR) == 3


def _work(now: Synchronized[int], most: Synchronized[int]) -> None:
    with budget.slot(2):
        with now.get_lock():
            now.value += 1
            most.value = max(most.value, now.value)
        time.sleep(0.3)
        with now.get_lock():
            now.value -= 1


def test_never_more_than_the_places_are_taken_over_all_processes() -> None:
    context = multiprocessing.get_context("fork")
    now, most = context.Value("i", 0), context.Value("i", 0)
    processes = [context.Process(target=_work, args=(now, most)) for _ in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 6
    assert most.value == 2


def _hold(work: Callable[[], AbstractContextManager[None]], taken: Event) -> None:
    waiting.at_work_on("DownloadL1C(tile=33UUP_20170613)")
    with work():
        taken.set()
        signal.pause()


@contextmanager
def _making_tables() -> Iterator[None]:
    """Who waits connects first, which makes the tables; who holds the lock is about to."""
    if not waiting._task:
        database._with_tables.clear()
        database.connect().close()
        yield
        return
    with database.transaction() as cursor:
        advisory.wait_for(cursor, "nobody", advisory.SCHEMA, 0)
        yield


WAITS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "one of 1 places for downloads": lambda: budget.slot(1),
    "the turn of DownloadL1C_33UUP": lambda: task.alone_with("DownloadL1C_33UUP"),
    # of which the number is below 0
    "the turn of DownloadL1C_2": lambda: task.alone_with("DownloadL1C_2"),
    "another process to make the tables of the database": _making_tables,
}


@pytest.mark.parametrize("what", WAITS)
def test_a_process_that_is_stopped_is_named_to_who_waits_and_what_it_held_is_free_when_it_is_killed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    fork = multiprocessing.get_context("fork")
    taken = fork.Event()
    holder = fork.Process(target=_hold, args=(WAITS[what], taken))
    holder.start()
    assert holder.pid and taken.wait(60)
    os.kill(holder.pid, signal.SIGSTOP)
    monkeypatch.setattr(waiting, "_FIRST_S", 0.0)
    log = logging.getLogger(waiting.__name__)
    try:
        with on_message(log, holder.kill), WAITS[what]():
            pass
    finally:
        holder.kill()
        holder.join()
    assert f"waiting for {what} for 0:00:00; it is held by" in caplog.text
    assert f"DownloadL1C(tile=33UUP_20170613) (process {holder.pid} on {waiting._host()}, which is stop" in caplog.text


def test_who_waits_for_a_turn_goes_on_waiting_when_its_session_is_cut(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(waiting, "_FIRST_S", 0.0)
    first, second = DatabaseTurn("CutPatches_of_a_tile"), DatabaseTurn("CutPatches_of_a_tile")
    first.wait()
    sessions = [second._driver.info.backend_pid]

    def cut_then_free() -> None:
        if sessions:
            database.query("SELECT pg_terminate_backend(%(pid)s, 60000)", pid=sessions.pop())
        else:
            first.close()

    with on_message(logging.getLogger(waiting.__name__), cut_then_free):
        second.wait()
    assert [message.split(" for 0:")[0] for message in caplog.messages] == 2 * [
        "waiting for the turn of CutPatches_of_a_tile"
    ]
    assert second.mark.number == 1 and not second.took_over
    second.close()


def test_a_turn_whose_session_was_cut_is_over_before_it_began_and_goes_on_afterwards() -> None:
    """Before, another may have made the result, which is then looked for again; afterwards the number tells."""
    turn = DatabaseTurn("GridPatches_of_a_tile")
    turn.wait()
    for began in (False, True):
        database.query("SELECT pg_terminate_backend(%(pid)s, 60000)", pid=turn._driver.info.backend_pid)
        if not began:
            with pytest.raises(TakenOver, match="its session with the database was cut"):
                turn.begin()
            turn.close()
            turn = DatabaseTurn("GridPatches_of_a_tile")
            turn.wait()
            turn.begin()
    turn.require("a result")
    database.query("SELECT pg_terminate_backend(%(pid)s, 60000)", pid=turn._driver.info.backend_pid)
    with closing(DatabaseTurn("GridPatches_of_a_tile")) as taker, pytest.raises(TakenOver, match="has taken it over"):
        taker.wait()
        assert taker.mark.number == turn.mark.number + 1 and taker.took_over
        turn.require("a result")
    with pytest.raises(TakenOver, match=rf"process {os.getpid()} .*has taken it over"):
        turn.require("a result")
    turn.close()


def test_a_turn_that_a_restored_database_does_not_know_is_over() -> None:
    """An older dump has none of it, or an earlier number, from which another may have got the same one since."""
    with closing(DatabaseTurn("GridPatches_of_a_tile")) as turn:
        turn.wait()
        turn.begin()
        for change, said in (
            (
                "UPDATE turn SET holder = '1@elsewhere GridPatches'",
                "elsewhere.*has taken it over.*the other one counts",
            ),
            ("UPDATE turn SET number = number - 1", "knows nothing of this turn, as after a restore.*it is made again"),
            ("DELETE FROM turn", "knows nothing of this turn, as after a restore.*it is made again"),
        ):
            with database.transaction() as cursor:
                cursor.execute(change)
            with pytest.raises(TakenOver, match=said):
                turn.require("a result")


def test_transactions_see_what_is_committed_whatever_the_server_s_default() -> None:
    """`serializable` would end one of two tasks that write at once."""
    with database.transaction() as cursor:
        cursor.execute("ALTER DATABASE ben_luigi SET default_transaction_isolation = serializable")
    database.forget()
    try:
        assert database.query("SHOW transaction_isolation").squeeze() == "read committed"
    finally:
        with database.transaction() as cursor:
            cursor.execute("ALTER DATABASE ben_luigi RESET default_transaction_isolation")
        database.forget()


def test_the_tables_of_another_version_get_what_they_lack_and_are_then_as_this_one_makes_them() -> None:
    with database.transaction() as cursor:
        cursor.execute("DROP TABLE overlap; ALTER TABLE marker DROP COLUMN made_with; COMMENT ON TABLE marker IS 'old'")
    for _ in range(2):
        database._with_tables.clear()
        database.connect().close()
        assert database.rows("TABLE overlap") == database.rows("SELECT made_with FROM marker") == []
        ((said,),) = database.rows("SELECT obj_description('marker'::regclass)")
        assert said.startswith("made by schema.py, sha256 ")


def test_a_connection_that_was_cut_while_it_was_idle_is_not_used_again() -> None:
    ((session,),) = database.rows("SELECT pg_backend_pid()")
    assert database.rows("SELECT pg_backend_pid()") == [(session,)]
    with database.lock_connection() as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", (session,))
    assert database.rows("SELECT pg_backend_pid()") != [(session,)]


def test_a_session_that_holds_a_lock_may_be_idle() -> None:
    with database.transaction() as cursor:
        cursor.execute("ALTER DATABASE ben_luigi SET idle_session_timeout = '100ms'")
    database.forget()
    try:
        with budget.slot(1):
            time.sleep(0.3)
            with database.lock_connection() as other, other.cursor() as cursor:
                cursor.execute(f"SELECT pg_try_advisory_lock({advisory.DOWNLOADS}, 0)")
                assert cursor.fetchone() == (False,)
    finally:
        with database.transaction() as cursor:
            cursor.execute("ALTER DATABASE ben_luigi RESET idle_session_timeout")
        database.forget()
