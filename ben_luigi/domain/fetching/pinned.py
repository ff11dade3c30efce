"""Fetch pinned files from whichever of their addresses has them, resumed where it broke off, proven by the hash.

What has come so far stays as `.partial-<name>` beside the file until that is there, over tries, addresses and
processes, and is gone on with by a Range request (RFC 9110, 14). Whatever came together in this way counts only once
its hash is the pinned one.
"""

from __future__ import annotations

import bz2
import gzip
import logging
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import requests

from ben_luigi.domain import files, leftovers, network, web
from ben_luigi.domain.answers import describe, retry_after_s
from ben_luigi.domain.cdse import partial_file
from ben_luigi.domain.cdse.http import Patience, again, log_failure, plain, reason
from ben_luigi.domain.errors import BadInput, NotFetched, PermanentError, RateLimitError, SourceError, TransientError
from ben_luigi.domain.inputs import PinnedFile
from ben_luigi.domain.progress import OnBytes, ignore_bytes

_log = logging.getLogger(__name__)
PATIENCE = Patience(tries=4, first_pause_s=2, connect_timeout_s=20, floor_bytes_s=1000)
"""Tries at each address; they count anew when much has come meanwhile, since a large file breaks off often."""

_MAY_PASS = {408, 425, 429}
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_MUCH_BYTES = 2**24
_SHOWN_BYTES = 4096
_PACKED: dict[str, type[bz2.BZ2File] | type[gzip.GzipFile]] = {".bz2": bz2.BZ2File, ".gz": gzip.GzipFile}


class _OtherHash(PermanentError):
    """All of it came, and it is another file than the pinned one."""


def fetch(pinned: PinnedFile, folder: Path, progress: OnBytes = ignore_bytes, patience: Patience = PATIENCE) -> Path:
    """Fetch a pinned file into `folder` and verify it; a file with another hash is kept aside as `<name>.bad`.

    One that is there is verified too, and replaced if it has been damaged since. The next address is asked where one
    does not have the file, or another one. Raises BadInput, which names them all; NotFetched if it may be had later.
    """
    path = folder / pinned.file
    if is_there(pinned, path):
        return path
    folder.mkdir(parents=True, exist_ok=True)
    failures: list[SourceError] = []
    for address in pinned.addresses:
        _log.info("fetching %s from %s", pinned.file, plain(address))
        try:
            with network.session() as session:
                _fetch_from(session, address, pinned, path, progress, patience)
            # That of this address has become the file: what has its name now, another process has begun.
            for other in {_partial_of(one, path) for one in pinned.addresses} - {_partial_of(address, path)}:
                leftovers.fresh(other)
            return path
        except SourceError as error:
            failures.append(error)
            if len(failures) < len(pinned.addresses):
                _log.warning("%s; another address is asked", error)
    raise _failed(pinned, failures)


def is_there(pinned: PinnedFile, path: Path) -> bool:
    """Whether a pinned file is at `path`, intact; a warning says if it has been damaged since."""
    if not path.exists():
        return False
    expected, found = pinned.matches(path)
    if found != expected:
        _log.warning("%s; expected: hash %s; found: %s; it is fetched again", path, expected, found)
    return found == expected


def _failed(pinned: PinnedFile, failures: list[SourceError]) -> BadInput:
    others = [error for error in failures if isinstance(error, _OtherHash)]
    if others:
        expected, remedy = others[0].expected, others[0].remedy
    else:
        expected = f"to fetch it from {pinned.url}"
        remedy = "run again later: what has come is kept; or fetch it by hand and give its path in [inputs]"
    found = "; ".join(
        f"{plain(address)}: {error.found}" for address, error in zip(pinned.addresses, failures, strict=True)
    )
    passes = not others and any(isinstance(error, TransientError) for error in failures)
    kind = NotFetched if passes else BadInput
    made = kind(f"input {pinned.file}", expected=expected, found=found, remedy=remedy)
    made.__cause__ = failures[0]
    return made


def _fetch_from(
    session: requests.Session, address: str, pinned: PinnedFile, path: Path, progress: OnBytes, patience: Patience
) -> None:
    """Receive it whole, verify it, put it in place. Raises TransientError or PermanentError."""
    partial = leftovers.kept(_partial_of(address, path))
    with partial_file.opened(partial) as file:
        in_parts = receive_all(session, address, file, progress, patience)
        expected, found = pinned.matches(partial)
        if found != expected and in_parts:  # the parts are not of one file
            file.truncate(0)
            receive_all(session, address, file, progress, patience)
            expected, found = pinned.matches(partial)
        if found != expected:
            aside = path.with_name(path.name + ".bad")
            partial.replace(aside)
            raise _OtherHash(
                plain(address),
                expected=f"hash {expected}",
                found=f"{found}, kept as {aside}",
                remedy="look at that file: the source has changed, or something between has; then run again",
            )
        files.sync(partial)
        _put_in_place(partial, path)
    files.sync(path.parent)


def _partial_of(address: str, path: Path) -> Path:
    return path.with_name(f".partial-{Path(urlsplit(address).path).name}")


def _put_in_place(partial: Path, path: Path) -> None:
    """Rename what has come to `path`, or unpack it there, if it is packed as `path` is not."""
    if partial.suffix not in _PACKED or partial.suffix == path.suffix:
        leftovers.put_in_place(partial, path)
        return
    with files.atomic_write(path) as work, _PACKED[partial.suffix](partial) as packed, work.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked)
    partial.unlink()


def receive_all(
    session: requests.Session, address: str, file: IO[bytes], progress: OnBytes, patience: Patience
) -> bool:
    """Receive until all has come; gives whether it came in parts. The tries are renewed while much comes."""
    parts = [file.seek(0, os.SEEK_END)]

    def failed(error: TransientError, pause_s: float | None) -> None:
        parts.append(file.seek(0, os.SEEK_END))
        log_failure(error, pause_s)

    while True:
        before = file.seek(0, os.SEEK_END)
        try:
            again(patience, lambda: _receive(session, address, file, progress, patience), failed)
            return any(parts)
        except TransientError as error:
            if isinstance(error, RateLimitError) or file.seek(0, os.SEEK_END) < before + _MUCH_BYTES:
                raise


def _receive(session: requests.Session, address: str, file: IO[bytes], progress: OnBytes, patience: Patience) -> None:
    """Receive what is missing, by one request; from the beginning where the server does not go on."""
    subject = f"GET {plain(address)}"
    # Request the last byte again, so that a file that has come whole gets a valid range too.
    start = max(0, file.seek(0, os.SEEK_END) - 1)
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
    timeouts_s = (patience.connect_timeout_s, patience.read_timeout_s)
    try:
        answer = session.get(address, headers=headers, stream=True, timeout=timeouts_s)
    except (*web.BROKEN, ValueError) as error:
        raise TransientError(subject, expected="an answer", found=reason(error)) from error
    with answer:
        total = _total(answer, start, file, subject)
        encoded = "Content-Encoding" in answer.headers  # then it is the length of something else
        _write(_chunks(answer, patience, subject), file, None if encoded else total, progress)
    length = file.tell()
    if total is not None and not encoded and length != total:
        if length > total:
            file.truncate(0)
        raise TransientError(subject, expected=f"{total:,} bytes", found=f"{length:,} bytes")


def _write(chunks: Iterator[bytes], file: IO[bytes], total: int | None, progress: OnBytes) -> None:
    try:
        with files.keeping_up(file) as wrote:
            for chunk in chunks:
                file.write(chunk)
                wrote()
                progress(file.tell(), total)
        file.flush()
    except OSError as error:
        files.raise_if_full(Path(file.name), error)
        raise


def _chunks(answer: requests.Response, patience: Patience, subject: str) -> Iterator[bytes]:
    try:
        yield from web.chunks(answer, web.Pace(patience.floor_bytes_s, patience.floor_window_s), decode=True)
    except web.BROKEN as error:
        raise TransientError(subject, expected="the whole body", found=reason(error)) from error


def _total(answer: requests.Response, start: int, file: IO[bytes], subject: str) -> int | None:
    """The length of the whole file, as far as the answer tells; the file stands where its body goes on.

    Raises TransientError or PermanentError for what is no such answer.
    """
    status, headers = answer.status_code, answer.headers
    if status == requests.codes.ok:
        file.seek(0)
        file.truncate(0)
        length = headers.get("Content-Length", "")
        return int(length) if length.isascii() and length.isdecimal() else None
    if status == requests.codes.partial_content and start:
        fitting = _RANGE.fullmatch(headers.get("Content-Range", ""))
        if fitting and int(fitting[1]) == start and int(fitting[2]) + 1 == int(fitting[3]):
            file.seek(start)
            return int(fitting[3])
    if start and status in (requests.codes.partial_content, requests.codes.requested_range_not_satisfiable):
        found = f"HTTP {status} with Content-Range {headers.get('Content-Range', 'missing')}"
        file.truncate(0)
        raise TransientError(subject, expected=f"the rest from byte {start:,}", found=f"{found}; begun anew")
    found = describe(status, headers, answer.raw.read(_SHOWN_BYTES, decode_content=True))
    if status < requests.codes.server_error and status not in _MAY_PASS:
        remedy = "fetch the file by hand, and give its path in [inputs]"
        raise PermanentError(subject, expected="the file", found=found, remedy=remedy)
    limited = status == requests.codes.too_many_requests
    passing = (RateLimitError if limited else TransientError)(subject, expected="the file", found=found)
    passing.retry_after_s = retry_after_s(headers.get("Retry-After", ""))
    raise passing
