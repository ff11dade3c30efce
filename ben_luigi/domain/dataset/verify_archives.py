"""Verify that an archive holds exactly the files of the patches, under the right names, in order, and correct.

The same is done for the folder that was unpacked from it, except for the order.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv

from ben_luigi.domain.dataset import members, sentinel1
from ben_luigi.domain.dataset.archive import Behind, Hashes
from ben_luigi.domain.dataset.form import Form
from ben_luigi.domain.dataset.verify_findings import Findings
from ben_luigi.domain.dataset.verify_rows import Rows
from ben_luigi.domain.errors import PipelineError
from ben_luigi.domain.formats import hashes
from ben_luigi.domain.given import open_file
from ben_luigi.domain.names import s1_tile, tile_name_of
from ben_luigi.domain.products.product import BANDS
from ben_luigi.domain.tiles.layers import archive_of
from ben_luigi.domain.vocabulary import MAPS_ARCHIVE, S1_ARCHIVE, S2_ARCHIVE

_TELL_EVERY = 1000
_SHOWN = 10
_SHA256_BYTES = 32
_HASH_AT_ONCE = 2**23

_Found = TypeVar("_Found")

Check = Callable[[int, str, bytes, bytes], Iterator[str | tuple[str, str]]]
"""Yield what is wrong with a file, given its patch's row, its kind, its data and their sha256. May raise PipelineError.

What was found is yielded beside it, if it differs from file to file, so that files with one fault are named together.

The sha256 is empty where it was not requested, or has already been found to be wrong.
"""


class Count:
    """Count what is read, as a fraction of what is expected."""

    def __init__(self, total: int, progress: Callable[[float], None]) -> None:
        self._read, self._total, self._progress = 0, max(total, 1), progress

    def each(self, found: Iterator[_Found]) -> Iterator[_Found]:
        """Yield each item, and count it."""
        for one in found:
            yield one
            self._read += 1
            if self._read % _TELL_EVERY == 0 or self._read == self._total:
                self._progress(min(self._read / self._total, 1.0))


@dataclass(frozen=True)
class Contents:
    """The expected content of an archive: one file of each kind per key, in byte order of the source paths.

    `name` is that of the archive; `keys` are patch ids or S1 names by row, as bytes; rows may share one, or have
    none, which is empty. `complete`
    tells whether all keys are known; otherwise a member without a key may be correct.
    """

    name: str
    keys: np.ndarray
    tile_of: Callable[[str], str]
    kinds: Sequence[str]
    complete: bool

    @property
    def file(self) -> str:
        """The file name of the archive."""
        return f"{self.name}.tar.zst"


def contents_of(rows: Rows, form: Form) -> list[Contents]:
    """Return what each archive of a dataset must hold by the rows of its metadata, in the order of `form.archives`."""
    kinds = {S2_ARCHIVE: BANDS, MAPS_ARCHIVE: ("reference_map",)}
    kinds |= {archive_of(layer.name): tuple(layer.kinds) for layer in form.layers}
    return [
        Contents(name, rows.s1_names, s1_tile, sentinel1.BANDS, rows.complete)
        if name == S1_ARCHIVE
        else Contents(name, _keys_in(rows, form.lacking.get(name)), tile_name_of, kinds[name], rows.complete)
        for name in form.archives
    ]


def _keys_in(rows: Rows, lacking: Collection[str] | None) -> np.ndarray:
    """Return the patch ids, empty for those of tiles that lack a layer."""
    if not lacking:
        return rows.patch_ids
    keys = rows.patch_ids.copy()
    for tile in lacking:
        keys[rows.tiles.get(tile, slice(0))] = b""
    return keys


class Archive:
    """An archive that is read once. A member's *position* is its place in the order of `contents`, counted from 0.

    The sha256 of each file is computed if there is a hash list, or if `hashing` says that `check` needs it.
    """

    def __init__(
        self, contents: Contents, hash_list: str, check: Check, findings: Findings, *, hashing: bool = False
    ) -> None:
        self._contents = contents
        self._hashing = hashing
        self._list = hash_list
        self._check = check
        self._findings = findings
        keys, row = np.unique(contents.keys, return_index=True)
        self._keys, self._row = keys[keys != b""], row[keys != b""]
        self._kind_of = {f"_{kind}": number for number, kind in enumerate(contents.kinds)}
        (self._suffix_length,) = {len(suffix) for suffix in self._kind_of}
        size = len(self._keys) * len(contents.kinds)
        self._seen, self._lost, self._listed = (np.zeros(size, dtype=bool) for _ in range(3))
        self._positions = array("q")
        self._sha256 = bytearray()

    def verify(self, folder: Path, count: Count, hashed: bool) -> Hashes | None:
        """Read the archive, and add findings. Return its length and hashes, if they are wanted."""
        file = self._contents.file
        if not (folder / file).is_file():
            self._findings.add(file, "missing")
            return None
        damaged_at = -1
        with ExitStack() as stack:
            behind = _Following(stack, folder / file) if hashed else None
            for found in count.each(members.read(folder / file, behind.reached if behind else members.unseen)):
                if isinstance(found, members.Damage):
                    self._findings.add(file, found.what)
                    damaged_at = len(self._positions)
                    continue
                for what, name in self._judge(found):
                    self._findings.add(file, what, name)
                if damaged_at >= 0 and len(self._positions) > damaged_at:
                    self._lose(damaged_at, self._positions[-1])
                    damaged_at = -1
            hashes = behind.hashes() if behind else None
        if damaged_at >= 0:
            self._lose(damaged_at, len(self._seen))
        positions = np.frombuffer(self._positions, dtype="int64")
        self._add(file, "out of order", positions[out_of_order(positions)])
        self._add(file, "unreadable, for the damage", np.flatnonzero(self._lost & ~self._seen))
        self._add(file, "missing", np.flatnonzero(~self._lost & ~self._seen))
        return hashes

    def verify_folder(self, folder: Path, count: Count) -> None:
        """Read the folder that was unpacked from the archive, and add findings."""
        label = f"{self._contents.name}/"
        for found in count.each(members.read_folder(folder / self._contents.name, folder)):
            if isinstance(found, members.Unreadable):
                self._findings.add(label, f"cannot be read ({found.why})", found.name)
                position = self._position(found.name.rpartition("/")[2].removesuffix(".tif"))
                self._seen[[] if position is None else position] = True
                continue
            for what, name in self._judge(found):
                self._findings.add(label, what, name)
        self._add(label, "missing", np.flatnonzero(~self._seen))

    def read_list(self, folder: Path, files: int | None) -> None:
        """Read the hash list, which may have more files than the archive: `files` in all, where that is known."""
        sha256 = bytearray(len(self._seen) * _SHA256_BYTES)
        last, number = "", 0
        try:
            texts = pcsv.ConvertOptions(
                column_types=dict.fromkeys(hashes.COLUMNS, pa.string()), strings_can_be_null=False
            )
            # As for Parquet (`tables.opened`), Arrow opens no file whose path is not UTF-8.
            with open_file(folder / self._list) as file, pcsv.open_csv(file, convert_options=texts) as batches:
                if tuple(batches.schema.names) != hashes.COLUMNS:
                    raise ValueError(f"columns {batches.schema.names}")
                for batch in batches:
                    for name, digest in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                        if name <= last:
                            self._findings.add(self._list, "names not ascending", name)
                        last, number = name, number + 1
                        self._note(name, digest, sha256)
        except (OSError, ValueError, TypeError, pa.ArrowException) as error:
            self._findings.add(self._list, f"cannot be read ({error})")
            return
        self._sha256 = sha256
        if files is not None and number != files:
            self._findings.differ(self._list, "not the files that provenance.json counts", "rows", files, number)

    def _note(self, name: str, digest: str, sha256: bytearray) -> None:
        position = self._position(name)
        try:
            data = bytes.fromhex(digest)
        except ValueError:
            data = b""
        if data.hex() != digest or len(data) != _SHA256_BYTES:
            self._findings.differ(self._list, "without a sha256", name, "64 hexadecimal digits", digest)
        elif position is not None:
            sha256[position * _SHA256_BYTES : (position + 1) * _SHA256_BYTES] = data
            self._listed[position] = True

    def _position(self, stem: str) -> int | None:
        """Return the position of the file with this name (without suffix); None if it is not expected."""
        key = stem[: -self._suffix_length].encode()
        rank = bisect_left(self._keys, key)
        kind = self._kind_of.get(stem[-self._suffix_length :])
        if kind is None or rank == len(self._keys) or self._keys[rank] != key:
            return None
        return rank * len(self._contents.kinds) + kind

    def _lose(self, damaged_at: int, stop: int) -> None:
        """Mark what may have been between the last member before a damage and the first after it."""
        start = self._positions[damaged_at - 1] + 1 if damaged_at else 0
        self._lost[start:stop] = True

    def _add(self, file: str, what: str, positions: np.ndarray) -> None:
        if len(positions):
            names = [self._member(position) for position in positions[:_SHOWN].tolist()]
            self._findings.add(file, what, *names, more=len(positions) - len(names))

    def _member(self, position: int) -> str:
        rank, kind = divmod(position, len(self._contents.kinds))
        key = self._keys[rank].decode()
        return f"{self._contents.name}/{self._contents.tile_of(key)}/{key}/{key}_{self._contents.kinds[kind]}.tif"

    def _judge(self, member: members.Member) -> Iterator[tuple[str, str]]:
        """Yield (what, name) of everything that is wrong with a member."""
        file = member.name.rpartition("/")[2]
        position = self._position(file.removesuffix(".tif")) if file.endswith(".tif") else None
        if position is None:
            if self._contents.complete:
                yield "surplus", member.name
            return
        expected = self._member(position)
        if self._seen[position]:
            yield "twice", member.name
        elif member.name != expected:
            yield "misplaced", f"{member.name} (belongs at {expected})"
        else:
            self._positions.append(position)
        self._seen[position] = True
        if not member.exact:
            yield "with another header or padding than GNU tar's", member.name
        sha256 = hashlib.sha256(member.data).digest() if self._sha256 or self._hashing else b""
        if self._sha256:
            for what in self._judge_hash(position, sha256):
                sha256 = b""
                yield what, member.name
        rank, kind = divmod(position, len(self._contents.kinds))
        try:
            for wrong in self._check(int(self._row[rank]), self._contents.kinds[kind], member.data, sha256):
                yield (wrong, member.name) if isinstance(wrong, str) else (wrong[0], f"{member.name} ({wrong[1]})")
        except PipelineError as error:
            yield f"not readable ({error.found})", member.name

    def _judge_hash(self, position: int, sha256: bytes) -> Iterator[str]:
        if not self._listed[position]:
            yield f"without a hash in {self._list}"
        elif self._sha256[position * _SHA256_BYTES : (position + 1) * _SHA256_BYTES] != sha256:
            yield f"with another sha256 than in {self._list}"


class _Following:
    """Hash all bytes of an archive, following the position up to which it has been read."""

    def __init__(self, stack: ExitStack, path: Path) -> None:
        self._size = path.stat().st_size
        self._asked = 0
        self._behind = Behind(stack, path)

    def reached(self, position: int) -> None:
        """Note that the archive has been read up to this position."""
        if position - self._asked >= _HASH_AT_ONCE:
            self._behind.go_to(position)
            self._asked = position

    def hashes(self) -> Hashes:
        """Return length and hashes of the whole archive."""
        self._behind.go_to(self._size)
        return self._behind.hashes()


def out_of_order(positions: np.ndarray) -> np.ndarray:
    """Return the indexes of the fewest elements whose removal leaves the others strictly ascending."""
    if (positions[1:] > positions[:-1]).all():
        return np.empty(0, dtype="int64")
    before = np.maximum.accumulate(positions)
    after = np.minimum.accumulate(positions[::-1])[::-1]
    suspects = np.flatnonzero((positions < before) | (positions > after))
    tops: list[int] = []  # smallest last value of an ascending run of each length
    runs: list[int] = []  # the suspect with that value
    previous: list[int] = []
    for number, value in enumerate(positions[suspects].tolist()):
        length = bisect_left(tops, value)
        tops[length:] = [value] if length == len(tops) else [value, *tops[length + 1 :]]
        runs[length:] = [number] if length == len(runs) else [number, *runs[length + 1 :]]
        previous.append(runs[length - 1] if length else -1)
    kept = np.zeros(len(suspects), dtype=bool)
    at = runs[-1] if runs else -1
    while at >= 0:
        kept[at] = True
        at = previous[at]
    return np.asarray(suspects[~kept])
