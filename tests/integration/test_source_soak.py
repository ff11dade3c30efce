"""All 125 products from three sources of which every third request fails, with workers that are killed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pytest

import ben_luigi.domain
from ben_luigi.domain.cdse.account import Credentials
from ben_luigi.domain.cdse.http import Client, Patience, Service
from ben_luigi.domain.cdse.token import Tokens
from ben_luigi.domain.errors import SourceError
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.sources.bucket import Bucket
from ben_luigi.domain.sources.cdse_nodes import CdseNodes
from ben_luigi.domain.sources.fetch import ProductFetch
from ben_luigi.domain.sources.journal import NAME as JOURNAL
from ben_luigi.domain.sources.mirror import Mirror
from ben_luigi.domain.sources.source import Origin
from ben_luigi.sample import safe
from ben_luigi.sample.bucket_server import BucketServer
from ben_luigi.sample.cdse_faults import Fault, another_id
from ben_luigi.sample.cdse_server import CdseServer
from ben_luigi.sample.objects import key_of, objects_of
from tests.integration.source_world import members_of

PRODUCTS, KILLS, PARALLEL, CHANCE = 125, 6, 3, 0.3
BAND_BYTES = 160_000
QUICK = Patience(tries=3, first_pause_s=0.001, longest_pause_s=0.01)
KINDS = {
    "listing": ["429", "500", "503", "html", "cut json", "empty body"],
    "object": ["429", "500", "502", "html", "short", "reset", "flipped bit", "trailing junk", "changed image"],
    "node": ["429", "500", "503", "flipped bit"],
}
LACKING = 10
"""Of every so many products the bucket has not one, and of every so many another one lacks a band there."""


def faults(*places: str) -> list[Fault]:
    """Every request fails with a chance of 30 %, in one of the ways that pass."""
    return [
        Fault(place, kind, None, chance=1 - (1 - CHANCE) ** (1 / len(KINDS[place])))
        for place in places
        for kind in random.Random(len(place)).sample(KINDS[place], len(KINDS[place]))
    ]


def names() -> list[ProductName]:
    """125 products, made up after the rules of names."""
    base = "S2A_MSIL1C_20170613T1010{:02d}_N0205_R022_T33UU{}_20170613T101608.SAFE"
    return [
        ProductName.parse(base.format(number // 20, "ABCDEFGHJKLMNPQRSTUV"[number % 20])) for number in range(PRODUCTS)
    ]


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The zips, of two MB each."""
    folder = tmp_path_factory.mktemp("products")
    for name in names():
        members = members_of(name, BAND_BYTES)
        safe.write_zip(members, folder / f"{name}.zip", str(name), datetime(2017, 6, 13))
    yield folder


def run_once(google: str, mirror: str, cdse: Service, folder: Path) -> int:
    """One run over all products: try once to fetch what is missing, and count what failed."""
    failed = 0
    with ExitStack() as stack:
        bucket = Bucket(stack.enter_context(Client(patience=QUICK, hosts=Origin(google))), google)
        template = f"{mirror}/tiles/{{zone}}/{{band}}/{{square}}/{{name}}"
        own = Mirror(stack.enter_context(Client(patience=QUICK, hosts=Origin(mirror))), template)
        asking = stack.enter_context(Client(cdse, QUICK))
        tokens = Tokens(asking, Credentials("sample", "sample"), folder / "state")
        nodes = CdseNodes(asking, lambda product: another_id({"Id": str(product)}), lambda: tokens)
        for name in names():
            target = folder / f"{name.mgrs}_{name.sensing}"
            if target.exists():
                continue
            try:
                ProductFetch(name, target, [bucket, own], [nodes], parallel=PARALLEL, keep_free_bytes=0).run()
            except SourceError:
                failed += 1
    return failed


WORKER = f"""
import sys, types
from pathlib import Path
# The package itself would import the whole graph of tasks, which takes seconds.
sys.modules["ben_luigi"] = package = types.ModuleType("ben_luigi")
package.__path__ = [{str(Path(ben_luigi.domain.__file__).parents[1])!r}]
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.integration.test_source_soak import Service, run_once
google, mirror, catalogue, token, download, folder = sys.argv[1:]
run_once(google, mirror, Service(catalogue, token, download), Path(folder))
"""


def test_each_file_is_fetched_whole_once_and_none_is_proven_twice(
    products: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zips = sorted(products.glob("*.zip"))
    records = [{"Id": another_id({"Id": path.stem}), "Name": path.stem, "File": path.name} for path in zips]
    whole, source, kills = objects_of(zips), random.Random(5), 0
    at_google = {key: data for key, data in whole.items() if not _is_lacking(key)}
    with ExitStack() as stack:
        google = stack.enter_context(BucketServer(at_google, faults("listing", "object")))
        mirror = stack.enter_context(BucketServer(whole, faults("object"), lists=False, seed=1))
        cdse = stack.enter_context(CdseServer(records, products, faults("node")))
        addresses = [google.url, mirror.url, cdse.catalogue_url, cdse.token_url, cdse.download_url]
        for _ in range(KILLS):
            until = len(_complete(tmp_path)) + source.randint(3, 12)
            with subprocess.Popen([sys.executable, "-c", WORKER, *addresses, str(tmp_path)]) as worker:
                while worker.poll() is None and len(_complete(tmp_path)) < until:
                    time.sleep(source.random() / 50)
                kills += worker.poll() is None
                worker.kill()
        runs, failed = 1, 0
        while left := run_once(google.url, mirror.url, cdse.service, tmp_path):
            runs, failed = runs + 1, failed + left
            assert runs < 20
    found = Counter[tuple[str, bool]]()
    for path in zips:
        name = ProductName.parse(path.stem)
        found += _check(tmp_path / f"{name.mgrs}_{name.sensing}", name, whole)
    assert len(list(tmp_path.iterdir())) == PRODUCTS + 1, "nothing is left over but the session"
    # What was under way when the kill came may have been sent, and is fetched again: as many files as connections, and
    # as many that waited for the disk. A manifest also tells what the mirror has, where the bucket has not all.
    again = Counter[bool]()
    for key, times in (google.fetched + mirror.fetched).items():
        again[key.endswith("manifest.safe")] += times
    for (origin, is_manifest), files in found.items():
        again[is_manifest] -= files * (origin != "cdse")
    assert kills and again[False] <= kills * 2 * PARALLEL
    assert again[True] <= PRODUCTS + kills + failed
    with capsys.disabled():
        print(
            f"\nsoak of sources: {PRODUCTS} products, {found.total()} files, {kills} kills, {runs} more runs; "
            f"{google.counts} {mirror.counts} {cdse.counts['node']} nodes; "
            f"sent again: {again[False]} files, {again[True]} manifests; 0 lost"
        )


def _is_lacking(key: str) -> bool:
    number = sum(key.split(".SAFE")[0].encode()) % LACKING
    return number == 0 or (number == 1 and key.endswith("_B04.jp2"))


def _complete(folder: Path) -> list[Path]:
    return [path for path in folder.glob("33*") if path.suffix != ".partial"]


def _check(folder: Path, name: ProductName, whole: dict[str, bytes]) -> Counter[tuple[str, bool]]:
    """The product is whole to the byte, and its journal names each file once.

    Gives how many files are from which source: manifests, and others.
    """
    start = key_of(name)
    files = {path.relative_to(folder / str(name)).as_posix(): path for path in (folder / str(name)).rglob("*.*")}
    needed = {key.removeprefix(start) for key in whole if key.startswith(start) and "folder$" not in key}
    found = {path for path, file in files.items() if file.is_file()}
    assert {path for path in needed if not path.endswith(("-ql.jpg", ".html", "_TCI.jp2", "AUX_ECMWFT"))} <= found
    lines = [json.loads(line) for line in (folder / JOURNAL).read_text().splitlines()]
    # Of what is unproven nobody can tell that it is damaged: what no manifest lists, from a mirror that states no hash.
    unproven = {line["path"] for line in lines if line["proof"] == "unproven"}
    assert all(path.endswith(("AUX_ECMWFT", "manifest.safe")) for path in unproven)
    assert all(files[path].read_bytes() == whole[start + path] for path in found - unproven)
    listed = Counter(line["path"] for line in lines)
    assert set(listed.values()) == {1}
    return Counter((line["source"], line["path"] == "manifest.safe") for line in lines)
