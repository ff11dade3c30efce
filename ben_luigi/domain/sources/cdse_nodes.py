"""Read products file by file from CDSE: the nodes of a product in OData. Listing needs no login, fetching does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import requests

from ben_luigi.domain.cdse.http import Client, again, log_failure, plain
from ben_luigi.domain.cdse.token import Tokens
from ben_luigi.domain.errors import TransientError
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.sources.source import Listing, SourceFile, is_path

_MOST_FOLDERS = 1000


@dataclass(frozen=True)
class CdseNodes:
    """The files of CDSE's products.

    `id_of` returns the id of a product, `tokens` the access tokens; both raise SourceError.

    One file at a time is fetched by default, since an account may have four connections over all its machines.
    """

    client: Client
    id_of: Callable[[ProductName], str]
    tokens: Callable[[], Tokens]
    name: str = "cdse"
    connections: int = 1
    _ids: dict[ProductName, str] = field(default_factory=dict, repr=False)

    def listing(self, product: ProductName) -> Listing | None:
        """Return all files, folder by folder; None if CDSE knows no nodes of the product."""
        found: dict[str, SourceFile] = {}
        waiting = [""]
        for _ in range(_MOST_FOLDERS):
            if not waiting:
                break
            folder = waiting.pop()
            for node in self._nodes(product, folder):
                path = f"{folder}/{node['Name']}".lstrip("/")
                length = node.get("ContentLength")
                if node.get("ChildrenNumber"):
                    waiting.append(path)
                elif type(length) is int and length > 0 and is_path(path):
                    found[path] = SourceFile(path, self._url(product, path, "/$value"), length)
        return Listing(found) if found else None

    def file(self, product: ProductName, path: str) -> SourceFile:
        """Return the address that a file would have."""
        return SourceFile(path, self._url(product, path, "/$value"))

    def get(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        """Request a file, with a new token if the server wants one."""
        tokens = self.tokens()
        token = tokens.get()
        response = self._asked(url, headers, token)
        if response.status_code == requests.codes.unauthorized:
            response.close()
            response = self._asked(url, headers, tokens.renew(token))
        return response

    def _asked(self, url: str, headers: Mapping[str, str], token: str) -> requests.Response:
        return self.client.open("GET", url, headers={"Authorization": f"Bearer {token}", **headers})

    def _nodes(self, product: ProductName, folder: str) -> list[dict[str, Any]]:
        url = self._url(product, folder, "/Nodes")

        def once() -> list[dict[str, Any]]:
            body = self.client.fetch("GET", url)
            try:
                listed = json.loads(body)["result"]
                return [node for node in listed if isinstance(node["Name"], str)]
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise TransientError(plain(url), expected="a list of nodes", found=f"{body[:80]!r}") from error

        return again(self.client.patience, once, log_failure)

    def _url(self, product: ProductName, path: str, end: str) -> str:
        if product not in self._ids:
            self._ids[product] = self.id_of(product)
        names = [str(product), *filter(None, path.split("/"))]
        nodes = "/".join(f"Nodes({quote(name)})" for name in names)
        return f"{self.client.service.download_url}/Products({self._ids[product]})/{nodes}{end}"
