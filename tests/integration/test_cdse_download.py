"""Downloads: what a part is good for, and what happens when the disk or the process ends."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import ben_luigi.domain
from ben_luigi.domain.cdse.account import Credentials
from ben_luigi.domain.cdse.digests import Digests, available
from ben_luigi.domain.cdse.errors import CredentialsError
from ben_luigi.domain.cdse.http import Patience
from ben_luigi.domain.cdse.token import Tokens
from ben_luigi.domain.errors import NoRoomError, PermanentError, SourceError, TransientError
from ben_luigi.domain.products.l1c_container import UnreadableProduct
from ben_luigi.sample.cdse_faults import Fault, Record, Script, another_id
from ben_luigi.sample.cdse_server import CdseServer
from tests.integration.cdse_downloads import ID, NAME, download
from tests.integration.fault_table import FaultTable


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


def test_two_processes_do_not_write_to_one_part(server: CdseServer, record: Record, tmp_path: Path) -> None:
    """The later one, whichever it is, waits, and then finds the product there."""
    patient = Patience(tries=1000, first_pause_s=0.05, longest_pause_s=0.1)
    both = [download(server.service, record, tmp_path, patient, rate_bytes_s=6_000_000) for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:
        reports = list(threads.map(lambda one: one.run(), both))
    assert server.counts["download"] == 1
    assert (tmp_path / "t.zip").read_bytes() == (server.root / "product.zip").read_bytes()
    assert sorted(report.tries for report in reports) == [0, 1]


def test_a_limit_on_bandwidth_is_kept(server: CdseServer, record: Record, tmp_path: Path) -> None:
    begun_s = time.monotonic()
    download(server.service, record, tmp_path, rate_bytes_s=8_000_000).run()
    assert time.monotonic() - begun_s > record["ContentLength"] / 8_000_000


def test_our_own_limit_does_not_count_as_a_crawl(server: CdseServer, record: Record, tmp_path: Path) -> None:
    """The floor is on CDSE's speed: what is slow because we want it so goes on."""
    patience = Patience(tries=3, first_pause_s=0.005, floor_bytes_s=8_000_000, floor_window_s=0.2)
    download(server.service, record, tmp_path, patience, rate_bytes_s=4_000_000).run()
