"""The embedded PostgreSQL with real servers; who lives is read from /proc, not from the locks under test."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from ben_luigi.domain import waiting
from ben_luigi.domain.errors import DatabaseError
from ben_luigi.state import server
from ben_luigi.state.server import close_server, open_server
from tests.integration.server_users import User, ask, postmaster, processes, working_below
from tests.integration.stopping import wait_for
from tests.unit.test_waiting import on_message

FORK = "if os.fork(): os.dup2(os.open(os.devnull, os.O_RDONLY), 0)"  # the parent leaves at once, the child stays


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def test_the_first_user_starts_the_server_and_the_last_stops_it(folder: Path) -> None:
    first = User(folder).arrived()
    started = postmaster(folder)
    second = User(folder).arrived()
    address = open_server(folder)
    assert postmaster(folder) == started
    assert ask(address, "SELECT value FROM kept") == 42
    first.leave()
    close_server(folder)
    assert postmaster(folder) == started
    second.leave()
    assert not processes(folder)


def test_a_second_call_makes_no_system_call(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = open_server(folder)
    monkeypatch.setattr(server, "os", None)
    monkeypatch.setattr(server, "locks", None)
    assert open_server(folder) is address
    monkeypatch.undo()


def test_settings(folder: Path) -> None:
    address = open_server(folder)
    shown = {
        name: ask(address, f"SHOW {name}")
        for name in ("data_checksums", "server_encoding", "listen_addresses", "timezone", "fsync")
    }
    assert shown == {
        "data_checksums": "on",
        "server_encoding": "UTF8",
        "listen_addresses": "",
        "timezone": "UTC",
        "fsync": "on",
    }
    assert ask(address, "SELECT datcollate FROM pg_database WHERE datname = current_database()") == "C"
    parallel = "SELECT count(*) FROM generate_series(1, 1000), kept"
    assert ask(address, "SET debug_parallel_query = on", parallel) == 1000


def test_many_start_at_once_on_an_empty_folder(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    users = [User(folder) for _ in range(6)]
    for user in users:
        user.arrived()
    assert (folder / "server.log").read_text().count("starting PostgreSQL") == 1
    for user in users:
        assert postmaster(folder)
        user.leave()
    assert not processes(folder)
    assert {path.name for path in folder.iterdir()} == {
        *("start.lock", "users.lock", "server.lock"),
        *("cluster", "server.log"),
    }


def test_a_killed_server_is_replaced_even_if_its_process_id_is_used_again(folder: Path) -> None:
    address = open_server(folder)
    killed = postmaster(folder)
    os.kill(killed, signal.SIGKILL)
    assert eventually(lambda: not processes(folder))
    owner = (folder / "cluster").stat()
    somebody = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    with subprocess.Popen(["sleep", "60"], **somebody) as reused:  # type: ignore[call-overload]
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            path = folder / "cluster" / name
            path.write_text(path.read_text().replace(str(killed), str(reused.pid), 1))
        assert open_server(folder, again=True) == address
        assert ask(address, "SELECT value FROM kept") == 42
        assert reused.poll() is None
        reused.kill()


def test_a_server_whose_last_user_was_killed_is_found_by_the_next(folder: Path) -> None:
    user = User(folder).arrived()
    started = postmaster(folder)
    user.kill()
    assert postmaster(folder) == started
    User(folder).arrived().leave()
    assert not processes(folder)


def test_a_forked_child_keeps_the_server(folder: Path) -> None:
    family = User(folder, then=FORK).arrived().arrived()  # parent and child both arrive
    assert family.process.wait(10) == 0
    User(folder).arrived().leave()
    assert postmaster(folder)
    family.leave()  # the child ends, and stops the server as it was the last
    assert not processes(folder)


def test_a_forked_worker_that_alone_used_the_server_stops_it(folder: Path) -> None:
    """As where a run's first task fails before anything else has asked the database."""
    worker = multiprocessing.get_context("fork").Process(target=lambda: ask(open_server(folder), "SELECT 1"))
    worker.start()
    worker.join(60)
    assert worker.exitcode == 0
    assert processes(folder) == set()


@pytest.mark.parametrize("whose", ["the user", "initdb"])
def test_an_initdb_that_is_killed_leaves_nothing(tmp_path: Path, whose: str) -> None:
    """No process, no unfinished folder, no copy of the programs: with the process that started it, or alone."""
    folder, temporary = tmp_path / "database", tmp_path / "tmp"
    temporary.mkdir(mode=0o711)
    tmp_path.chmod(0o711)
    user = User(folder, TMPDIR=str(temporary))
    wait_for(lambda: bool(working_below(folder, "initdb")), lambda: "no initdb")
    os.kill(user.process.pid if whose == "the user" else working_below(folder, "initdb")[0], signal.SIGKILL)
    user.process.communicate()
    wait_for(lambda: not working_below(folder), lambda: str(working_below(folder)))
    wait_for(lambda: not list(folder.glob(".unfinished-*")), lambda: str(list(folder.iterdir())))
    wait_for(lambda: not list(temporary.iterdir()), lambda: str(list(temporary.iterdir())))
    User(folder).arrived().leave()
    assert not processes(folder)


def test_a_server_that_is_stopped_is_named_to_who_waits_for_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    user = User(folder).arrived()
    stopped = postmaster(folder)
    os.kill(stopped, signal.SIGSTOP)
    monkeypatch.setattr(waiting, "_FIRST_S", 0.0)
    try:
        with on_message(logging.getLogger(waiting.__name__), lambda: os.kill(stopped, signal.SIGCONT)):
            assert ask(open_server(folder), "SELECT value FROM kept") == 42
    finally:
        os.kill(stopped, signal.SIGCONT)
    assert f"waiting for an answer of the PostgreSQL server in {folder}" in caplog.text
    assert f"`kill -CONT {stopped}` lets it go on" in caplog.text
    close_server(folder)
    user.leave()


@pytest.mark.parametrize("name", ["start.lock", "users.lock"])
def test_who_keeps_a_lock_is_named_to_who_waits_for_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """Whichever program it is."""
    other = subprocess.Popen(["flock", folder / name, "sleep", "1000"], start_new_session=True)
    try:
        wait_for(lambda: not server._is_free(folder / name), lambda: "no lock")
        monkeypatch.setattr(waiting, "_FIRST_S", 0.0)
        with on_message(logging.getLogger(waiting.__name__), lambda: os.killpg(other.pid, signal.SIGKILL)):
            open_server(folder)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(other.pid, signal.SIGKILL)
        other.wait()
    assert f"process {other.pid} of this host" in caplog.text
    assert f"{folder / name} sleep 1000)" in caplog.text


def test_locks_are_for_their_owner_alone_and_cannot_be_links(folder: Path, tmp_path: Path) -> None:
    (folder / "start.lock").chmod(0o644)
    open_server(folder)
    assert {path.stat().st_mode & 0o777 for path in folder.glob("*.lock")} == {0o600}
    close_server(folder)
    (tmp_path / "users.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DatabaseError, match="symbolic links"):
        open_server(tmp_path)
