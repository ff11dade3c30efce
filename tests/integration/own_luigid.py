"""A central scheduler on TCP, as a user starts it for several hosts."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.own_postgres import free_port
from tests.integration.running import ROOT, environment
from tests.integration.stopping import wait_for


@contextmanager
def luigid(folder: Path, data: Path, address: str) -> Iterator[int]:
    """A scheduler that notices soon when a host is gone."""
    port, config = free_port(address), folder / "luigid.cfg"
    scheduler = ["prune_on_get_work = true", "worker_disconnect_delay = 5"]
    own = ["[dataset]", f"data_dir = {data}", "[scheduler]", *scheduler, "[resources]", "sen2cor = 2", "cdse = 1", ""]
    config.write_text("\n".join(own))
    command = [sys.executable, "-m", "ben_luigi", "luigid", "--address", address, "--port", str(port)]
    own_environment = environment(LUIGI_CONFIG_PATH=str(config), PYTHONPATH=str(ROOT))
    with (folder / "luigid.log").open("wb") as said:
        luigid = subprocess.Popen(command, stdout=said, stderr=said, env=own_environment)
    try:
        wait_for(lambda: _answers(address, port), lambda: (folder / "luigid.log").read_text())
        yield port
    finally:
        luigid.kill()
        luigid.wait()


def _answers(address: str, port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((address, port)) == 0
