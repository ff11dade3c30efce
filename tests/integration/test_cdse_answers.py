"""Downloads: what CDSE answers, where the token goes, and how long is waited."""

from __future__ import annotations

import contextlib
import socketserver
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from ben_luigi.domain.answers import retry_after_s
from ben_luigi.domain.cdse.http import Patience, Service
from ben_luigi.domain.errors import SourceError, TransientError
from ben_luigi.sample.cdse_faults import Fault, Record, Script, sample_faults
from ben_luigi.sample.cdse_server import CdseServer
from tests.integration.cdse_downloads import ID, NAME, download
from tests.integration.fault_table import FaultTable


def test_a_body_without_end_is_cut(
    server: CdseServer, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where neither the catalogue nor the answer states a length; and a length that no product has is none."""
    monkeypatch.setattr("ben_luigi.domain.cdse.download.PRODUCT_BYTES", 1_000_000)
    bare = {**record, "ContentLength": 0, "Checksum": []}
    for kind, says in (
        ("no length", "expected: at most 1,000,000 bytes; found: .* bytes received and more"),
        ("range ignored", "found: 3,.*, the Content-Length of the answer"),
    ):
        server.script = Script([Fault("download", kind, None)])
        with pytest.raises(TransientError, match=says):
            download(server.service, bare, tmp_path).run()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{ID}.err", "state"]


@pytest.mark.parametrize("more_bytes", [-1, 1])
def test_a_catalogue_that_states_another_length_is_told_from_what_is_sent(
    server: CdseServer, record: Record, tmp_path: Path, more_bytes: int
) -> None:
    """By the answer's Content-Length where there is one, else by what is received; each length with whose it is."""
    whole: int = record["ContentLength"]
    wrong = {**record, "ContentLength": whole + more_bytes}
    received = f"{whole:,} bytes received" if more_bytes > 0 else "bytes received and more"
    announced = f"{whole:,}, the Content-Length of the answer, of which nothing was received"
    for kind, found in (("", announced), ("no length", received)):
        server.script = Script([Fault("download", kind, None)] if kind else [])
        with pytest.raises(TransientError, match=r"the ContentLength of the catalogue; .*l1c_dir") as caught:
            download(server.service, wrong, tmp_path).run()
        assert caught.value.expected == f"{whole + more_bytes:,} bytes, the ContentLength of the catalogue"
        assert caught.value.found.endswith(found)
    assert not (tmp_path / "t.zip").exists()


HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: application/zip\r\n"
GARBLED = {
    "nothing": b"",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "no status": b"HTTP/1.1\r\n\r\n",
    "a status of letters": b"HTTP/1.1 abc OK\r\n\r\n",
    "a status that does not exist": b"HTTP/1.1 999 \xff\r\nContent-Length: 0\r\n\r\n",
    "an endless header": HEADERS + b"X: " + b"x" * 70_000,
    "a thousand headers": HEADERS + b"X: y\r\n" * 1000 + b"\r\n",
    "a length of letters": HEADERS + b"Content-Length: \xb2\r\n\r\nPK\3\4",
    "a length of many digits": HEADERS + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nPK\3\4",
    "a negative length": HEADERS + b"Content-Length: -5\r\n\r\nPK\3\4",
    "two lengths": HEADERS + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nPK\3\4x",
    "no chunk": HEADERS + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nPK\3\4",
    "a negative chunk": HEADERS + b"Transfer-Encoding: chunked\r\n\r\n-4\r\nPK\3\4",
    "compressed": HEADERS + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nPK\3\4",
    "a redirect to nowhere": b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n",
    "a redirect to no port": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:x/\r\nContent-Length: 0\r\n\r\n",
    "a redirect without an address": b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
    "a range that was not asked for": b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-3/4\r\n\r\nPK\3\4",
}


class _Garbling(socketserver.BaseRequestHandler):
    """Answers every request with the same bytes, and hangs up."""

    server: _GarblingServer

    def handle(self) -> None:
        self.request.recv(65536)
        with contextlib.suppress(OSError):
            self.request.sendall(self.server.answer)


class _GarblingServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    answer = b""


@pytest.mark.parametrize("answer", GARBLED.values(), ids=GARBLED)
def test_what_is_no_answer_is_an_error_that_may_pass(
    answer: bytes, server: CdseServer, record: Record, tmp_path: Path
) -> None:
    """Whatever comes, nothing is taken for a product, and no other exception gets out."""
    bare = {**record, "ContentLength": 0, "Checksum": []}
    with _GarblingServer(("127.0.0.1", 0), _Garbling) as garbling:
        garbling.answer = answer
        threading.Thread(target=garbling.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{garbling.server_address[1]}"
        with pytest.raises(SourceError):
            download(Service(server.catalogue_url, server.token_url, url), bare, tmp_path).run()
        garbling.shutdown()
    assert len((tmp_path / f"{ID}.err").read_text().splitlines()) in (2, 3)
    assert not (tmp_path / "t.zip").exists()


def test_more_connections_than_allowed_are_refused_and_waited_for(
    root: Path, record: Record, tmp_path: Path, caplog: pytest.LogCaptureFixture, table: FaultTable
) -> None:
    """Waiting for others to finish does not count as a try."""
    with table.row("download: 429 by the real count of open connections"):
        assert_waits_for_a_free_connection(root, record, tmp_path)
    assert "DAT-ZIP-100 Max session number exceeded" in caplog.text


def assert_waits_for_a_free_connection(root: Path, record: Record, tmp_path: Path) -> None:
    holding = [Fault("download", "crawl", 2)]
    with CdseServer([record], root, holding, connections=2, slow_s=0.01) as server:
        waiting = download(server.service, record, tmp_path)
        headers = {"Authorization": f"Bearer {waiting.tokens.get()}"}
        url = f"{server.download_url}/Products({ID})/$value"
        held = [requests.get(url, headers=headers, stream=True, timeout=5) for _ in range(2)]
        with ThreadPoolExecutor(1) as pool:
            report = pool.submit(waiting.run)
            while server.counts["download"] < 4:
                time.sleep(0.005)
            for response in held:
                response.close()
            assert report.result().tries == 1
    assert server.most_open == 3


def test_the_token_follows_redirects_between_hosts_of_cdse(server: CdseServer, record: Record, tmp_path: Path) -> None:
    """The older hosts, which redirect: also to another port, where requests by itself would drop it."""
    with CdseServer([], Path()) as old:
        for host in ("catalogue", "zipper"):
            older = Service(server.catalogue_url, server.token_url, f"{server.base_url}/{host}/odata/v1")
            assert download(older, record, tmp_path / host).run().tries == 1
        location = f"{server.download_url}/Products({ID})/$value"
        old.moved = location
        other_port = Service(server.catalogue_url, server.token_url, old.download_url)
        assert download(other_port, record, tmp_path / "port").run().tries == 1
    assert server.account.counts["sessions"] == 3


def test_the_token_goes_nowhere_else(server: CdseServer, record: Record, tmp_path: Path) -> None:
    """A host that is not CDSE's is not even connected to."""
    with CdseServer([], Path()) as foreign:
        server.moved = f"{foreign.download_url}/Products({ID})/$value"
        with pytest.raises(TransientError, match="expected: an https address under"):
            download(server.service, record, tmp_path).run()
        assert not foreign.counts


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://download.dataspace.copernicus.eu/x", True),
        ("https://zipper.dataspace.copernicus.eu:443/x", True),
        ("https://dataspace.copernicus.eu/x", True),
        ("http://download.dataspace.copernicus.eu/x", False),
        ("https://download.dataspace.copernicus.eu:8443/x", False),
        ("https://download.dataspace.copernicus.eu@example.org/x", False),
        ("https://user@download.dataspace.copernicus.eu/x", False),
        ("https://dataspace.copernicus.eu.example.org/x", False),
        ("https://evildataspace.copernicus.eu/x", False),
        ("http://127.0.0.1:8001/x", True),
        ("http://127.0.0.1:8002/x", False),
        ("https://127.0.0.1:8001/x", False),
        ("http://127.0.0.1:99999999/x", False),
        ("//127.0.0.1:8001/x", False),
        ("file:///etc/passwd", False),
        ("http://[", False),
        ("", False),
    ],
)
def test_allowed_hosts(url: str, allowed: bool) -> None:
    assert Service(download_url="http://127.0.0.1:8001/download").allows(url) == allowed


def test_netrc_is_ignored_and_loopback_is_asked_directly(
    server: CdseServer, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """requests would put an entry of .netrc in the token's place."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert download(server.service, record, tmp_path / "l1c").run().tries == 1


@pytest.mark.parametrize("kind", ["429 seconds", "429 date"])
def test_retry_after_is_obeyed(kind: str, server: CdseServer, record: Record, tmp_path: Path) -> None:
    """Seconds or a date of one second from now; a date has whole seconds, so it may be almost past."""
    server.script = Script([Fault("download", kind)])
    begun_s = time.time()
    download(server.service, record, tmp_path, Patience(first_pause_s=0.001, longest_pause_s=5)).run()
    assert time.time() - begun_s >= 1 or (kind == "429 date" and int(time.time()) > int(begun_s))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("", None),
        ("-5", None),
        ("soon", None),
        ("1e9", None),
        ("\u00b2", None),
        ("Fri, 31 Dec 1999 23:59:59 GMT", None),
        ("99999999999999999999", 999999999999.0),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after_s(value) == seconds


def test_pauses_grow_and_have_an_end() -> None:
    patience = Patience(first_pause_s=2, longest_pause_s=100)
    for number in range(1, 40):
        longest = min(100.0, 2.0**number)
        assert longest / 2 <= patience.pause_s(number) <= longest
    assert patience.pause_s(1, 50) == 50
    assert patience.pause_s(1, 1e12) == 100
    assert len({patience.pause_s(5) for _ in range(10)}) > 1


def test_head_is_refused_and_nobody_needs_it(
    server: CdseServer, record: Record, tmp_path: Path, table: FaultTable
) -> None:
    url = f"{server.download_url}/Products({ID})/$value"
    assert requests.head(url, timeout=5).status_code == 405
    assert requests.get(url, timeout=5).json()["code"] == "DAT-ZIP-109"
    with table.row("download: HEAD refused"):
        download(server.service, record, tmp_path).run()
        assert server.counts["HEAD"] == 1


def test_the_sample_faults_fail_once_on_two_products(server: CdseServer, record: Record) -> None:
    other = {**record, "Name": NAME.replace("T33UUP", "T33UUQ")}
    decoy = {"Id": ID, "Name": NAME.replace("T33UUP", "T33UUA")}
    faults = sample_faults([other, decoy, record])
    assert [(fault.kind, fault.product, fault.times) for fault in faults] == [
        ("503", NAME, 1),
        ("short", other["Name"], 1),
    ]


def test_a_fault_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ValueError, match="no such fault: 'explode'"):
        Fault("download", "explode")
