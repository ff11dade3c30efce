"""Downloads: where the token goes, what a part is good for, and what happens when the disk or the process ends."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from random import Random

import pytest
import requests

import ben_luigi.domain
from ben_luigi.domain.answers import retry_after_s
from ben_luigi.domain.cdse.account import Credentials
from ben_luigi.domain.cdse.catalogue import CatalogueProduct
from ben_luigi.domain.cdse.digests import Digests, available
from ben_luigi.domain.cdse.download import Download
from ben_luigi.domain.cdse.errors import CredentialsError
from ben_luigi.domain.cdse.http import Client, Patience, Service
from ben_luigi.domain.cdse.token import Tokens
from ben_luigi.domain.errors import NoRoomError, PermanentError, SourceError, TransientError
from ben_luigi.domain.products.l1c import BANDS
from ben_luigi.domain.products.l1c_container import UnreadableProduct
from ben_luigi.sample import safe
from ben_luigi.sample.cdse_faults import Fault, Record, Script, another_id, sample_faults
from ben_luigi.sample.cdse_server import CdseServer
from tests.integration.fault_table import FaultTable

NAME = "S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE"
ID = "f602623e-fd82-5a53-ba09-b05ce085e40c"
QUICK = Patience(tries=3, waits=50, first_pause_s=0.005, longest_pause_s=0.05, read_timeout_s=10)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a product of 3 MB."""
    folder, random = tmp_path_factory.mktemp("cdse"), Random(5)
    granule = "GRANULE/L1C_T33UUP_A010309_20170613T101608"
    members = {f"{granule}/IMG_DATA/T33UUP_20170613T101031_{band}.jp2": random.randbytes(240_000) for band in BANDS}
    members["manifest.safe"] = safe.manifest(members, "L1C")
    safe.write_zip(members, folder / "product.zip", NAME, datetime(2017, 6, 13))
    return folder


@pytest.fixture
def record(root: Path) -> Record:
    """What the catalogue says of it."""
    content = (root / "product.zip").read_bytes()
    checksum = [{"Value": hashlib.md5(content).hexdigest(), "Algorithm": "MD5"}]
    return {"Id": ID, "Name": NAME, "ContentLength": len(content), "Checksum": checksum, "File": "product.zip"}


@pytest.fixture
def server(root: Path, record: Record) -> Iterator[CdseServer]:
    """CDSE with that product."""
    with CdseServer([record], root) as running:
        yield running


def download(service: Service, record: Record, folder: Path, patience: Patience = QUICK, **options: object) -> Download:
    """A download into `folder`."""
    client = Client(service, patience)
    tokens = Tokens(client, Credentials("sample", "sample"), folder / "state")
    product, target, err = CatalogueProduct.parse(record), folder / "t.zip", folder / f"{ID}.err"
    return Download(product, target, client, tokens, err, patience, **options)  # type: ignore[arg-type]


def test_it_comes_whole_and_says_how_that_is_known(server: CdseServer, record: Record, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    started: list[int] = []
    report = download(
        server.service, record, tmp_path, progress=lambda *now: seen.append(now), starting=started.append
    ).run()
    content = (server.root / "product.zip").read_bytes()
    assert (tmp_path / "t.zip").read_bytes() == content
    assert (report.sha256, report.length_bytes) == (hashlib.sha256(content).hexdigest(), len(content))
    assert (report.tries, started) == (1, [1])
    assert report.verified_by == ("length", "MD5", "zip CRC", "manifest") and not report.not_verified
    assert seen[-1] == (len(content), len(content))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


BLAKE3_OF_ABC = "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"


def test_of_two_checksums_the_stronger_counts_if_it_can_be_computed(
    server: CdseServer, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what could not be compared is recorded."""
    wrong = {"Value": BLAKE3_OF_ABC, "Algorithm": "BLAKE3"}
    both, only = {**record, "Checksum": [*record["Checksum"], wrong]}, {**record, "Checksum": [wrong]}
    if available("BLAKE3"):
        with Digests(["BLAKE3"]) as digests:
            digests.update(b"abc")
        assert digests.hexdigest("BLAKE3") == BLAKE3_OF_ABC
        with pytest.raises(PermanentError, match=f"expected: BLAKE3 {BLAKE3_OF_ABC}, as the catalogue has it"):
            download(server.service, both, tmp_path / "1").run()
    monkeypatch.setattr("ben_luigi.domain.cdse.download.available", lambda name: name == "MD5")
    assert "MD5" in download(server.service, both, tmp_path / "2").run().verified_by
    report = download(server.service, only, tmp_path / "3").run()
    assert report.not_verified == ("checksum: the catalogue has only BLAKE3, whose Python package is not installed",)
    assert report.verified_by == ("length", "zip CRC", "manifest")


def test_what_is_there_is_not_fetched_again_but_what_is_damaged_is(
    server: CdseServer, record: Record, tmp_path: Path
) -> None:
    """Also if the process ended between the rename and its caller's note of it."""
    first = download(server.service, record, tmp_path).run()
    again = download(server.service, record, tmp_path).run()
    assert server.counts["download"] == 1
    assert (again.sha256, again.tries) == (first.sha256, 0)
    with (tmp_path / "t.zip").open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"\0\0\0\0")
    assert download(server.service, record, tmp_path).run() == first
    assert server.counts["download"] == 2


def test_a_part_is_gone_on_with(server: CdseServer, record: Record, tmp_path: Path) -> None:
    """And its file tells CDSE support what happened until the product is there."""
    server.script = Script([Fault("download", "short", 3), Fault("download", "503")])
    with pytest.raises(TransientError, match=rf"tile 33UUP_20170613, .*{ID}.err tells of each try"):
        download(server.service, record, tmp_path).run()
    part = tmp_path / f"t.zip.{ID}.part"
    content = (server.root / "product.zip").read_bytes()
    assert content.startswith(part.read_bytes()) and part.stat().st_size > 0.8 * len(content)
    lines = (tmp_path / f"{ID}.err").read_text().splitlines()
    assert len(lines) == 3
    assert all(f"Products({ID})/$value" in line and NAME in line and line.startswith("20") for line in lines)
    assert [line.split("  ")[2].split(":")[0] for line in lines] == ["try 1 of 3", "try 2 of 3", "try 3 of 3"]
    report = download(server.service, record, tmp_path).run()
    assert report.tries == 2
    assert server.counts["resumed"] == 4
    assert not part.exists() and not (tmp_path / f"{ID}.err").exists()


def test_a_part_of_other_bytes_is_thrown_away(server: CdseServer, record: Record, tmp_path: Path) -> None:
    """Of a zip that CDSE made before with other times in it, say; the length alone would not tell."""
    content = bytearray((server.root / "product.zip").read_bytes()[:2_000_000])
    content[1_960_000] ^= 1
    (tmp_path / f"t.zip.{ID}.part").write_bytes(content)
    assert download(server.service, record, tmp_path).run().tries == 1
    assert (server.counts["resumed"], server.counts["download"]) == (1, 2)


def test_damage_far_back_in_a_part_is_found_in_the_end(server: CdseServer, record: Record, tmp_path: Path) -> None:
    content = bytearray((server.root / "product.zip").read_bytes()[:2_000_000])
    content[100_000] ^= 1
    (tmp_path / f"t.zip.{ID}.part").write_bytes(content)
    assert download(server.service, record, tmp_path).run().tries == 2
    assert (tmp_path / "t.zip").read_bytes() == (server.root / "product.zip").read_bytes()


LEAN = f"""
import sys, types
# The package itself would import the whole graph of tasks, which takes seconds.
sys.modules["ben_luigi"] = package = types.ModuleType("ben_luigi")
package.__path__ = [{str(Path(ben_luigi.domain.__file__).parents[1])!r}]
"""
PROCESS = (
    LEAN
    + """
import resource
from pathlib import Path
from ben_luigi.domain.cdse.account import Credentials
from ben_luigi.domain.cdse.catalogue import CatalogueProduct
from ben_luigi.domain.cdse.digests import Digests, available
from ben_luigi.domain.cdse.download import Download
from ben_luigi.domain.cdse.http import Client, Patience, Service
from ben_luigi.domain.cdse.token import Tokens
url, key, name, folder, length, rate, most = *sys.argv[1:4], Path(sys.argv[4]), *map(int, sys.argv[5:])
if most:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
client = Client(Service(f"{url}/catalogue/odata/v1",
    f"{url}/auth/realms/CDSE/protocol/openid-connect/token", f"{url}/download/odata/v1"))
tokens = Tokens(client, Credentials("sample", "sample"), folder / "state")
product = CatalogueProduct(key, name, length_bytes=length)
Download(product, folder / "t.zip", client, tokens, folder / "err", Patience(tries=1), rate_bytes_s=rate or None,
    progress=lambda done, total: print(done, flush=True)).run()
"""
)


def process(server: CdseServer, folder: Path, rate: int = 0, most: int = 0) -> subprocess.Popen[str]:
    """A download in a process of its own, that prints how far it is."""
    length = (server.root / "product.zip").stat().st_size
    command = [sys.executable, "-c", PROCESS, server.base_url, ID, NAME, str(folder), str(length), str(rate), str(most)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_process_that_is_killed_at_half_loses_nothing(
    server: CdseServer, record: Record, tmp_path: Path, table: FaultTable
) -> None:
    with table.row("download: SIGKILL of the client at half"):
        assert_killed_at_half_loses_nothing(server, record, tmp_path)


def assert_killed_at_half_loses_nothing(server: CdseServer, record: Record, tmp_path: Path) -> None:
    running = process(server, tmp_path, rate=2_000_000)
    assert running.stdout
    while int(running.stdout.readline()) < 1_500_000:
        pass
    running.kill()
    running.communicate()
    assert not (tmp_path / "t.zip").exists()
    assert (tmp_path / f"t.zip.{ID}.part").stat().st_size > 1_000_000
    assert download(server.service, record, tmp_path).run().tries == 1
    assert server.counts == {"token": 1, "download": 2, "resumed": 1}
    assert (tmp_path / "t.zip").read_bytes() == (server.root / "product.zip").read_bytes()


def test_a_full_disk_stops_it_and_frees_what_it_took(server: CdseServer, tmp_path: Path, table: FaultTable) -> None:
    """As the system says it: here by a limit on the size of files."""
    running = process(server, tmp_path, most=1_000_000)
    _, errors = running.communicate(timeout=30)
    with table.row("download: a full disk", survives=False):
        assert running.returncode == 1
        assert "NoRoomError: tile 33UUP_20170613" in errors and "make room on the disk" in errors
        assert sorted(path.name for path in tmp_path.iterdir()) == ["err", "state"]
        assert "File too large" in (tmp_path / "err").read_text()


def test_a_disk_that_fails_once_costs_a_try(
    server: CdseServer, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As file systems on the network do. What has come is there still."""
    sync, failures = os.fsync, [OSError(errno.EIO, "Input/output error")]

    def fsync(descriptor: int) -> None:
        if failures:
            raise failures.pop()
        sync(descriptor)

    monkeypatch.setattr("ben_luigi.domain.cdse.download.os.fsync", fsync)
    assert download(server.service, record, tmp_path).run().tries == 2
    assert server.counts["resumed"] == 1
    assert (tmp_path / "t.zip").read_bytes() == (server.root / "product.zip").read_bytes()


def test_a_disk_that_does_not_give_back_what_came_is_not_held_against_the_product(
    server: CdseServer, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it fails: the product is not called damaged, and what has come stays."""

    def unreadable(*_: object) -> None:
        raise UnreadableProduct("t.zip", expected="a file", found="Input/output error", remedy="check the disk")

    monkeypatch.setattr("ben_luigi.domain.products.l1c.verify", unreadable)
    with pytest.raises(TransientError, match="expected: a disk that writes and reads; found: Input/output error"):
        download(server.service, record, tmp_path).run()
    (part,) = tmp_path.glob("t.zip.*.part")
    assert part.stat().st_size == record["ContentLength"]


def test_without_enough_free_space_nothing_is_asked_for(server: CdseServer, record: Record, tmp_path: Path) -> None:
    """And the tile is not to blame."""
    failed: list[SourceError] = []
    with pytest.raises(NoRoomError, match=r"bytes of free space; found: [0-9,]+; next: make room on the disk"):
        download(server.service, record, tmp_path, keep_free_bytes=2**60, failed=failed.append).run()
    assert not server.counts and not failed


def test_what_the_tile_is_to_blame_for_is_told(server: CdseServer, record: Record, tmp_path: Path) -> None:
    """A try that failed counts; a wrong password does not, and neither does a rate limit."""
    failed: list[SourceError] = []
    server.script = Script([Fault("download", "429"), Fault("download", "503")])
    download(server.service, record, tmp_path, failed=failed.append).run()
    wrong = download(server.service, record, tmp_path / "wrong", failed=failed.append)
    wrong.tokens = Tokens(wrong.client, Credentials("sample", "wrong"), tmp_path / "wrong")
    with pytest.raises(CredentialsError):
        wrong.run()
    assert [type(error) for error in failed] == [TransientError]


def test_parts_of_an_id_that_the_product_had_before_go(server: CdseServer, record: Record, tmp_path: Path) -> None:
    (tmp_path / f"t.zip.{another_id(record)}.part").write_bytes(b"PK")
    download(server.service, record, tmp_path).run()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state", "t.zip"]


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


def test_two_processes_do_not_write_to_one_part(server: CdseServer, record: Record, tmp_path: Path) -> None:
    """The later one waits, and then finds the product there."""
    slow = download(server.service, record, tmp_path, rate_bytes_s=6_000_000)
    thread = threading.Thread(target=slow.run)
    thread.start()
    while not list(tmp_path.glob("*.part")):
        time.sleep(0.005)
    patient = Patience(tries=100, first_pause_s=0.05, longest_pause_s=0.1)
    report = download(server.service, record, tmp_path, patient).run()
    thread.join()
    assert server.counts["download"] == 1
    assert (tmp_path / "t.zip").read_bytes() == (server.root / "product.zip").read_bytes()
    assert report.tries == 0


def test_a_limit_on_bandwidth_is_kept(server: CdseServer, record: Record, tmp_path: Path) -> None:
    begun_s = time.monotonic()
    download(server.service, record, tmp_path, rate_bytes_s=8_000_000).run()
    assert time.monotonic() - begun_s > record["ContentLength"] / 8_000_000


def test_our_own_limit_does_not_count_as_a_crawl(server: CdseServer, record: Record, tmp_path: Path) -> None:
    """The floor is on CDSE's speed: what is slow because we want it so goes on."""
    patience = Patience(tries=3, first_pause_s=0.005, floor_bytes_s=8_000_000, floor_window_s=0.2)
    download(server.service, record, tmp_path, patience, rate_bytes_s=4_000_000).run()


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
