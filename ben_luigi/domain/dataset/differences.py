"""Find the rows in which two runs differ: metadata and hash lists, sorted by key, read as two parallel streams."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import pyarrow as pa

from ben_luigi.domain import given
from ben_luigi.domain.dataset.metadata import FLAGGED, METADATA, SCHEMA
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.formats import hashes
from ben_luigi.domain.formats.tables import read_parquet

Row = tuple[str, tuple[object, ...]]
"""The key, by which the rows are sorted, and the values of the other columns."""

KEY, *COLUMNS = SCHEMA.names
"""Of the metadata."""

_NAMED, _SHOWN = 3, 120
_ROWS_AT_ONCE = 4096
_REMEDY = "correct [inputs] compare_with_dir, or leave it out"


def differences(columns: Sequence[str], ours: Iterable[Row], theirs: Iterable[Row]) -> str:
    """Describe which rows of ours are missing or new, and which differ in which column; return an empty text if none.

    For each kind of difference the text has the number and the first few keys. Memory: two rows.
    """
    counts: Counter[str] = Counter()
    first: dict[str, list[str]] = defaultdict(list)
    sides = heapq.merge(_side(0, ours), _side(1, theirs), key=itemgetter(0))
    for key, rows in groupby(sides, key=itemgetter(0)):
        for kind in _kinds(columns, {side: row for _, side, row in rows}):
            counts[kind] += 1
            if counts[kind] <= _NAMED:
                first[kind].append(key)
    order = ("missing", "new", *(f"other {column}" for column in columns))
    return "; ".join(_message(kind, counts[kind], first[kind]) for kind in order if counts[kind])


def _side(side: int, rows: Iterable[Row]) -> Iterator[tuple[str, int, tuple[object, ...]]]:
    return ((key, side, row) for key, row in rows)


def _kinds(columns: Sequence[str], rows: dict[int, tuple[object, ...]]) -> Iterator[str]:
    if len(rows) < 2:
        yield "missing" if 1 in rows else "new"
        return
    for column, mine, other in zip(columns, rows[0], rows[1], strict=True):
        if mine != other:
            yield f"other {column}"


def _message(kind: str, count: int, first: Sequence[str]) -> str:
    more = ", ..." if count > len(first) else ""
    return f"{count:,} {kind} ({', '.join(first)}{more})"


def metadata_rows(folder: Path, keep: Callable[[str], bool]) -> Iterator[Row]:
    """Yield the rows of both metadata files of a dataset folder, as far as they exist, whose patch id `keep` accepts.

    Raise BadInput if a file lacks one of the eight columns. Memory: both files as Arrow tables, 150 MB.
    """
    paths = [path for path in (folder / METADATA, folder / FLAGGED) if given.kind(path) != given.NOTHING]
    table = pa.concat_tables([SCHEMA.empty_table(), *map(_read_metadata, paths)]).sort_by(KEY)
    for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
        for key, *values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if keep(key):
                yield key, tuple(values)


def _read_metadata(path: Path) -> pa.Table:
    try:
        table = read_parquet(path, SCHEMA.names).cast(SCHEMA)
        if table[KEY].null_count:
            raise ValueError(f"rows without {KEY}")
        return table
    except (OSError, pa.ArrowException, ValueError) as error:
        raise BadInput(
            path, expected=f"a parquet file with {', '.join(SCHEMA.names)}", found=str(error), remedy=_REMEDY
        ) from error


def hash_rows(path: Path, keep: Callable[[str], bool]) -> Iterator[Row]:
    """Yield name and sha256 of each row of a hash list whose name `keep` accepts.

    Raise BadInput if it cannot be read or is not sorted.
    """
    last = ""
    for _, name, sha256 in hashes.read_list(path, _REMEDY):
        if not last < name:
            found = f"{name[:_SHOWN]} after {last[:_SHOWN]}"
            raise BadInput(path, expected="names in ascending order", found=found, remedy=_REMEDY)
        last = name
        if keep(name):
            yield name, (sha256,)
