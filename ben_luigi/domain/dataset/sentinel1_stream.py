"""BigEarthNet-S1 v1.0 straight from its `.tar.gz`: read once, as a stream; what is kept goes into one shard a part.

Its patches come in any order. A part's shard appears when the last of its files has come, and a rerun leaves the shards
that are there alone: a kill costs the parts that were not complete.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from ben_luigi.domain.dataset.sentinel1 import BANDS, SOURCE, archive_order, check_place, lacking, member_name, part_of
from ben_luigi.domain.errors import BadArchive, BadInput
from ben_luigi.domain.files import remove, sweep
from ben_luigi.domain.formats import shards
from ben_luigi.domain.formats.shards import ShardCollector
from ben_luigi.domain.placement.grid import Square

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK_BYTES = 2**20
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
    progress: Callable[[float], None] = lambda part: None,
) -> None:
    """Collect the S1 patches of `parts` (key and names, in order) from a `.tar.gz`, each part to `<folder>/<key>.tar`.

    `squares` gives the square that each name's patch must cover. The `.tar.gz` must have this md5. BadInput names what
    is missing, twice or elsewhere, or says what is wrong with the file; then nothing that was collected stays.
    Memory: 130 bytes a patch, beside the names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder, older_than_s=0)  # what a kill left behind may be large
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
    """A part that is not complete: where each of its files goes, and what it must cover."""

    def __init__(self, collector: ShardCollector, names: Sequence[str], expected: Mapping[str, Square] | None) -> None:
        self.collector = collector
        self._names = names
        squares = [expected[name] for name in names] if expected is not None else []
        self._squares = np.array([(one.left, one.top, one.side_m, one.epsg) for one in squares])

    def rank(self, name: str) -> int | None:
        """The place of a patch among those of the part; None if it is not kept."""
        rank = bisect_left(self._names, archive_order(name), key=archive_order)
        return rank if rank < len(self._names) and self._names[rank] == name else None

    def take(self, path: PurePosixPath, rank: int, band: str, data: bytes) -> None:
        """Take a file; BadInput if it came before, or covers another square."""
        name, position = self._names[rank], rank * len(BANDS) + BANDS.index(band)
        if self.collector.has(position):
            raise BadInput(f"S1 patch {name}: {path}", expected="one file", found="a second one", remedy=_REMEDY)
        if len(self._squares):
            left, top, side_m, epsg = self._squares[rank].tolist()
            check_place(data, path, Square(left, top, side_m, int(epsg)), _REMEDY)
        self.collector.add(position, member_name(name, band), data)


class _Collection:
    """One way through the `.tar.gz`."""

    def __init__(self, source: Path, parts: Iterable[tuple[str, _Part]]) -> None:
        self._source = source
        self._parts = dict(parts)
        self._open = len(self._parts)

    def read(self, md5: str, progress: Callable[[float], None]) -> None:
        """Read all of it, if only for its md5."""
        with self._source.open("rb") as file:
            stream = _Hashed(file, progress)
            try:
                if self._open:
                    self._unpack(stream)
            except (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
                raise self._bad(md5, f"damage before byte {stream.at}: {error}") from error
            while stream.read(_CHUNK_BYTES):
                pass
        if stream.md5.hexdigest() != md5:
            raise self._bad(md5, f"md5 {stream.md5.hexdigest()}")
        missing = [f"{name}.tif" for part in self._parts.values() for name in part.collector.lacking()]
        if missing:
            raise lacking(self._source, missing, _REMEDY)

    def _unpack(self, stream: _Hashed) -> None:
        """Take the files of what is kept, up to the last of them."""
        unzipped = io.BufferedReader(gzip.GzipFile(fileobj=io.BufferedReader(stream, _CHUNK_BYTES)), _CHUNK_BYTES)
        with tarfile.open(fileobj=unzipped, mode="r|", bufsize=_CHUNK_BYTES) as tar:
            for member in tar:
                tar.members.clear()  # type: ignore[attr-defined]  # else it remembers all 1.8 million
                path = PurePosixPath(member.name)
                name, _, kind = path.name.rpartition("_")
                part = self._parts.get(part_of(name))
                rank = part.rank(name) if part is not None else None
                if part is None or rank is None or kind not in _BAND or not member.isreg():
                    continue
                content = tar.extractfile(member)
                assert content is not None
                part.take(path, rank, _BAND[kind], content.read())
                self._open -= not part.collector.missing
                if not self._open:
                    return

    def _bad(self, md5: str, found: str) -> BadInput:
        return BadInput(self._source, expected=f"a whole .tar.gz with md5 {md5}", found=found, remedy=_REMEDY)


class _Hashed(io.RawIOBase):
    """A file that is hashed as it is read, in order."""

    def __init__(self, file: io.BufferedReader, progress: Callable[[float], None]) -> None:
        self.md5 = hashlib.md5(usedforsecurity=False)
        self.at = 0
        self._file = file
        self._size = Path(file.name).stat().st_size
        self._progress = progress

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """The next bytes."""
        view = memoryview(buffer)
        count = self._file.readinto(view)
        self.md5.update(view[:count])
        self.at += count
        self._progress(self.at / max(self._size, 1))
        return count
