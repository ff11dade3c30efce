"""Passwords and tokens are told to nobody but whom they are for; and nobody but this machine can ask its servers."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2
import pytest

from ben_luigi.sample.cdse_account import Account
from ben_luigi.sample.cdse_faults import Fault
from ben_luigi.sample.cdse_server import CdseServer
from ben_luigi.sample.layout import World
from ben_luigi.state.schema import SCHEMA
from tests.integration.own_postgres import free_port, tcp_server
from tests.integration.running import ROOT, command, configuration, environment, pipeline
from tests.integration.stopping import Launcher, StoppingRun, wait_for
from tests.integration.test_luigid_requests import connects

TILE = "31UGR_20171015"
PARTS = ["qzjxwvk", "mxzzlrt", "tgvbpnw", "lpqdfjs", "hhkwzyx", "vvbqxks", "jwqzrrm"]
CDSE_PASSWORD = "qzjxwvk@mxzzlrt %tgvbpnw'lpqdfjs\"hhkwzyx$vvbqxks/jwqzrrm"
DATABASE_PARTS = [part[::-1] for part in PARTS]
DATABASE_PASSWORD = "kvwxjzq@trlzzxm %wnpbvgt'sjfdqpl\"xyzwkhh$skxqbvv/mrrzqwj"
"""With what means something in a URL, a configuration, a netrc file or a shell. No part of them may be told."""

STOPS = """#!/bin/sh
# A Sen2Cor that notes what it is told, and fails.
cat /proc/$$/environ /proc/$$/cmdline >>{told}
case "$*" in -h) echo "Sentinel-2 Level 2A Processor (Sen2Cor). Version: 2.11.0"; exit 0;; esac
echo "OSError: broken data stream when reading image file"
exit 7
"""


def _encoded(text: str) -> str:
    return urllib.parse.quote(text, safe="")


@dataclass(frozen=True)
class Way:
    """A way to give both passwords: options of the configuration, variables of the environment, a netrc file."""

    cdse: dict[str, str]
    url: str
    environment: dict[str, str] = field(default_factory=dict)
    netrc: str = ""
    faults: tuple[Fault, ...] = ()
    ends: str = "broken data stream"


USER = "me@example.org"
_NETRC = CDSE_PASSWORD.replace('"', '\\"')
_FAILS = (Fault("token", "500"), Fault("download", "401"), Fault("download", "503", None))
WAYS = {
    "environment, and a URL as it is": Way(
        {}, f"postgresql://{{user}}:{DATABASE_PASSWORD}@{{place}}", {"CDSE_USER": USER, "CDSE_PASSWORD": CDSE_PASSWORD}
    ),
    "configuration, and ?password=": Way(
        {"user": USER, "password": CDSE_PASSWORD},
        f"postgresql://{{user}}@{{place}}?password={_encoded(DATABASE_PASSWORD)}",
        faults=_FAILS,
        ends="503",
    ),
    "${NAME}, and a URL encoded": Way(
        {"user": "${WHO}", "password": "${SECRET}"},
        "postgresql://{user}:${ENCODED}@{place}",
        {"WHO": USER, "SECRET": CDSE_PASSWORD, "ENCODED": _encoded(DATABASE_PASSWORD)},
    ),
    "netrc, and ${NAME} in a URL": Way(
        {},
        "postgresql://{user}:${DATABASE_PASSWORD}@{place}",
        {"DATABASE_PASSWORD": DATABASE_PASSWORD},
        netrc=f'machine 127.0.0.1 login {USER} password "{_NETRC}"\n',
        faults=_FAILS,
        ends="503",
    ),
}


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


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database server with a password."""
    with tcp_server(tmp_path_factory.mktemp("database"), DATABASE_PASSWORD, "127.0.0.1") as url:
        yield url


@pytest.fixture
def database(server_url: str, request: pytest.FixtureRequest) -> str:
    """A database of its own there."""
    name = f"way_{list(WAYS).index(request.node.callspec.id)}"
    connection = psycopg2.connect(server_url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    connection.close()
    return f"{server_url.rpartition('/')[0]}/{name}"


def _configured(folder: Path, world: World, way: Way, database: str, server: CdseServer, port: int) -> Path:
    """The configuration of a run with luigid at `port`, in which one tile cannot be had or converted."""
    (folder / "netrc").write_text(way.netrc)
    (folder / "netrc").chmod(0o600)
    program = folder / "L2A_Process"
    program.write_text(STOPS.format(told=folder / "told"))
    program.chmod(0o755)
    parts = urllib.parse.urlsplit(database)
    place = f"{parts.hostname}:{parts.port}{parts.path}"
    service = {name: getattr(server, name) for name in ("catalogue_url", "token_url", "download_url")}
    return configuration(
        folder,
        world,
        dataset={"tiles": TILE},
        inputs={"tile_names_csv": world.tile_names_csv, "published_tile_ids_csv": folder / "none.csv"},
        cdse={**service, "credentials": folder / "netrc", "pause_s": 0.1, **way.cdse},
        sen2cor={"executable": program},
        core={"local_scheduler": "false", "scheduler_host": "127.0.0.1", "scheduler_port": port, "log_level": "DEBUG"},
        database={"url": way.url.replace("{user}", str(parts.username)).replace("{place}", place)},
    )


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_no_secret_is_told(way: Way, sample_world: World, database: str, tmp_path: Path) -> None:
    """Not by cron-rerun, whose child is a run, plan, status and luigid: in what they print, in any file but the token's
    own, in the database, the visualiser, or to Sen2Cor.
    """
    account, port, shared = Account(USER, CDSE_PASSWORD), free_port(), tmp_path / "shared"
    shared.mkdir()
    catalogue = json.loads(sample_world.catalogue.read_text())
    with CdseServer(catalogue, sample_world.folder, list(way.faults), account=account) as server:
        config = _configured(tmp_path, sample_world, way, database, server, port)
        with _luigid(tmp_path, config, port, **way.environment) as luigid:
            said = [
                command(name, tmp_path, config, *arguments, **way.environment, TMPDIR=str(shared))
                for name, *arguments in (
                    ("plan",),
                    ("cron-rerun", "ConvertToL2A", "--tile", TILE),
                    ("status",),
                )
            ]
            places = {"visualiser": _visualiser(port), "luigid": Path(f"/proc/{luigid}/cmdline").read_text()}
    assert [code for code, _ in said] == [0, 30, 0], said
    assert account.counts["sessions"] == 1, "it did not log in"
    assert not [*shared.iterdir()], "where others could have laid a link"
    assert all(way.ends in text for text in (said[1][1], said[2][1], places["visualiser"])), said
    places |= {"output": "".join(text for _, text in said), "database": _tables(database)}
    data, token = tmp_path / "data", tmp_path / "data" / "session" / "cdse-token.json"
    tokens = [
        value for name, value in json.loads(token.read_text()).items() if name in ("access_token", "refresh_token")
    ]
    given = {config, tmp_path / "netrc", token}
    for path in (path for path in tmp_path.rglob("*") if path.is_file() and path not in given):
        places[str(path)] = path.read_bytes().decode("latin-1")
    assert {f"{data}/luigid/state.pickle", f"{tmp_path}/told", f"{tmp_path}/luigid.log"} <= places.keys()
    assert any(f"{data}/{folder}/" in place for place in places for folder in ("l1c", "logs"))
    secret = [*PARTS, *DATABASE_PARTS, *tokens]
    assert len(secret) == 16 and all(secret)
    assert not [(place, part) for place, text in places.items() for part in secret if part in text]
    private = [path for name in ("failed", "logs", "cron", "luigid", "session") for path in (data / name).iterdir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}


@contextmanager
def _luigid(folder: Path, config: Path, port: int, **more: str) -> Iterator[int]:
    """Our scheduler; gives its process id."""
    words = [sys.executable, "-m", "ben_luigi", "luigid", "--port", str(port)]
    own = environment(LUIGI_CONFIG_PATH=str(config), PYTHONPATH=str(ROOT), **more)
    log = folder / "luigid.log"
    with log.open("wb") as said, subprocess.Popen(words, cwd=folder, env=own, stdout=said, stderr=said) as luigid:
        try:
            wait_for(lambda: connects(port), lambda: log.read_text())
            yield luigid.pid
        finally:
            luigid.terminate()


@pytest.mark.parametrize("name", ["plan", "status", "clear-tries"])
@pytest.mark.parametrize("where", ["?password=", ":"])
def test_of_a_database_that_does_not_answer_only_the_place_is_told(name: str, where: str, tmp_path: Path) -> None:
    place = f"127.0.0.1:{free_port()}/patches"
    secret = f":{DATABASE_PASSWORD}@{place}" if where == ":" else f"@{place}?password={_encoded(DATABASE_PASSWORD)}"
    config = tmp_path / "own.cfg"
    config.write_text(f"[dataset]\nworld = sample\n[database]\nurl = postgresql://ben{secret}\n")
    code, said = command(name, tmp_path, config, *([TILE] if name == "clear-tries" else []))
    assert code == (20 if name == "plan" else 30), "a plan lists what a person has to look after"
    assert f"PostgreSQL at {place}; expected: a server that answers" in said
    assert not [part for part in DATABASE_PARTS if part in said]
    assert "Traceback" not in said


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


def _addresses_of(port: int) -> set[str]:
    """Return the addresses, in hexadecimal, at which any process listens for connections to a port."""
    found = set()
    for table in ("tcp", "tcp6"):
        with suppress(FileNotFoundError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and fields[1].endswith(f":{port:04X}"):
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
    address = json.loads((tmp_path / "data" / "session" / "cdse-server.json").read_text())
    assert _addresses_of(urllib.parse.urlsplit(address["catalogue_url"]).port or 0) == {loopback}
    os.kill(run.process, 15)
    assert run.ended() == 143
    launcher.close()


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
