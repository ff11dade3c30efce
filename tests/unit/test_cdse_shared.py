"""One server for all processes that use it, and none when the last of them has gone, however it went."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import urlsplit

from ben_luigi.sample.cdse_server import CdseServer
from ben_luigi.sample.cdse_shared import shared
from tests.integration.stopping import wait_for

_fork = multiprocessing.get_context("fork")


class _User:
    """A process that uses the server until it is told to end."""

    def __init__(self, folder: Path) -> None:
        self.pipe, its = _fork.Pipe()
        self.process = _fork.Process(target=_use, args=(folder, its))
        self.process.start()
        its.close()

    def url(self) -> str:
        assert self.pipe.poll(60)
        return str(self.pipe.recv())

    def end(self) -> None:
        self.pipe.send("end")
        self.process.join()


def _use(folder: Path, pipe: Connection) -> None:
    pipe.send(shared(folder, lambda: CdseServer([], folder))["catalogue_url"])
    pipe.recv()


def _answers(url: str) -> bool:
    address = urlsplit(url)
    try:
        socket.create_connection((str(address.hostname), int(address.port or 0)), 10).close()
    except (ConnectionRefusedError, ConnectionResetError):  # reset: it ends just now
        return False
    return True


def test_processes_share_a_server_which_ends_with_the_last_of_them(tmp_path: Path) -> None:
    folder = tmp_path / "session"
    first, second, third = users = [_User(folder) for _ in range(3)]
    (url,) = {user.url() for user in users}
    first.end()  # which may be the one that has started it
    second.end()
    assert _answers(url)
    late = _User(folder)
    assert late.url() == url
    os.kill(third.process.pid or 0, signal.SIGKILL)
    third.process.join()
    assert _answers(url)
    late.end()
    wait_for(lambda: not _answers(url), lambda: f"{url} answers still")
    wait_for(lambda: not (folder / "cdse-server.json").exists(), lambda: "its address is there still")
    again = _User(folder)
    assert _answers(again.url())
    again.end()


def test_the_address_of_a_server_that_was_killed_is_not_believed(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        base = f"http://127.0.0.1:{server.getsockname()[1]}"
    (tmp_path / "session").mkdir(mode=0o700)
    said = f'{{"catalogue_url": "{base}", "token_url": "{base}", "download_url": "{base}"}}'
    (tmp_path / "session" / "cdse-server.json").write_text(said)
    user = _User(tmp_path / "session")
    url = user.url()
    assert url != base and _answers(url)
    user.end()
