"""Fetch one file from one source: streamed to a partial file, resumed by Range with If-Match, proven, renamed.

A partial file is continued only if the source confirms that the file is unchanged, by its entity tag, which is kept
beside the partial file (RFC 9110, 13.1.1 and 14.2). Without a tag, the file is fetched from its beginning.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import requests

from ben_luigi.domain import files, waiting
from ben_luigi.domain.cdse import partial_file
from ben_luigi.domain.cdse.http import plain
from ben_luigi.domain.errors import PermanentError, TransientError
from ben_luigi.domain.products.l1c_container import PRODUCT_BYTES
from ben_luigi.domain.sources.journal import Brought
from ben_luigi.domain.sources.proof import Check, Expected, Result, is_disguised
from ben_luigi.domain.sources.source import Changed, Opened, Source, SourceFile, is_path, opened
from ben_luigi.domain.waiting import Stopped

_HEAD_BYTES = 64


class Damaged(TransientError):
    """A file arrived damaged; fetched again, it may be correct."""


class DamagedThere(PermanentError):
    """A file is damaged at its source, however often it is fetched."""


class Throttle:
    """Let at most `rate_bytes_s` pass, counted over all threads that share this object; None means no limit."""

    def __init__(self, rate_bytes_s: float | None) -> None:
        self._rate_bytes_s, self._lock, self._free_at_s = rate_bytes_s, threading.Lock(), 0.0

    def __call__(self, number: int) -> None:
        """Wait until `number` more bytes may pass."""
        if not self._rate_bytes_s:
            return
        with self._lock:
            self._free_at_s = max(self._free_at_s, time.monotonic()) + number / self._rate_bytes_s
            wait_s = self._free_at_s - time.monotonic()
        waiting.pause(max(0.0, wait_s), "the bandwidth that is allowed")


@dataclass
class Transfer:
    """Fetch files to the folder `files`, with partial files in the folder `partials`, in any number of threads.

    `received` is called with the bytes that have arrived, negative for those discarded.
    """

    files: Path
    partials: Path
    throttle: Callable[[int], None] = lambda number: None
    received: Callable[[int], None] = lambda number: None
    _stop: threading.Event = field(default_factory=threading.Event, init=False)
    _open: set[requests.Response] = field(default_factory=set, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _refused: set[tuple[str, str, str]] = field(default_factory=set, init=False)

    def begin(self) -> None:
        """Let `stop` end this thread, also in a pause."""
        waiting.until(self._stop)

    def stop(self) -> None:
        """Make all threads end soon, also those that wait for a server, or until they may ask it again."""
        self._stop.set()
        with self._lock:
            for response in self._open:
                with suppress(Exception):  # a connection that cannot be closed ends by its timeout
                    response.raw.shutdown()

    def once(
        self, source: Source, file: SourceFile, expected: Expected, connection: AbstractContextManager[object]
    ) -> Brought:
        """Fetch a file, or continue its partial file. Raise SourceError or Stopped.

        `connection` is entered for as long as the source is busy with it, which is until the last byte has arrived:
        the disk may take longer.
        """

        def fetch(partial: IO[bytes], count: Callable[[int], None]) -> Result:
            with connection:
                return self._fetch(source, file, expected, partial, count)

        return self._published(source, file, fetch)

    def take(self, source: Source, file: SourceFile, expected: Expected, content: bytes) -> Brought:
        """Take a file whose content has already been read. Raise SourceError or Stopped."""

        def write(partial: IO[bytes], count: Callable[[int], None]) -> Result:
            partial.truncate(0)
            check = Check(Expected(expected.manifest, expected.trace, file.hashes))
            partial.write(content)
            check.update(content)
            count(len(content))
            partial.flush()
            return check.result()

        return self._published(source, file, write)

    def _published(
        self, source: Source, file: SourceFile, receive: Callable[[IO[bytes], Callable[[int], None]], Result]
    ) -> Brought:
        """Have `receive` fill the partial file, and rename that to its target."""
        if self._stop.is_set():
            raise Stopped
        if not is_path(file.path):
            found = f"{file.path[:200]!r}, as {source.name} names it"
            raise DamagedThere(f"a file at {source.name}", expected="a path inside the product's folder", found=found)
        self.partials.mkdir(parents=True, exist_ok=True)
        target = self.files / file.path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with partial_file.opened(self._partial_of(source, file)) as partial, self._counted() as count:
                result = _without_disguise(file.path, partial, receive(partial, count))
                return self._publish(source, file, partial, result)
        except OSError as error:
            files.raise_if_full(self.partials, error)
            raise TransientError(target, expected="a disk that writes and reads", found=str(error)) from error

    def _partial_of(self, source: Source, file: SourceFile) -> Path:
        return self.partials / f"{files.text_hash(f'{source.name} {file.url}')[:24]}.partial"

    def _fetch(
        self, source: Source, file: SourceFile, expected: Expected, partial: IO[bytes], count: Callable[[int], None]
    ) -> Result:
        """Receive what is missing of a file, and return what its hashes prove."""
        path = self._partial_of(source, file)
        tag = path.with_suffix(".tag")
        version = tag.read_text(encoding="utf-8") if tag.exists() else ""
        have = partial.seek(0, os.SEEK_END)
        try:
            # Request the last byte again, so that a complete partial file gets a valid range too.
            answer = opened(source, file, max(0, have - 1) if version else 0, version)
        except Changed:
            partial.truncate(0)
            raise
        with self._watched(answer.response):
            if not answer.start:
                partial.truncate(0)
                tag.write_text(answer.version, encoding="utf-8")
            check = Check(Expected(expected.manifest, expected.trace, answer.hashes))
            length = self._receive(answer, partial, check, count)
            if length != (answer.total_bytes if answer.total_bytes is not None else length):
                subject, stated = f"{source.name}, {file.path}", f"{answer.total_bytes:,} bytes"
                raise TransientError(subject, expected=stated, found=f"{length:,} bytes received")
            return check.result()

    @contextmanager
    def _counted(self) -> Iterator[Callable[[int], None]]:
        """Yield a function that counts received bytes; those of a failed attempt are subtracted."""
        total = 0

        def count(number: int) -> None:
            nonlocal total
            total += number
            self.received(number)

        try:
            yield count
        except BaseException:
            self.received(-total)
            raise

    @contextmanager
    def _watched(self, response: requests.Response) -> Iterator[None]:
        with self._lock:
            self._open.add(response)
        try:
            with response:
                yield
        finally:
            with self._lock:
                self._open.discard(response)

    def _receive(self, answer: Opened, partial: IO[bytes], check: Check, count: Callable[[int], None]) -> int:
        """Write the body to the partial file, hashing all of that in passing; return the length of the whole file."""
        partial.seek(0)
        for chunk in partial_file.read(partial, answer.start):
            check.update(chunk)
        count(answer.start)
        done = partial.seek(answer.start)
        partial.truncate()
        most = answer.total_bytes if answer.total_bytes is not None else PRODUCT_BYTES
        for chunk in answer.chunks:
            if self._stop.is_set():
                raise Stopped
            done += len(chunk)
            if done > most:
                partial.truncate(0)
                raise TransientError(plain(answer.response.url), expected=f"at most {most:,} bytes", found="more")
            partial.write(chunk)
            check.update(chunk)
            count(len(chunk))
            self.throttle(len(chunk))
        partial.flush()
        return done

    def _publish(self, source: Source, file: SourceFile, partial: IO[bytes], result: Result) -> Brought:
        """Rename a proven partial file to its target; remove a damaged one, and give up on it the second time."""
        path = self._partial_of(source, file)
        if result.problem:
            partial.truncate(0)
            path.with_suffix(".tag").unlink(missing_ok=True)
            bad = (source.name, file.path, result.digest)
            for_good = result.lies_so or bad in self._refused
            self._refused.add(bad)
            kind = DamagedThere if for_good else Damaged
            raise kind(f"{file.path} from {source.name}", expected="the file that was made", found=result.problem)
        os.fdatasync(partial.fileno())
        target = self.files / file.path
        path.rename(target)
        path.with_suffix(".tag").unlink(missing_ok=True)
        found = target.stat()
        doubts = ", ".join(result.contradicted_by)
        return Brought(file.path, source.name, result.rung, result.digest, found.st_size, found.st_mtime_ns, doubts)


def _without_disguise(path: str, partial: IO[bytes], result: Result) -> Result:
    """Return the result for a file; one that is an HTML or XML page in place of another file is damaged."""
    partial.seek(0)
    is_page = is_disguised(path, partial.read(_HEAD_BYTES), result)
    return replace(result, problem="a page of HTML or XML") if is_page else result
