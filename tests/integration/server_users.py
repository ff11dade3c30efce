"""Processes that use the embedded PostgreSQL, its own processes as /proc has them, and what it answers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psycopg2

import ben_luigi
from ben_luigi.state.server import Address

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
