"""Whether a finished dataset is whole, and fits together: archives, metadata, places on the ground, labels.

Reads each archive once, as a stream, and asks: are its members exactly the files of the patches of both metadata files,
each under its name and in its order? Is every TIFF of the published kind? Do S2, S1 and reference map of a patch cover
the same square? Are the labels those of the reference map? Is every file the one that the hash lists name, where they
lie beside the archives? Memory: a few hundred bytes a patch.
"""

from __future__ import annotations

import hashlib
import math
import struct
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from ben_luigi.domain.dataset import members, sentinel1
from ben_luigi.domain.dataset.metadata import FLAGGED, FLAGS, METADATA, SCHEMA
from ben_luigi.domain.errors import BadName, PipelineError, some
from ben_luigi.domain.formats import geotiff
from ben_luigi.domain.formats.tiffheader import TiffHeader, read_header, read_pixels
from ben_luigi.domain.names import PatchId, ProductName, s1_tile
from ben_luigi.domain.placement.grid import PATCH_M
from ben_luigi.domain.products.product import BANDS, RESOLUTION_M
from ben_luigi.domain.tiles import patches, reference_maps

HASH_LISTS = {
    patches.ARCHIVE: "patch_hashes.csv",
    reference_maps.ARCHIVE: "reference_map_hashes.csv",
    sentinel1.ARCHIVE: "s1_hashes.csv",
}
"""The lists of sha256 that lie beside the archives, by archive; they may hold more files than it."""

_SHOWN = 10
_TELL_EVERY = 1000
_S1_PIXEL_M = 10
_TIE_POINT = struct.Struct("<2d")

_READ = pa.schema([SCHEMA.field(name) for name in ("patch_id", "labels", "s1_name", *FLAGS)])

LabelsOf = Callable[[np.ndarray], list[str]]
Check = Callable[[int, str, bytes], Iterator[str]]
"""What is wrong with a file, given its patch's row in the metadata, its kind and its data. May raise PipelineError."""


def verify_dataset(
    folder: Path, labels_of: LabelsOf, progress: Callable[[float], None] = lambda part: None
) -> list[str]:
    """What is wrong with the dataset in `folder`, by name; empty if nothing is.

    `labels_of` gives the labels of a reference map's codes (row, col). A finding names up to ten members. `progress` is
    called with the part of the files that was read, from 0 to 1.
    """
    findings = Findings()
    rows = _read_metadata(folder, findings)
    if rows is not None:
        ground = _Ground(rows, labels_of)
        count = _Count(len(rows.patch_ids) * (len(BANDS) + 1 + len(sentinel1.BANDS)), progress)
        for name, keys, tile_of, kinds, check in (
            (patches.ARCHIVE, rows.patch_ids, _s2_tile, BANDS, ground.check_s2),
            (reference_maps.ARCHIVE, rows.patch_ids, _s2_tile, ("reference_map",), ground.check_map),
            (sentinel1.ARCHIVE, rows.s1_names, s1_tile, sentinel1.BANDS, ground.check_s1),
        ):
            _Archive(name, keys, tile_of, kinds, check).verify(folder, findings, count)
    return findings.lines()


@lru_cache(maxsize=16)  # a patch's files follow each other
def _s2_tile(patch_id: str) -> str:
    return PatchId.parse(patch_id).tile_name


class Findings:
    """What was found, gathered by file and kind; of each the first ten names and their number are kept."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], list[str]] = {}
        self._count: dict[tuple[str, str], int] = {}

    def add(self, file: str, what: str, *names: str, more: int = 0) -> None:
        """Note that `what` is so of the named members, and of `more` that are not named."""
        shown = self._names.setdefault((file, what), [])
        shown += names[: _SHOWN - len(shown)]
        self._count[file, what] = self._count.get((file, what), 0) + len(names) + more

    def lines(self) -> list[str]:
        """One line a file and kind, in the order in which they came up."""
        return [": ".join((*key, *self._listed(key))) for key in self._names]

    def _listed(self, key: tuple[str, str]) -> list[str]:
        names, count = self._names[key], self._count[key]
        if not names:
            return []
        return [", ".join(names) + (f", ... ({count} in all)" if count > len(names) else "")]


@dataclass(frozen=True)
class _Rows:
    """What counts of both metadata files: names in arrays of bytes, which take a fifth of the memory of strings."""

    patch_ids: np.ndarray
    s1_names: np.ndarray
    labels: Sequence[tuple[str, ...]]


def _read_metadata(folder: Path, findings: Findings) -> _Rows | None:
    """The rows of both files; None if there are none that the archives can be held against."""
    patch_ids, s1_names = [np.empty(0, "S1")], [np.empty(0, "S1")]
    labels: list[tuple[str, ...]] = []
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    for file in (METADATA, FLAGGED):
        try:
            for rows in _batches(folder / file):
                patch_ids.append(_fixed_width(rows["patch_id"]))
                s1_names.append(_fixed_width(rows["s1_name"]))
                labels += (known.setdefault(row, row) for row in map(tuple, rows["labels"].to_pylist()))
                odd = pc.not_equal(pc.or_(rows[FLAGS[0]], rows[FLAGS[1]]), file == FLAGGED).to_pylist()
                if any(odd):
                    findings.add(file, "in the wrong file, by their flags", *patch_ids[-1][odd].astype(str).tolist())
        except FileNotFoundError:
            findings.add(file, "missing")
        except (OSError, ValueError, TypeError, pa.ArrowException) as error:
            findings.add(file, f"cannot be read ({error})")
    both = _Rows(np.concatenate(patch_ids), np.concatenate(s1_names), labels)
    return both if labels and _are_good_names(both, findings) else None


def _batches(path: Path) -> Iterator[pa.Table]:
    parquet = pq.ParquetFile(path)
    if parquet.schema_arrow.names != SCHEMA.names:
        raise ValueError(f"columns {some(parquet.schema_arrow.names)}")
    for batch in parquet.iter_batches(8192, columns=_READ.names):
        yield pa.Table.from_batches([batch]).cast(_READ)


def _fixed_width(names: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(names.to_numpy(), dtype="S")


def _are_good_names(rows: _Rows, findings: Findings) -> bool:
    good = True
    for column, names, parse in (("patch_id", rows.patch_ids, _s2_tile), ("s1_name", rows.s1_names, s1_tile)):
        ordered = np.sort(names)
        for name in np.unique(ordered[1:][ordered[1:] == ordered[:-1]]).tolist():
            findings.add("metadata", f"{column} in more than one row", name.decode())
            good = False
        try:
            for name in names:
                parse(name.decode())
        except BadName as error:
            findings.add("metadata", str(error))
            good = False
    return good


class _Count:
    """Counts what is read, of as much as there should be."""

    def __init__(self, total: int, progress: Callable[[float], None]) -> None:
        self._read, self._total, self._progress = 0, total, progress

    def each(self, found: Iterator[members.Member | members.Damage]) -> Iterator[members.Member | members.Damage]:
        """What is found, one by one."""
        for one in found:
            yield one
            self._read += 1
            if self._read % _TELL_EVERY == 0 or self._read == self._total:
                self._progress(min(self._read / self._total, 1.0))


class _Archive:
    """An archive, and what must be in it: a file of each kind a key, in byte order of the source paths.

    A member's *position* is its place in that order, counted from 0. Of each sha256 the first 8 bytes are kept.
    """

    def __init__(
        self, name: str, keys: np.ndarray, tile_of: Callable[[str], str], kinds: Sequence[str], check: Check
    ) -> None:
        self._name = name
        self._tile_of = tile_of
        self._kinds = kinds
        self._check = check
        self._row = np.argsort(keys)
        self._keys = keys[self._row]
        self._kind_of = {f"_{kind}": number for number, kind in enumerate(kinds)}
        (self._suffix_length,) = {len(suffix) for suffix in self._kind_of}
        self._seen = np.zeros(len(keys) * len(kinds), dtype=bool)
        self._lost = np.zeros(len(keys) * len(kinds), dtype=bool)
        self._positions = array("q")
        self._list = HASH_LISTS[name]
        self._sha256 = np.empty(0, dtype="uint64")

    def verify(self, folder: Path, findings: Findings, count: _Count) -> None:
        """Read the archive, and add what is wrong with it."""
        file = f"{self._name}.tar.zst"
        if not (folder / file).is_file():
            findings.add(file, "missing")
            return
        if (folder / self._list).is_file():
            self._read_list(folder / self._list, findings)
        damaged_at = -1
        for found in count.each(members.read(folder / file)):
            if isinstance(found, members.Damage):
                findings.add(file, found.what)
                damaged_at = len(self._positions)
                continue
            for what, name in self._judge(found):
                findings.add(file, what, name)
            if damaged_at >= 0 and len(self._positions) > damaged_at:
                self._lose(damaged_at, self._positions[-1])
                damaged_at = -1
        if damaged_at >= 0:
            self._lose(damaged_at, len(self._seen))
        positions = np.frombuffer(self._positions, dtype="int64")
        self._add(findings, file, "out of order", positions[out_of_order(positions)])
        self._add(findings, file, "unreadable, for the damage", np.flatnonzero(self._lost & ~self._seen))
        self._add(findings, file, "missing", np.flatnonzero(~self._lost & ~self._seen))

    def _read_list(self, path: Path, findings: Findings) -> None:
        self._sha256 = np.zeros(len(self._seen), dtype="uint64")
        try:
            with pcsv.open_csv(path) as batches:
                for batch in batches:
                    for name, sha256 in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                        position = self._position(name)
                        if position is not None:
                            self._sha256[position] = int(sha256[:16], 16)
        except (OSError, ValueError, TypeError, pa.ArrowException) as error:
            findings.add(self._list, f"cannot be read ({error})")
            self._sha256 = np.empty(0, dtype="uint64")

    def _position(self, stem: str) -> int | None:
        """The position of the file of that name, without suffix; None if none is expected."""
        key = stem[: -self._suffix_length].encode()
        rank = bisect_left(self._keys, key)
        kind = self._kind_of.get(stem[-self._suffix_length :])
        if kind is None or rank == len(self._keys) or self._keys[rank] != key:
            return None
        return rank * len(self._kinds) + kind

    def _lose(self, damaged_at: int, stop: int) -> None:
        """What may have stood between the last member before a damage and the first after it."""
        start = self._positions[damaged_at - 1] + 1 if damaged_at else 0
        self._lost[start:stop] = True

    def _add(self, findings: Findings, file: str, what: str, positions: np.ndarray) -> None:
        if len(positions):
            names = [self._member(position) for position in positions[:_SHOWN].tolist()]
            findings.add(file, what, *names, more=len(positions) - len(names))

    def _member(self, position: int) -> str:
        rank, kind = divmod(position, len(self._kinds))
        key = self._keys[rank].decode()
        return f"{self._name}/{self._tile_of(key)}/{key}/{key}_{self._kinds[kind]}.tif"

    def _judge(self, member: members.Member) -> Iterator[tuple[str, str]]:
        """(what, name) of all that is wrong with a member."""
        file = member.name.rpartition("/")[2]
        position = self._position(file.removesuffix(".tif")) if file.endswith(".tif") else None
        if position is None:
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
            yield "with another header than GNU tar's", member.name
        if len(self._sha256):
            yield from self._judge_hash(position, member)
        rank, kind = divmod(position, len(self._kinds))
        try:
            for what in self._check(int(self._row[rank]), self._kinds[kind], member.data):
                yield what, member.name
        except PipelineError as error:
            yield f"not readable ({error.found})", member.name

    def _judge_hash(self, position: int, member: members.Member) -> Iterator[tuple[str, str]]:
        expected = self._sha256[position]
        if not expected:
            yield f"without a hash in {self._list}", member.name
        elif expected != int.from_bytes(hashlib.sha256(member.data).digest()[:8]):
            yield f"with another sha256 than in {self._list}", member.name


def out_of_order(positions: np.ndarray) -> np.ndarray:
    """Indexes of the fewest elements without which the others ascend strictly."""
    if (positions[1:] > positions[:-1]).all():
        return np.empty(0, dtype="int64")
    before = np.maximum.accumulate(positions)
    after = np.minimum.accumulate(positions[::-1])[::-1]
    suspects = np.flatnonzero((positions < before) | (positions > after))
    tops: list[int] = []  # the least last value of an ascending run of each length
    runs: list[int] = []  # the suspect that has it
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


class _Ground:
    """Checks of single files, which share where each patch lies: as the first of its S2 files says."""

    def __init__(self, rows: _Rows, labels_of: LabelsOf) -> None:
        self._rows = rows
        self._labels_of = labels_of
        self._left = array("d", [math.nan]) * len(rows.labels)
        self._top = array("d", [math.nan]) * len(rows.labels)

    def check_s2(self, row: int, band: str, data: bytes) -> Iterator[str]:
        """What is wrong with a file of S2 reflectance."""
        pixel_m, epsg = RESOLUTION_M[band], self._epsg(row)
        kind = geotiff.template(PATCH_M // pixel_m, pixel_m, epsg)
        start, stop = kind.tie_point_at, kind.tie_point_at + _TIE_POINT.size
        if len(data) == kind.size and data[:start] + data[stop : len(kind.header)] == _around_tie_point(kind):
            left, top = _TIE_POINT.unpack_from(data, start)
            pixels = np.frombuffer(data, dtype="<u2", offset=len(kind.header))
        else:
            header, pixels = read_header(data), read_pixels(data)
            if len(data) != kind.size:
                yield f"of {len(data)} bytes instead of {kind.size}"
            yield from _unlike(header, kind.side_px, "uint16", 0.0, epsg)
            left, top = header.left, header.top
        if not pixels.all():
            yield "with no-data pixels"
        if math.isnan(self._left[row]):
            self._left[row], self._top[row] = left, top
        yield from self._elsewhere(row, left, top, "not on the square of the patch's other bands")

    def check_s1(self, row: int, band: str, data: bytes) -> Iterator[str]:
        """What is wrong with a file of S1 backscatter."""
        header = read_header(data)
        yield from _unlike(header, PATCH_M // _S1_PIXEL_M, "float32", header.nodata, self._epsg(row))
        yield from self._elsewhere(row, header.left, header.top, "not on the square of its S2 patch")

    def check_map(self, row: int, kind: str, data: bytes) -> Iterator[str]:
        """What is wrong with a reference map, and whether the labels are not its labels."""
        header, codes = read_header(data), read_pixels(data)
        yield from _unlike(header, reference_maps.SIDE_PX, "uint16", 0.0, self._epsg(row))
        yield from self._elsewhere(row, header.left, header.top, "not on the square of its S2 patch")
        if sorted(self._labels_of(codes)) != sorted(self._rows.labels[row]):
            yield "with other classes than the labels in the metadata"

    def _epsg(self, row: int) -> int:
        return _epsg_of(_s2_tile(self._rows.patch_ids[row].decode()))

    def _elsewhere(self, row: int, left: float, top: float, what: str) -> Iterator[str]:
        if max(abs(self._left[row] - left), abs(self._top[row] - top)) > sentinel1.SAME_PLACE_M:
            yield what


@lru_cache(maxsize=256)
def _epsg_of(tile_name: str) -> int:
    return ProductName.parse(f"{tile_name}_{tile_name[11:26]}.SAFE").epsg


@lru_cache(maxsize=64)
def _around_tie_point(kind: geotiff.Template) -> bytes:
    return kind.header[: kind.tie_point_at] + kind.header[kind.tie_point_at + _TIE_POINT.size :]


def _unlike(header: TiffHeader, side_px: int, dtype: str, nodata: float | None, epsg: int) -> Iterator[str]:
    expected = _described(side_px, side_px, PATCH_M / side_px, dtype, nodata, epsg)
    found = _described(header.width, header.height, header.pixel_m, header.dtype, header.nodata, header.epsg)
    if found != expected:
        yield f"a TIFF of {found} instead of {expected}"


def _described(width: int, height: int, pixel_m: float, dtype: str, nodata: float | None, epsg: int | None) -> str:
    return f"{width} x {height} px of {pixel_m:g} m, {dtype}, no-data {nodata}, EPSG:{epsg}"
