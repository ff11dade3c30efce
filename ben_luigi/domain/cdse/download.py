"""Download an L1C product: streamed to a partial file beside the target, resumed, verified, renamed.

The partial file outlives the process. A later attempt continues at its end if the server's answer proves that it can:
the range fits, the length is the same, and its first bytes equal the end of the partial file. A product that was put
together in this way counts only once all of it has been verified.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import IO

import requests

from ben_luigi.domain import fence, leftovers
from ben_luigi.domain.answers import describe, one_line, refusal
from ben_luigi.domain.cdse import partial_file
from ben_luigi.domain.cdse.catalogue import CatalogueProduct
from ben_luigi.domain.cdse.digests import Digests, available
from ben_luigi.domain.cdse.errors import BLAMELESS
from ben_luigi.domain.cdse.http import Client, Patience, again
from ben_luigi.domain.cdse.token import Tokens
from ben_luigi.domain.errors import (
    BadProduct,
    DiskError,
    NoRoomError,
    PermanentError,
    PipelineError,
    RateLimitError,
    SourceError,
    TransientError,
    some,
)
from ben_luigi.domain.files import check_room, is_full, keeping_up, raise_if_full, sync
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.products import l1c
from ben_luigi.domain.products.l1c_container import PRODUCT_BYTES, UnreadableProduct

_log = logging.getLogger(__name__)
# CDSE repacks zips without a new id, and that it states an ETag for If-Range (RFC 9110, 13.1.5) is not documented. So
# the last bytes of a partial file are requested again, and compared with those that are there.
_OVERLAP_BYTES = 2**16
USUAL_BYTES = 10**9
"""The assumed size of an L1C zip while the catalogue does not state it."""
_ZIP_START = b"PK\3\4"
_BY_CATALOGUE = "the ContentLength of the catalogue"
_WRONG_LENGTH = (
    "run again later; if it stays so, the catalogue is wrong about the product: report it to CDSE support, or give the "
    "product in [inputs] l1c_dir"
)
_LENGTH = re.compile(r"[0-9]{1,18}")
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")

PATIENCE = Patience(tries=3, first_pause_s=30)
"""Three attempts, with pauses of half a minute and a minute."""


@dataclass(frozen=True)
class DownloadReport:
    """What was downloaded, after how many attempts (0: it was there), and how far it could be verified."""

    id: str
    name: str
    sha256: str
    length_bytes: int
    tries: int
    verified_by: tuple[str, ...]
    not_verified: tuple[str, ...]


@dataclass
class Download:
    """A product to be downloaded to `target`.

    Each failed attempt is appended to the text file `err`, which is removed when the product has arrived.
    `rate_bytes_s` limits this download; `keep_free_bytes` stay free on the disk. `starting` is called with the number
    of an attempt before it begins, `progress` with the bytes received and expected (None: unknown), `failed` with the
    error of an attempt unless the account or our own disk caused it.
    """

    product: CatalogueProduct
    target: Path
    client: Client
    tokens: Tokens
    err: Path | None = None
    patience: Patience = PATIENCE
    rate_bytes_s: float | None = None
    keep_free_bytes: int = 2**30
    starting: Callable[[int], None] = lambda number: None
    progress: Callable[[int, int | None], None] = lambda done_bytes, total_bytes: None
    failed: Callable[[SourceError], None] = lambda error: None
    _number: int = field(default=1, init=False)
    _total_bytes: int | None = field(default=None, init=False)
    _total_from: str = field(default=_BY_CATALOGUE, init=False)
    _refused: set[str] = field(default_factory=set, init=False)
    _partial_path: Path = field(default=Path(), init=False)

    def run(self) -> DownloadReport:
        """Fetch and verify the product, unless it exists. Raise SourceError once no attempt is left or can help."""
        self._total_bytes, self._total_from = self.product.length_bytes, _BY_CATALOGUE
        try:
            report = again(self.patience, self._try, self._failed)
        except (PermanentError, NoRoomError) as error:
            self._failed(error, None)
            raise self._about_tile(error) from error
        except TransientError as error:
            raise self._about_tile(error) from error
        if self.err:
            self._forget_failures(self.err)
        return report

    def _forget_failures(self, err: Path) -> None:
        """Remove the records of failed attempts, also those under a former id of the product."""
        err.unlink(missing_ok=True)
        for other in err.parent.glob("*.err"):
            with suppress(FileNotFoundError):  # another worker may have removed it
                if f"  {self.product.name}  " in other.read_text(encoding="utf-8", errors="replace"):
                    other.unlink()

    def _about_tile(self, error: SourceError | NoRoomError) -> PipelineError:
        told = f"; {self.err} tells of each try" if self.err else ""
        return type(error)(
            f"tile {self._tile}, {error.subject}",
            expected=error.expected,
            found=error.found,
            remedy=(error.remedy or "run again later") + told,
        )

    def _failed(self, error: SourceError | NoRoomError, pause_s: float | None) -> None:
        """Write one line about the failure to the log and to the file for CDSE support.

        Raise TakenOver instead if the failure may come of that.
        """
        fence.require(self.target)
        then = "given up" if pause_s is None else f"next try in {pause_s:.0f} s"
        told = one_line(f"try {self._number} of {self.patience.tries}: {error}")
        _log.warning("tile %s, %s; %s", self._tile, told, then)
        if self.err:
            self.err.parent.mkdir(parents=True, exist_ok=True)
            with self.err.open("a", encoding="utf-8") as file:
                file.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}  {self.product.name}  {told}; {then}\n")
        if isinstance(error, SourceError) and not isinstance(error, BLAMELESS):
            self.failed(error)
        self._number += not isinstance(error, RateLimitError)

    def _try(self) -> DownloadReport:
        try:
            if self.target.exists() and (report := self._already_there()):
                return report
            self.starting(self._number)
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self._partial_path = leftovers.kept(
                self.target.with_name(f"{self.target.name}.{self.product.id}.part"),
            )
            self._check_room()
            with partial_file.opened(self._partial_path) as partial:
                return self._fetch(partial)
        except NoRoomError:
            raise
        except DiskError as error:
            raise TransientError(self.target, expected=error.expected, found=error.found) from error
        except OSError as error:
            # What a full disk kept of the file would only take the room that other files need.
            if is_full(error):
                self._partial_path.unlink(missing_ok=True)
            raise_if_full(self.target, error)
            raise TransientError(self.target, expected="a disk that writes and reads", found=str(error)) from error

    def _already_there(self) -> DownloadReport | None:
        """Return the report on a complete target: a process may have ended between the rename and its record."""
        with self.target.open("rb") as file, self._digests() as digests:
            for chunk in partial_file.read(file, self.target.stat().st_size):
                digests.update(chunk)
        try:
            return self._verified(self.target, digests, tries=0)
        except (BadProduct, TransientError) as error:
            _log.warning("%s is damaged, and fetched again: %s", self.target, error)
            return None

    def _check_room(self) -> None:
        there = self._partial_path.stat().st_size if self._partial_path.exists() else 0
        needed = (self._total_bytes or USUAL_BYTES) - there + self.keep_free_bytes
        check_room(self.target.parent, needed)

    def _fetch(self, partial: IO[bytes]) -> DownloadReport:
        """Continue the partial file if the server permits it, else start again; verify and rename it."""
        resume_at = partial.seek(0, os.SEEK_END) - _OVERLAP_BYTES
        for start in [resume_at, 0] if resume_at > 0 else [0]:
            with self._request(start) as response:
                chunks = self._beginning(response, partial, start)
                if chunks is None:
                    continue
                begin = start if response.status_code == requests.codes.partial_content else 0
                with self._digests() as digests:
                    self._receive(chunks, partial, begin, digests)
                return self._publish(partial, digests)
        raise TransientError(self._subject, expected="the whole product", found="a part of it")

    def _request(self, start: int) -> requests.Response:
        """Request the bytes from `start` on, with a new token if the server wants one."""
        token = self.tokens.get()
        response = self._get(start, token)
        if response.status_code == requests.codes.unauthorized:
            response.close()
            token = self.tokens.renew(token)
            response = self._get(start, token)
        # 416 (RFC 9110, 15.5.17): there is nothing from `start` on, since what is at CDSE is shorter than the partial
        # file.
        if response.status_code in (requests.codes.ok, requests.codes.partial_content) or (
            start and response.status_code == requests.codes.requested_range_not_satisfiable
        ):
            return response
        body = self.client.body(response).replace(token.encode(), b"***")
        if response.status_code == requests.codes.unauthorized:
            found = describe(response.status_code, response.headers, body)
            raise TransientError(self._subject, expected="a new token to be accepted", found=found)
        raise refusal(self._subject, response.status_code, response.headers, body, section="cdse")

    def _get(self, start: int, token: str) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} | ({"Range": f"bytes={start}-"} if start else {})
        return self.client.open("GET", self._url, headers=headers)

    def _beginning(self, response: requests.Response, partial: IO[bytes], start: int) -> Iterator[bytes] | None:
        """Return the body, if it is a zip from its start, or continues the partial file.

        None if a new request is needed.
        """
        chunks = self.client.chunks(response)
        if response.status_code == requests.codes.ok:
            # Reported of CDSE: 200 with an HTML or JSON page instead of the zip.
            head = _head(chunks, len(_ZIP_START))
            if not head.startswith(_ZIP_START):
                found = describe(response.status_code, response.headers, head)
                raise TransientError(self._subject, expected="a zip", found=found)
            self._check_length(response)
            return chain([head], chunks)
        # RFC 9110, 14.4. CDSE has honoured Range at times and ignored it at others, so only an exact continuation
        # counts.
        whole = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if not start or not whole or int(whole[1]) != start or int(whole[2]) != int(whole[3]) - 1:
            return None
        if self._total_bytes not in (None, int(whole[3])):
            return None
        partial.seek(start)
        head = _head(chunks, _OVERLAP_BYTES)
        if head[:_OVERLAP_BYTES] != partial.read():
            return None
        self._total_bytes, self._total_from = int(whole[3]), "the Content-Range of the answer"
        return chain([head], chunks)

    def _check_length(self, response: requests.Response) -> None:
        """Keep the length that the server states. Raise TransientError if the catalogue states another one."""
        stated = response.headers.get("Content-Length", "")
        if not _LENGTH.fullmatch(stated):
            return
        found = f"{int(stated):,}, the Content-Length of the answer, of which nothing was received"
        if self.product.length_bytes not in (None, int(stated)):
            expected = f"{self.product.length_bytes:,} bytes, {_BY_CATALOGUE}"
            raise TransientError(self._subject, expected=expected, found=found, remedy=_WRONG_LENGTH)
        if int(stated) > PRODUCT_BYTES:
            raise TransientError(self._subject, expected=f"at most {PRODUCT_BYTES:,} bytes", found=found)
        self._total_bytes, self._total_from = int(stated), "the Content-Length of the answer"

    def _receive(self, chunks: Iterator[bytes], partial: IO[bytes], start: int, digests: Digests) -> None:
        """Write the body to the partial file from `start` on, hashing all of the file in passing."""
        partial.seek(0)
        for chunk in partial_file.read(partial, start):
            digests.update(chunk)
        partial.seek(start)
        partial.truncate()
        done, begun_s = start, time.monotonic()
        with keeping_up(partial) as wrote:
            for chunk in chunks:
                partial.write(chunk)
                wrote()
                digests.update(chunk)
                done += len(chunk)
                if done > (self._total_bytes or PRODUCT_BYTES):
                    partial.truncate(0)
                    break
                self.progress(done, self._total_bytes)
                if self.rate_bytes_s:
                    time.sleep(max(0, (done - start) / self.rate_bytes_s - (time.monotonic() - begun_s)))
        if done != (self._total_bytes or min(done, PRODUCT_BYTES)):
            known = f"{self._total_bytes:,} bytes, {self._total_from}" if self._total_bytes else ""
            expected = known or f"at most {PRODUCT_BYTES:,} bytes"
            more = " and more" if done > (self._total_bytes or PRODUCT_BYTES) else ""
            found = f"{done:,} bytes received{more}"
            raise TransientError(self._subject, expected=expected, found=found, remedy=_WRONG_LENGTH)

    def _digests(self) -> Digests:
        return Digests(["SHA256", *self._checksum])

    def _publish(self, partial: IO[bytes], digests: Digests) -> DownloadReport:
        """Rename a complete partial file to its target. Remove a damaged one; the second time, give up on it."""
        partial.flush()
        sha256 = digests.hexdigest("SHA256")
        try:
            report = self._verified(self._partial_path, digests, tries=self._number)
        except (BadProduct, TransientError) as error:
            partial.truncate(0)
            if sha256 not in self._refused:
                self._refused.add(sha256)
                raise TransientError(self._subject, expected=error.expected, found=error.found) from error
            raise PermanentError(
                self._subject,
                expected=error.expected,
                found=f"{error.found}; CDSE sends the same bytes again (sha256 {sha256})",
                remedy="report it to CDSE support; give the product in [inputs] l1c_dir",
            ) from error
        # Content first, then the name, then the folder: after a power cut a file under the final name is complete.
        os.fsync(partial.fileno())
        leftovers.put_in_place(self._partial_path, self.target)
        for stale in self.target.parent.glob(f"{self.target.name}.*.part"):  # of a former id of the product
            stale.unlink(missing_ok=True)
        sync(self.target.parent)
        return report

    def _verified(self, path: Path, digests: Digests, tries: int) -> DownloadReport:
        """Compare a complete file with the catalogue and its own manifest. Raise TransientError or BadProduct."""
        product, length, by, not_by = self.product, path.stat().st_size, [], []
        if product.length_bytes is None:
            not_by.append("length: the catalogue has none")
        elif length != product.length_bytes:
            expected = f"{product.length_bytes:,} bytes, {_BY_CATALOGUE}"
            raise TransientError(path, expected=expected, found=f"{length:,} bytes received", remedy=_WRONG_LENGTH)
        else:
            by.append("length")
        for algorithm in self._checksum:
            expected, found = product.checksums[algorithm], digests.hexdigest(algorithm)
            if found != expected:
                raise TransientError(path, expected=f"{algorithm} {expected}, as the catalogue has it", found=found)
            by.append(algorithm)
        if not self._checksum:
            stated = f"only {some(product.checksums)}, whose Python package is not installed"
            not_by.append(f"checksum: the catalogue has {stated if product.checksums else 'none'}")
        try:
            checked = l1c.verify(path, ProductName.parse(product.name), digests.members.taken)
        except UnreadableProduct as error:
            raise OSError(error.found) from error  # caused by the disk, not by the download
        if checked.unlisted:
            not_by.append(f"members without a checksum in the manifest: {some(checked.unlisted)}")
        if checked.left_out:
            not_by.append(f"members of the manifest that are left out: {some(checked.left_out)}")
        sha256 = digests.hexdigest("SHA256")
        by += ["zip CRC", "manifest"]
        return DownloadReport(product.id, product.name, sha256, length, tries, tuple(by), tuple(not_by))

    @property
    def _checksum(self) -> list[str]:
        """Return the catalogue's checksum to compare: the strongest that can be computed, if there is one."""
        return [name for name in ("BLAKE3", "MD5") if name in self.product.checksums and available(name)][:1]

    @property
    def _tile(self) -> str:
        return ProductName.parse(self.product.name).tile_key

    @property
    def _url(self) -> str:
        return f"{self.client.service.download_url}/Products({self.product.id})/$value"

    @property
    def _subject(self) -> str:
        return f"GET {self._url}"


def _head(chunks: Iterator[bytes], length: int) -> bytes:
    """Return at least the first `length` bytes of a stream, or all of it."""
    head = bytearray()
    for chunk in chunks:
        head += chunk
        if len(head) >= length:
            break
    return bytes(head)
