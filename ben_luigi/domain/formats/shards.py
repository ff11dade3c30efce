"""Shards: the files of one tile in one uncompressed tar, with an index beside it.

A *shard* holds the files of a tile's patches under their names in the archive, `<archive>/<tile name>/<patch
id>/<file>.tif`, in byte order. Its index, `<key>.parquet` beside `<key>.tar`, has one row per file: `patch_id`, `name`
(without suffix), `offset` (of the member's header) and `size` (header, data and padding) in bytes, `sha256` (of the
data, hexadecimal), `crc32` (of header, data and padding). The index is written first, so a shard that exists is
complete. Every member is checked against `crc32` when it is read, which costs little; where an older index has null
there, `sha256` is checked instead.

Members that arrive in any order are *collected*: the shard then holds them as they arrived, and only its index is in
order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

import deflate
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ben_luigi.domain.errors import BadArchive, DamagedFile, some
from ben_luigi.domain.files import atomic_write, put_in_place, raise_if_full, remove, sync, unfinished, withdraw
from ben_luigi.domain.formats import tarball
from ben_luigi.domain.formats.tables import opened

SCHEMA = pa.schema(
    {
        "patch_id": pa.string(),
        "name": pa.string(),
        "offset": pa.int64(),
        "size": pa.int64(),
        "sha256": pa.string(),
        "crc32": pa.uint32(),
    }
)
_WITHOUT_CRC = pa.schema(list(SCHEMA)[:-1])
_SHARD, _BYTES = b"shard", b"bytes"


class ShardWriter:
    """Append members to a shard in byte order of their names, and keep the rows of its index."""

    def __init__(self, file: BinaryIO, shard: Path) -> None:
        self._file = file
        self._shard = shard
        self._patch_ids: list[str] = []
        self._names: list[str] = []
        self._sizes: list[int] = []
        self._sha256: list[str] = []
        self._crc32: list[int] = []
        self._last = ""

    def add(self, patch_id: str, member: str, data: bytes) -> None:
        """Append one file under its member name."""
        name = member.rpartition("/")[2].removesuffix(".tif")
        block = b"".join((tarball.header(member, len(data)), data, tarball.padding(len(data))))
        self.append(block, [patch_id], [name], [len(block)], [hashlib.sha256(data).hexdigest()])

    def append(
        self,
        block: bytes | memoryview,
        patch_ids: Sequence[str],
        stems: Sequence[str],
        sizes: Sequence[int],
        sha256: Sequence[str],
    ) -> None:
        """Append finished members.

        `block` is their bytes end to end, `sizes` the length of each with header and padding. Raise BadArchive if they
        are out of order, or if the first is not the one that its patch id and stem say.
        """
        paths = [f"{patch_id}/{stem}.tif" for patch_id, stem in zip(patch_ids, stems, strict=True)]
        if not len(paths) == len(sizes) == len(sha256) or len(block) != sum(sizes):
            raise self._bad(f"{len(paths)} members of {sum(sizes)} bytes", f"{len(block)} bytes, {len(sha256)} hashes")
        if not paths:
            return
        self._check(block, paths, sizes)
        self._file.write(block)
        self._patch_ids += patch_ids
        self._names += stems
        self._sizes += sizes
        self._sha256 += sha256
        self._crc32 += _crc32(memoryview(block), sizes)
        self._last = paths[-1]

    def _check(self, block: bytes | memoryview, paths: list[str], sizes: Sequence[int]) -> None:
        for before, after in zip([self._last, *paths], paths, strict=False):
            if not before < after:
                raise self._bad(f"members in byte order, after {before}", after)
        first = tarball.entry(block)
        if first is None or not first.name.endswith("/" + paths[0]) or first.stop != sizes[0]:
            raise self._bad(f"the member {paths[0]} of {sizes[0]} bytes", str(first))

    def close(self) -> pa.Table:
        """Write the end of the tar, and return the index."""
        sizes = np.array(self._sizes, dtype="int64")
        ends = np.cumsum(sizes)
        total = int(sizes.sum())
        closing = tarball.end(total)
        self._file.write(closing)
        columns = [self._patch_ids, self._names, ends - sizes, sizes, self._sha256, self._crc32]
        return _index(self._shard, columns, total + len(closing))

    def _bad(self, expected: str, found: str) -> BadArchive:
        return BadArchive(
            f"shard {self._shard}",
            expected=expected,
            found=found,
            remedy="report it with this message: it is an error of this program",
        )


def _crc32(block: memoryview, sizes: Sequence[int]) -> list[int]:
    """Return the CRC-32 of each member of a block; libdeflate needs a twentieth of the time of a sha256."""
    stops = list(accumulate(sizes))
    return [deflate.crc32(block[stop - size : stop]) for size, stop in zip(sizes, stops, strict=True)]


def _index(shard: Path, columns: Sequence[object], shard_bytes: int) -> pa.Table:
    metadata = {_SHARD: shard.name, _BYTES: str(shard_bytes)}
    return pa.table(dict(zip(SCHEMA.names, columns, strict=True)), schema=SCHEMA.with_metadata(metadata))


@contextmanager
def writing(shard: Path, index: Path) -> Iterator[ShardWriter]:
    """Yield a writer for a shard and its index; on success both appear, the index first, else neither."""
    with atomic_write(shard) as work:
        with work.open("wb") as file:
            writer = ShardWriter(file, shard)
            yield writer
            table = writer.close()
        _publish_index(work, table, shard, index)


def _publish_index(work: Path, table: pa.Table, shard: Path, index: Path) -> None:
    """Write the index of a shard that is complete in `work` and is about to be renamed into place."""
    sync(work)
    withdraw(shard)  # a shard of an earlier run must never lie beside the new index
    with atomic_write(index) as index_work:
        pq.write_table(table, index_work, compression="zstd")


class ShardCollector:
    """Take the members of a shard in any order, and write its index and rename it into place once it has them all.

    `patch_ids` are in the order of the archive; each has one file `<patch id>_<kind>` per kind of `kinds`, ascending. A
    file's *position* is its place in that order, counted from 0. Memory: 50 bytes per file, and no open file.
    """

    def __init__(self, shard: Path, patch_ids: Sequence[str], kinds: Sequence[str]) -> None:
        self.missing = len(patch_ids) * len(kinds)
        self._shard = shard
        self._work = unfinished(shard)
        self._patch_ids = patch_ids
        self._kinds = kinds
        self._places = np.zeros((self.missing, 2), dtype="int64")
        self._sha256 = np.zeros((self.missing, hashlib.sha256().digest_size), dtype="uint8")
        self._crc32 = np.zeros(self.missing, dtype="uint32")
        self._bytes = 0

    def has(self, position: int) -> bool:
        """Return whether the file at this position has arrived."""
        return bool(self._places[position, 1])

    def add(self, position: int, member: str, data: bytes) -> None:
        """Append one file under its member name; after the last one, the shard and its index appear."""
        block = b"".join((tarball.header(member, len(data)), data, tarball.padding(len(data))))
        self._append(block)
        self._places[position] = self._bytes, len(block)
        self._sha256[position] = np.frombuffer(hashlib.sha256(data).digest(), dtype="uint8")
        self._crc32[position] = deflate.crc32(block)
        self._bytes += len(block)
        self.missing -= 1
        if not self.missing:
            self._publish()

    def _append(self, block: bytes) -> None:
        try:
            with self._work.open("ab") as file:
                file.write(block)
        except OSError as error:
            raise_if_full(self._shard, error)
            raise

    def _publish(self) -> None:
        closing = tarball.end(self._bytes)
        self._append(closing)
        patch_ids = [patch_id for patch_id in self._patch_ids for _ in self._kinds]
        names = [f"{patch_id}_{kind}" for patch_id in self._patch_ids for kind in self._kinds]
        sha256 = [row.tobytes().hex() for row in self._sha256]
        columns = [patch_ids, names, *self._places.T.copy(), sha256, self._crc32]
        table = _index(self._shard, columns, self._bytes + len(closing))
        _publish_index(self._work, table, self._shard, self._shard.with_suffix(".parquet"))
        put_in_place(self._work, self._shard)
        sync(self._shard.parent)

    def lacking(self) -> list[str]:
        """Return the names, without suffix, of the files that have not arrived."""
        positions = np.flatnonzero(self._places[:, 1] == 0).tolist()
        return [f"{self._patch_ids[at // len(self._kinds)]}_{self._kinds[at % len(self._kinds)]}" for at in positions]

    def discard(self) -> None:
        """Remove what has arrived, unless the shard is complete."""
        remove(self._work)


def read_index(index: Path, *, alone: bool = False) -> pa.Table:
    """Read the index of the shard beside it, which need not be there if the index `alone` is read.

    Raise DamagedFile if either is missing, or if the index describes another shard.
    """
    shard = index.with_suffix(".tar")
    try:
        with opened(index) as parquet:
            table = parquet.read()
        metadata = table.schema.metadata or {}
        expected = int(metadata[_BYTES])
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise DamagedFile(index, expected=f"the index of {shard.name}", found=str(error)) from error
    if table.schema.equals(_WITHOUT_CRC, check_metadata=False):
        table = table.append_column("crc32", pa.nulls(len(table), pa.uint32()))
    if not table.schema.equals(SCHEMA, check_metadata=False) or metadata.get(_SHARD) != shard.name.encode():
        raise DamagedFile(index, expected=f"the index of {shard.name}", found=some(table.schema.names))
    if alone:
        return table
    try:
        found = shard.stat().st_size
    except OSError as error:
        raise DamagedFile(shard, expected="a shard beside its index", found=str(error)) from error
    if found != expected:
        raise DamagedFile(shard, expected=f"{expected} bytes", found=f"{found} bytes")
    return table


def kept_rows(index: pa.Table, keep: Collection[str]) -> pa.Table:
    """Return the rows of the patches `keep`, in the order of the index. Raise BadArchive if a patch is missing."""
    kept = index.filter(pc.is_in(index["patch_id"], pa.array(list(keep), pa.string())))
    missing = set(keep).difference(kept["patch_id"].unique().to_pylist())
    if missing:
        shard = (index.schema.metadata or {})[_SHARD].decode()
        raise BadArchive(
            f"shard {shard}",
            expected=f"{len(set(keep))} patches",
            found=f"it lacks {some(sorted(missing))}",
            remedy="remove the shard and run again",
        )
    return kept


def batches(rows: pa.Table, batch_bytes: int) -> Iterator[pa.Table]:
    """Yield the rows in batches of whole patches; a batch ends with the patch that brings it to `batch_bytes` or more.

    The last batch is smaller, and may be empty.
    """
    last = np.flatnonzero(np.r_[pc.not_equal(rows["patch_id"][1:], rows["patch_id"][:-1]), [True] * bool(len(rows))])
    stops = np.cumsum(rows["size"].to_numpy())[last]
    row = size = 0
    while (at := int(np.searchsorted(stops, size + batch_bytes))) < len(stops):
        yield rows.slice(row, last[at] + 1 - row)
        row, size = last[at] + 1, stops[at]
    yield rows.slice(row)


def read_batches(shard: Path, batches: Sequence[pa.Table]) -> Iterator[memoryview]:
    """Yield the members of each batch of rows, end to end; a view is valid until the next one is requested.

    Raise DamagedFile if a member has changed since it was written. Memory: the largest batch.
    """
    buffer = memoryview(bytearray(max((_bytes(rows) for rows in batches), default=0)))
    with shard.open("rb") as file:
        for rows in batches:
            at = 0
            for offset, size in runs(rows):
                file.seek(offset)
                if file.readinto(buffer[at : at + size]) != size:
                    raise DamagedFile(shard, expected=f"{size} bytes at {offset}", found="the end of the file")
                at += size
            _check(shard, rows, buffer[:at])
            yield buffer[:at]


def _bytes(rows: pa.Table) -> int:
    return int(rows["size"].to_numpy().sum())


def _check(shard: Path, rows: pa.Table, block: memoryview) -> None:
    """Raise DamagedFile if a member of a block does not match its row."""
    sizes = rows["size"].to_pylist()
    for found, expected, number in zip(_crc32(block, sizes), rows["crc32"].to_pylist(), range(len(sizes)), strict=True):
        if expected is None:
            stop = sum(sizes[: number + 1])
            _data(shard, block[stop - sizes[number] : stop].tobytes(), rows["sha256"][number].as_py())
        elif found != expected:
            name = rows["name"][number].as_py()
            raise DamagedFile(shard, expected=f"{name}.tif with CRC-32 {expected:08x}", found=f"{found:08x}")


def runs(table: pa.Table) -> list[tuple[int, int]]:
    """Return (offset, size) in bytes of each contiguous run of the rows' members in the shard."""
    if not len(table):
        return []
    offset = table["offset"].to_numpy()
    stop = offset + table["size"].to_numpy()
    first = np.flatnonzero(np.r_[True, offset[1:] != stop[:-1]])
    starts, stops = offset[first], stop[np.r_[first[1:] - 1, len(stop) - 1]]
    return list(zip(starts.tolist(), (stops - starts).tolist(), strict=True))


def export(shard: Path, index: Path, folder: Path, patches: Collection[str] | None = None) -> int:
    """Unpack the files of `patches` (default: all) to `folder` under their member names; return the number of patches.

    The folder of a patch appears complete or not at all, and replaces an existing one.
    """
    table = read_index(index)
    if patches is not None:
        table = kept_rows(table, patches)
    patch_ids = table["patch_id"].to_pylist()
    with shard.open("rb") as file:
        first = 0
        for row, patch_id in enumerate(patch_ids, start=1):
            if row == len(patch_ids) or patch_ids[row] != patch_id:
                _export_patch(file, table.slice(first, row - first), folder)
                first = row
    return len(set(patch_ids))


def _export_patch(file: BinaryIO, rows: pa.Table, folder: Path) -> None:
    members = [_member(file, *place) for place in _places(rows)]
    target = (folder / members[0][0]).parent
    with atomic_write(target) as work:
        work.mkdir()
        for name, data in members:
            (work / Path(name).name).write_bytes(data)


def _places(index: pa.Table) -> Iterator[tuple[int, int, str]]:
    """Yield offset, size and sha256 of each file."""
    return zip(*(index[name].to_pylist() for name in ("offset", "size", "sha256")), strict=True)


def _member(file: BinaryIO, offset: int, size: int, sha256: str) -> tuple[str, bytes]:
    """Read a member and return its name and data. Raise DamagedFile if they do not match the index."""
    file.seek(offset)
    return _data(Path(file.name), file.read(size), sha256)


def _data(shard: Path, block: bytes, sha256: str) -> tuple[str, bytes]:
    """Return name and data of a member, given all its bytes. Raise DamagedFile unless the data has this sha256."""
    entry = tarball.entry(block)
    data = block[entry.data : entry.data + entry.size] if entry else b""
    if entry is None or hashlib.sha256(data).hexdigest() != sha256:
        raise DamagedFile(shard, expected=f"a member with sha256 {sha256}", found="other bytes")
    return entry.name, data


class ShardReader:
    """Read the files of a tile's patches one by one from its shard, each checked against its hash."""

    def __init__(self, shard: Path) -> None:
        index = read_index(shard.with_suffix(".parquet"))
        self._shard = shard
        self._places = dict(zip(index["name"].to_pylist(), _places(index), strict=True))
        self.patch_ids: list[str] = index["patch_id"].unique().to_pylist()
        self._patches = frozenset(self.patch_ids)

    def __enter__(self) -> ShardReader:
        self._file = self._shard.open("rb")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __contains__(self, patch_id: str) -> bool:
        return patch_id in self._patches

    def read(self, name: str) -> bytes:
        """Return the data of the file `name` (without suffix).

        Raise DamagedFile if it has changed, KeyError if there is no such file.
        """
        return _member(self._file, *self._places[name])[1]


def hash_rows(index: pa.Table) -> Iterator[tuple[str, str]]:
    """Yield (name without suffix, sha256) of each file of a shard, in byte order."""
    return zip(index["name"].to_pylist(), index["sha256"].to_pylist(), strict=True)
