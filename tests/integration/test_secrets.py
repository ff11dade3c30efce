"""Passwords and tokens are told to nobody but whom they are for; and nobody but this machine can ask its servers."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg2
import pytest

from ben_luigi.sample.cdse_account import Account
from ben_luigi.sample.cdse_faults import Fault
from ben_luigi.sample.cdse_server import CdseServer
from ben_luigi.sample.layout import World
from ben_luigi.state.schema import SCHEMA
from tests.integration.own_postgres import free_port, tcp_server
from tests.integration.running import Run, configuration, environment, pipeline
from tests.integration.stopping import Launcher, StoppingRun, wait_for

TILE = "31UGR_20171015"
CDSE_PASSWORD, DATABASE_PASSWORD = "correct+horse/battery", "staple-and-more"


@contextmanager
def _luigid(folder: Path) -> Iterator[int]:
    """A scheduler that logs all there is to log, to `luigid.log`."""
    port, log = free_port(), folder / "luigid.log"
    program, given = Path(sys.executable).with_name("luigid"), ("--address", "127.0.0.1", "--port", str(port))
    with log.open("wb") as said:
        command = [str(program), *given, "--state-path", str(folder / "state.pickle")]
        luigid = subprocess.Popen(command, stdout=said, stderr=said, env=environment())
    try:
        wait_for(lambda: _connects(port), lambda: log.read_text())
        yield port
    finally:
        luigid.terminate()
        luigid.wait()


def _connects(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _visualiser(port: int) -> str:
    """All that luigid's API tells of tasks and workers, and of the errors of those that failed."""

    def ask(what: str, **words: object) -> str:
        query = urllib.parse.urlencode({"data": json.dumps(words)})
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/{what}?{query}") as answer:
            return str(answer.read().decode())

    lists = {status: ask("task_list", status=status, upstream_status="") for status in ("DONE", "PENDING", "FAILED")}
    failed = json.loads(lists["FAILED"])["response"]
    assert failed, "nothing has failed"
    errors = [ask("fetch_error", task_id=task) for task in failed]
    graphs = [ask("dep_graph", task_id=task) for task in failed]
    return "".join([*lists.values(), *errors, *graphs, ask("worker_list"), ask("resource_list"), ask("graph")])


def _tables(url: str) -> str:
    """All rows of all tables."""
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        rows = []
        for table in SCHEMA.tables:
            cursor.execute(f"SELECT t::text FROM {table} t")
            rows += cursor.fetchall()
    connection.close()
    return "\n".join(str(row) for row in rows)


def _fail(folder: Path, world: World, port: int, url: str, server: CdseServer) -> Run:
    """A run with the account in a file and the database's URL in the environment, in which one tile cannot be had."""
    netrc = folder / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login me@example.org password {CDSE_PASSWORD}\n")
    netrc.chmod(0o600)
    service = {name: getattr(server, name) for name in ("catalogue_url", "token_url", "download_url")}
    config = configuration(
        folder,
        world,
        dataset={"tiles": TILE},
        inputs={"tile_names_csv": world.tile_names_csv, "published_tile_ids_csv": folder / "none.csv"},
        cdse={**service, "credentials": netrc, "pause_s": 0.1},
        sen2cor={"executable": world.l2a_process},
        core={"local_scheduler": "false", "scheduler_host": "127.0.0.1", "scheduler_port": port, "log_level": "DEBUG"},
        database={"url": "${BEN_DATABASE_URL}"},
    )
    return pipeline(folder, "ConvertToL2A", "--tile", TILE, config=config, BEN_DATABASE_URL=url)


def test_no_secret_is_told_by_a_run_that_fails(sample_world: World, tmp_path: Path) -> None:
    """Not in what it prints, the visualiser, the database, luigid's log and state, or any file but the token's own."""
    faults = [Fault("token", "500"), Fault("download", "401"), Fault("download", "503", None)]
    account = Account("me@example.org", CDSE_PASSWORD)
    catalogue = json.loads(sample_world.catalogue.read_text())
    places: dict[str, str] = {}
    with (
        tcp_server(tmp_path / "database", DATABASE_PASSWORD, "127.0.0.1") as url,
        _luigid(tmp_path) as port,
        CdseServer(catalogue, sample_world.folder, faults, account=account) as server,
    ):
        run = _fail(tmp_path, sample_world, port, url, server)
        assert run.code == 30, run.said
        assert account.counts["sessions"] == 1, "it did not log in"
        places |= {"output": run.said, "visualiser": _visualiser(port), "database": _tables(url)}
    assert "503" in places["database"] and list(run.data.rglob("*.err"))
    token = run.data / "session" / "cdse-token.json"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    said = json.loads(token.read_text())
    secrets = [CDSE_PASSWORD, DATABASE_PASSWORD, said["access_token"], said["refresh_token"]]
    assert all(secrets)
    secrets += [urllib.parse.quote(secret, safe="") for secret in secrets]
    given = {tmp_path / "netrc", token}
    for path in (path for path in tmp_path.rglob("*") if path.is_file() and path not in given):
        places[str(path)] = path.read_bytes().decode("latin-1")
    assert f"{run.data}/l1c" in " ".join(places) and str(tmp_path / "state.pickle") in places
    assert not [(place, secret) for place, text in places.items() for secret in secrets if secret in text]


def _listening(process: int) -> set[str]:
    """Addresses at which a process listens for connections, as the kernel has them in hexadecimal."""
    inodes = set()
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        with suppress(OSError):
            inodes.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
    found = set()
    for table in ("tcp", "tcp6"):
        with suppress(FileNotFoundError):
            for line in Path(f"/proc/{process}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and fields[9] in inodes:
                    found.add(fields[1].split(":")[0])
    return found


def test_the_embedded_database_listens_at_no_address(tmp_path: Path) -> None:
    """Only at a socket in a folder that is its owner's; and the sample's CDSE server at loopback."""
    launcher = Launcher()
    run = StoppingRun(launcher, tmp_path, "AskCatalogue")
    assert run.stopped()
    cluster = tmp_path / "data" / "database" / "cluster"
    server = int((cluster / "postmaster.pid").read_text().split()[0])
    assert _listening(server) == set()
    assert stat.S_IMODE(cluster.stat().st_mode) == 0o700
    assert stat.S_ISSOCK((cluster / ".s.PGSQL.5432").stat().st_mode)
    loopback = "0100007F"
    asking = [int(path.name) for path in Path("/proc").glob("[0-9]*") if _cwd(path) == tmp_path]
    assert set().union(*map(_listening, asking)) == {loopback}
    os.kill(run.process, 15)
    assert run.ended() == 143
    launcher.close()


def _cwd(process: Path) -> Path | None:
    with suppress(OSError):
        return (process / "cwd").readlink()
    return None


@pytest.mark.parametrize(("mode", "warned"), [(0o644, True), (0o640, True), (0o600, False)])
def test_of_a_configuration_with_a_password_that_others_can_read_is_warned(
    mode: int, warned: bool, tmp_path: Path
) -> None:
    config = tmp_path / "own.cfg"
    config.write_text(f"[cdse]\npassword = {CDSE_PASSWORD}\n[database]\nurl = postgresql://a:b@127.0.0.1:1/c\n")
    config.chmod(mode)
    run = pipeline(tmp_path, "GridPatches", "--tile", "31UGR_20171015", config=config)
    assert run.code != 0
    assert (f"chmod 600 {config}" in run.said) == warned
    assert CDSE_PASSWORD not in run.said
