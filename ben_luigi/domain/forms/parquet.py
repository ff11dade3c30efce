"""Write and read Parquet files by split: a row per patch, a column per band, so that one band is read alone.

Columns are those of the metadata, the place (`epsg`, `left_m`, `top_m`), and one per kind of file, `B01` to `B12`,
`reference_map`, `VH` and `VV`: the bytes of the TIFF, or its pixels row by row as a list of fixed length. Flagged
patches have files of their own, `flagged-<split>-*.parquet`; a patch without Sentinel-1 has null there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ben_luigi.domain.errors import DamagedFile
from ben_luigi.domain.formats.tiffheader import read_pixels
from ben_luigi.domain.forms.form import Options, Shown, Steps
from ben_luigi.domain.forms.pixels import DTYPES, Place, pixels_of, place_of, side_px
from ben_luigi.domain.forms.source import FLAG, KINDS, MAP, S1, S2, Source, part_of
from ben_luigi.domain.forms.spool import spooled
from ben_luigi.domain.progress import OnFraction
from ben_luigi.domain.vocabulary import TIFF

ROWS_A_GROUP = 64
"""18 MB of pixels, for each part that is being written."""
_LEVEL = 1
"""Of zstd: higher ones make pixels hardly smaller."""
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
            place = place_of(files, name)
            pixels = pixels_of(files, source.form.patch_m, name)  # what is no TIFF of its kind is noticed here
            part = part_of(source.rows, patch.row)
            if part not in parts:
                parts[part] = _Part(folder, part, source.rows, schema, options.file_bytes)
            parts[part].add(patch.row, place, files if options.pixels == TIFF else _flat(pixels))
            steps.step()
        for each in parts.values():
            each.close()


def _flat(pixels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {kind: values.astype(values.dtype.newbyteorder("="), copy=False).ravel() for kind, values in pixels.items()}


def _schema(source: Source, options: Options) -> pa.Schema:
    """Return the schema; the shape of the pixels of each kind is in its metadata, for readers of the lists."""
    patch_m = source.form.patch_m
    sides = {kind: side_px(kind, patch_m) for kind in source.kinds}
    types = {
        kind: pa.binary() if options.pixels == TIFF else pa.list_(pa.from_numpy_dtype(DTYPES[kind]), side**2)
        for kind, side in sides.items()
    }
    fields = [field for field in source.rows.schema if field.name != FLAG]
    shapes = {kind: [side, side] for kind, side in sides.items()}
    return pa.schema([*fields, *_PLACE, *types.items()], {"shapes": json.dumps(shapes)})


class _Part:
    """The files of one part of the dataset, such as `train`, one after the other."""

    def __init__(self, folder: Path, name: str, rows: pa.Table, schema: pa.Schema, file_bytes: int) -> None:
        self._folder, self._name, self._rows, self._schema = folder, name, rows, schema
        self._file_bytes, self._number = file_bytes, 0
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[tuple[int, Place, Mapping[str, Any]]] = []

    def add(self, row: int, place: Place, columns: Mapping[str, Any]) -> None:
        """Add a patch."""
        self._waiting.append((row, place, columns))
        if len(self._waiting) == ROWS_A_GROUP:
            self._write_group()

    def close(self) -> None:
        """Write what is left."""
        if self._waiting:
            self._write_group()
        if self._writer is not None:
            self._writer.close()

    def _write_group(self) -> None:
        kinds = [field for field in self._schema if field.name in DTYPES]
        rows = self._rows.drop_columns([FLAG]).take([row for row, _, _ in self._waiting])
        places = zip(*(place for _, place, _ in self._waiting), strict=True)
        columns = [*rows.columns, *map(list, places)]
        columns += [_column([each.get(field.name) for _, _, each in self._waiting], field.type) for field in kinds]
        self._waiting.clear()
        writer = self._writer = self._writer or self._open()
        writer.write_table(pa.table(columns, schema=self._schema))
        if self._path().stat().st_size >= self._file_bytes:
            writer.close()
            self._writer, self._number = None, self._number + 1

    def _open(self) -> pq.ParquetWriter:
        told = [field.name for field in self._schema if field.name not in DTYPES]
        return pq.ParquetWriter(
            self._path(),
            self._schema,
            compression={_path_of(field): "none" if _is_bare(field) else "zstd" for field in self._schema},
            compression_level={_path_of(field): _LEVEL for field in self._schema if not _is_bare(field)},
            column_encoding={_path_of(field): way for field in self._schema if (way := _encoding(field))},
            use_dictionary=[name for name in told if name in ("split", "country")],
            write_statistics=[name for name in told if name != "labels"],
            write_page_index=True,
        )

    def _path(self) -> Path:
        return self._folder / f"{self._name}-{self._number:05d}.parquet"


def _path_of(field: pa.Field) -> str:
    """Return what Parquet calls the values of a column."""
    is_list = pa.types.is_list(field.type) or pa.types.is_fixed_size_list(field.type)
    return f"{field.name}.list.element" if is_list else str(field.name)


def _encoding(field: pa.Field) -> str:
    """Return how the pixels of a column of lists are encoded; an empty text for other columns."""
    if not pa.types.is_fixed_size_list(field.type):
        return ""
    return "BYTE_STREAM_SPLIT" if pa.types.is_floating(field.type.value_type) else "DELTA_BINARY_PACKED"


def _is_bare(field: pa.Field) -> bool:
    """Whether zstd is left out, since it costs time and gains little.

    TIFFs of S1 are noise to it, and of the differences of neighbours no more is left to gain.
    """
    if field.name in KINDS[S1]:
        return bool(pa.types.is_binary(field.type))
    return field.name in KINDS[S2] and _encoding(field) != ""


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Return a column of files as bytes, or of pixels (row by row) as lists of fixed length; None where one lacks."""
    valid = np.array([each is not None for each in values])
    if pa.types.is_binary(kind):
        ends = np.cumsum([0, *(len(each or b"") for each in values)], dtype="int32")
        content = b"".join(each or b"" for each in values)
        buffers = [np.packbits(valid, bitorder="little"), ends, content]
        return pa.Array.from_buffers(kind, len(values), [pa.py_buffer(each) for each in buffers])
    empty = np.zeros(kind.list_size, dtype=kind.value_type.to_pandas_dtype())
    pixels = np.concatenate([empty if each is None else each for each in values])
    mask = None if valid.all() else pa.array(~valid)
    return pa.FixedSizeListArray.from_arrays(pa.array(pixels, kind.value_type), kind.list_size, mask=mask)


def read(folder: Path) -> Iterator[Shown]:
    """Yield the pixels of all files. Memory: one column of a row group."""
    for path in sorted(folder.glob("*.parquet")):
        try:
            file = pq.ParquetFile(path)
            shapes = json.loads(file.schema_arrow.metadata[b"shapes"])
            for group in range(file.num_row_groups):
                names = file.read_row_group(group, columns=["patch_id"])["patch_id"].to_pylist()
                for kind, shape in shapes.items():
                    column = file.read_row_group(group, columns=[kind])[kind]
                    yield from _shown(names, kind, column, shape)
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            raise DamagedFile(path, expected="a Parquet file of patches", found=str(error)) from error


def _shown(names: list[str], kind: str, column: pa.ChunkedArray, shape: list[int]) -> Iterator[Shown]:
    for name, value in zip(names, column, strict=True):
        if not value.is_valid:
            continue
        if pa.types.is_binary(column.type):
            yield Shown(name, kind, read_pixels(value.as_py(), f"{name}_{kind}.tif"))
        else:
            yield Shown(name, kind, value.values.to_numpy().reshape(shape))
