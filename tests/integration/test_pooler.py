"""A real PgBouncer before a real server: whether locks hold is found out before anything starts."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest

from ben_luigi.domain.errors import DatabaseError
from ben_luigi.state import database
from tests.integration.fault_table import FaultTable
from tests.integration.own_postgres import free_port, tcp_server
from tests.integration.running import pipeline
from tests.integration.stopping import wait_for

PASSWORD = "its-own-secret"
PROGRAM = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
MORE: tuple[dict[str, object], ...] = ({}, {"server_round_robin": 1}, {"default_pool_size": 1})
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no program pgbouncer (Debian's package pgbouncer)")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with tcp_server(tmp_path_factory.mktemp("server"), PASSWORD, "127.0.0.1") as url:
        yield url


@contextmanager
def _pooler(url: str, folder: Path, **options: object) -> Iterator[str]:
    """PgBouncer before the server at `url`; gives the URL that goes through it."""
    place, port = url.rpartition("@")[2], free_port()
    host, _, name = place.partition("/")
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "trust",
        "auth_file": folder / "users.txt",
        "logfile": folder / "pgbouncer.log",
        **options,
    }
    (folder / "users.txt").write_text(f'"ben_luigi" "{PASSWORD}"\n')
    lines = ["[databases]", f"{name} = host=127.0.0.1 port={host.partition(':')[2]} password={PASSWORD}"]
    lines += ["[pgbouncer]", *(f"{option} = {value}" for option, value in settings.items())]
    (folder / "pgbouncer.ini").write_text("\n".join(lines) + "\n")
    whose = {"user": "nobody"} if os.geteuid() == 0 else {}  # it refuses root
    if whose:
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, "nobody")
    command = [str(PROGRAM), str(folder / "pgbouncer.ini")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **whose) as process:  # type: ignore[call-overload]
        through = f"postgresql://ben_luigi:{PASSWORD}@127.0.0.1:{port}/{name}"
        try:
            wait_for(lambda: _answers(through), lambda: (folder / "pgbouncer.log").read_text())
            yield through
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        psycopg2.connect(url).close()
    except psycopg2.OperationalError:
        return False
    return True


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that another user can reach, as pytest's own cannot be."""
    folder = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "options",
    [
        {"pool_mode": "session"},
        *({"pool_mode": mode} | more for mode in ("transaction", "statement") for more in MORE),
    ],
    ids=str,
)
def test_whether_locks_hold(
    url: str, place: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object], table: FaultTable
) -> None:
    mode = options["pool_mode"]
    with _pooler(url, place, **options) as through, table.row(f"a pooler: {options}", survives=mode == "session"):
        monkeypatch.setattr(database, "_given", lambda: through)
        if mode == "session":
            database.check_locks()
            database.check()
            return
        for check in (database.check_locks, database.check):
            with pytest.raises(DatabaseError, match=f"pool_mode = {mode}; next: set pool_mode = session") as raised:
                check()
            assert PASSWORD not in str(raised.value) and "\n" not in str(raised.value)


def test_a_server_that_is_asked_directly_passes(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_given", lambda: url)
    database.check_locks()


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_a_run_does_not_begin_where_locks_get_lost(url: str, place: Path, tmp_path: Path, mode: str) -> None:
    with _pooler(url, place, pool_mode=mode) as through:
        own = tmp_path / "own.cfg"
        own.write_text(f"[dataset]\nworld = sample\n[database]\nurl = {through}\n")
        own.chmod(0o600)
        run = pipeline(tmp_path, config=own)
        assert run.code == 20
        assert run.said.count("a pooler that shares sessions") == 1
        assert run.tasks() == []
        with psycopg2.connect(url) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
            assert cursor.fetchone() == (0,)
