"""Fetch CORINE's GeoPackage that the Copernicus Land Monitoring Service has prepared: a zip, with a zip in it at times.

The zip stays as `.partial-<name>.zip` beside the GeoPackage until that is proven by its hash, and is gone on with.
"""

from __future__ import annotations

import hashlib
import logging
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import urlsplit

from ben_luigi.domain import files, leftovers, network
from ben_luigi.domain.cdse import partial_file
from ben_luigi.domain.cdse.http import Patience, plain
from ben_luigi.domain.errors import BadInput, PermanentError, ServiceError, SourceError, some
from ben_luigi.domain.fetching import pinned
from ben_luigi.domain.fetching.land_service import LandService
from ben_luigi.domain.inputs import PinnedFile
from ben_luigi.domain.progress import OnBytes, ignore_bytes

_log = logging.getLogger(__name__)
_CHUNK_BYTES = 2**20
_MOST_MEMBERS = 10_000
_MOST_BYTES = 2**36
"""More than eight times what the GeoPackage has."""
_BAD_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)
"""What zipfile raises for zips that are cut, damaged, encrypted, or of another method."""


def fetch(
    service: LandService,
    wanted: PinnedFile,
    folder: Path,
    progress: OnBytes = ignore_bytes,
    patience: Patience = pinned.PATIENCE,
) -> Path:
    """Fetch the GeoPackage `wanted` into `folder`; one that is there is verified, and replaced if it is damaged.

    An address that has expired is replaced by that of a new request, once. Raise ServiceError; BadOption if the key is
    refused; BadInput if what comes is another file, which is kept as `<name>.zip.bad`.
    """
    path = folder / wanted.file
    if pinned.is_there(wanted, path):
        return path
    folder.mkdir(parents=True, exist_ok=True)
    try:
        try:
            _fetch_from(service.ready(), wanted, path, progress, patience)
        except PermanentError as error:
            _log.warning("%s; it is requested anew, since addresses expire", error)
            service.forget()
            _fetch_from(service.ready(), wanted, path, progress, patience)
    except BadInput:
        service.forget()
        raise
    except SourceError as error:
        remedy = "run again: what has come is kept; or give the GeoPackage as [inputs] clc_gpkg"
        raise ServiceError(error.subject, expected=error.expected, found=error.found, remedy=remedy) from error
    service.forget()
    return path


def _fetch_from(address: str, wanted: PinnedFile, path: Path, progress: OnBytes, patience: Patience) -> None:
    if urlsplit(address).scheme not in ("https", "http"):
        raise PermanentError(
            plain(address)[:200],
            expected="an https address of the file",
            found="another",
            remedy="run again: the file is requested anew; or give the GeoPackage as [inputs] clc_gpkg",
        )
    zipped = leftovers.kept(path.with_name(f".partial-{path.name}.zip"))
    with partial_file.opened(zipped) as file, network.session() as session:
        in_parts = pinned.receive_all(session, address, file, progress, patience)
        problem = _unpacked(zipped, wanted, path)
        if problem and in_parts:  # the parts may be of two zips, made for two requests
            file.truncate(0)
            pinned.receive_all(session, address, file, progress, patience)
            problem = _unpacked(zipped, wanted, path)
        if problem:
            aside = path.with_name(f"{path.name}.zip.bad")
            zipped.replace(aside)
            raise BadInput(
                f"input {path.name} from {plain(address)}",
                expected=f"a zip with that file, sha256 {wanted.sha256}",
                found=f"{problem}; it is kept as {aside}",
                remedy="look at it: the service has another version, or something between has changed it; run again",
            )
        zipped.unlink()


def _unpacked(zipped: Path, wanted: PinnedFile, path: Path) -> str:
    """Write the GeoPackage in a zip to `path`, if it is the pinned one; return what is wrong instead."""
    found = hashlib.sha256()
    try:
        with _member(zipped, wanted.file) as member, files.atomic_write(path) as work:
            with work.open("wb") as file:
                length = _copied(member, file, found.update)
            if found.hexdigest() != wanted.sha256:
                raise _Other(f"{wanted.file} of {length:,} bytes with sha256 {found.hexdigest()}")
    except _Other as error:
        return str(error)
    except _BAD_ZIP as error:
        return f"no whole zip: {type(error).__name__}"
    return ""


class _Other(Exception):
    """A zip without the file that is wanted."""


def _copied(member: IO[bytes], file: IO[bytes], took: Callable[[bytes], None]) -> int:
    length = 0
    try:
        with files.keeping_up(file) as wrote:
            while chunk := member.read(_CHUNK_BYTES):
                length += len(chunk)
                if length > _MOST_BYTES:
                    raise _Other(f"a file of more than {_MOST_BYTES:,} bytes")
                file.write(chunk)
                took(chunk)
                wrote()
    except OSError as error:
        files.raise_if_full(Path(file.name), error)
        raise
    return length


@contextmanager
def _member(zipped: Path, name: str) -> Iterator[IO[bytes]]:
    """Open the file `name` in a zip, in any folder of it, or in a zip in it; raise _Other if there is none."""
    with zipfile.ZipFile(zipped) as outer:
        for info in _named(outer, name):
            with outer.open(info) as file:
                yield file
                return
        inner = [info for info in _listed(outer) if info.filename.lower().endswith(".zip")]
        for info in inner:
            with _copied_out(outer, info, zipped) as packed, zipfile.ZipFile(packed) as archive:
                for found in _named(archive, name):
                    with archive.open(found) as file:
                        yield file
                        return
        raise _Other(f"a zip with {some((info.filename for info in _listed(outer)), 5) or 'nothing'}")


@contextmanager
def _copied_out(outer: zipfile.ZipFile, info: zipfile.ZipInfo, zipped: Path) -> Iterator[IO[bytes]]:
    """Open a copy of a zip in a zip: in place, each seek backwards would decompress gigabytes from their start."""
    path = zipped.with_suffix(".inner.zip")
    with path.open("w+b") as copy, outer.open(info) as packed:
        path.unlink()  # the copy is gone with this process, in whatever way it ends
        _copied(packed, copy, lambda chunk: None)
        yield copy


def _named(archive: zipfile.ZipFile, name: str) -> list[zipfile.ZipInfo]:
    return [info for info in _listed(archive) if PurePosixPath(info.filename).name.lower() == name.lower()]


def _listed(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    listed = [info for info in archive.infolist() if not info.is_dir()]
    if len(listed) > _MOST_MEMBERS:
        raise _Other(f"a zip with {len(listed):,} files")
    return listed
