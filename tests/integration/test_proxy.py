"""The user's proxy and certificates count for all servers elsewhere, and never for this machine itself."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from socketserver import BaseRequestHandler, StreamRequestHandler, ThreadingTCPServer
from typing import Any

import pytest

from tests.integration.running import ROOT
from tests.integration.test_luigid_requests import luigid

BODY = b"what is pinned"
PASSWORD = "proxy-s3cret"
NAMES = ("catalogue.dataspace.copernicus.eu", "zenodo.org", "hooks.example.org")

ASK = """
import ben_luigi
import sys
from pathlib import Path
from ben_luigi.domain import inputs, notice
from ben_luigi.domain.fetching import pinned as fetching
from ben_luigi.domain.cdse.http import Client, Patience
from ben_luigi.domain.errors import PipelineError
catalogue, pinned, hook = (f"https://{name}/x" for name in sys.argv[2:])
file = inputs.PinnedFile("pinned.txt", pinned, sha256=sys.argv[1])
def cdse():
    with Client(patience=Patience(tries=1)) as client:
        return client.fetch("GET", catalogue, headers={"Authorization": "Bearer token"})
def fetched():
    return fetching.fetch(file, Path(), patience=Patience(tries=1)).read_bytes()
def told():
    return notice.send(notice.Ways(webhook=hook), "a", "b")
for ask in (cdse, fetched, told):
    try:
        print(ask())
    except PipelineError as error:
        print(type(error).__name__, error)
"""


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """A server that gives BODY to everybody, and notes who asked how."""

    def do_GET(self) -> None:
        server: Any = self.server
        server.asked.append((self.headers["Host"], self.headers.get("Authorization", "")))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Proxy(StreamRequestHandler):
    """Answers CONNECT for every name with a connection to `server.goal`."""

    def handle(self) -> None:
        server: Any = self.server
        verb, place, _ = self.rfile.readline().decode().split()
        while self.rfile.readline().strip():
            pass
        server.asked.append((verb, place))
        with socket.create_connection(server.goal) as goal:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pump, args=(goal, self.connection))
            back.start()
            pump(self.connection, goal)
            back.join()


def pump(source: socket.socket, goal: socket.socket) -> None:
    while data := source.recv(65_536):
        goal.sendall(data)
    with suppress(OSError):  # who has all that it wants may have gone
        goal.shutdown(socket.SHUT_WR)


@contextmanager
def serving(handler: type[BaseRequestHandler], **more: Any) -> Iterator[Any]:
    with ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        for name, value in {"asked": [], **more}.items():
            setattr(server, name, value)
        if "tls" in more:
            server.socket = more["tls"].wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a CA of one's own, `ca.pem`, and `server.pem`, its certificate and key for NAMES."""
    if not shutil.which("openssl"):
        pytest.skip("no program openssl to make certificates with")
    folder = tmp_path_factory.mktemp("certificates")
    openssl = partial(subprocess.run, cwd=folder, check=True, capture_output=True)
    key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30"
    openssl(f"openssl req -x509 {key} -subj /CN=own -keyout ca.key -out ca.pem".split())
    openssl(f"openssl req {key} -subj /CN=server -keyout server.key -out server.csr".split())
    (folder / "names").write_text("subjectAltName=" + ",".join(f"DNS:{name}" for name in NAMES))
    signed = "-CA ca.pem -CAkey ca.key -extfile names -days 30"
    openssl(f"openssl x509 -req -in server.csr {signed} -out server.crt".split())
    (folder / "server.pem").write_text((folder / "server.crt").read_text() + (folder / "server.key").read_text())
    return folder


@pytest.fixture
def elsewhere(certificates: Path) -> Iterator[Any]:
    """All servers elsewhere, by https, behind a proxy at `proxy`."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates / "server.pem")
    with serving(Elsewhere, tls=tls) as server, serving(Proxy, goal=server.server_address) as proxy:
        server.proxy = proxy
        yield server


def ask(folder: Path, **surroundings: str) -> list[str]:
    """What CDSE, a pinned input and a webhook give, a line each."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT), **surroundings}
    command = [sys.executable, "-c", ASK, hashlib.sha256(BODY).hexdigest(), *NAMES]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    return done.stdout.splitlines()


def address(server: Any) -> str:
    return f"http://{PASSWORD}:{PASSWORD}@127.0.0.1:{server.server_address[1]}"


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_all_go_through_the_proxy_with_own_certificates(
    variable: str, elsewhere: Any, certificates: Path, tmp_path: Path
) -> None:
    """And an entry of ~/.netrc does not take the place of the token."""
    (tmp_path / ".netrc").write_text(f"machine {NAMES[0]} login somebody password else\n")
    (tmp_path / ".netrc").chmod(0o600)
    said = ask(tmp_path, HTTPS_PROXY=address(elsewhere.proxy), **{variable: str(certificates / "ca.pem")})
    assert said == [repr(BODY), repr(BODY), "None"]
    assert elsewhere.proxy.asked == [("CONNECT", f"{name}:443") for name in NAMES]
    assert elsewhere.asked == [(NAMES[0], "Bearer token"), (NAMES[1], ""), (NAMES[2], "")]


def test_a_proxy_that_does_not_answer_and_certificates_that_are_not_there_are_said(
    elsewhere: Any, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    nobody = ask(tmp_path, HTTPS_PROXY=f"http://{PASSWORD}:{PASSWORD}@127.0.0.1:{port}")
    assert [line.split()[0] for line in nobody] == ["TransientError", "NotFetched", "PipelineError"]
    assert all("Connection refused" in line for line in nobody[:2])
    for proxy in (f"http://{PASSWORD}:{PASSWORD}/@127.0.0.1:{port}", f"nonsense://{PASSWORD}@127.0.0.1:{port}"):
        broken = ask(tmp_path, HTTPS_PROXY=proxy)
        assert [line.split()[0] for line in broken] == ["BadInput", "BadInput", "PipelineError"]
        assert all("in HTTPS_PROXY, HTTP_PROXY or ALL_PROXY; found: something else" in line for line in broken[:2])
    lost = ask(tmp_path, HTTPS_PROXY=address(elsewhere.proxy), SSL_CERT_FILE="/nowhere/ca.pem")
    assert [line.split()[0] for line in lost] == ["BadInput", "BadInput", "PipelineError"]
    assert all("SSL_CERT_FILE names; found: nothing at /nowhere/ca.pem; next: " in line for line in lost[:2])


BY_NAME = """
import ben_luigi, luigi, socket
given = socket.getaddrinfo
socket.getaddrinfo = lambda host, *more, **kw: given("127.0.0.1" if "example" in str(host) else host, *more, **kw)
luigi.configuration.get_config().set("core", "rpc-retry-attempts", "1")
core = luigi.interface.core()
print(luigi.rpc.RemoteScheduler(f"http://{core.scheduler_host}:{core.scheduler_port}/").task_list("PENDING", ""))
"""
"""Asks luigid as a worker does; some names lead to this machine."""


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.3", "own.example.org"])
def test_luigid_is_asked_directly(host: str, tmp_path: Path) -> None:
    """On loopback, and by whatever name it has; a proxy that was not there took a minute, and luigid was blamed."""
    with luigid(tmp_path, "--address", "0.0.0.0", scheduler_host=host) as port:
        (tmp_path / "own.cfg").write_text(f"[core]\nscheduler_host = {host}\nscheduler_port = {port}\n")
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LUIGI_CONFIG_PATH": "own.cfg"}
        environment |= {"http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9", "NO_PROXY": "intranet"}
        command = [sys.executable, "-c", BY_NAME]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout or "null") == {}, done.stderr
