"""What all sources of products share, and how a file is requested from any of them.

A product is a folder whose files are fetched one by one. A source tells whether it has a product, and which files of
what size and hash; it opens a file from any byte on. Another source is one more class of this kind.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol
from urllib.parse import quote, urlsplit

import requests

from ben_luigi.domain.answers import refusal
from ben_luigi.domain.cdse.http import Client, plain
from ben_luigi.domain.errors import PermanentError, TransientError
from ben_luigi.domain.names import ProductName

_STRONG_TAG = re.compile(r'"[\x21\x23-\x7e]{1,200}"')  # RFC 9110, section 8.8.3
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_LENGTH = re.compile(r"[0-9]{1,18}")
_MD5, _CRC32C = 16, 4
_GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)


class NotThere(PermanentError):
    """A source does not have the file."""


class Changed(TransientError):
    """A file has changed at its source since it was fetched in part."""


@dataclass(frozen=True)
class SourceFile:
    """A file of a product at a source, as far as the source describes it without sending it.

    `path` is relative to the `.SAFE`. `hashes` are hexadecimal, by algorithm: md5 or crc32c.
    """

    path: str
    url: str
    length_bytes: int | None = None
    hashes: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Listing:
    """The files of a product at a source, by path.

    A source that cannot list its files gives the known ones: then there may be others, and `is_whole` is false.
    `guessed` are paths of files that products have without listing them anywhere. `contents` are files that had to be
    read for the listing.
    """

    files: Mapping[str, SourceFile]
    is_whole: bool = True
    guessed: frozenset[str] = frozenset()
    contents: Mapping[str, bytes] = field(default_factory=dict)


class Source(Protocol):
    """A place that has products. All methods raise SourceError."""

    @property
    def name(self) -> str:
        """Its name in `[sources] order`, and in reports."""

    @property
    def client(self) -> Client:
        """The session for requests to it."""

    @property
    def connections(self) -> int:
        """How many of its files may be fetched at once."""

    def listing(self, product: ProductName) -> Listing | None:
        """Return the files of a product; None if the source does not have it."""

    def file(self, product: ProductName, path: str) -> SourceFile:
        """Return the address that a file would have."""

    def get(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        """Request a file, and return any answer."""


@dataclass(frozen=True)
class Origin:
    """One server; redirects to other servers are not followed."""

    url: str

    @property
    def allowed(self) -> str:
        """Return in words which addresses may be requested."""
        parts = urlsplit(self.url)
        return f"an address at {parts.scheme}://{parts.hostname}"

    def allows(self, url: str) -> bool:
        """Return whether `url` has scheme, host and port of this server."""
        try:
            one, other = urlsplit(self.url), urlsplit(url)
            return (one.scheme, one.hostname, one.port) == (other.scheme, other.hostname, other.port)
        except ValueError:
            return False


@dataclass
class Opened:
    """An opened file: from byte `start` on, of `total_bytes` in all (None: unknown).

    `version` is its strong entity tag, or ""; `hashes` are those that the object store states.
    """

    response: requests.Response
    chunks: Iterator[bytes]
    start: int
    total_bytes: int | None
    version: str
    hashes: Mapping[str, str]


def opened(source: Source, file: SourceFile, start: int = 0, version: str = "") -> Opened:
    """Request a file from byte `start` on, if its version is still `version`; the whole file if a range is refused.

    Raise NotThere, Changed, or another SourceError.
    """
    subject = f"GET {plain(file.url)}"
    headers = {"Range": f"bytes={start}-", "If-Match": version} if start else {}
    response = source.get(file.url, headers)
    status = response.status_code
    if status == requests.codes.ok or (start and status == requests.codes.partial_content):
        return _begun(source, file, response, start if status == requests.codes.partial_content else 0)
    with response:
        if start and status in (requests.codes.precondition_failed, requests.codes.requested_range_not_satisfiable):
            raise Changed(subject, expected=f"the same file as before, {version}", found=f"HTTP {status}")
        if status in _GONE:
            raise NotThere(subject, expected="the file", found=f"HTTP {status}: it is not there")
        body = source.client.body(response)
    raise refusal(subject, status, response.headers, body, section="sources")


def _begun(source: Source, file: SourceFile, response: requests.Response, start: int) -> Opened:
    total = _total_bytes(file, response, start)
    if file.length_bytes not in (None, total) and total is not None:
        response.close()
        expected = f"{file.length_bytes:,} bytes, as {source.name} lists it"
        raise TransientError(f"GET {plain(file.url)}", expected=expected, found=f"an answer of {total:,}")
    tag = response.headers.get("ETag", "")
    return Opened(
        response,
        source.client.chunks(response),
        start,
        total if total is not None else file.length_bytes,
        tag if _STRONG_TAG.fullmatch(tag) else "",
        {**file.hashes, **object_hashes(response.headers.get("x-goog-hash", ""))},
    )


def _total_bytes(file: SourceFile, response: requests.Response, start: int) -> int | None:
    """Return the length of the whole file by the answer. Raise Changed if the answer continues another file."""
    stated = response.headers.get("Content-Length", "")
    if not start:
        return int(stated) if _LENGTH.fullmatch(stated) else None
    whole = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if not whole or int(whole[1]) != start or int(whole[2]) != int(whole[3]) - 1:
        response.close()
        found = response.headers.get("Content-Range", "no Content-Range")
        raise Changed(f"GET {plain(file.url)}", expected=f"the bytes from {start:,} on", found=found[:80])
    return int(whole[3])


def object_hashes(header: str) -> dict[str, str]:
    """Parse a header `x-goog-hash` into hexadecimal hashes by algorithm; composite objects have no md5.

    >>> object_hashes("crc32c=yZRlqg==,md5=XrY7u+Ae7tCTyyK7j1rNww==")
    {'crc32c': 'c99465aa', 'md5': '5eb63bbbe01eeed093cb22bb8f5acdc3'}
    """
    found = {}
    for entry in header.split(","):
        algorithm, _, value = entry.strip().partition("=")
        try:
            raw = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            continue
        if (algorithm, len(raw)) in (("md5", _MD5), ("crc32c", _CRC32C)):
            found[algorithm] = raw.hex()
    return found


def is_path(text: str) -> bool:
    """Return whether a text in a listing is a path inside a product's folder."""
    parts = text.split("/")
    return text.isprintable() and "\\" not in text and not any(part in ("", ".", "..") for part in parts)


def place(template: str, product: ProductName) -> str:
    """Fill in a URL template: `{zone}` (two digits), `{band}`, `{square}`, and `{name}` with its `.SAFE`."""
    for key, value in zip(("{zone}", "{band}", "{square}", "{name}"), (*product.mgrs_parts, str(product)), strict=True):
        template = template.replace(key, value)
    return template.rstrip("/")


def below(folder_url: str, path: str) -> str:
    """Return the URL of a file, given that of its product's folder."""
    return f"{folder_url}/{quote(path)}"
