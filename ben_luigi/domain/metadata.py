"""The dataset's metadata: the four mapping tables joined with S1, snow and cloud into one row a labelled patch.

`metadata.parquet` holds the patches without snow, cloud and shadow, `metadata_for_patches_with_...` the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from ben_luigi.domain import files
from ben_luigi.domain.errors import BadInput, BadTable, some

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
_ROWS_A_GROUP = 122_880


@dataclass(frozen=True)
class Mappings:
    """What is joined. Each table has the two columns named; the last two are v1 names alone."""

    labels: pa.Table  # patch_id, label
    s2v1: pa.Table  # patch_id, s2v1_name
    split: pa.Table  # patch_id, split
    country: pa.Table  # patch_id, country
    s1s2: pa.Table  # s2v1_name, s1_name
    snow: pa.Table  # s2v1_name
    cloud: pa.Table  # s2v1_name


def read_csv(path: Path, columns: Sequence[str], *, header: bool) -> pa.Table:
    """Read a CSV of strings (plain or compressed, LF or CRLF) with exactly these columns; BadInput if it is not so."""
    options = pcsv.ReadOptions(column_names=list(columns), skip_rows=1 if header else 0)
    convert = pcsv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False)
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            table = pcsv.read_csv(stream, read_options=options, convert_options=convert)
    except (OSError, pa.ArrowException) as error:
        raise BadInput(path, expected=f"a CSV with columns {', '.join(columns)}", found=str(error)) from error
    if not table.num_rows:
        raise BadInput(path, expected="rows", found="none", remedy="make or fetch the file again")
    return table


def join(mappings: Mappings) -> pa.Table:
    """One row a labelled patch, sorted by patch_id; BadTable when a key is doubled or a labelled patch gets lost."""
    for name, table, key in (
        ("label mapping", mappings.labels, None),
        ("v1 mapping", mappings.s2v1, "patch_id"),
        ("v1 mapping", mappings.s2v1, "s2v1_name"),
        ("split mapping", mappings.split, "patch_id"),
        ("country mapping", mappings.country, "patch_id"),
        ("S1-S2 mapping", mappings.s1s2, "s2v1_name"),
        ("S1-S2 mapping", mappings.s1s2, "s1_name"),
    ):
        _check_key(name, table, key)
    patches, labels = _labels(mappings.labels)
    v1 = _looked_up(patches, mappings.s2v1, "patch_id", "s2v1_name", patches)
    return pa.Table.from_arrays(
        [
            patches,
            labels,
            _looked_up(patches, mappings.split, "patch_id", "split", patches),
            _looked_up(patches, mappings.country, "patch_id", "country", patches),
            _looked_up(v1, mappings.s1s2, "s2v1_name", "s1_name", patches),
            v1,
            pc.is_in(v1, value_set=mappings.snow["s2v1_name"]),
            pc.is_in(v1, value_set=mappings.cloud["s2v1_name"]),
        ],
        schema=SCHEMA,
    )


def _check_key(name: str, table: pa.Table, key: str | None) -> None:
    if not table.num_rows:
        raise BadTable(name, expected="rows", found="none", remedy="look at the tasks that it comes from")
    columns = [key] if key else table.column_names
    if len(columns) == 1 and pc.count_distinct(table[columns[0]]).as_py() == table.num_rows:
        return
    counted = table.group_by(columns).aggregate([([], "count_all")])
    twice = counted.filter(pc.greater(counted["count_all"], 1)).sort_by([(column, "ascending") for column in columns])
    if twice.num_rows:
        found = some(" ".join(row[column] for column in columns) for row in twice.to_pylist())
        raise BadTable(name, expected=f"each {' and '.join(columns)} once", found=f"more than once: {found}")


def _labels(table: pa.Table) -> tuple[pa.Array, pa.Array]:
    """Patch ids, ascending, and the list of labels of each, sorted."""
    table = table.sort_by([("patch_id", "ascending"), ("label", "ascending")]).combine_chunks()
    ids = table["patch_id"].combine_chunks()
    new = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
    starts = np.concatenate([[0], np.flatnonzero(new) + 1, [len(ids)]]).astype("int32")
    values = table["label"].combine_chunks()
    lists = pa.ListArray.from_arrays(pa.array(starts), values, type=SCHEMA.field("labels").type)
    return ids.take(pa.array(starts[:-1])), lists


def _looked_up(keys: pa.Array, table: pa.Table, key: str, value: str, patches: pa.Array) -> pa.Array:
    index = pc.index_in(keys, value_set=table[key])
    if index.null_count:
        lost = patches.filter(index.is_null()).to_pylist()
        raise BadTable(
            "metadata",
            expected=f"a {value} for every labelled patch",
            found=f"none for {some(lost)}",
            remedy="look at the mapping table of that column, and at the inputs it is made from",
        )
    taken = table[value].take(index)
    return taken.combine_chunks() if isinstance(taken, pa.ChunkedArray) else taken


def divide(rows: pa.Table) -> dict[str, pa.Table]:
    """The rows of each of the two files, by file name."""
    flagged = pc.or_(rows[FLAGS[0]], rows[FLAGS[1]])
    return {METADATA: rows.filter(pc.invert(flagged)), FLAGGED: rows.filter(flagged)}


def write(rows: pa.Table, path: Path, writer: str = "default") -> None:
    """Publish a parquet file, zstd, sorted by patch_id.

    `published` writes with DuckDB 0.10.3 or 1.0.0 on one thread, which gives the published bytes; `default` with
    pyarrow, which gives equal content.
    """
    with files.published(path) as work:
        if writer == "published":
            _write_with_duckdb(rows, work)
        else:
            pq.write_table(rows, work, compression="zstd", row_group_size=_ROWS_A_GROUP)


def _write_with_duckdb(rows: pa.Table, path: Path) -> None:
    try:
        import duckdb
    except ImportError as error:
        raise BadInput(
            "[metadata] writer = published",
            expected="the package duckdb, version 0.10.3 or 1.0.0",
            found="none installed",
            remedy="pip install duckdb==1.0.0, or take writer = default",
        ) from error
    if duckdb.__version__ not in ("0.10.3", "1.0.0"):
        raise BadInput(
            "[metadata] writer = published",
            expected="duckdb 0.10.3 or 1.0.0",
            found=duckdb.__version__,
            remedy="pip install duckdb==1.0.0, or take writer = default",
        )
    with duckdb.connect() as connection:
        connection.execute("set threads = 1")
        connection.register("rows", rows)
        connection.execute(
            "copy (select * from rows order by patch_id) to $path "
            f"(format parquet, row_group_size {_ROWS_A_GROUP}, codec 'zstd')".replace("$path", _quoted(path))
        )


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
