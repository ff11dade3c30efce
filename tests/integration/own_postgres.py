"""A PostgreSQL server that a user runs, with a password, on TCP: made of the embedded programs."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import psycopg2

from ben_luigi.state import cluster as postgres
from ben_luigi.state.server import close_server, open_server
from tests.integration.stopping import wait_for


def free_port(address: str = "127.0.0.1") -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


@contextmanager
def tcp_server(folder: Path, password: str, *addresses: str, port: int = 0) -> Iterator[str]:
    """A server that listens at `addresses`, by default at a free port; gives its URL, at the first of them."""
    at = open_server(folder)
    own = psycopg2.connect(host=at.host, port=at.port, user=at.user, dbname=at.database)
    with own, own.cursor() as cursor:
        cursor.execute(f"ALTER ROLE {at.user} PASSWORD %s", (password,))
    own.close()
    close_server(folder)
    cluster, port = folder / "cluster", port or free_port(addresses[0])
    with (cluster / "pg_hba.conf").open("a") as rules:
        rules.write("host all all all scram-sha-256\n")
    user = postgres._user(cluster)
    command = [str(postgres._programs(cluster, user) / "postgres"), "-D", postgres._HERE, f"--port={port}"]
    command += [f"--listen_addresses={','.join(addresses)}", "--unix_socket_directories="]
    url = f"postgresql://{at.user}:{quote(password, safe='')}@{addresses[0]}:{port}/{at.database}"
    with (folder / "own.log").open("ab") as said:
        server = subprocess.Popen(
            command, cwd=cluster, env=postgres._ENVIRONMENT, stdout=said, stderr=said, start_new_session=True, **user
        )
    try:
        wait_for(lambda: _answers(url), lambda: (folder / "own.log").read_text())
        yield url
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()
        postgres.clear_up(cluster)


def _answers(url: str) -> bool:
    with suppress(psycopg2.OperationalError):
        psycopg2.connect(url).close()
        return True
    return False
