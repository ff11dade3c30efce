"""Read a public bucket that lists its objects as Google Cloud Storage and S3 do, without login (ListObjectsV2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests

from ben_luigi.domain.answers import refusal
from ben_luigi.domain.bounded import parse_xml
from ben_luigi.domain.cdse.http import Client, again, log_failure, plain
from ben_luigi.domain.errors import TransientError
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.sources.source import Listing, SourceFile, below, is_path, place
from ben_luigi.domain.vocabulary import GOOGLE_URL

_LAYOUT = {"L1C": "tiles/{zone}/{band}/{square}/{name}", "L2A": "L2/tiles/{zone}/{band}/{square}/{name}"}
_MARKER = "_$folder$"
_MD5_TAG = re.compile(r'"([0-9a-f]{32})"')
_LENGTH = re.compile(r"[0-9]{1,18}")
_MOST_PAGES = 20
_SHOWN = 80


@dataclass(frozen=True)
class Bucket:
    """The bucket at `url`, laid out as Google's `gcp-public-data-sentinel-2`. Methods raise SourceError."""

    client: Client
    url: str = GOOGLE_URL
    name: str = "google"
    connections: int = 16

    def listing(self, product: ProductName) -> Listing | None:
        """Return the product's objects, without the markers that stand for folders; None if there are none."""
        found: dict[str, SourceFile] = {}
        prefix, token = f"{place(_LAYOUT[product.level], product)}/", ""
        for _ in range(_MOST_PAGES):
            page, token = self._page(prefix, token)
            new = {file.path: file for file in page if file.path not in found}
            found |= new
            if not token:
                kept = {path: file for path, file in found.items() if not path.endswith(_MARKER)}
                return Listing(kept) if kept else None
            if not new:
                break
        raise TransientError(
            f"listing of {product} at {self.name}", expected=f"at most {_MOST_PAGES} pages", found="pages without end"
        )

    def file(self, product: ProductName, path: str) -> SourceFile:
        """Return the address of a file."""
        return SourceFile(path, below(f"{self.url}/{place(_LAYOUT[product.level], product)}", path))

    def get(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        """Request an object."""
        return self.client.open("GET", url, headers=headers)

    def _page(self, prefix: str, token: str) -> tuple[list[SourceFile], str]:
        """Return the objects of one page, and the token of the next page, or ""."""
        parameters = {"list-type": "2", "prefix": prefix, **({"continuation-token": token} if token else {})}

        def once() -> tuple[list[SourceFile], str]:
            response = self.client.open("GET", self.url, params=parameters)
            body = self.client.body(response)
            if response.status_code != requests.codes.ok:
                raise refusal(f"GET {plain(self.url)}", response.status_code, response.headers, body, section="sources")
            return self._parsed(body, prefix)

        return again(self.client.patience, once, log_failure)

    def _parsed(self, body: bytes, prefix: str) -> tuple[list[SourceFile], str]:
        subject, expected = f"listing of {prefix} at {urlsplit(self.url).hostname}", "a whole ListBucketResult"
        try:
            page = parse_xml(body)
        except ValueError as error:
            raise TransientError(subject, expected=expected, found=f"{body[:_SHOWN]!r} ({error})") from error
        objects = page.findall("{*}Contents")
        token, counted = _text(page, "NextContinuationToken"), _text(page, "KeyCount")
        is_cut = _text(page, "IsTruncated").lower() == "true"
        if not page.tag.endswith("ListBucketResult") or is_cut != bool(token) or counted not in ("", str(len(objects))):
            found = f"{page.tag.rpartition('}')[2]} of {len(objects)} objects, KeyCount {counted or 'none'}"
            raise TransientError(subject, expected=expected, found=found)
        return [file for one in objects if (file := self._file(one, prefix))], token

    def _file(self, element: Any, prefix: str) -> SourceFile | None:
        key, length = _text(element, "Key"), _text(element, "Size")
        path = key.removeprefix(prefix)
        if not key.startswith(prefix) or not is_path(path):
            return None
        tag = _MD5_TAG.fullmatch(_text(element, "ETag"))
        url = below(self.url, key)
        return SourceFile(path, url, int(length) if _LENGTH.fullmatch(length) else None, {"md5": tag[1]} if tag else {})


def _text(element: Any, name: str) -> str:
    return (element.findtext(f"{{*}}{name}") or "").strip()
