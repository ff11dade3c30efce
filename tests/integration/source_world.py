"""Products at loopback sources, for tests: a bucket, a mirror, and CDSE with its nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from random import Random

from ben_luigi.domain.cdse.account import Credentials
from ben_luigi.domain.cdse.http import Client, Patience
from ben_luigi.domain.cdse.token import Tokens
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.products.l1c import BANDS
from ben_luigi.domain.sources.bucket import Bucket
from ben_luigi.domain.sources.cdse_nodes import CdseNodes
from ben_luigi.domain.sources.fetch import ProductFetch
from ben_luigi.domain.sources.mirror import Mirror
from ben_luigi.domain.sources.outcome import FetchReport
from ben_luigi.domain.sources.source import Origin, Source
from ben_luigi.domain.sources.trace import Trace
from ben_luigi.domain.sources.trace import fetch as fetch_trace
from ben_luigi.sample import safe
from ben_luigi.sample.bucket_server import BucketServer
from ben_luigi.sample.cdse_faults import Fault, another_id
from ben_luigi.sample.cdse_server import CdseServer
from ben_luigi.sample.objects import bucket_objects

NAME = ProductName.parse("S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE")
GRANULE = "GRANULE/L1C_T33UUP_A010321_20170613T101608"
IMAGES = f"{GRANULE}/IMG_DATA/T33UUP_20170613T101031"
WEATHER = f"{GRANULE}/AUX_DATA/AUX_ECMWFT"
QUICK = Patience(
    tries=3, first_pause_s=0.001, longest_pause_s=0.01, read_timeout_s=1, floor_bytes_s=10_000, floor_window_s=0.3
)


def members_of(name: ProductName = NAME, band_bytes: int = 40_000) -> dict[str, bytes]:
    """A product as ESA has it: with HTML, and weather that the manifest does not list."""
    source = Random(str(name))
    members = {f"{IMAGES}_{band}.jp2": source.randbytes(band_bytes) for band in BANDS}
    members[f"{IMAGES}_TCI.jp2"] = source.randbytes(1000)
    members["MTD_MSIL1C.xml"] = b"<product/>\n"
    members[f"{GRANULE}/MTD_TL.xml"] = b"<tile/>\n"
    members["DATASTRIP/DS_1/MTD_DS.xml"] = b"<datastrip/>\n"
    members["DATASTRIP/DS_1/QI_DATA/GENERAL_QUALITY.xml"] = b"<report/>\n"
    members["HTML/UserProduct_index.html"] = b"<html></html>\n"
    members["manifest.safe"] = safe.manifest(members, "L1C")
    members[WEATHER] = source.randbytes(2000)
    return members


def at_google(members: Mapping[str, bytes], name: ProductName = NAME) -> dict[str, bytes]:
    """The objects that the bucket has of it: no HTML."""
    return bucket_objects({path: data for path, data in members.items() if not path.startswith("HTML/")}, name)


@dataclass
class Sources:
    """The three sources of one product, and what is fetched from them."""

    google: BucketServer
    mirror: BucketServer
    cdse: CdseServer
    client: Client
    members: Mapping[str, bytes]
    tokens: Tokens
    dead: set[str] = field(default_factory=set)
    patience: Patience = QUICK

    def source(self, name: str) -> Source:
        """A source by its name; one that is dead has nobody who listens."""
        if name == "cdse":
            key = str(self.cdse.records[0]["Id"])
            return CdseNodes(Client(self.cdse.service, self.patience), lambda product: key, lambda: self.tokens)
        server = self.google if name == "google" else self.mirror
        url = "http://127.0.0.1:9/bucket" if name in self.dead else server.url
        client = Client(patience=self.patience, hosts=Origin(url))
        if name == "google":
            return Bucket(client, url)
        return Mirror(client, f"{url}/tiles/{{zone}}/{{band}}/{{square}}/{{name}}")

    def fetch(self, folder: Path, order: Sequence[str] = ("google", "mirror"), **more: object) -> FetchReport:
        """Fetch the product into `folder`; CDSE repairs."""
        sources = [self.source(name) for name in order]
        repairs = [self.source("cdse")] if "cdse" not in {*self.dead, *order} else []
        fetch = ProductFetch(NAME, folder / "t", sources, repairs, keep_free_bytes=0, **more)  # type: ignore[arg-type]
        return fetch.run()

    def trace(self) -> Trace:
        """CDSE's trace of the product."""
        service = replace(self.cdse.service, trace_url=self.cdse.trace_url)
        with Client(service, QUICK) as client:
            return fetch_trace(client, self.cdse.trace_url, NAME)


@contextmanager
def sources(
    folder: Path, google: Sequence[Fault] = (), mirror: Sequence[Fault] = (), cdse: Sequence[Fault] = ()
) -> Iterator[Sources]:
    """The product of NAME at a bucket, a mirror and CDSE, each with its faults."""
    members = members_of()
    folder.mkdir(parents=True, exist_ok=True)
    safe.write_zip(members, folder / "product.zip", str(NAME), datetime(2017, 6, 13))
    record = {"Name": str(NAME), "ContentLength": (folder / "product.zip").stat().st_size, "File": "product.zip"}
    record = json.loads(json.dumps({"Id": another_id({"Id": str(NAME)}), **record}))
    whole = bucket_objects(members, NAME)
    with ExitStack() as stack:
        client = stack.enter_context(Client(patience=QUICK))
        bucket = stack.enter_context(BucketServer(at_google(members), google))
        own = stack.enter_context(BucketServer(whole, mirror, lists=False))
        service = stack.enter_context(CdseServer([record], folder, cdse))
        asking = stack.enter_context(Client(service.service, QUICK))
        tokens = Tokens(asking, Credentials("sample", "sample"), folder / "session")
        yield Sources(bucket, own, service, client, members, tokens)


def found_in(folder: Path) -> dict[str, bytes]:
    """The files of the product that was fetched into `folder`, by path."""
    safe_folder = folder / "t" / str(NAME)
    return {
        path.relative_to(safe_folder).as_posix(): path.read_bytes()
        for path in sorted(safe_folder.rglob("*"))
        if path.is_file()
    }
