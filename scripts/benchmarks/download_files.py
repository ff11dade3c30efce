"""A product fetched file by file from a bucket on loopback, verified, beside `curl --parallel` and `aria2c`.

The files are those of a product of 13 bands and 50 small files. The server runs in a process of its own, and sends from
memory. Ours verifies by the manifest, and keeps a journal; the others only write, but for a line in which `aria2c`, if
it is installed, compares MD5 too. All have as many connections.
"""

from __future__ import annotations

import multiprocessing
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

import ben_luigi
from ben_luigi.domain.cdse.http import Client
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.products.product import BANDS
from ben_luigi.domain.sources.bucket import Bucket
from ben_luigi.domain.sources.fetch import ProductFetch
from ben_luigi.domain.sources.source import Origin
from ben_luigi.sample import safe
from ben_luigi.sample.bucket_server import BucketServer
from ben_luigi.sample.objects import bucket_objects
from benchmarks.timing import Work, pairs, report

_SMALL = 50
_AT_MOST = 1 / 0.9
_ALONE = """
import sys, types
package = types.ModuleType("ben_luigi")  # the package itself would import the graph of tasks
package.__path__, sys.modules["ben_luigi"] = [sys.argv[1]], package
from pathlib import Path
from ben_luigi.domain.cdse.http import Client
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.sources.bucket import Bucket
from ben_luigi.domain.sources.fetch import ProductFetch
from ben_luigi.domain.sources.source import Origin
url, name, target, parallel = sys.argv[2:]
with Client(hosts=Origin(url)) as client:
    ProductFetch(ProductName.parse(name), Path(target), [Bucket(client, url)], parallel=int(parallel)).run()
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def _members(name: ProductName, size_bytes: int) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    bands = [*BANDS, "B10"]
    image = f"GRANULE/L1C_T{name.mgrs}/IMG_DATA/T{name.mgrs}_{name.sensing}"
    members = {f"{image}_{band}.jp2": rng.bytes(size_bytes // len(bands)) for band in bands}
    members |= {f"GRANULE/L1C_T{name.mgrs}/QI_DATA/MSK_{number}.gml": rng.bytes(20_000) for number in range(_SMALL)}
    return {**members, "manifest.safe": safe.manifest(members, "L1C")}


def _serve(name: ProductName, size_bytes: int, pipe: Connection) -> None:
    objects = bucket_objects(_members(name, size_bytes), name)
    with BucketServer(objects) as server:
        for key in objects:  # kept by the server, so that no run waits for them
            server.hashes(key)
        keys = [key for key in objects if "folder$" not in key]
        pipe.send((server.url, keys, [server.hashes(key)["md5"] for key in keys]))
        pipe.recv()


def _aria2c(url: str, keys: Sequence[str], md5: Mapping[str, str], copies: Path, parallel: int) -> Work:
    """Return work for aria2c: the same files by as many connections, and compared with `md5` if that is given."""
    listed = copies.with_suffix(".txt")
    options = ["--quiet", f"--max-concurrent-downloads={parallel}", "--max-connection-per-server=1", "--split=1"]

    def run() -> None:
        copies.mkdir()
        entries = (
            f"{url}/{key}\n dir={copies}\n out={number}\n" + (f" checksum=md5={md5[key]}\n" if md5 else "")
            for number, key in enumerate(keys)
        )
        listed.write_text("".join(entries), encoding="utf-8")
        subprocess.run(["aria2c", *options, "--file-allocation=none", "--input-file", listed], check=True)

    return run


def measure(name: ProductName, folder: Path, megabytes: int, runs: int, parallel: int) -> None:
    """Measure and print."""
    ours, theirs = multiprocessing.Pipe()
    serving = (name, megabytes * 10**6, theirs)
    server = multiprocessing.get_context("fork").Process(target=_serve, args=serving, daemon=True)
    server.start()
    url, keys, hashes = ours.recv()
    target, copies, listed = folder / "ours", folder / "copies", folder / "curl.txt"
    lines = [f'url = "{url}/{key}"\noutput = "{copies}/{number}"' for number, key in enumerate(keys)]
    listed.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def fetch() -> None:
        with Client(hosts=Origin(url)) as client:
            ProductFetch(name, target, [Bucket(client, url)], parallel=parallel).run()

    def curl() -> None:
        copies.mkdir()
        at_once = ["--parallel", "--parallel-max", str(parallel)]
        command = ["curl", "--silent", "--fail", *at_once, "--config", str(listed)]
        # --parallel shows its progress in spite of --silent.
        subprocess.run(command, check=True, stderr=subprocess.PIPE)

    def tidy() -> None:
        shutil.rmtree(target, ignore_errors=True)
        shutil.rmtree(copies, ignore_errors=True)

    ratio = pairs("verified files / curl --parallel", fetch, curl, runs=runs, at_most=_AT_MOST, tidy=tidy)
    ratios = [ratio]
    if shutil.which("aria2c"):
        md5 = dict(zip(keys, hashes, strict=True))
        for name_of, sums in (("aria2c", {}), ("aria2c with MD5", md5)):
            aria2c = _aria2c(url, keys, sums, copies, parallel)
            ratios.append(pairs(f"verified files / {name_of}", fetch, aria2c, runs=runs, at_most=_AT_MOST, tidy=tidy))
    package = str(Path(ben_luigi.__file__).parent)
    command = [sys.executable, "-c", _ALONE, package, url, str(name), str(target), str(parallel)]
    alone_mb = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) // 1024
    ours.send("stop")
    server.join()
    rate = {"curl_mb_s": ratio.reference, "ours_mb_s": ratio.ours}
    facts: dict[str, object] = {key: round(megabytes / spent.wall_s) for key, spent in rate.items()}
    facts["files"] = len(keys)
    facts["peak MB of a process that only downloads (aim: under 100)"] = alone_mb
    facts["rate / curl's rate (median; aim: at least 0.9)"] = round(1 / ratio.wall, 2)
    report(ratios, facts, ("requests", "urllib3"))
