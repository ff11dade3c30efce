"""Write and read uncompressed tars with a GeoParquet that has the place of each TIFF in them, in STAC's columns.

`patches.parquet` has a row per patch, a STAC item in the columns of STAC-GeoParquet: `assets` has a field per kind of
file, with the name of the tar (`href`) and the place of the TIFF in it, `offset` and `size` in bytes. So GDAL reads
one band of one patch as `/vsisubfile/<offset>_<size>,<tar>`, and with `/vsicurl/` before the URL of the tar it asks for
just these bytes. The tars have the members of the archives under their names; a patch without Sentinel-1 has null as
those assets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from ben_luigi.domain.dataset import geoparquet
from ben_luigi.domain.errors import BadInput, DamagedFile
from ben_luigi.domain.formats import tarball
from ben_luigi.domain.formats.tables import opened, writing
from ben_luigi.domain.formats.tiffheader import read_pixels
from ben_luigi.domain.forms.form import Options, Shown, Steps
from ben_luigi.domain.forms.pixels import PIXEL_M, pixels_of, place_of
from ben_luigi.domain.forms.source import FLAG, KINDS, MAPS, S1, S2, Source
from ben_luigi.domain.names import TileName, s1_tile, split_position
from ben_luigi.domain.placement.footprints import LONGITUDE_LATITUDE, polygons
from ben_luigi.domain.progress import OnFraction

PATCHES = geoparquet.PATCHES
STAC_VERSION, SPECIFICATION = "1.1.0", "1.1.0"
_TYPE = "image/tiff; application=geotiff"
_PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
_PREFIX = "bigearthnet:"
_ROWS_A_GROUP = 8192
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
_LINK = pa.struct([("href", pa.string()), ("rel", pa.string()), ("type", pa.string()), ("title", pa.string())])


def write(source: Source, folder: Path, options: Options, progress: OnFraction) -> None:
    """Write the tars, and then the table of their places. Memory: one patch, and 400 bytes per row."""
    places = _Places(source)
    steps = Steps(source, progress)
    for archive in source.archives:
        names = source.names(archive)
        with _Tars(folder, archive, options.file_bytes) as tars:
            before, at = "", dict[str, tuple[int, int, int]]()
            for patch in source.patches(archive):
                name = names[patch.row].as_py()
                if name != before:  # several patches may share one of S1, which is in the tars once
                    pixels_of(patch.files, source.form.patch_m, name)  # what is no TIFF of its kind is noticed here
                    at = {kind: tars.add(_member(archive, name, kind), data) for kind, data in patch.files.items()}
                    before = name
                if archive == S2:
                    places.put(patch.row, patch.files, name)
                for kind, place in at.items():
                    places.note(patch.row, kind, place)
                if archive != MAPS:
                    steps.step()
    places.write(folder / PATCHES)


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


class _Places:
    """Where each patch lies on the ground, and each of its files in the tars; `number` is that of the tar."""

    def __init__(self, source: Source) -> None:
        self._source = source
        rows, kinds = len(source.rows), len(source.kinds)
        self._kinds = {kind: at for at, kind in enumerate(source.kinds)}
        self._number, self._size = (np.zeros((rows, kinds), dtype="int32") for _ in range(2))
        self._offset = np.zeros((rows, kinds), dtype="int64")
        self._epsg, self._corner = np.zeros(rows, dtype="int32"), np.zeros((rows, 2))

    def put(self, row: int, files: Mapping[str, bytes], name: str) -> None:
        """Note where a patch lies, as one of its TIFFs says."""
        place = place_of(files, name)
        self._epsg[row], self._corner[row] = place.epsg, (place.left_m, place.top_m)

    def note(self, row: int, kind: str, place: tuple[int, int, int]) -> None:
        """Note where a file lies: number of the tar, offset and size."""
        at = row, self._kinds[kind]
        self._number[at], self._offset[at], self._size[at] = place

    def write(self, path: Path) -> None:
        """Write the table."""
        edges = np.concatenate([self._corner, self._corner], axis=1)[:, [0, 1, 2, 3]]
        edges[:, 1] -= self._source.form.patch_m
        edges[:, 2] += self._source.form.patch_m
        shapes = polygons(self._epsg, edges, LONGITUDE_LATITUDE)
        bounds = shapely.total_bounds(shapes).tolist()
        collection = self._source.form.about.name
        note = json.dumps({"version": SPECIFICATION, "collections": {collection: _collection(self._source)}})
        metadata = {"geo": json.dumps(geoparquet.geo(bounds)), "stac-geoparquet": note}
        slices = [slice(start, start + _ROWS_A_GROUP) for start in range(0, len(shapes), _ROWS_A_GROUP)]
        with ExitStack() as stack:
            writer: pq.ParquetWriter | None = None
            for rows in slices:
                table = self._items(rows, edges[rows], shapes[rows])
                writer = writer or stack.enter_context(
                    writing(path, table.schema, compression="zstd", store_schema=False)
                )
                writer.write_table(table)
            if writer is not None:
                writer.add_key_value_metadata(metadata)

    def _items(self, rows: slice, edges: np.ndarray, shapes: np.ndarray) -> pa.Table:
        table = self._source.rows.slice(rows.start, rows.stop - rows.start)
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
            "proj:code": pa.array([f"EPSG:{code}" for code in self._epsg[rows].tolist()]),
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
        number = len(self._epsg[rows])
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
                    yield from _shown(folder, item)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise DamagedFile(folder / PATCHES, expected="the places of all TIFFs", found=str(error)) from error


def _shown(folder: Path, item: dict[str, Any]) -> Iterator[Shown]:
    for kind, asset in item["assets"].items():
        if asset is not None:
            yield Shown(item["id"], kind, _pixels(folder, item["id"], kind, asset))


def _pixels(folder: Path, name: str, kind: str, asset: dict[str, Any]) -> np.ndarray:
    tar = folder / str(asset["href"])
    try:
        with tar.open("rb") as file:
            file.seek(asset["offset"])
            return read_pixels(file.read(asset["size"]), f"{name}_{kind}.tif")
    except (OSError, BadInput) as error:
        found = error.found if isinstance(error, BadInput) else str(error)
        raise DamagedFile(tar, expected=f"{kind} of {name} at {asset['offset']}", found=found) from error
