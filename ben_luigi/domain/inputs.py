"""The pinned inputs: a table of what each is, where it comes from, and the hash that proves it; fetching them."""

from __future__ import annotations

import hashlib
import logging
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import requests

from ben_luigi.domain import files, network
from ben_luigi.domain.errors import BadInput

_log = logging.getLogger(__name__)
_TIMEOUT_S = (20, 60)
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class PinnedFile:
    """One file of an input. Its hash is a sha256 or, where only that is known, git's blob id (SHA-1)."""

    file: str
    url: str
    sha256: str = ""
    git_blob: str = ""
    md5_of_archive: str = ""
    by_hand: str = ""

    def matches(self, path: Path) -> tuple[str, str]:
        """The hash that is pinned, and the one that the file at `path` has."""
        if self.sha256:
            return self.sha256, files.file_hash(path)
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
        return self.git_blob, digest.hexdigest()


@lru_cache(maxsize=4)
def read_pinned(table: Path) -> dict[str, tuple[PinnedFile, ...]]:
    """The table of pinned inputs: name of the input, and its files."""
    try:
        entries = tomllib.loads(table.read_text(encoding="utf-8"))
        return {name: tuple(PinnedFile(**file) for file in listed) for name, listed in entries.items()}
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(
            table, expected="the table of pinned inputs", found=str(error), remedy="restore it from the repository"
        ) from error


def fetch(
    pinned: PinnedFile,
    folder: Path,
    progress: Callable[[int, int | None], None] = lambda done_bytes, total_bytes: None,
) -> Path:
    """Fetch a pinned file into `folder` and verify it; a file with another hash is kept aside as `<name>.bad`.

    `progress` is called with the bytes that have come, and those expected (None: unknown).
    """
    path = folder / pinned.file
    if path.exists():
        return path
    _log.info("fetching %s from %s", pinned.file, pinned.url)
    with files.published(path) as work:
        _download(pinned, work, progress)
        expected, found = pinned.matches(work)
        if found != expected:
            aside = path.with_name(path.name + ".bad")
            work.replace(aside)
            raise BadInput(
                f"input {pinned.file} from {pinned.url}",
                expected=f"hash {expected}",
                found=f"{found}, kept as {aside}",
                remedy="look at that file: the source has changed, or something between has; then run again",
            )
    return path


def _download(pinned: PinnedFile, work: Path, progress: Callable[[int, int | None], None]) -> None:
    try:
        with (
            network.session() as session,
            session.get(pinned.url, stream=True, timeout=_TIMEOUT_S) as answer,
            work.open("wb") as file,
        ):
            answer.raise_for_status()
            length = answer.headers.get("Content-Length", "")
            packed = "Content-Encoding" in answer.headers  # then it is the length of something else
            total = int(length) if length.isdecimal() and not packed else None
            for chunk in answer.iter_content(_CHUNK_BYTES):
                file.write(chunk)
                progress(file.tell(), total)
    except requests.RequestException as error:
        raise BadInput(
            f"input {pinned.file}",
            expected=f"to fetch it from {pinned.url}",
            found=str(error),
            remedy="run again later, or fetch it by hand and give its path in [inputs]",
        ) from error


def require(option: str, path: Path, pinned: PinnedFile | None) -> Path:
    """The path that a person gave, if something is there; else BadInput with what to fetch and where to put it."""
    if path != Path() and path.exists():
        return path
    what = f"{pinned.by_hand or 'fetch it'}, from {pinned.url}; " if pinned else ""
    raise BadInput(
        f"input {option}",
        expected=pinned.file if pinned else "a file or folder",
        found=f"nothing at {path}" if path != Path() else "no path given",
        remedy=f"{what}put its path into luigi.cfg: [inputs] {option} = ...",
    )
