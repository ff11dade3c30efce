"""`scripts/bench download`: a verified download from loopback beside `curl` fetching the same file.

The product is a zip as CDSE makes them, stored, with 13 bands of random bytes and their checksums in the manifest. The
server runs in a process of its own. Ours verifies while it streams; `curl` only writes. The memory of a download is
measured in a process that does nothing else. With --files it is a folder of many files, from a bucket.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from blake3 import blake3

import ben_luigi
from ben_luigi.commands import command
from ben_luigi.domain.cdse.account import Credentials
from ben_luigi.domain.cdse.catalogue import CatalogueProduct
from ben_luigi.domain.cdse.download import Download
from ben_luigi.domain.cdse.http import Client, Service
from ben_luigi.domain.cdse.token import Tokens
from ben_luigi.domain.files import file_hash
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.products.product import BANDS
from ben_luigi.sample.cdse_server import CdseServer
from benchmarks import download_files
from benchmarks.timing import pairs, report

NAME = "S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE"
ID = "f602623e-fd82-5a53-ba09-b05ce085e40c"
_TIME = (2017, 6, 13, 10, 16, 8)
_ALONE = """
import json, sys, types
package = types.ModuleType("ben_luigi")  # the package itself would import the graph of tasks
package.__path__, sys.modules["ben_luigi"] = [sys.argv[1]], package
from pathlib import Path
from ben_luigi.domain.cdse.account import Credentials
from ben_luigi.domain.cdse.catalogue import CatalogueProduct
from ben_luigi.domain.cdse.download import Download
from ben_luigi.domain.cdse.http import Client, Service
from ben_luigi.domain.cdse.token import Tokens
record, folder, urls = json.loads(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]
with Client(Service(*urls)) as client:
    tokens = Tokens(client, Credentials("sample", "sample"), folder / "session")
    Download(CatalogueProduct.parse(record), folder / "alone.zip", client, tokens).run()
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def make_product(path: Path, size_bytes: int) -> None:
    """Write a zip of about `size_bytes`, whole by its own manifest."""
    rng = np.random.default_rng(0)
    bands = [*BANDS, "B10"]
    objects = []
    with zipfile.ZipFile(path, "w") as archive:
        for band in bands:
            member = f"GRANULE/L1C_T33UUP/IMG_DATA/T33UUP_20170613T101031_{band}.jp2"
            content = rng.bytes(size_bytes // len(bands))
            md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
            archive.writestr(zipfile.ZipInfo(f"{NAME}/{member}", _TIME), content)
            objects.append(
                f'<dataObject ID="{band}"><byteStream mimeType="application/octet-stream" size="{len(content)}">'
                f'<fileLocation locatorType="URL" href="./{member}"/><checksum checksumName="MD5">{md5}</checksum>'
                "</byteStream></dataObject>"
            )
        manifest = f"<XFDU><dataObjectSection>{''.join(objects)}</dataObjectSection></XFDU>"
        archive.writestr(zipfile.ZipInfo(f"{NAME}/manifest.safe", _TIME), manifest)


def _catalogue(path: Path) -> dict[str, object]:
    when = "2017-06-13T12:00:00.000000Z"
    strong = blake3().update_mmap(path)
    checksums = {"MD5": file_hash(path, "md5"), "BLAKE3": strong.hexdigest()}
    return {
        "Id": ID,
        "Name": NAME,
        "ContentLength": path.stat().st_size,
        "PublicationDate": when,
        "Online": True,
        "Checksum": [{"Value": v, "Algorithm": a, "ChecksumDate": when} for a, v in checksums.items()],
        "File": path.name,
    }


def _serve(path: Path, record: dict[str, object], pipe: Connection) -> None:
    with CdseServer([record], path.parent) as server:
        pipe.send((server.catalogue_url, server.token_url, server.download_url))
        pipe.recv()


def _alone_mb(record: dict[str, object], folder: Path, service: Service) -> int:
    """Peak memory of a download in a process of its own, in MB."""
    package = str(Path(ben_luigi.__file__).parent)
    urls = [service.catalogue_url, service.token_url, service.download_url]
    command = [sys.executable, "-c", _ALONE, package, json.dumps(record), str(folder), *urls]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) // 1024


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = command.parser("scripts/bench download", __doc__)
    parser.add_argument("--megabytes", type=int, default=780, metavar="MB", help="size of the product; by default 780")
    parser.add_argument(
        "--runs", type=int, default=5, metavar="N", help="of ours and of the reference, in turn; by default 5"
    )
    parser.add_argument(
        "--files",
        action="store_true",
        help="fetch a product file by file, beside curl --parallel and, if it is there, aria2c",
    )
    parser.add_argument("--parallel", type=int, default=8, metavar="N", help="files at once; by default 8")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        if options.files:
            name = ProductName.parse(NAME)
            download_files.measure(name, Path(temporary), options.megabytes, options.runs, options.parallel)
        else:
            _measure(Path(temporary), options.megabytes, options.runs)
    return 0


def _measure(folder: Path, megabytes: int, runs: int) -> None:
    """Download a product as one zip, beside curl."""
    source = folder / "product.zip"
    make_product(source, megabytes * 10**6)
    record = _catalogue(source)
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("fork").Process(target=_serve, args=(source, record, theirs), daemon=True)
    server.start()
    service = Service(*ours.recv())
    product = CatalogueProduct.parse(json.loads(json.dumps(record)))

    def fetch() -> None:
        (folder / "ours.zip").unlink(missing_ok=True)
        with Client(service) as client:
            tokens = Tokens(client, Credentials("sample", "sample"), folder / "session")
            Download(product, folder / "ours.zip", client, tokens).run()

    def curl() -> None:
        with Client(service) as client:
            token = Tokens(client, Credentials("sample", "sample"), folder / "session").get()
        url = f"{service.download_url}/Products({ID})/$value"
        command = ["curl", "--silent", "--fail", "--header", f"Authorization: Bearer {token}", "--output"]
        subprocess.run([*command, folder / "curl.zip", url], check=True)

    ratio = pairs("verified download / curl", fetch, curl, runs=runs, at_most=1.25)
    alone_mb = _alone_mb(record, folder, service)
    ours.send("stop")
    server.join()
    rate = {"curl_mb_s": ratio.reference, "ours_mb_s": ratio.ours}
    facts: dict[str, object] = {name: round(megabytes / spent.wall_s) for name, spent in rate.items()}
    facts["peak MB of a process that only downloads (aim: under 100)"] = alone_mb
    facts["rate / curl's rate (median; aim: at least 0.8)"] = round(1 / ratio.wall, 2)
    report([ratio], facts, ("requests", "urllib3", "blake3"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
