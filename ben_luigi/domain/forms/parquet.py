"""Write and read Parquet files by split: a row per patch, a column per band, so that one band is read alone.

Columns are those of the metadata, the place (`epsg`, `left_m`, `top_m`), and one per kind of file, `B01` to `B12`,
`reference_map`, `VH` and `VV`: the bytes of the TIFF, or its pixels row by row, as a list of fixed length or as the
bytes of these numbers. Flagged patches have files of their own, `flagged-<split>-*.parquet`; a patch without Sentinel-1
has null there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ben_luigi.domain import given
from ben_luigi.domain.errors import BadInput, DamagedFile
from ben_luigi.domain.formats.tables import opened
from ben_luigi.domain.formats.tiffheader import native, read_pixels
from ben_luigi.domain.forms.form import Difference, Options, Shown, Steps, Truth, unequal
from ben_luigi.domain.forms.pixels import DTYPES, Place, pixels_in, place_in, side_px
from ben_luigi.domain.forms.source import FLAG, KINDS, MAP, S1, S2, Source, part_of, spelled_out
from ben_luigi.domain.forms.spool import spooled
from ben_luigi.domain.progress import OnFraction
from ben_luigi.domain.vocabulary import ARRAY, RAW, TIFF

ROWS_A_GROUP = 32
"""9 MB of pixels, for each of up to six parts that are being written."""
GROUP_BYTES = 2**24
"""A row group ends with the patch that reaches it: 32 of the usual size never do, of larger ones fewer are a group."""
_LEVEL = 1
"""Of zstd: higher ones make pixels hardly smaller."""
_VALUES_AT_ONCE = 2**16
"""Of pixels; Arrow's 1,024 are a fourteenth of a patch."""
_PLACE = [("epsg", pa.int32()), ("left_m", pa.float64()), ("top_m", pa.float64())]


def write(source: Source, folder: Path, options: Options, progress: OnFraction) -> None:
    """Write the files. Memory: one row group per part that is being written. Disk: see `spooled`."""
    schema = _schema(source, options)
    parts: dict[str, _Part] = {}
    steps = Steps(source, progress)
    with spooled(source, folder, steps) as radar:
        for patch, reference_map in source.beside():
            name = str(source.rows["patch_id"][patch.row].as_py())
            files = {**patch.files, MAP: reference_map, **radar.files(patch.row)}
            place = place_in(source, files, name)
            pixels = pixels_in(source, files, name)  # what is no TIFF of its kind is noticed here
            part = part_of(source.rows, patch.row)
            if part not in parts:
                parts[part] = _Part(folder, part, source.rows, schema, options.file_bytes)
            parts[part].add(patch.row, place, files if options.pixels == TIFF else pixels)
            steps.step()
        for each in parts.values():
            each.close()


def _schema(source: Source, options: Options) -> pa.Schema:
    """Return the schema; shapes of the pixels, and types where they are bytes alone, are in its metadata.

    Columns of pixels that cannot be null say so: readers of lists take a quarter less time then.
    """
    fields = [field for field in spelled_out(source.rows[:0]).schema if field.name != FLAG]
    sides = {kind: side_px(kind, source.form.patch_m) for kind in source.kinds}
    kinds = [
        pa.field(kind, _type(kind, side**2, options.pixels), nullable=kind in KINDS[S1]) for kind, side in sides.items()
    ]
    told = {"shapes": json.dumps({kind: [side, side] for kind, side in sides.items()})}
    if options.pixels == RAW:
        told["dtypes"] = json.dumps({kind: _dtype(kind).str for kind in sides})
    return pa.schema([*fields, *_PLACE, *kinds], told)


def _type(kind: str, values: int, stored: str) -> pa.DataType:
    """Return the type of a column, of so many pixels per row."""
    if stored == TIFF:
        return pa.binary()
    if stored == RAW:
        return pa.binary(values * _dtype(kind).itemsize)
    return pa.list_(pa.field("element", pa.from_numpy_dtype(DTYPES[kind]), nullable=False), values)


def _dtype(kind: str) -> np.dtype:
    """Return the type of a pixel, in the byte order that Parquet has everywhere."""
    return np.dtype(DTYPES[kind]).newbyteorder("<")


def stored_as(kind: pa.DataType) -> str:
    """Return what a column of this type holds, as `[forms] pixels` says it."""
    return TIFF if pa.types.is_binary(kind) else RAW if pa.types.is_fixed_size_binary(kind) else ARRAY


class _Part:
    """The files of one part of the dataset, such as `train`, one after the other."""

    def __init__(self, folder: Path, name: str, rows: pa.Table, schema: pa.Schema, file_bytes: int) -> None:
        self._folder, self._name, self._rows, self._schema = folder, name, rows, schema
        self._file_bytes, self._number = file_bytes, 0
        self._writer: pq.ParquetWriter | None = None
        self._file: BinaryIO | None = None
        self._stack = ExitStack()
        self._waiting: list[tuple[int, Place]] = []
        self._waiting_bytes = 0
        kinds = [field for field in schema if field.name in DTYPES]
        self._columns = {each.name: (_Files if stored_as(each.type) == TIFF else _Pixels)(each) for each in kinds}

    def add(self, row: int, place: Place, files: Mapping[str, Any]) -> None:
        """Add a patch, with the bytes or the pixels of its files by kind."""
        self._waiting.append((row, place))
        self._waiting_bytes += sum(column.add(files.get(kind)) for kind, column in self._columns.items())
        if len(self._waiting) == ROWS_A_GROUP or self._waiting_bytes >= GROUP_BYTES:
            self._write_group()

    def close(self) -> None:
        """Write what is left."""
        if self._waiting:
            self._write_group()
        self._stack.close()

    def _write_group(self) -> None:
        rows = spelled_out(self._rows.drop_columns([FLAG]).take([row for row, _ in self._waiting]))
        places = zip(*(place for _, place in self._waiting), strict=True)
        columns = [*rows.columns, *map(list, places), *(column.take() for column in self._columns.values())]
        self._waiting.clear()
        self._waiting_bytes = 0
        writer = self._writer = self._writer or self._open()
        writer.write_table(pa.table(columns, schema=self._schema))
        if self._file and self._file.tell() >= self._file_bytes:
            self._stack.close()
            self._writer, self._number = None, self._number + 1

    def _open(self) -> pq.ParquetWriter:
        told = [field.name for field in self._schema if field.name not in DTYPES]
        self._file = self._stack.enter_context(self._path().open("wb"))  # as in `tables.writing`
        writer = pq.ParquetWriter(
            self._file,
            self._schema,
            compression={_path_of(field): "none" if _is_bare(field) else "zstd" for field in self._schema},
            compression_level={_path_of(field): _LEVEL for field in self._schema if not _is_bare(field)},
            column_encoding={_path_of(field): way for field in self._schema if (way := _encoding(field))},
            use_dictionary=[name for name in told if name in ("split", "country")],
            write_statistics=[name for name in told if name != "labels"],
            write_page_index=True,
            write_batch_size=_VALUES_AT_ONCE,
        )
        return self._stack.enter_context(writer)

    def _path(self) -> Path:
        return self._folder / _file_name(self._name, self._number)


def _file_name(part: str, number: int) -> str:
    return f"{part}-{number:05d}.parquet"


def _path_of(field: pa.Field) -> str:
    """Return what Parquet calls the values of a column."""
    is_list = pa.types.is_list(field.type) or pa.types.is_fixed_size_list(field.type)
    return f"{field.name}.list.element" if is_list else str(field.name)


def _encoding(field: pa.Field) -> str:
    """Return how the pixels of a column of lists are encoded; an empty text for other columns.

    The large areas of one code in a map are left to zstd, which makes half as much of them as of their differences.
    """
    if not pa.types.is_fixed_size_list(field.type):
        return ""
    if field.name == MAP:
        return "PLAIN"
    return "BYTE_STREAM_SPLIT" if pa.types.is_floating(field.type.value_type) else "DELTA_BINARY_PACKED"


def _is_bare(field: pa.Field) -> bool:
    """Whether zstd is left out, since it costs time and gains little.

    TIFFs of S1, and its numbers as bytes, are noise to it; of the differences of neighbours no more is left to gain.
    """
    if field.name in KINDS[S1]:
        return stored_as(field.type) != ARRAY
    return field.name in KINDS[S2] and stored_as(field.type) == ARRAY


class _Column:
    """The values of a column in a row group, None where one lacks.

    They are copied, when they come, to memory that is used again for the next group: to keep them as they are, and to
    join them in the end, takes twice the CPU, for memory that is new each time.
    """

    def __init__(self, field: pa.Field) -> None:
        self._type = field.type
        self._valid: list[bool] = []

    def _take_valid(self) -> pa.Buffer | None:
        """Return the bitmap of the values that are there, and begin anew."""
        bits = None if all(self._valid) else pa.py_buffer(np.packbits(self._valid, bitorder="little"))
        self._valid.clear()
        return bits


class _Files(_Column):
    """A column of the bytes of files."""

    def __init__(self, field: pa.Field) -> None:
        super().__init__(field)
        self._content = np.empty(0, dtype="uint8")
        self._ends = [0]

    def add(self, file: bytes | None) -> int:
        """Add a row; return how many bytes it takes."""
        start, stop = self._ends[-1], self._ends[-1] + len(file or b"")
        if stop > len(self._content):
            usual = min(ROWS_A_GROUP * (stop - start), GROUP_BYTES)
            more = np.empty(max(start, stop - start, usual), dtype="uint8")
            self._content = np.concatenate([self._content[:start], more])
        self._content[start:stop] = np.frombuffer(file or b"", dtype="uint8")
        self._ends.append(stop)
        self._valid.append(file is not None)
        return stop - start

    def take(self) -> pa.Array:
        """Return the column, which is valid until the next row is added."""
        rows, ends = len(self._valid), pa.py_buffer(np.array(self._ends, dtype="int32"))
        self._ends = [0]
        return pa.Array.from_buffers(self._type, rows, [self._take_valid(), ends, pa.py_buffer(self._content)])


class _Pixels(_Column):
    """A column of pixels, row by row, as lists of fixed length or as their bytes."""

    def __init__(self, field: pa.Field) -> None:
        super().__init__(field)
        self._is_raw, dtype = stored_as(field.type) == RAW, _dtype(field.name)
        values = field.type.byte_width // dtype.itemsize if self._is_raw else field.type.list_size
        self._row_bytes: int = values * dtype.itemsize
        rows = min(ROWS_A_GROUP, -(-GROUP_BYTES // self._row_bytes))  # more are never waiting
        self._content = np.empty((rows, values), dtype)

    def add(self, pixels: np.ndarray | None) -> int:
        """Add a row; return how many bytes it takes, which are as many where it is null."""
        self._content[len(self._valid)] = 0 if pixels is None else pixels.ravel()
        self._valid.append(pixels is not None)
        return self._row_bytes

    def take(self) -> pa.Array:
        """Return the column, which is valid until the next row is added."""
        rows = len(self._valid)
        if self._is_raw:
            return pa.Array.from_buffers(self._type, rows, [self._take_valid(), pa.py_buffer(self._content)])
        values = pa.array(self._content[:rows].reshape(-1), self._type.value_type)
        return pa.Array.from_buffers(self._type, rows, [self._take_valid()], children=[values])


def read(folder: Path) -> Iterator[Shown]:
    """Yield the pixels of all files. Memory: one column of a row group."""
    for path in given.find(folder, "*.parquet"):
        try:
            with opened(path) as file:
                shapes = json.loads(file.schema_arrow.metadata[b"shapes"])
                for group in range(file.num_row_groups):
                    names = file.read_row_group(group, columns=["patch_id"])["patch_id"].to_pylist()
                    for kind, shape in shapes.items():
                        column = file.read_row_group(group, columns=[kind])[kind]
                        yield from _shown(names, kind, column, shape)
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException, BadInput) as error:
            found = f"{error.subject}: {error.found}" if isinstance(error, BadInput) else str(error)
            raise DamagedFile(path, expected="a Parquet file of patches", found=found) from error


def _shown(names: list[str], kind: str, column: pa.ChunkedArray, shape: list[int]) -> Iterator[Shown]:
    stored = stored_as(column.type)
    for name, value in zip(names, column, strict=True):
        if not value.is_valid:
            continue
        if stored == TIFF:
            tiff = value.as_py()
            yield Shown(name, kind, read_pixels(tiff, f"{name}_{kind}.tif"), tiff)
        elif stored == RAW:
            yield Shown(name, kind, native(np.frombuffer(value.as_buffer(), _dtype(kind))).reshape(shape))
        else:
            yield Shown(name, kind, value.values.to_numpy().reshape(shape))


def check(truth: Truth, folder: Path) -> Iterator[Difference]:
    """Yield what the columns besides pixels, the schema and the names of the files say otherwise than the dataset.

    Memory: the columns of a row group. Raise DamagedFile.
    """
    paths = given.find(folder, "*.parquet")
    yield from _lacking_files(truth.source, [path.name for path in paths])
    for path in paths:
        try:
            with opened(path) as file:
                yield from _check_schema(truth.source, path.name, file.schema_arrow)
                told = [name for name in file.schema_arrow.names if name not in DTYPES]
                for group in range(file.num_row_groups):
                    yield from _check_group(truth, path.name, file.read_row_group(group, columns=told))
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise DamagedFile(path, expected="a Parquet file of patches", found=str(error)) from error


def _lacking_files(source: Source, names: list[str]) -> Iterator[Difference]:
    """Yield the files that a part must have besides those that are there: its first, and those between."""
    for part in sorted(source.parts()):
        ours = (re.fullmatch(rf"{re.escape(part)}-(\d{{5}})\.parquet", name) for name in names)
        numbers = [int(found[1]) for found in ours if found]
        for number in sorted({*range(max(numbers, default=0) + 1)} - {*numbers}):
            yield Difference(_file_name(part, number), "missing")


def _check_schema(source: Source, name: str, found: pa.Schema) -> Iterator[Difference]:
    stored = next((stored_as(field.type) for field in found if field.name in DTYPES), TIFF)
    expected = _schema(source, Options(pixels=stored))
    for field in expected:
        if field.name not in found.names or not _is_same(found.field(field.name).type, field.type):
            yield Difference(name, "no column of this name and type", field.name)
    for column in found.names:
        if column not in expected.names:
            yield Difference(name, "a column that the dataset does not give", column)
    for key, said in expected.metadata.items():
        if json.loads((found.metadata or {}).get(key, b"null")) != json.loads(said):
            yield Difference(name, f"other {key.decode()} of pixels in its metadata")


def _is_same(found: pa.DataType, expected: pa.DataType) -> bool:
    """Whether types are the same; the numbers of lists may be nullable, as in forms of former versions."""
    if pa.types.is_fixed_size_list(found) and pa.types.is_fixed_size_list(expected):
        return bool(found.value_type == expected.value_type and found.list_size == expected.list_size)
    return bool(found == expected)


def _check_group(truth: Truth, name: str, found: pa.Table) -> Iterator[Difference]:
    ids = found["patch_id"].to_pylist()
    at = [row for row, patch in enumerate(ids) if truth.rows(patch)]  # others are found surplus by their pixels
    found, rows = found.take(at), [truth.rows(ids[row])[0] for row in at]
    expected = spelled_out(truth.source.rows.drop_columns([FLAG]).take(rows))
    for column, values in zip(("epsg", "left_m", "top_m"), truth.places.columns(rows), strict=True):
        expected = expected.append_column(column, pa.array(values))
    for column in expected.column_names:
        if column in found.column_names:
            for row in unequal(found[column], expected[column]):
                yield Difference(name, f"other {column} than in the dataset", ids[at[row]])
    for row, patch in zip(rows, (ids[one] for one in at), strict=True):
        if not name.startswith(f"{part_of(truth.source.rows, row)}-"):
            yield Difference(name, "a patch of another split or flag than the file", patch)
