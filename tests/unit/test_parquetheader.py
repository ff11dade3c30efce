"""What a Parquet file says of its size is read as Arrow reads it, from files of several writers."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ben_luigi.domain.formats.parquetheader import Size, read_size
from ben_luigi.domain.formats.tables import read_parquet
from tests.unit.mangling import MANGLINGS, mangled

ROWS = 5000
TABLE = pa.table(
    {
        "text": pa.array([f"patch {n}" for n in range(ROWS)]),
        "few": pa.array(["Austria", "Serbia"] * (ROWS // 2)),
        "lists": pa.array([["a", "b"][: n % 3] for n in range(ROWS)], pa.list_(pa.string())),
        "number": pa.array(range(ROWS)),
        "bytes": pa.array([b"\0" * (n % 50) for n in range(ROWS)]),
        "flag": pa.array([n % 2 == 0 for n in range(ROWS)]),
        "nothing": pa.nulls(ROWS, pa.string()),
        "large": pa.array(["x"] * ROWS, pa.large_string()),
    }
)
WRITERS: dict[str, dict[str, Any]] = {
    "by default": {},
    "without dictionaries": {"use_dictionary": False},
    "of version 1": {"version": "1.0", "data_page_version": "1.0", "compression": "gzip"},
    "with pages of version 2": {"data_page_version": "2.0", "compression": "zstd"},
    "in many groups and pages": {"row_group_size": 700, "data_page_size": 100, "write_page_index": True},
    "with checksums": {"write_page_checksum": True, "write_statistics": False, "store_schema": False},
}


def by_arrow(path: Path, columns: list[str]) -> int:
    """The length of the pages, by Arrow's own account of the columns."""
    metadata = pq.ParquetFile(path).metadata
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    chunks = [group.column(number) for group in groups for number in range(metadata.num_columns)]
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns)


def size_of(path: Path, columns: list[str]) -> Size:
    with path.open("rb") as file:
        return read_size(file, columns)


@pytest.mark.parametrize("options", WRITERS.values(), ids=WRITERS)
def test_the_size_is_that_of_all_pages(tmp_path: Path, options: dict[str, Any]) -> None:
    """Arrow counts the headers of the pages too; the values and rows come on top."""
    path = tmp_path / "x.parquet"
    pq.write_table(TABLE, path, **options)
    for columns in ([name] for name in TABLE.column_names):
        pages = by_arrow(path, columns)
        values = size_of(path, columns).needed_bytes - 8 * ROWS
        assert values >= 8 * ROWS
        assert values < pages + 8 * 3 * ROWS
    everything = size_of(path, TABLE.column_names)
    assert sum(size_of(path, [name]).needed_bytes for name in TABLE.column_names) == everything.needed_bytes
    assert (everything.row_bytes > 0) == options.get("use_dictionary", True)
    assert read_parquet(path).equals(pq.read_table(path))
    assert read_parquet(path, ["few", "text"]).equals(pq.read_table(path, columns=["few", "text"]))
    assert read_parquet(path).schema.equals(pq.read_schema(path), check_metadata=True)


def test_other_writers(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    with duckdb.connect() as connection:
        connection.register("t", TABLE)
        connection.execute(f"copy t to '{path}' (format parquet, codec 'zstd', row_group_size 2048)")
    assert read_parquet(path).equals(pq.read_table(path))


def test_published_files(published: Path) -> None:
    paths = [*published.glob("*.parquet"), *published.glob("v1_spatial/*.parquet")]
    assert len(paths) >= 3
    for path in paths:
        assert read_parquet(path).equals(pq.read_table(path)), path


def test_pages_are_not_believed_to_be_as_few_as_the_footer_says(tmp_path: Path) -> None:
    """A page of 64 MiB in few bytes."""
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": ["x" * 2**24] * 4}), path, compression="zstd", use_dictionary=False)
    content = path.read_bytes()
    assert len(content) < 2**16
    assert size_of(path, ["a"]).needed_bytes > 2**26
    with pytest.raises(ValueError, match=r"67,1.* bytes when decoded, where at most 10,000,000 are allowed"):
        read_parquet(path, most_bytes=10**7)


def _whole() -> bytes:
    file = pa.BufferOutputStream()
    pq.write_table(TABLE.slice(0, 50), file, row_group_size=20)
    return bytes(file.getvalue())


WHOLE = _whole()


@settings(max_examples=300)
@given(manglings=MANGLINGS)
def test_damage_is_an_error_of_one_kind(manglings: list[tuple[float, str, bytes]]) -> None:
    with contextlib.suppress(ValueError):
        read_size(io.BytesIO(mangled(WHOLE, manglings)), TABLE.column_names)


@settings(max_examples=300)
@given(content=st.binary(max_size=300))
def test_any_bytes_as_a_footer(content: bytes) -> None:
    file = b"PAR1" + content + len(content).to_bytes(4, "little") + b"PAR1"
    with contextlib.suppress(ValueError):
        read_size(io.BytesIO(file), ["text"])


def test_a_footer_over_which_arrow_ends_the_process_is_an_error(tmp_path: Path) -> None:
    """One of these bits is a level of repetition that contradicts the statistics: to ask for a column aborts then."""
    path = tmp_path / "x.parquet"
    pq.write_table(TABLE.select(["text", "lists"]), path)
    whole = path.read_bytes()
    start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    for at in range(start, start + 200):
        changed = bytearray(whole)
        changed[at] ^= 2
        path.write_bytes(changed)
        with contextlib.suppress(OSError, ValueError):
            read_parquet(path)


def test_long_values_of_dictionaries_are_not_repeated_without_end(tmp_path: Path) -> None:
    """Neither where the file's own schema says dictionary, nor in lists, nor where it says nothing."""
    path = tmp_path / "x.parquet"
    values = pa.DictionaryArray.from_arrays(pa.array([0] * 4000, pa.int32()), pa.array(["x" * 2**17]))
    lists = pa.ListArray.from_arrays(pa.array([0, 1000, 2000, 3000, 4000], pa.int32()), values)
    for column in (values, lists):
        for store_schema in (True, False):
            pq.write_table(pa.table({"a": column}), path, store_schema=store_schema)
            assert path.stat().st_size < 2**17
            with pytest.raises(ValueError, match="bytes when decoded"):
                read_parquet(path, most_bytes=10**8)
