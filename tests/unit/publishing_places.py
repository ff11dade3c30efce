"""Services on loopback that a package is published to, and what they hold in the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ben_luigi.domain.cdse.http import Client, Patience
from ben_luigi.domain.dataset.about import V2
from ben_luigi.domain.publishing.hashing import Hashes
from ben_luigi.domain.publishing.huggingface import HuggingFace
from ben_luigi.domain.publishing.package import Item, Package
from ben_luigi.domain.publishing.s3 import S3
from ben_luigi.domain.publishing.sending import Sender, Sent
from ben_luigi.domain.publishing.service import Service
from ben_luigi.domain.publishing.zenodo import Zenodo
from ben_luigi.domain.sources.source import Origin
from ben_luigi.sample.loopback import Fault
from tests.publishing_servers import Failing, HubServer, S3Server, ZenodoServer, s3

PATIENCE = Patience(tries=5, waits=5, first_pause_s=0.001, longest_pause_s=0.01, read_timeout_s=20)
PART = 5 * 2**20
"""The least length of a part of S3."""
NAMES = ("LICENSE", "a b.txt", "empty.csv", "large.tar", "patches.parquet")


@dataclass
class Place:
    """A service on loopback, and how it is asked."""

    server: Failing
    service: Callable[[], Service]
    folder: Path

    def publish(self, package: Package, *, replaces: bool = False, moved: list[int] | None = None) -> Sent:
        """Publish, by a service that remembers nothing but what is noted."""
        counted = moved if moved is not None else []
        hashes = Hashes(self.folder / "hashes.json")
        return Sender(self.service(), hashes, PATIENCE, replaces, counted.append).publish(package)

    def content(self) -> dict[str, bytes]:
        """What is there in the end."""
        if isinstance(self.server, ZenodoServer):
            (files,) = self.server.files.values()
            return files
        if isinstance(self.server, HubServer):
            return self.server.committed
        assert isinstance(self.server, S3Server)
        return self.server.content("v2/")


@contextmanager
def place(kind: str, folder: Path, *faults: Fault) -> Iterator[Place]:
    if kind == "zenodo":
        with ZenodoServer(faults) as zenodo, Client(patience=PATIENCE, hosts=Origin(zenodo.base_url)) as client:
            args = (client, zenodo.base_url, zenodo.token, folder / "record", "package 1")
            yield Place(zenodo, lambda: Zenodo(*args), folder)
    elif kind == "huggingface":
        with HubServer(faults) as hub:
            yield Place(hub, lambda: HuggingFace("u/n", hub.token, hub.base_url), folder)
    else:
        with s3(faults) as bucket:
            yield Place(bucket, lambda: S3("s3://bucket/v2", bucket.base_url, PART), folder)


def contents_of(package: Package) -> Mapping[str, bytes]:
    return {item.name: item.path.read_bytes() for item in package.items}


ALL = pytest.mark.parametrize("kind", ["zenodo", "huggingface", "s3"])
SENDS = {"zenodo": "put", "huggingface": "put", "s3": "part"}
"""The request by which a large file is sent, or a part of one."""


def form_of(folder: Path, *names: str) -> Package:
    """A form of files of these names, with a note that lists them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(f"{folder.name} {name}".encode())
    (folder / "form.json").write_text(json.dumps({"form": "parquet", "files": dict.fromkeys(names, "1 00000000")}))
    items = tuple(Item.of(name, folder / name) for name in ("form.json", *names))
    return Package(folder, folder, "A title", V2, 6, items, "parquet")
