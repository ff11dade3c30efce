"""Write and read WebDataset shards: tars by split, shuffled by a seed, with the members of a patch beside each other.

A patch has `<patch id>.json` (the columns of the metadata, and its place), `.map.npy` (row, col), `.s2.npz` and, if it
has a partner in Sentinel-1, `.s1.npz`: stored zips of an array (row, col) per band, as `numpy.savez` writes them. All
members have a length that is known from the metadata, so each has its place in a shard before any pixel has been read,
and is written there when it comes: the dataset is read once, in its own order.

Flagged patches have shards of their own, `flagged-<split>-*.tar`. `index.parquet` has the shard, the offset and the
size of each patch, in the order of the shards.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from ben_luigi.domain import given, waiting
from ben_luigi.domain.dataset.metadata import SCHEMA
from ben_luigi.domain.dataset.sampling import drawn
from ben_luigi.domain.dataset.usable_rows import require_usable
from ben_luigi.domain.errors import BadArchive, BadTable, DamagedFile, reason, some
from ben_luigi.domain.formats import tarball
from ben_luigi.domain.formats.tables import opened, writing
from ben_luigi.domain.forms.form import Difference, Options, Shown, Steps, Truth
from ben_luigi.domain.forms.npz import Npz
from ben_luigi.domain.forms.pixels import DTYPES, PIXEL_M, Place, pixels_in, place_in
from ben_luigi.domain.forms.source import FLAG, KINDS, MAP, S1, S2, Source, offset_tiles, part_of, spelled_out
from ben_luigi.domain.names import tile_name_of
from ben_luigi.domain.progress import OnFraction

INDEX = "index.parquet"
BOA_OFFSET = "boa_offset"
"""Tells in the JSON whether the pixels of Sentinel-2 carry BOA_ADD_OFFSET, if those of any patch do."""
_JSON, _MAP, _S2, _S1 = "json", "map.npy", "s2.npz", "s1.npz"
_JSON_BYTES = 2**16
"""More than the JSON of any patch, with its header."""
_ROWS_AT_ONCE = 65_536
_WIDEST = Place(999_999, -9_999_999.5, -99_999_999.5)
"""No place has more digits."""
_SCHEMA = pa.schema(
    [
        ("patch_id", pa.string()),
        ("split", pa.string()),
        (FLAG, pa.bool_()),
        ("shard", pa.string()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
    ]
)

_ROW = pa.schema([SCHEMA.field(name) for name in ("patch_id", "labels", "split", "country", "s1_name", "s2v1_name")])
"""What a JSON says that is a column of the metadata; a recipe's may have fewer."""


def write(source: Source, folder: Path, options: Options, progress: OnFraction) -> None:
    """Write the shards and their index. Memory: one patch, and 500 bytes per row."""
    with waiting.told("the place of each patch in the shards"):
        layout = _Layout.of(source, options)
    layout.make_shards(folder)
    steps = Steps(source, progress)
    for patch, reference_map in source.beside():
        name = layout.patch_ids[patch.row].as_py()
        place = place_in(source, patch.files, name)
        pixels = pixels_in(source, {**patch.files, MAP: reference_map}, name)
        members = {_JSON: layout.json(patch.row, place), _MAP: _npy(pixels[MAP]), _S2: layout.s2.filled(pixels)}
        layout.put(folder, patch.row, members)
        steps.step()
    for patch in source.patches(S1):
        name = layout.s1_names[patch.row].as_py()
        layout.put(folder, patch.row, {_S1: layout.s1.filled(pixels_in(source, patch.files, name))})
        steps.step()
    index = layout.index()
    with writing(folder / INDEX, index.schema, compression="zstd") as writer:
        writer.write_table(index)


@dataclass(frozen=True)
class _Layout:
    """Where each patch lies. `order` has the rows shard by shard, `stops` the ends of the shards in it, by name."""

    rows: pa.Table
    patch_ids: pa.Array
    s1_names: pa.Array
    order: np.ndarray
    shard: np.ndarray
    offset: np.ndarray
    size: np.ndarray
    json_bytes: np.ndarray
    names: list[str]
    sizes: Mapping[str, int]
    s2: Npz
    s1: Npz

    @classmethod
    def of(cls, source: Source, options: Options) -> _Layout:
        """Return where each patch of a dataset lies."""
        rows, patch_m = source.rows, source.form.patch_m
        patch_ids, s1_names = (source.names(archive) for archive in (S2, S1))
        s2, s1 = (Npz(_blank(KINDS[archive], patch_m)) for archive in (S2, S1))
        sizes = {_S2: len(s2), _S1: len(s1), _MAP: len(_npy(_blank((MAP,), patch_m)[MAP]))}
        order, shard, offset, size, json_bytes = (np.zeros(len(rows), dtype="int64") for _ in range(5))
        told = _told(source)
        json_bytes[:] = np.fromiter((len(_json(told, row, _WIDEST)) for row in range(len(rows))), "int64")
        made = cls(told, patch_ids, s1_names, order, shard, offset, size, json_bytes, [], sizes, s2, s1)
        made.size[:] = np.fromiter((sum(size for _, size in made.members(row)) for row in range(len(rows))), "int64")
        start = 0
        for part, ordered in source.parts().items():
            group = ordered[drawn(f"{options.seed} {patch_ids[row].as_py()}" for row in ordered.tolist())]
            made.order[start : start + len(group)] = group
            made._divide(group, part, options.file_bytes)
            start += len(group)
        return made

    def _divide(self, group: np.ndarray, part: str, file_bytes: int) -> None:
        """Divide patches into shards of about equally many, and of about `file_bytes`."""
        number = max(1, round(int(self.size[group].sum()) / file_bytes))
        for at, rows in enumerate(np.array_split(group, min(number, len(group)))):
            self.shard[rows] = len(self.names)
            self.offset[rows] = np.cumsum(self.size[rows]) - self.size[rows]
            self.names.append(f"{part}-{at:06d}.tar")

    def members(self, row: int) -> Iterator[tuple[str, int]]:
        """Yield the members of a patch, in their order, and the size of each with header and padding."""
        lengths = {_JSON: int(self.json_bytes[row]), **self.sizes}
        for kind in (_JSON, _MAP, _S2, *([_S1] if self.s1_names[row].is_valid else [])):
            data = lengths[kind]
            head = len(tarball.header(f"{self.patch_ids[row].as_py()}.{kind}", data))
            yield kind, head + data + len(tarball.padding(data))

    def make_shards(self, folder: Path) -> None:
        """Make the shards in their full length, so that a disk without room is noticed before the work."""
        # The sums are floats, which have whole numbers of this size exactly.
        contents = np.bincount(self.shard, weights=self.size, minlength=len(self.names))
        for name, content in zip(self.names, contents.astype("int64").tolist(), strict=True):
            with (folder / name).open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, content + len(tarball.end(content)))

    def put(self, folder: Path, row: int, members: Mapping[str, bytes]) -> None:
        """Write members of a patch to their places."""
        at, pieces, first = int(self.offset[row]), [], None
        for kind, size in self.members(row):
            if kind in members:
                first = at if first is None else first
                data = members[kind]
                name = f"{self.patch_ids[row].as_py()}.{kind}"
                pieces.append(tarball.header(name, len(data)) + data + tarball.padding(len(data)))
                if len(pieces[-1]) != size:
                    raise _other_length(folder / self.names[self.shard[row]], name, size, len(pieces[-1]))
            at += size
        with (folder / self.names[self.shard[row]]).open("r+b") as file:
            file.seek(first or 0)
            file.write(b"".join(pieces))

    def json(self, row: int, place: Place) -> bytes:
        """Return the metadata of a patch and its place as JSON, with spaces up to its length."""
        return _json(self.rows, row, place).ljust(int(self.json_bytes[row]))

    def index(self) -> pa.Table:
        """Return the index, in the order of the shards."""
        rows = spelled_out(self.rows.select(["patch_id", "split"]).take(pa.array(self.order)))
        flagged = [self.names[number].startswith("flagged-") for number in self.shard[self.order]]
        columns = [rows["patch_id"], rows["split"], flagged, [self.names[at] for at in self.shard[self.order]]]
        return pa.table([*columns, self.offset[self.order], self.size[self.order]], schema=_SCHEMA)


def _told(source: Source) -> pa.Table:
    """Return what the JSON of each patch says besides its place."""
    told = source.rows.drop_columns([FLAG])
    if offsets := offset_tiles(source.folder):
        carries = [tile_name_of(name.as_py()) in offsets for name in told["patch_id"]]
        told = told.append_column(BOA_OFFSET, pa.array(carries))
    return told


def _json(rows: pa.Table, row: int, place: Place) -> bytes:
    return json.dumps(_content(rows, row, place), ensure_ascii=False).encode()


def _content(rows: pa.Table, row: int, place: Place) -> dict[str, Any]:
    return {**{name: rows[name][row].as_py() for name in rows.column_names}, **place._asdict()}


def _blank(kinds: tuple[str, ...], patch_m: int) -> dict[str, np.ndarray]:
    """Return empty pixels of each kind."""
    return {kind: np.zeros((patch_m // PIXEL_M[kind],) * 2, dtype=DTYPES[kind]) for kind in kinds}


def _npy(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, pixels, version=(1, 0), allow_pickle=False)
    return file.getvalue()


def _other_length(shard: Path, name: str, expected: int, found: int) -> BadArchive:
    return BadArchive(
        shard,
        expected=f"{name} of {expected} bytes",
        found=f"{found} bytes",
        remedy="report it with this message: it is an error of this program",
    )


def read_index(folder: Path) -> pa.Table:
    """Return the index of the shards in a folder: where each patch lies. Raise DamagedFile if it cannot be read."""
    path = folder / INDEX
    try:
        with opened(path) as parquet:
            table = parquet.read().select(_SCHEMA.names).cast(_SCHEMA)
        table.validate(full=True)  # Arrow does not check by itself that text is UTF-8
        odd = [name for name in table["shard"].unique().to_pylist() if not name or name != Path(name).name]
        if odd:
            raise ValueError(f"shards outside of its folder: {some(odd)}")
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        remedy = "name a folder that ben-luigi export webdataset has made, or export it again"
        raise DamagedFile(path, expected="the index of the shards", found=str(error), remedy=remedy) from error
    _check(path, table)
    return table


def _check(path: Path, rows: pa.Table, lacking: tuple[str, ...] = ()) -> None:
    """Raise DamagedFile about `path` if a row cannot be used."""
    try:
        require_usable(path, rows, lacking)
    except BadTable as error:
        raise DamagedFile(
            path, expected=error.expected, found=error.found, remedy="fetch or export it again"
        ) from error


def read_row(folder: Path, place: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the JSON of a patch says, given its row of the index. Raise DamagedFile about its shard."""
    block = _block(folder, place, _JSON_BYTES)
    try:
        entry = tarball.entry(block)
        if entry is None or entry.name != f"{place['patch_id']}.{_JSON}":
            raise ValueError(f"no JSON of {place['patch_id']}, where the index says so")
        found: dict[str, Any] = json.loads(block[entry.data : entry.data + entry.size])
        row = pa.Table.from_pylist([found], _ROW)
        if row["patch_id"][0].as_py() != place["patch_id"]:
            raise ValueError(f"{entry.name} is of {row['patch_id'][0].as_py()!r}")
    except (ValueError, TypeError, AttributeError, pa.ArrowException, BadArchive) as error:
        raise _bad_shard(folder, place, error) from error
    _check(folder / place["shard"], row, ("country", "s2v1_name"))
    return found


def read_patch(folder: Path, place: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the pixels (row, col) of a patch by kind, given its row of the index.

    Raise DamagedFile about its shard.
    """
    try:
        return {one.kind: one.pixels for one in _shown(str(place["patch_id"]), _block(folder, place, place["size"]))}
    except (ValueError, BadArchive) as error:
        raise _bad_shard(folder, place, error) from error


def _block(folder: Path, place: Mapping[str, Any], most_bytes: int) -> bytes:
    """Return the members of a patch, up to `most_bytes`."""
    try:
        with Path(folder, place["shard"]).open("rb") as file:
            file.seek(place["offset"])
            return file.read(min(place["size"], most_bytes))
    except (OSError, ValueError) as error:
        raise _bad_shard(folder, place, error) from error


def _bad_shard(folder: Path, place: Mapping[str, Any], error: Exception) -> DamagedFile:
    remedy = "fetch or export it again"
    return DamagedFile(folder / place["shard"], expected="a whole shard", found=str(error), remedy=remedy)


def read(folder: Path) -> Iterator[Shown]:
    """Yield the pixels of all shards that the index names. Memory: one patch. Raise DamagedFile."""
    for shard, places in _by_shard(read_index(folder)).items():
        try:
            with (folder / shard).open("rb") as file:
                for patch_id, offset, size in zip(*(column.to_pylist() for column in places.columns), strict=True):
                    file.seek(offset)
                    block = file.read(size)
                    if len(block) < size:
                        raise ValueError(f"no whole members of {patch_id}: it ends before byte {offset + size:,}")
                    yield from _shown(patch_id, block)
        except (OSError, ValueError, TypeError, BadArchive) as error:
            raise _bad_shard(folder, {"shard": shard}, error) from error


def _by_shard(index: pa.Table) -> dict[str, pa.Table]:
    """Return patch id, offset and size of the patches in each shard, in the order of the index.

    It is sorted once, since there may be thousands of shards, and each filter would pass over all patches.
    """
    encoded = index["shard"].combine_chunks().dictionary_encode()
    numbers, names = encoded.indices.to_numpy(), encoded.dictionary.to_pylist()
    ordered = index.select(["patch_id", "offset", "size"]).take(pa.array(np.argsort(numbers, kind="stable")))
    lengths = np.bincount(numbers, minlength=len(names))
    starts = np.cumsum(lengths) - lengths
    places = zip(names, starts.tolist(), lengths.tolist(), strict=True)
    return {name: ordered.slice(start, length) for name, start, length in places}


def _shown(patch_id: str, block: bytes) -> Iterator[Shown]:
    """Yield the pixels in the members of a patch. Raise ValueError or BadArchive about damaged ones."""
    at = 0
    while at < len(block):
        entry = tarball.entry(block, at)
        if entry is None or not entry.name.startswith(f"{patch_id}."):
            raise ValueError(f"no member of {patch_id}, where the index says so")
        kind = entry.name.removeprefix(f"{patch_id}.")
        try:
            arrays = _arrays(kind, block[entry.data : entry.data + entry.size])
        except Exception as error:  # what NumPy and zipfile raise about damaged bytes has no class in common
            raise ValueError(f"{entry.name}: {error or type(error).__name__}") from error
        yield from (Shown(patch_id, name, pixels) for name, pixels in arrays.items())
        at = entry.stop


def _arrays(kind: str, content: bytes) -> dict[str, np.ndarray]:
    """Return the arrays in a member, by kind of file; its JSON has none."""
    if kind == _MAP:
        return {MAP: np.load(io.BytesIO(content))}
    if kind not in (_S2, _S1):
        return {}
    with np.load(io.BytesIO(content)) as arrays:
        return {band: arrays[band] for band in arrays.files}


def check(truth: Truth, folder: Path) -> Iterator[Difference]:
    """Yield what the JSON of the patches, the index and the bytes between members say otherwise than the dataset.

    Memory: the index, and of one shard 200 bytes per patch. Raise DamagedFile.
    """
    index, told = read_index(folder), _told(truth.source)
    for place in (row for batch in index.to_batches(max_chunksize=_ROWS_AT_ONCE) for row in batch.to_pylist()):
        for row in truth.rows(place["patch_id"]):  # others are found surplus by their pixels
            split, is_flagged = (truth.source.rows[name][row].as_py() for name in ("split", FLAG))
            if (place["split"], place[FLAG]) != (split, is_flagged):
                yield Difference(INDEX, "another split or flag than in the dataset", place["patch_id"])
            if place["shard"].rpartition("-")[0] != part_of(truth.source.rows, row):
                yield Difference(place["shard"], "a patch of another split or flag than the shard", place["patch_id"])
    by_shard = _by_shard(index)
    for shard in sorted({*by_shard, *(path.name for path in given.find(folder, "*.tar"))}):
        places = by_shard[shard].to_pylist() if shard in by_shard else []
        try:
            with (folder / shard).open("rb") as file:
                yield from _check_shard(truth, told, shard, file, {tuple(place.values()) for place in places})
        except BadArchive as error:
            yield Difference(shard, f"expected: {error.expected}; found: {error.found}")
        except OSError as error:
            yield Difference(shard, f"cannot be read ({reason(error)})")


def _check_shard(
    truth: Truth, told: pa.Table, shard: str, file: BinaryIO, places: set[tuple[Any, ...]]
) -> Iterator[Difference]:
    """Yield what a shard says; `places` are patch id, offset and size of its patches. Raise BadArchive."""
    blocks: dict[str, tuple[int, int]] = {}
    stop = 0
    for entry in tarball.walk(file):
        patch, _, kind = entry.name.partition(".")
        blocks[patch] = blocks.get(patch, (stop,))[0], entry.stop
        stop = entry.stop
        if kind == _JSON:
            content = os.pread(file.fileno(), entry.size, entry.data)
            for row in truth.rows(patch):
                yield from _check_json(shard, patch, content, _content(told, row, truth.places.of(row)))
    found = {(patch, start, stop - start) for patch, (start, stop) in blocks.items()}
    for patch in sorted({str(patch) for patch, *_ in found ^ places}):
        yield Difference(INDEX, f"another place than {shard} has for the patch", patch)


def _check_json(shard: str, patch: str, content: bytes, expected: Mapping[str, Any]) -> Iterator[Difference]:
    try:
        found = json.loads(content)
        differs = [key for key in {**expected, **found} if key not in found or found[key] != expected.get(key, found)]
    except (ValueError, TypeError, RecursionError):
        yield Difference(shard, "JSON that cannot be read", patch)
        return
    for key in differs:
        yield Difference(shard, f"other {key} than in the dataset", patch)
