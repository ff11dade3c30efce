"""Write and read uncompressed tars with a GeoParquet that has the place of each TIFF in them, in STAC's columns.

`patches.parquet` has a row per patch, a STAC item in the columns of STAC-GeoParquet: `assets` has a field per kind of
file, with the name of the tar (`href`) and the place of the TIFF in it, `offset` and `size` in bytes. So GDAL reads
one band of one patch as `/vsisubfile/<offset>_<size>,<tar>`, and with `/vsicurl/` before the URL of the tar it asks for
just these bytes. The tars have the members of the archives under their names; a patch without Sentinel-1 has null as
those assets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property, lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from ben_luigi.domain import given
from ben_luigi.domain.dataset import geoparquet
from ben_luigi.domain.errors import BadArchive, BadInput, DamagedFile, reason
from ben_luigi.domain.formats import tarball
from ben_luigi.domain.formats.tables import opened, writing
from ben_luigi.domain.formats.tiffheader import read_pixels
from ben_luigi.domain.forms.form import Difference, Options, Shown, Steps, Truth, unequal
from ben_luigi.domain.forms.pixels import PIXEL_M, Places, pixels_in, place_in
from ben_luigi.domain.forms.source import FLAG, KINDS, MAPS, S1, S2, Source, spelled_out
from ben_luigi.domain.names import MAP_SUFFIX, TileName, s1_tile, split_position
from ben_luigi.domain.placement.footprints import LONGITUDE_LATITUDE, polygons
from ben_luigi.domain.progress import OnFraction

PATCHES = geoparquet.PATCHES
STAC_VERSION, SPECIFICATION = "1.1.0", "1.1.0"
_TYPE = "image/tiff; application=geotiff"
_PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
_PREFIX = "bigearthnet:"
_ROWS_A_GROUP = 8192
_ROWS_COMPARED = 2048
_ASSET = pa.struct(
    [
        ("href", pa.string()),
        ("type", pa.string()),
        ("roles", pa.list_(pa.string())),
        ("gsd", pa.int32()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
    ]
)
_EXACT_DEGREES = 1e-7
"""To a centimetre: PROJ's versions differ in the last digits."""
_LINK = pa.struct([("href", pa.string()), ("rel", pa.string()), ("type", pa.string()), ("title", pa.string())])


def write(source: Source, folder: Path, options: Options, progress: OnFraction) -> None:
    """Write the tars, and then the table of their places. Memory: one patch, and 700 bytes per row."""
    on_ground = Places(len(source.rows))
    items = _Items(source, on_ground)
    steps = Steps(source, progress)
    for archive in source.archives:
        names = source.names(archive)
        with _Tars(folder, archive, options.file_bytes) as tars:
            before, at = "", dict[str, tuple[int, int, int]]()
            for patch in source.patches(archive):
                name = names[patch.row].as_py()
                if name != before:  # several patches may share one of S1, which is in the tars once
                    pixels_in(source, patch.files, name)  # what is no TIFF of its kind is noticed here
                    at = {kind: tars.add(_member(archive, name, kind), data) for kind, data in patch.files.items()}
                    before = name
                if archive == S2:
                    on_ground.note(patch.row, place_in(source, patch.files, name))
                for kind, place in at.items():
                    items.note(patch.row, kind, place)
                if archive != MAPS:
                    steps.step()
    items.write(folder / PATCHES)


def _member(archive: str, name: str, kind: str) -> str:
    """Return the name of a file in its archive."""
    tile = s1_tile(name) if archive == S1 else split_position(name)[0]
    return f"{archive}/{tile}/{name}/{name}_{kind}.tif"


class _Tars:
    """Tars of one archive, one after the other."""

    def __init__(self, folder: Path, archive: str, file_bytes: int) -> None:
        self._folder, self._archive, self._file_bytes = folder, archive, file_bytes
        self._number, self._at = 0, 0
        self._file: BinaryIO | None = None

    def add(self, member: str, data: bytes) -> tuple[int, int, int]:
        """Append a member; return the number of its tar, and offset and size of its data."""
        if self._at >= self._file_bytes:
            self._close()
        file = self._file = self._file or (self._folder / tar_name(self._archive, self._number)).open("wb")
        head = tarball.header(member, len(data))
        file.write(b"".join((head, data, tarball.padding(len(data)))))
        place = self._number, self._at + len(head), len(data)
        self._at += len(head) + len(data) + len(tarball.padding(len(data)))
        return place

    def _close(self) -> None:
        if self._file is not None:
            self._file.write(tarball.end(self._at))
            self._file.close()
            self._file, self._number, self._at = None, self._number + 1, 0

    def __enter__(self) -> _Tars:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self._close()
        elif self._file is not None:
            self._file.close()


def tar_name(archive: str, number: int) -> str:
    """Return the name of a tar."""
    return f"{archive}-{number:05d}.tar"


class _Items:
    """The items: where each patch lies `on_ground`, and each of its files in the tars; `number` is that of the tar."""

    def __init__(self, source: Source, on_ground: Places) -> None:
        self._source = source
        rows, kinds = len(source.rows), len(source.kinds)
        self._kinds = {kind: at for at, kind in enumerate(source.kinds)}
        self._number, self._size = (np.zeros((rows, kinds), dtype="int32") for _ in range(2))
        self._offset = np.zeros((rows, kinds), dtype="int64")
        self._on_ground = on_ground

    @property
    def rows(self) -> int:
        """The number of patches."""
        return len(self._source.rows)

    def note(self, row: int, kind: str, place: tuple[int, int, int]) -> None:
        """Note where a file lies: number of the tar, offset and size."""
        at = row, self._kinds[kind]
        self._number[at], self._offset[at], self._size[at] = place

    def write(self, path: Path) -> None:
        """Write the table."""
        with ExitStack() as stack:
            writer: pq.ParquetWriter | None = None
            for start in range(0, len(self._source.rows), _ROWS_A_GROUP):
                table = self.table(slice(start, start + _ROWS_A_GROUP))
                writer = writer or stack.enter_context(
                    writing(path, table.schema, compression="zstd", store_schema=False)
                )
                writer.write_table(table)
            if writer is not None:
                writer.add_key_value_metadata({name: json.dumps(content) for name, content in self.metadata().items()})

    def metadata(self) -> dict[str, Any]:
        """Return what the metadata of the table say, by key."""
        about = self._source.form.about
        groups = (slice(start, start + _ROWS_A_GROUP) for start in range(0, self.rows, _ROWS_A_GROUP))
        bounds = shapely.total_bounds(
            [shapely.box(*shapely.total_bounds(self._shapes(rows))) for rows in groups]
        ).tolist()
        note = {"version": SPECIFICATION, "collections": {about.name: _collection(self._source)}}
        return {"geo": geoparquet.geo(bounds), "stac-geoparquet": note}

    @cached_property
    def _edges(self) -> np.ndarray:
        left, top = self._on_ground.left_m, self._on_ground.top_m
        side_m = self._source.form.patch_m
        return np.stack([left, top - side_m, left + side_m, top], axis=1)

    def _shapes(self, rows: slice) -> np.ndarray:
        """Return the squares of these rows; all of them at once would take 700 bytes each."""
        return polygons(self._on_ground.epsg[rows], self._edges[rows], LONGITUDE_LATITUDE)

    def table(self, rows: slice) -> pa.Table:
        """Return the items of these rows, as a table."""
        edges, shapes = self._edges[rows], self._shapes(rows)
        table = spelled_out(self._source.rows.slice(rows.start, rows.stop - rows.start))
        number = len(table)
        tiles = [_tile(split_position(name)[0]) for name in table["patch_id"].to_pylist()]
        times = pa.array([tile.sensing_time for tile in tiles], pa.timestamp("ms"))
        box = [pa.array(edge) for edge in shapely.bounds(shapes).T]
        columns: dict[str, Any] = {
            "type": pa.repeat("Feature", number),
            "stac_version": pa.repeat(STAC_VERSION, number),
            "stac_extensions": pa.array([[_PROJECTION]] * number, pa.list_(pa.string())),
            "id": table["patch_id"],
            "geometry": pa.array(shapely.to_wkb(shapes), pa.binary()),
            "bbox": pa.StructArray.from_arrays(box, list(geoparquet.BBOX)),
            "links": pa.array([[]] * number, pa.list_(_LINK)),
            "assets": self._assets(rows, table),
            "collection": pa.repeat(self._source.form.about.name, number),
            "datetime": times.cast(pa.timestamp("ms", tz="UTC")),
            "platform": pa.array([f"sentinel-{tile.mission[1:].lower()}" for tile in tiles]),
            "constellation": pa.repeat("sentinel-2", number),
            "proj:code": pa.array([f"EPSG:{code}" for code in self._on_ground.epsg[rows].tolist()]),
            "proj:bbox": pa.array(edges.tolist(), pa.list_(pa.float64())),
        }
        own = [name for name in table.column_names if name not in ("patch_id", FLAG)]
        return pa.table({**columns, **{f"{_PREFIX}{name}": table[name] for name in own}})

    def _assets(self, rows: slice, table: pa.Table) -> pa.StructArray:
        has_s1 = self._source.names(S1)[rows].is_valid()
        fields = {}
        for archive in (S2, MAPS, S1):
            for kind in KINDS[archive] if archive in self._source.archives else ():
                fields[kind] = self._asset(rows, archive, kind, has_s1 if archive == S1 else None)
        return pa.StructArray.from_arrays(list(fields.values()), list(fields))

    def _asset(self, rows: slice, archive: str, kind: str, valid: pa.Array | None) -> pa.StructArray:
        at = self._kinds[kind]
        number = len(self._on_ground.epsg[rows])
        columns = [
            pa.array([tar_name(archive, tar) for tar in self._number[rows, at].tolist()]),
            pa.repeat(_TYPE, number),
            pa.array([["data" if archive != MAPS else "labels"]] * number, pa.list_(pa.string())),
            pa.repeat(pa.scalar(PIXEL_M[kind], pa.int32()), number),
            pa.array(self._offset[rows, at]),
            pa.array(self._size[rows, at].astype("int64")),
        ]
        missing = None if valid is None else pa.compute.invert(valid)
        return pa.StructArray.from_arrays(columns, fields=list(_ASSET), mask=missing)


def _collection(source: Source) -> dict[str, Any]:
    about = source.form.about
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "id": about.name,
        "description": f"patches of {about.name} {about.version}, in uncompressed tars",
        "license": about.license,
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
        "links": [],
    }


@lru_cache(maxsize=256)
def _tile(name: str) -> TileName:
    return TileName.parse(name)


def read(folder: Path) -> Iterator[Shown]:
    """Yield the pixels of all files that the table names. Memory: one row group of the table."""
    try:
        with opened(folder / PATCHES) as table:
            for batch in table.iter_batches(_ROWS_A_GROUP, columns=["id", "assets"]):
                for item in batch.to_pylist():
                    for kind, asset in item["assets"].items():
                        if asset is not None:
                            yield _shown(folder, item["id"], kind, asset)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise DamagedFile(folder / PATCHES, expected="the places of all TIFFs", found=str(error)) from error


def _shown(folder: Path, name: str, kind: str, asset: dict[str, Any]) -> Shown:
    tar = folder / str(asset["href"])
    try:
        with tar.open("rb") as file:
            file.seek(asset["offset"])
            tiff = file.read(asset["size"])
            return Shown(name, kind, read_pixels(tiff, f"{name}_{kind}.tif"), tiff)
    except (OSError, BadInput) as error:
        found = error.found if isinstance(error, BadInput) else str(error)
        raise DamagedFile(tar, expected=f"{kind} of {name} at {asset['offset']}", found=found) from error


def check(truth: Truth, folder: Path) -> Iterator[Difference]:
    """Yield what the table and the bytes of the tars around the TIFFs say otherwise than the dataset.

    Memory: `_ROWS_COMPARED` rows of the table, and 270 bytes per row. Raise DamagedFile.
    """
    items, is_whole = _Items(truth.source, truth.places), True
    for path in given.find(folder, "*.tar"):
        try:
            yield from _check_tar(truth, path, items)
        except (OSError, BadArchive) as error:
            is_whole = False
            found = (
                f"expected: {error.expected}; found: {error.found}" if isinstance(error, BadArchive) else reason(error)
            )
            yield Difference(path.name, found)
    try:
        with opened(folder / PATCHES) as file:
            yield from _check_table(file, items, is_whole)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise DamagedFile(folder / PATCHES, expected="the places of all TIFFs", found=str(error)) from error


def _check_table(file: pq.ParquetFile, items: _Items, is_whole: bool) -> Iterator[Difference]:
    """Yield what the table says otherwise than the dataset; of the places of files only if all tars could be read."""
    yield from _check_metadata(file.schema_arrow.metadata or {}, items.metadata())
    if file.metadata.num_rows != items.rows:
        yield Difference(PATCHES, f"{file.metadata.num_rows:,} rows, where there are {items.rows:,} patches")
        return
    start = 0
    for batch in file.iter_batches(_ROWS_COMPARED, use_threads=False):
        found = pa.Table.from_batches([batch])
        expected = items.table(slice(start, start + len(found)))
        yield from _check_rows(found, expected if is_whole else expected.drop_columns(["assets"]))
        start += len(found)


def _check_tar(truth: Truth, path: Path, items: _Items) -> Iterator[Difference]:
    """Note the places of the files in a tar, and yield those that should not be in it. Raise BadArchive."""
    archive, _, number = path.stem.rpartition("-")
    if archive not in truth.source.archives or not number.isdecimal() or path.name != tar_name(archive, int(number)):
        yield Difference(path.name, "a tar that the dataset does not give")
        return
    with path.open("rb") as file:
        for entry in tarball.walk(file):
            stem = entry.name.rpartition("/")[2].removesuffix(".tif")
            name = stem.removesuffix(MAP_SUFFIX) if archive == MAPS else stem.rpartition("_")[0]
            kind, rows = stem[len(name) + 1 :], truth.rows(name)
            if not rows or kind not in KINDS[archive] or entry.name != _member(archive, name, kind):
                yield Difference(path.name, "members at no patch's place", entry.name)
                continue
            for row in rows:
                items.note(row, kind, (int(number), entry.data, entry.size))


def _check_metadata(found: dict[bytes, bytes], expected: dict[str, Any]) -> Iterator[Difference]:
    for name, content in expected.items():
        told = json.loads(found.get(name.encode(), b"null"))
        if name == "geo" and isinstance(told, dict):
            box, right = (of["columns"]["geometry"].pop("bbox") for of in (told, content))
            if not np.allclose(box, right, 0, _EXACT_DEGREES):
                yield Difference(PATCHES, "another bbox of all patches in its metadata")
        if told != json.loads(json.dumps(content)):
            yield Difference(PATCHES, f"other metadata {name!r} than the dataset gives")


def _check_rows(found: pa.Table, expected: pa.Table) -> Iterator[Difference]:
    """Yield what the items of some rows say otherwise, by column."""
    ids = expected["id"].to_pylist()
    for name in expected.column_names:
        if name not in found.column_names:
            yield Difference(PATCHES, "no such column", name)
            continue
        differs = _elsewhere if name in ("geometry", "bbox") else unequal
        for row in differs(found[name], expected[name]):
            yield Difference(PATCHES, f"other {name} than the dataset gives", ids[row])
    for name in found.column_names:
        if name not in expected.column_names and name != "assets":
            yield Difference(PATCHES, "a column that the dataset does not give", name)


def _elsewhere(found: pa.ChunkedArray, expected: pa.ChunkedArray) -> list[int]:
    """Return the positions at which squares or their bounds lie somewhere else."""
    if found.equals(expected):
        return []
    one, other = ([_numbers(value) for value in column.to_pylist()] for column in (found, expected))
    pairs = enumerate(zip(one, other, strict=True))
    return [at for at, (a, b) in pairs if a.shape != b.shape or not np.allclose(a, b, 0, _EXACT_DEGREES)]


def _numbers(value: object) -> np.ndarray:
    """Return the coordinates of a geometry in WKB, or the numbers of a box."""
    if isinstance(value, bytes):
        return np.asarray(shapely.get_coordinates(shapely.from_wkb(value)))
    return np.array([*value.values()], dtype=float) if isinstance(value, dict) else np.empty(0)
