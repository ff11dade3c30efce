"""Read BigEarthNet-S1 v1.0 once, as a stream, from its `.tar.gz`, and write the wanted patches to one shard per part.

The patches come in any order. The shard of a part appears when the last of its files has arrived, and a rerun skips
existing shards, so a killed run loses only incomplete parts.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, BinaryIO, cast

import numpy as np

from ben_luigi.domain import given
from ben_luigi.domain.dataset.sentinel1 import (
    BANDS,
    SOURCE,
    archive_order,
    check_place,
    lacking,
    member_name,
)
from ben_luigi.domain.errors import BadArchive, BadInput
from ben_luigi.domain.files import remove, sweep
from ben_luigi.domain.formats import shards
from ben_luigi.domain.formats.shards import ShardCollector
from ben_luigi.domain.names import s1_part, split_band
from ben_luigi.domain.placement.grid import Square
from ben_luigi.domain.progress import OnFraction, ignore_fraction

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK_BYTES = 2**20
_FILE_BYTES = 2**24
"""More than any file of a patch of BigEarthNet-S1, all of which have 1,200 m."""
_MEMBER_BYTES = 2**28
"""More than any file that is skipped."""

_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError)
_BAND = {f"{band}.tif": band for band in BANDS}
_REMEDY = f"fetch it again: {SOURCE}"

Squares = Callable[[Sequence[str]], Mapping[str, Square]]


def collect(
    source: Path,
    parts: Sequence[tuple[str, Sequence[str]]],
    folder: Path,
    *,
    md5: str,
    squares: Squares | None = None,
    progress: OnFraction = ignore_fraction,
) -> None:
    """Collect the S1 patches of `parts` (key, and names in order) from a `.tar.gz`, one `<folder>/<key>.tar` per part.

    `squares` returns the square that the patch of each name must cover. Raise BadInput if patches are missing,
    duplicate or cover another square, or if the file is damaged or has another md5; then all collected shards are
    removed. Memory: 130 bytes per patch, beside the names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder, older_than_s=0)  # what a killed run left behind may be large
    try:
        with ExitStack() as stack:
            _Collection(source, _open_parts(parts, folder, squares, stack)).read(md5, progress)
    except BadInput:
        for key, _ in parts:
            remove(folder / f"{key}.tar")
            remove(folder / f"{key}.parquet")
        raise


def _open_parts(
    parts: Sequence[tuple[str, Sequence[str]]], folder: Path, squares: Squares | None, stack: ExitStack
) -> Iterator[tuple[str, _Part]]:
    for key, names in parts:
        shard = folder / f"{key}.tar"
        if not _is_there(shard, names):
            collector = ShardCollector(shard, names, BANDS)
            stack.callback(collector.discard)
            yield key, _Part(collector, names, squares(names) if squares is not None else None)


def _is_there(shard: Path, names: Sequence[str]) -> bool:
    try:
        return set(names) <= set(shards.read_index(shard.with_suffix(".parquet"))["patch_id"].to_pylist())
    except BadArchive:
        return False


class _Part:
    """A part that is incomplete: the position of each of its files, and the square that each patch must cover."""

    def __init__(self, collector: ShardCollector, names: Sequence[str], expected: Mapping[str, Square] | None) -> None:
        self.collector = collector
        self._names = names
        squares = [expected[name] for name in names] if expected is not None else []
        self._squares = np.array([(one.left, one.top, one.side_m, one.epsg) for one in squares])

    def rank(self, name: str) -> int | None:
        """Return the index of a patch among those of the part; None if it is not wanted."""
        rank = bisect_left(self._names, archive_order(name), key=archive_order)
        return rank if rank < len(self._names) and self._names[rank] == name else None

    def take(self, path: PurePosixPath, rank: int, band: str, data: bytes) -> None:
        """Take a file. Raise BadInput if it is a duplicate, or covers another square."""
        name, position = self._names[rank], rank * len(BANDS) + BANDS.index(band)
        if self.collector.has(position):
            raise BadInput(f"S1 patch {name}: {path}", expected="one file", found="a second one", remedy=_REMEDY)
        if len(self._squares):
            left, top, side_m, epsg = self._squares[rank].tolist()
            check_place(data, path, Square(left, top, side_m, int(epsg)), _REMEDY)
        self.collector.add(position, member_name(name, band), data)


class _Collection:
    """One pass through the `.tar.gz`."""

    def __init__(self, source: Path, parts: Iterable[tuple[str, _Part]]) -> None:
        self._source = source
        self._parts = dict(parts)
        self._open = len(self._parts)

    def read(self, md5: str, progress: Callable[[float], None]) -> None:
        """Read the whole file, in any case for its md5."""
        try:
            file = given.open_file(self._source)
        except OSError as error:
            raise self._bad(md5, str(error)) from error
        with file:
            stream = _Hashed(file, self._source, progress)
            try:
                if self._open:
                    self._take(stream)
            except _DAMAGED as error:
                raise self._bad(md5, f"damage before byte {stream.at}: {error}") from error
            while stream.read(_CHUNK_BYTES):
                pass
        if stream.md5.hexdigest() != md5:
            raise self._bad(md5, f"md5 {stream.md5.hexdigest()}")
        missing = [f"{name}.tif" for part in self._parts.values() for name in part.collector.lacking()]
        if missing:
            raise lacking(self._source, missing, _REMEDY)

    def _take(self, stream: _Hashed) -> None:
        """Take the wanted files, up to the last of them."""
        packed = io.BufferedReader(stream, _CHUNK_BYTES)
        unzipped = cast(BinaryIO, io.BufferedReader(gzip.GzipFile(fileobj=packed), _CHUNK_BYTES))
        for path, data in _members(_Tar(unzipped), self._place):
            part, rank, band = self._place(path) or (None, 0, "")
            assert part is not None
            part.take(path, rank, band, data)
            self._open -= not part.collector.missing
            if not self._open:
                return

    def _place(self, path: PurePosixPath) -> tuple[_Part, int, str] | None:
        """Return part, rank and band of a member; None if it is not wanted."""
        name, kind = split_band(path.name)
        part = self._parts.get(s1_part(name)) if kind in _BAND else None
        rank = part.rank(name) if part is not None else None
        return (part, rank, _BAND[kind]) if part is not None and rank is not None else None

    def _bad(self, md5: str, found: str) -> BadInput:
        return BadInput(self._source, expected=f"a whole .tar.gz with md5 {md5}", found=found, remedy=_REMEDY)


def _members(tar: _Tar, is_kept: Callable[[PurePosixPath], object]) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield names and data of the wanted files. Raise TarError or another error of tarfile if the tar is damaged."""
    try:
        with tarfile.open(fileobj=cast(IO[bytes], tar), mode="r:") as file:
            while (member := file.next()) is not None:
                file.members.clear()  # type: ignore[attr-defined]  # tarfile would keep all 1.8 million
                tar.begin_member()
                path = PurePosixPath(member.name)
                if member.isreg() and is_kept(path):
                    if member.issparse() or path.is_absolute() or ".." in path.parts:
                        raise tarfile.ReadError(f"{path} is a sparse file, or lies outside of the archive's folder")
                    yield path, tar.data(member.offset_data, member.size)
                    tar.begin_member()
    except (ValueError, RecursionError) as error:  # from damaged fields that tarfile does not check
        raise tarfile.ReadError(f"a damaged header ({error})") from error


class _Tar:
    """A tar for tarfile to read: forward only, with a bounded number of bytes per member.

    The headers of a member may claim any length: GNU long names, POSIX pax records, maps of sparse files. A negative
    length, by which tarfile would seek backwards, would make it read without end.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._at = 0
        self._left = _FILE_BYTES

    def begin_member(self) -> None:
        """Reset the bound for the next member."""
        self._left = _FILE_BYTES

    def data(self, at: int, size: int) -> bytes:
        """Return the data of a member."""
        self.seek(at)
        data = self.read(size)
        if len(data) < size:
            raise EOFError("the end, in the middle of a file")
        return data

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._at

    def seek(self, at: int) -> None:
        """Read forward to this position."""
        if not 0 <= at - self._at <= _MEMBER_BYTES:
            raise tarfile.ReadError(f"a member of {at - self._at:,} bytes")
        while self._at < at and (chunk := self._stream.read(min(at - self._at, _CHUNK_BYTES))):
            self._at += len(chunk)

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        self._left -= size
        if size < 0 or self._left < 0:
            raise tarfile.ReadError(f"a header or file of more than {_FILE_BYTES:,} bytes")
        data = self._stream.read(size)
        self._at += len(data)
        return data


class _Hashed(io.RawIOBase):
    """A file that is hashed while it is read in order."""

    def __init__(self, file: io.BufferedReader, path: Path, progress: Callable[[float], None]) -> None:
        self.md5 = hashlib.md5(usedforsecurity=False)
        self.at = 0
        self._file = file
        self._path = path
        self._size = os.fstat(file.fileno()).st_size
        self._progress = progress

    def readable(self) -> bool:
        """Return true, as io.BufferedReader requires."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read the next bytes. Raise BadInput if the disk fails."""
        view = memoryview(buffer)
        try:
            count = self._file.readinto(view)
        except OSError as error:
            remedy = "check the disk, or fetch it again"
            raise BadInput(self._path, expected="a file that can be read", found=str(error), remedy=remedy) from error
        self.md5.update(view[:count])
        self.at += count
        self._progress(self.at / max(self._size, 1))
        return count
