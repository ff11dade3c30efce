"""Join the four mapping tables with S1, snow and cloud into the dataset's metadata, one row per labelled patch.

`metadata.parquet` holds the patches without snow, cloud and shadow, `metadata_for_patches_with_...` the others. The
mapping tables are sorted by patch_id, so they are read in parallel, block by block, and never held as a whole.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from ben_luigi.domain import files, given, libraries
from ben_luigi.domain.errors import BadInput, BadTable, some
from ben_luigi.domain.formats import strings
from ben_luigi.domain.names import S1_FORM, V1_FORM

METADATA = "metadata.parquet"
FLAGGED = "metadata_for_patches_with_snow_cloud_or_shadow.parquet"
FLAGS = ("contains_seasonal_snow", "contains_cloud_or_shadow")

SCHEMA = pa.schema(
    [
        ("patch_id", pa.string()),
        ("labels", pa.list_(pa.field("element", pa.string()))),
        ("split", pa.string()),
        ("country", pa.string()),
        ("s1_name", pa.string()),
        ("s2v1_name", pa.string()),
        (FLAGS[0], pa.bool_()),
        (FLAGS[1], pa.bool_()),
    ]
)
# That of the published files: DuckDB's default, 60 vectors of 2048 rows.
_ROWS_A_GROUP = 122_880
_BLOCK_B = 4 * 2**20
_CSV_BYTES = 2**28
_CONTROL = r"[\x00-\x1f\x7f]"
FORMS = {"s2v1_name": V1_FORM, "s1_name": S1_FORM}
"""Regular expressions of names by column."""
_SHOWN = 120
_ROWS_A_BLOCK = 65_536

Rows: TypeAlias = pa.Table | pa.RecordBatchReader


@dataclass(frozen=True)
class Mappings:
    """The tables to join; all columns are strings. The first four ascend by patch_id, `labels` also by label.

    Without countries, `country` is None; where patches are not aligned with v1, so is all that is known by v1 names.
    The metadata then have no columns of them. Without Sentinel-1, `s1s2` and `s1` are None; else at most one is given.
    """

    labels: Rows  # patch_id, label
    s2v1: pa.Table  # patch_id, s2v1_name
    split: Rows  # patch_id, split
    country: Rows | None  # patch_id, country
    s1s2: pa.Table  # s2v1_name, s1_name
    snow: pa.Table  # s2v1_name
    cloud: pa.Table  # s2v1_name
    everywhere: bool = True  # whether each patch has a country
    s1: Rows | None = None  # patch_id, s1_name; where Sentinel-1 is not that of v1


def read_csv(path: Path, columns: Sequence[str], *, header: bool) -> pa.Table:
    """Read a CSV of strings with exactly these columns, plain or compressed, LF or CRLF, of at most 256 MiB.

    Raise BadInput if it is not such a file, or if a value is not a v1 or S1 name where one is expected: otherwise a
    flag or a matching patch would be lost silently.
    """
    return _open_csv(path, columns, header, _CSV_BYTES).read_all().combine_chunks()


def open_csv(
    path: Path, columns: Sequence[str], *, header: bool, forms: Mapping[str, str] = FORMS
) -> pa.RecordBatchReader:
    """Read the same as `read_csv` in blocks, of any size; `forms` are the regular expressions of names by column."""
    return _open_csv(path, columns, header, None, forms)


def _open_csv(
    path: Path, columns: Sequence[str], header: bool, most_bytes: int | None, forms: Mapping[str, str] = FORMS
) -> pa.RecordBatchReader:
    batches = _batches(path, list(columns), header, most_bytes, forms)
    schema = pa.schema([(column, pa.string()) for column in columns])
    return pa.RecordBatchReader.from_batches(schema, chain([next(batches)], batches))


def _batches(
    path: Path, columns: list[str], header: bool, most_bytes: int | None, forms: Mapping[str, str]
) -> Iterator[pa.RecordBatch]:
    options = pcsv.ReadOptions(column_names=None if header else columns, block_size=_BLOCK_B)
    convert = pcsv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False)
    rows = 0
    try:
        given.check_file(path)
        with pa.input_stream(str(path), compression="detect") as stream:
            reader = pcsv.open_csv(_Bounded(stream, most_bytes), read_options=options, convert_options=convert)
            if reader.schema.names != columns:
                raise ValueError(f"columns {some(reader.schema.names)}")
            for batch in reader:
                _check_values(batch, rows, forms)
                rows += batch.num_rows
                if batch.num_rows:
                    yield batch
    except (OSError, ValueError, pa.ArrowException) as error:
        straddles = "straddl" in str(error)  # Arrow's wording for a row that does not end within a block
        raise BadInput(
            path,
            expected=f"a CSV with columns {', '.join(columns)}",
            found=f"a row of more than {_BLOCK_B:,} bytes" if straddles else str(error),
            remedy="make or fetch the file again",
        ) from error
    if not rows:
        raise BadInput(path, expected="rows", found="none", remedy="make or fetch the file again")


class _Bounded:
    """A stream that raises ValueError once it has yielded more than a limit: a small file may unpack to any size."""

    closed = False

    def __init__(self, stream: pa.NativeFile, most_bytes: int | None) -> None:
        self._stream = stream
        self._most_bytes = most_bytes
        self._read_bytes = 0

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        data = bytes(self._stream.read(size))
        self._read_bytes += len(data)
        if self._most_bytes is not None and self._read_bytes > self._most_bytes:
            raise ValueError(f"more than {self._most_bytes:,} bytes")
        return data


def _check_values(batch: pa.RecordBatch, before: int, forms: Mapping[str, str]) -> None:
    """Raise ValueError for NULs, malformed names, and line ends in values, as they follow an unclosed quote."""
    for column in batch.schema.names:
        bad = pc.match_substring_regex(batch[column], _CONTROL)
        if column in forms:
            bad = pc.or_(bad, pc.invert(pc.match_substring_regex(batch[column], f"^(?:{forms[column]})$")))
        row = pc.index(bad, True).as_py()
        if row >= 0:
            raise ValueError(f"{batch[column][row].as_py()[:_SHOWN]!r} as {column} in row {before + row + 1}")


def join(mappings: Mappings) -> Iterator[pa.Table]:
    """Yield blocks of joined rows, one row per labelled patch, ascending by patch_id.

    Raise BadTable, after the last block, if a table is empty or not sorted, a key is duplicate, or a labelled patch is
    lost.
    """
    wrong = _Wrong()
    tables = {
        "v1": _partners(mappings, wrong),
        "split": mappings.split,
        "country": mappings.country,
        "s1_name": mappings.s1,
    }
    ordered = {name: _Ordered(name, rows, wrong) for name, rows in tables.items() if rows is not None}
    # One chunk, made once: `take` from several copies them all for each block, and so does `combine_chunks`, even one.
    s1_names = None if mappings.s1s2 is None else mappings.s1s2["s1_name"].combine_chunks()
    for patches, labels in _labelled(_ascending("label mapping", mappings.labels, ("patch_id", "label"), wrong)):
        found = {name: table.at(patches) for name, table in ordered.items()}
        columns = {"patch_id": patches, "labels": labels}
        columns |= {name: found[name][name] for name in ("split", "country", "s1_name") if name in found}
        if "v1" in found:
            columns |= _by_v1(s1_names, found["v1"])
        for name in ("split", "country", "s2v1_name", "s1_name"):
            if name in columns and (name != "country" or mappings.everywhere):
                wrong.note(_LOST.format(name), patches.filter(columns[name].is_null()))
        yield pa.table(columns, schema=pa.schema([field for field in SCHEMA if field.name in columns]))
    for table in ordered.values():
        table.finish()
    wrong.report()


def _by_v1(s1_names: pa.Array | None, partner: pa.Table) -> dict[str, pa.Array]:
    """Return the columns that are known by v1 names, given the S1 names and the rows of the v1 mapping."""
    columns = {name: partner[name] for name in ("s2v1_name", *FLAGS)}
    return columns if s1_names is None else {"s1_name": s1_names.take(partner["s1"]), **columns}


_LOST = "a {} of every labelled patch"


class _Wrong:
    """Collect everything that is wrong, so that the error can give the whole extent."""

    def __init__(self) -> None:
        self._names: dict[str, list[pa.Array]] = {}

    def note(self, expected: str, names: pa.Array) -> None:
        if len(names):
            self._names.setdefault(expected, []).append(names)

    def report(self) -> None:
        """Raise BadTable for the first kind of problem, if there is any."""
        for expected, arrays in self._names.items():
            found = some(dict.fromkeys(name.as_py() for name in chain.from_iterable(arrays)))
            raise BadTable("metadata", expected=expected, found=f"not so for {found}", remedy=_REMEDY)


_REMEDY = "look at the table named, and at the tasks or files that it comes from"


def _partners(mappings: Mappings, wrong: _Wrong) -> pa.Table | None:
    """Return the v1 mapping with the flags of each patch, and the row of its v1 name in the S1-S2 mapping."""
    if mappings.s2v1 is None or mappings.snow is None or mappings.cloud is None:
        return None
    pairs = () if mappings.s1s2 is None else (("S1-S2 mapping", mappings.s1s2, key) for key in ("s2v1_name", "s1_name"))
    for name, table, key in (
        ("v1 mapping", mappings.s2v1, "s2v1_name"),
        *pairs,
        ("list of patches with snow", mappings.snow, "s2v1_name"),
        ("list of patches with cloud or shadow", mappings.cloud, "s2v1_name"),
    ):
        _check_key(name, table[key], wrong)
    names = mappings.s2v1["s2v1_name"]
    lists = [table["s2v1_name"] for table in (mappings.snow, mappings.cloud, mappings.s1s2) if table is not None]
    snow, cloud, *s1 = strings.find(names, *lists)
    columns = {"patch_id": mappings.s2v1["patch_id"], "s2v1_name": names, FLAGS[0]: snow >= 0, FLAGS[1]: cloud >= 0}
    return pa.table(columns | ({"s1": pa.array(s1[0], mask=s1[0] < 0)} if s1 else {}))


def _check_key(name: str, values: pa.ChunkedArray, wrong: _Wrong) -> None:
    if not len(values):
        raise BadTable(name, expected="rows", found="none", remedy=_REMEDY)
    wrong.note(f"each name once in the {name}", strings.duplicates(values).combine_chunks())


def _ascending(name: str, rows: Rows, key: Sequence[str], wrong: _Wrong) -> Iterator[pa.RecordBatch]:
    """Yield the batches of `rows`; note keys that are duplicate or not ascending."""
    last: pa.RecordBatch | None = None
    for batch in rows.to_batches(max_chunksize=_ROWS_A_BLOCK) if isinstance(rows, pa.Table) else rows:
        if not batch.num_rows:
            continue
        seen = batch if last is None else pa.Table.from_batches([last, batch]).combine_chunks().to_batches()[0]
        before, after = seen.slice(0, seen.num_rows - 1), seen.slice(1)
        less, same = pa.scalar(False), pa.scalar(True)
        for column in key:
            less = pc.or_(less, pc.and_(same, pc.less(after[column], before[column])))
            same = pc.and_(same, pc.equal(after[column], before[column]))
        ids = after["patch_id"]
        if len(ids):
            wrong.note(f"each {' and '.join(key)} once in the {name}", ids.filter(same))
            wrong.note(f"the {name} in ascending order", ids.filter(less))
        last = batch.slice(batch.num_rows - 1)
        yield batch
    if last is None:
        raise BadTable(name, expected="rows", found="none", remedy=_REMEDY)


def _labelled(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[pa.Array, pa.Array]]:
    """Yield blocks of patch ids and the list of labels of each."""
    open_rows: list[pa.RecordBatch] = []  # of the last patch, which may go on in the next batch
    for batch in chain(batches, [None]):
        table = pa.Table.from_batches([*open_rows, *([batch] if batch else [])]).combine_chunks()
        ids = table["patch_id"].combine_chunks()
        starts = np.flatnonzero(pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)) + 1
        bounds = np.concatenate([[0], starts, [] if batch else [len(ids)]]).astype("int32")
        open_rows = table.slice(int(bounds[-1])).to_batches()
        if len(bounds) > 1:
            labels = table["label"].combine_chunks()
            lists = pa.ListArray.from_arrays(pa.array(bounds), labels, type=SCHEMA.field("labels").type)
            yield ids.take(pa.array(bounds[:-1])), lists


class _Ordered:
    """A table ascending by patch_id that is looked up with ascending ids while it is read."""

    def __init__(self, name: str, rows: Rows, wrong: _Wrong) -> None:
        self._batches = _ascending(f"{name} mapping", rows, ("patch_id",), wrong)
        self._rows: pa.Table | None = None

    def at(self, patches: pa.Array) -> pa.Table:
        """Return the row of each patch, with nulls where there is none."""
        last = patches[-1].as_py()
        held = [] if self._rows is None else self._rows.to_batches()
        while not held or held[-1]["patch_id"][-1].as_py() < last:
            batch = next(self._batches, None)
            if batch is None:
                break
            held.append(batch)
        # A table may end before the last patches, as that of countries does where patches have none.
        rows = pa.Table.from_batches(held).combine_chunks() if held or self._rows is None else self._rows
        found = rows.take(pc.index_in(patches, value_set=rows["patch_id"])).combine_chunks()
        behind = pc.sum(pc.less_equal(rows["patch_id"], last)).as_py() or 0
        self._rows = rows.slice(behind)
        return pa.table({name: found[name].combine_chunks() for name in found.column_names})

    def finish(self) -> None:
        """Read the rest, so that all of it is checked."""
        for _ in self._batches:
            pass


def write(blocks: Iterable[pa.Table], folder: Path, writer: str = "default") -> dict[str, Path]:
    """Write both files of the joined rows to `folder` with zstd, and return their paths by name.

    Rows without flags have one file. On an error, neither appears. The writer `published` uses DuckDB 0.10.3 or 1.0.0
    on one thread, which gives the published bytes; `default` uses pyarrow, which gives equal content in other bytes.
    """
    blocks = iter(blocks)
    first = next(blocks, SCHEMA.empty_table())
    paths = {name: folder / name for name in divide(first)}
    with ExitStack() as stack:
        work = {name: stack.enter_context(files.atomic_write(path)) for name, path in paths.items()}
        write_rows = _write_with_duckdb if writer == "published" else _write_with_pyarrow
        write_rows(chain([first], blocks), work, first.schema)
    return paths


def divide(rows: pa.Table) -> dict[str, pa.Table]:
    """Return the rows of each of the two files, by file name; of one file, if they have no flags."""
    if FLAGS[0] not in rows.column_names:
        return {METADATA: rows}
    flagged = pc.or_(rows[FLAGS[0]], rows[FLAGS[1]])
    return {METADATA: rows.filter(pc.invert(flagged)), FLAGGED: rows.filter(flagged)}


def _write_with_pyarrow(blocks: Iterable[pa.Table], paths: dict[str, Path], schema: pa.Schema) -> None:
    waiting = {name: schema.empty_table() for name in paths}
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(pq.ParquetWriter(path, schema, compression="zstd", store_schema=False))
            for name, path in paths.items()
        }
        for block in blocks:
            for name, part in divide(block).items():
                rows = pa.concat_tables([waiting[name], part])
                while rows.num_rows >= _ROWS_A_GROUP:
                    writers[name].write_table(rows.slice(0, _ROWS_A_GROUP).combine_chunks())
                    rows = rows.slice(_ROWS_A_GROUP)
                waiting[name] = rows
        for name, rows in waiting.items():
            if rows.num_rows:
                writers[name].write_table(rows.combine_chunks())  # pages follow chunks: one makes bytes reproducible


def _write_with_duckdb(blocks: Iterable[pa.Table], paths: dict[str, Path], schema: pa.Schema) -> None:
    try:
        import duckdb
    except ImportError:
        version = "none installed"
    else:
        version = duckdb.__version__
    if version not in ("0.10.3", "1.0.0"):
        remedy = libraries.installing("duckdb==1.0.0")
        if sys.version_info >= (3, 13):  # pip would compile it, for an hour, if it can
            remedy = "install ben_luigi with Python 3.11 or 3.12, for which that duckdb is to be had"
        raise BadInput(
            "[metadata] writer = published",
            expected="the package duckdb, version 0.10.3 or 1.0.0",
            found=version,
            remedy=f"{remedy}, or take writer = default",
        )
    for name, rows in divide(pa.concat_tables(blocks)).items():
        with duckdb.connect() as connection:
            # As in the published run: the bytes depend on it.
            connection.execute("set threads = 1")
            connection.register("rows", rows)
            connection.execute(
                f"copy (select * from rows order by patch_id) to {_quoted(paths[name])} "
                f"(format parquet, row_group_size {_ROWS_A_GROUP}, codec 'zstd')"
            )


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
