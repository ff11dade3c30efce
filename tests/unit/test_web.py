"""Servers that send a byte now and then, for ever: nobody waits for them."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from ben_luigi.domain import inputs, network, notice, web
from ben_luigi.domain.cdse.account import Credentials
from ben_luigi.domain.cdse.http import Client, Patience, Service
from ben_luigi.domain.cdse.token import Tokens
from ben_luigi.domain.errors import BadInput, PipelineError, TransientError
from ben_luigi.domain.fetching import pinned

BYTE_S = 0.02
HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 30\r\n\r\n"


@contextlib.contextmanager
def _serving(first: bytes, then: bytes) -> Iterator[str]:
    """A server that answers each request with `first` at once, and then one byte of `then` after the other."""
    stopped = threading.Event()

    def answer(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.recv(2**16)
            client.sendall(first)
            for number in range(len(then)):
                if stopped.wait(BYTE_S):
                    return
                client.sendall(then[number : number + 1])

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listening.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        stopped.set()
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def dripping() -> Iterator[str]:
    """A server whose head of an answer does not end within hours; a read of it is quick."""
    with _serving(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x" * 10**6) as url:
        yield url


@pytest.mark.parametrize("way", ["", "http", "https"], ids=["direct", "through a proxy", "through a tunnel"])
def test_a_head_has_a_deadline(dripping: str, way: str) -> None:
    with network.session(head_s=0.3) as session:
        session.trust_env = False
        session.proxies = {way: dripping} if way else {}
        with pytest.raises(requests.RequestException, match=r"no complete head of an answer within 0.3 s|timed out"):
            session.get(f"{way}://example.invalid/" if way else dripping, timeout=(5, 60))


def test_a_body_may_take_longer_than_a_head() -> None:
    with _serving(HEAD, b"x" * 30) as url, network.session(head_s=0.3) as session:
        with session.get(url, stream=True, timeout=(5, 60)) as answer:
            assert b"".join(web.chunks(answer, web.Pace())) == b"x" * 30
        with pytest.raises(web.TooSlow, match="a crawl of"), session.get(url, stream=True, timeout=(5, 60)) as answer:
            list(web.chunks(answer, web.Pace(floor_bytes_s=1000, window_s=0.1)))


def _token(url: str, folder: Path) -> None:
    patience = Patience(tries=2, first_pause_s=0.001)
    with Client(Service(token_url=url), patience) as client:
        Tokens(client, Credentials("user", "password"), folder).get()


def _csv(url: str) -> inputs.PinnedFile:
    return inputs.PinnedFile("a.csv", f"{url}/a.csv", sha256="0" * 64)


IMPATIENCE = Patience(tries=1, floor_bytes_s=1000, floor_window_s=0.1)
CALLERS: dict[str, tuple[type[PipelineError], Callable[[str, Path], object]]] = {
    "token": (TransientError, _token),
    "input": (
        BadInput,
        lambda url, folder: pinned.fetch(_csv(url), folder, patience=IMPATIENCE),
    ),
    "webhook": (PipelineError, lambda url, _: notice.send(notice.Ways(webhook=url), "subject", "text")),
}


@pytest.mark.parametrize("caller", CALLERS)
def test_whoever_asks_such_a_server_says_so(
    dripping: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caller: str
) -> None:
    monkeypatch.setattr(web, "HEAD_S", 0.3)
    monkeypatch.setattr(notice, "_TIMEOUT_S", 0.3)
    error, ask = CALLERS[caller]
    with pytest.raises(error):
        ask(dripping, tmp_path)
    assert not list(tmp_path.glob("*.csv"))


def test_an_input_that_crawls_is_given_up(tmp_path: Path) -> None:
    with (
        _serving(HEAD, b"x" * 30) as url,
        pytest.raises(BadInput, match="a crawl of"),
    ):
        pinned.fetch(_csv(url), tmp_path, patience=IMPATIENCE)
    assert [path.name for path in tmp_path.iterdir()] == [".partial-a.csv"]
