"""All 125 products from a service of which every third request fails, and from workers that are killed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

import ben_luigi.domain
from ben_luigi.domain.cdse.account import Credentials
from ben_luigi.domain.cdse.catalogue import CatalogueProduct
from ben_luigi.domain.cdse.download import Download
from ben_luigi.domain.cdse.http import Client, Patience, Service
from ben_luigi.domain.cdse.resolve import read_tile_ids, resolve
from ben_luigi.domain.cdse.token import Tokens
from ben_luigi.domain.errors import SourceError
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.products.l1c import BANDS
from ben_luigi.sample import safe
from ben_luigi.sample.cdse_faults import Fault, Record, another_id
from ben_luigi.sample.cdse_server import CdseServer

PUBLISHED = Path(os.environ.get("BEN_PUBLISHED", Path(__file__).parents[3] / "shared" / "published"))
PRODUCTS, WORKERS, KILLS, CHANCE = 125, 3, 10, 0.3
BAND_BYTES = 160_000
QUICK = Patience(
    tries=3,
    first_pause_s=0.001,
    longest_pause_s=0.01,
    read_timeout_s=1,
    floor_bytes_s=10_000,
    floor_window_s=0.3,
)
TRANSIENT = {
    "download": [
        *("401", "401 signature", "404", "429", "429 sessions", "429 absurd", "500", "502", "503", "504"),
        *("html", "json", "empty body", "redirect loop", "redirect to foreign host"),
        *("short", "no length, early end", "chunked and cut", "reset", "stall", "crawl"),
        *("range ignored", "range 416", "range shifted", "range misstated", "range of another total"),
        *("flipped bit", "no end", "trailing junk", "changed image", "missing member"),
    ],
    "token": ["html", "500", "429", "403 sessions", "short life"],
    "catalogue": ["404", "429", "500", "503", "html", "cut json", "small pages", "same page again", "empty"],
}


def transient_faults() -> list[Fault]:
    """Every request fails with a chance of 30 %, in one of the ways that pass."""
    return [
        Fault(where, kind, None, chance=1 - (1 - CHANCE) ** (1 / len(kinds)))
        for where, kinds in TRANSIENT.items()
        for kind in random.Random(len(kinds)).sample(kinds, len(kinds))
    ]


def names_and_ids() -> dict[str, str]:
    """The real ones where they are at hand, else made up after the same rules."""
    path = PUBLISHED / "bigearthnet_s2_tile_ids.csv"
    if path.exists():
        return read_tile_ids(path)
    base = "S2A_MSIL1C_20170613T1010{:02d}_N0205_R022_T33UU{}_20170613T101608.SAFE"
    names = [base.format(number // 20, "ABCDEFGHJKLMNPQRSTUV"[number % 20]) for number in range(PRODUCTS)]
    return {name: another_id({"Id": name}) for name in names}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Record]]:
    """125 products of 2 MB each."""
    folder, source = tmp_path_factory.mktemp("cdse"), random.Random(7)
    records: list[Record] = []
    for name, key in names_and_ids().items():
        members = {f"GRANULE/L1C_A/IMG_DATA/T_{band}.jp2": source.randbytes(BAND_BYTES) for band in BANDS}
        members["manifest.safe"] = safe.manifest(members, "L1C")
        path = folder / f"{key}.zip"
        safe.write_zip(members, path, name, datetime(2017, 6, 13))
        content = path.read_bytes()
        checksum = [{"Value": hashlib.md5(content).hexdigest(), "Algorithm": "MD5"}]
        records.append(
            {"Id": key, "Name": name, "ContentLength": len(content), "Checksum": checksum, "File": path.name}
        )
    return folder, records


def run_once(service: Service, names: list[str], folder: Path) -> int:
    """One run over all products: try once to fetch what is missing, and count what failed."""
    with Client(service, QUICK) as client:
        found = [one.product for one in resolve(map(ProductName.parse, names), client)]
        tokens = Tokens(client, Credentials("sample", "sample"), folder / "state")

        def failed(product: CatalogueProduct | None) -> bool:
            if product is None:
                return True
            target, err = folder / f"{product.id}.zip", folder / f"{product.id}.err"
            try:
                # As the task does it: a process may have been killed after the rename, before it removed the .err.
                if not target.exists() or err.exists():
                    Download(product, target, client, tokens, err, replace(QUICK, tries=1)).run()
            except SourceError:
                return True
            return False

        with ThreadPoolExecutor(WORKERS) as pool:
            return sum(pool.map(failed, found))


def complete(folder: Path, records: list[Record]) -> set[str]:
    """Names of the products that are there."""
    return {record["Name"] for record in records if (folder / f"{record['Id']}.zip").exists()}


def assert_all_right(root: Path, folder: Path, records: list[Record]) -> None:
    """Every product is there to the byte, and nothing is left over."""
    for record in records:
        assert (folder / f"{record['Id']}.zip").read_bytes() == (root / record["File"]).read_bytes()
    assert len(list(folder.iterdir())) == len(records) + 1


def test_reruns_complete_all_of_a_service_that_fails_all_the_time(
    world: tuple[Path, list[Record]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With one session, never more connections than allowed, and no request for what is complete."""
    root, records = world
    names = [record["Name"] for record in records]
    with CdseServer(records, root, transient_faults(), slow_s=0.05) as server:
        runs = 0
        while len(before := complete(tmp_path, records)) < len(records):
            asked = server.downloads.copy()
            run_once(server.service, names, tmp_path)
            runs += 1
            assert runs < 30
            assert not before & (server.downloads - asked).keys()
    assert_all_right(root, tmp_path, records)
    assert server.most_open <= WORKERS + 1
    assert server.account.counts["sessions"] == 1
    with capsys.disabled():
        print(f"\nsoak: {runs} runs, {server.counts}, at most {server.most_open} open, 1 session, 0 lost")


WORKER = f"""
import sys, types
from pathlib import Path
# The package itself would import the whole graph of tasks, which takes seconds.
sys.modules["ben_luigi"] = package = types.ModuleType("ben_luigi")
package.__path__ = [{str(Path(ben_luigi.domain.__file__).parents[1])!r}]
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_cdse_soak import Service, run_once
url, folder, *names = sys.argv[1:]
token_url = f"{{url}}/auth/realms/CDSE/protocol/openid-connect/token"
run_once(Service(f"{{url}}/catalogue/odata/v1", token_url, f"{{url}}/download/odata/v1"), names, Path(folder))
"""


def kill_tells_if_logging_in(worker: subprocess.Popen[bytes], state: Path) -> bool:
    """Kill -9, and tell whether the worker was just then asking for a token, which it does under a lock."""
    worker.send_signal(signal.SIGSTOP)
    try:
        with (state / "cdse-token.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    finally:
        worker.kill()


def test_workers_that_are_killed_lose_nothing(
    world: tuple[Path, list[Record]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed at random, without any chance to tidy up; the last run completes what they left.

    A session that was being granted when the kill came is lost, since its token was never kept: no other is opened.
    """
    root, records = world
    names, source, lost_sessions = [record["Name"] for record in records], random.Random(11), 0
    with CdseServer(records, root, transient_faults(), slow_s=0.05) as server:
        for _ in range(KILLS):
            command = [sys.executable, "-c", WORKER, server.base_url, str(tmp_path), *names]
            before, asked = complete(tmp_path, records), server.downloads.copy()
            with subprocess.Popen(command) as worker:
                until = len(before) + source.randint(3, 15)
                while worker.poll() is None and len(list(tmp_path.glob("*.zip"))) < until:
                    time.sleep(source.random() / 100)
                lost_sessions += kill_tells_if_logging_in(worker, tmp_path / "state")
            assert not before & (server.downloads - asked).keys()
        killed_at = len(list(tmp_path.glob("*.zip")))
        assert 0 < killed_at < len(records)
        while run_once(server.service, names, tmp_path):
            pass
    assert_all_right(root, tmp_path, records)
    assert server.most_open <= WORKERS + 1
    assert server.account.counts["sessions"] <= 1 + lost_sessions
    with capsys.disabled():
        print(f"\nkills: {KILLS}, after which {killed_at} of {len(records)} were there; {server.counts}, 0 lost")
