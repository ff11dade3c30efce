"""Read Parquet tables: a user's in bounded memory, and our own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ben_luigi.domain.errors import some
from ben_luigi.domain.formats.parquetheader import Size, read_size
from ben_luigi.domain.given import open_file

_MOST_BYTES = 2**30
_BATCH_BYTES, _BATCH_ROWS = 2**28, 2**16
_TEXTS = {pa.string(), pa.binary(), pa.large_string(), pa.large_binary()}


@contextmanager
def opened(path: Path, **options: Any) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file. Arrow gets it open, since it opens none whose path is not UTF-8.

    Raise OSError if it cannot be opened, ValueError or what Arrow raises if it is damaged.
    """
    with open_file(path) as file, pq.ParquetFile(file, **options) as parquet:
        yield parquet


@contextmanager
def writing(path: Path, schema: pa.Schema, **options: Any) -> Iterator[pq.ParquetWriter]:
    """Write a Parquet file, at any path that `opened` opens. Raise OSError if it cannot be written."""
    with path.open("wb") as file, pq.ParquetWriter(file, schema, **options) as writer:
        yield writer


def read_own(path: Path, columns: Sequence[str] = ()) -> pa.Table:
    """Read columns of a Parquet file of ours (default: all), in the given order.

    `pyarrow.parquet.read_table` does the same, but each process would first load PyArrow's datasets, in 40 ms.
    """
    with opened(path) as parquet:
        table = parquet.read(columns=list(columns) or None)
    return table.select(columns) if columns else table


def counts_own(path: Path, column: str) -> Counter[str]:
    """Return how often each value is in a column of text of a Parquet file of ours.

    They are counted by their number in Parquet's dictionary: PyArrow's `value_counts` would load its functions, in
    40 ms, and its `to_numpy` pandas.
    """
    counts: Counter[str] = Counter()
    with opened(path, read_dictionary=[column]) as parquet:
        for chunk in parquet.read(columns=[column])[column].chunks:
            numbers = np.bincount(np.from_dlpack(chunk.indices), minlength=len(chunk.dictionary))
            counts.update(dict(zip(chunk.dictionary.to_pylist(), numbers.tolist(), strict=True)))
    return +counts


def read_parquet(path: Path, columns: Sequence[str] = (), most_bytes: int = _MOST_BYTES) -> pa.Table:
    """Read columns of a Parquet file (default: all), in the given order, of at most `most_bytes` when decoded.

    Raise OSError if it cannot be read, ValueError if it is damaged, too large or lacks a column. Decoding repeats the
    values of a dictionary, so a few bytes may stand for any number of long values: batches are so small that each fits
    into memory in the worst case.
    """
    with open_file(path) as file:
        read_size(file, ())  # a damaged footer must never reach Arrow
        try:
            with opened(path) as parquet:
                names = parquet.schema_arrow.names
                columns = columns or names
                if missing := [column for column in columns if column not in names]:
                    raise ValueError(f"no column {some(missing)}, but {some(names)}")
                size = read_size(file, columns)
                _check(size.needed_bytes, most_bytes)
                return _read(parquet, columns, size, most_bytes)
        except (pa.ArrowException, LookupError, OverflowError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error


def _read(parquet: pq.ParquetFile, columns: Sequence[str], size: Size, most_bytes: int) -> pa.Table:
    rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(1, size.row_bytes)))
    batches, decoded_bytes = [], 0
    for batch in parquet.iter_batches(rows, columns=list(columns)):
        decoded_bytes += sum(map(_decoded_bytes, batch.columns))
        _check(decoded_bytes, most_bytes)
        batches.append(batch.select(columns))
    whole = parquet.schema_arrow
    schema = pa.schema([whole.field(column) for column in columns], whole.metadata)
    return pa.Table.from_batches(batches, schema).combine_chunks()


def _check(size_bytes: int, most_bytes: int) -> None:
    if size_bytes > most_bytes:
        raise ValueError(f"{size_bytes:,} bytes when decoded, where at most {most_bytes:,} are allowed")


def _decoded_bytes(values: pa.Array) -> int:
    """Return the length of an array in bytes, counting dictionary values as decoded."""
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        return int(values.nbytes) + _decoded_bytes(values.flatten())
    if pa.types.is_dictionary(values.type) and values.type.value_type in _TEXTS:
        lengths = pc.binary_length(values.dictionary).take(values.indices)
        return int(pc.sum(lengths).as_py() or 0)
    return int(values.nbytes)
