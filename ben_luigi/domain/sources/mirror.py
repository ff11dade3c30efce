"""Read products from a mirror: a web server or bucket with products as folders, at addresses given by a template."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import requests

from ben_luigi.domain.cdse.http import Client, again, log_failure, plain
from ben_luigi.domain.errors import TransientError
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.products import manifest
from ben_luigi.domain.sources.source import Listing, NotThere, SourceFile, below, opened, place

_GRANULE = re.compile("^GRANULE/[^/]+")
_WEATHER = "AUX_DATA/AUX_ECMWFT"
"""Forecasts of the ECMWF, which Sen2Cor reads, and which the manifest does not list (reported)."""


@dataclass(frozen=True)
class Mirror:
    """Products at `template`, such as `https://host/tiles/{zone}/{band}/{square}/{name}`. Methods raise SourceError.

    A mirror cannot list its files: they are those that the product's manifest names, and the weather forecasts.
    `number` is its place, from 1, among the mirrors at its host.
    """

    client: Client
    template: str
    connections: int = 16
    number: int = 1

    @property
    def name(self) -> str:
        """The host, since there may be several mirrors, and the number of a further one there.

        Its path is not in it, since names of sources are published with the dataset.
        """
        return f"mirror {_host(self.template)}{f' ({self.number})' if self.number > 1 else ''}"

    def listing(self, product: ProductName) -> Listing | None:
        """Return the files in the product's manifest; None if the mirror has none."""
        file = self.file(product, manifest.NAME)

        def once() -> tuple[manifest.Listed, SourceFile, bytes]:
            content = bytearray()
            answer = opened(self, file)
            with answer.response:
                listed = manifest.read(_kept(answer.chunks, content), plain(file.url), TransientError)
            return listed, replace(file, hashes=answer.hashes), bytes(content)

        try:
            listed, described, content = again(self.client.patience, once, log_failure)
        except NotThere:
            return None
        guessed = {f"{granule}/{_WEATHER}" for path in listed for granule in _GRANULE.findall(path)}
        files = {path: self.file(product, path) for path in [*listed, *guessed]} | {manifest.NAME: described}
        return Listing(files, is_whole=False, guessed=frozenset(guessed), contents={manifest.NAME: content})

    def file(self, product: ProductName, path: str) -> SourceFile:
        """Return the address that a file would have."""
        return SourceFile(path, below(place(self.template, product), path))

    def get(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        """Request a file."""
        return self.client.open("GET", url, headers=headers)


def numbered(templates: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Yield each template once, with its place, from 1, among those of its host."""
    at_host: Counter[str] = Counter()
    for template in dict.fromkeys(templates):
        at_host[_host(template)] += 1
        yield template, at_host[_host(template)]


def _host(template: str) -> str:
    return urlsplit(template).hostname or ""


def _kept(chunks: Iterable[bytes], into: bytearray) -> Iterator[bytes]:
    """Yield chunks, and append each to `into`."""
    for chunk in chunks:
        into += chunk
        yield chunk
