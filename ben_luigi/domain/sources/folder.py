"""Take what is intact of a product that the user has, so that only the rest of it is fetched.

The user's files are only read. Whether a file is the one that ESA made is decided as for any other source: by the
manifest, which may be another source's where the user's is damaged itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ben_luigi.domain import files
from ben_luigi.domain.errors import BadProduct
from ben_luigi.domain.products import manifest
from ben_luigi.domain.products.l1c_container import Container, opened
from ben_luigi.domain.sources.journal import Brought, Journal
from ben_luigi.domain.sources.proof import Check, Expected, Result, is_disguised

NAME = "folder"
"""The user's folder in `[sources] order`, and in reports."""


def take(product: Path, into: Path, journal: Journal, keep_free_bytes: int) -> list[str]:
    """Copy the intact files of a zip or `.SAFE` folder to the folder `into`, and record them; say what is wrong.

    Files that the journal has already are not copied again. Raise BadProduct if the product cannot be opened,
    NoRoomError if the copies find no room.
    """
    troubles = []
    with opened(product) as container:
        listed, problem = _listed(container)
        troubles += [problem] if problem else []
        for path in container.files:
            if journal.get(path) or (path == manifest.NAME and problem):
                continue
            try:
                journal.add(_copied(container, path, listed, into, keep_free_bytes))
            except BadProduct as error:
                troubles.append(f"{NAME}: {path}: {error.found}")
    return troubles


def _listed(container: Container) -> tuple[manifest.Listed, str]:
    """Return what the product's own manifest lists, and what is wrong with it."""
    if manifest.NAME not in container.files:
        return {}, f"{NAME}: {manifest.NAME}: it is not there"
    try:
        return manifest.read(container.chunks(manifest.NAME), container.path, BadProduct), ""
    except BadProduct as error:
        return {}, f"{NAME}: {manifest.NAME}: {error.found}"


def _copied(
    container: Container, path: str, listed: Mapping[str, manifest.Checksum | None], into: Path, keep_free_bytes: int
) -> Brought:
    """Copy a file. Raise BadProduct, leaving nothing, if it cannot be read or is not the file that was made."""
    target, check = into / path, Check(Expected(listed.get(path)))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        files.check_room(into, keep_free_bytes)
        target.unlink(missing_ok=True)  # another process may have it open, whose work was taken over
        with target.open("wb") as copy:
            head = b""
            for chunk in container.chunks(path):
                head = head or chunk
                check.update(chunk)
                copy.write(chunk)
            copy.flush()
            os.fdatasync(copy.fileno())
        result = check.result()
        _require(container, path, head, result)
    except BaseException as error:
        target.unlink(missing_ok=True)
        if isinstance(error, OSError):
            files.raise_if_full(target, error)
        raise
    found = target.stat()
    return Brought(path, NAME, result.rung, result.digest, found.st_size, found.st_mtime_ns)


def _require(container: Container, path: str, head: bytes, result: Result) -> None:
    """Raise BadProduct if a file contradicts the manifest, or is a page in disguise of which nothing is known."""
    problem = result.problem or ("a page of HTML or XML" if is_disguised(path, head, result) else "")
    if problem:
        raise BadProduct(
            f"{container.path}, {path}", expected="the file that was made", found=problem, remedy="give an intact one"
        )
