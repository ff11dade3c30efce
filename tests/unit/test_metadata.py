from __future__ import annotations

import bz2
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ben_luigi.domain.dataset import metadata
from ben_luigi.domain.dataset.metadata import FLAGGED, FLAGS, METADATA, Mappings
from ben_luigi.domain.errors import BadInput, BadTable
from tests.writers import IS_OF_THE_PUBLISHED, WRITERS

CLASSES = ["Arable land", "Land, with, commas", "Marine waters", 'Quoted "class"']


def _table(**columns: list[Any]) -> pa.Table:
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def _mappings(patches: list[tuple[list[str], int]], spare: int = 0) -> Mappings:
    """`patches`: labels (may be none) and flags (bit 0 snow, bit 1 cloud) of each; `spare` rows that nobody needs."""
    count = len(patches)
    ids = [f"P_{n:04d}" for n in range(count + spare)]
    v1 = [f"V_{(n * 7919) % 10_007:05d}" for n in range(count + spare)]
    labels = [(ids[n], label) for n, (its, _) in enumerate(patches) for label in sorted(its)]
    order = sorted(range(count + spare), key=lambda n: v1[n])
    return Mappings(
        labels=_table(patch_id=[p for p, _ in labels], label=[label for _, label in labels]),
        s2v1=_table(patch_id=ids, s2v1_name=v1),
        split=_table(patch_id=ids, split=[("train", "validation", "test")[n % 3] for n in range(count + spare)]),
        country=_table(patch_id=ids, country=["Austria" if n % 2 else "Serbia" for n in range(count + spare)]),
        s1s2=_table(s2v1_name=[v1[n] for n in order], s1_name=[f"S_{n}" for n in order]),
        snow=_table(s2v1_name=["elsewhere", *[v1[n] for n, (_, flags) in enumerate(patches) if flags & 1]]),
        cloud=_table(s2v1_name=["elsewhere", *[v1[n] for n, (_, flags) in enumerate(patches) if flags & 2]]),
    )


def _streamed(mappings: Mappings, rows: int) -> Mappings:
    """The same, read in blocks of `rows` rows."""
    names = ("labels", "split", "country")
    return replace(mappings, **{name: getattr(mappings, name).to_reader(max_chunksize=rows) for name in names})


def _by_sql(mappings: Mappings) -> list[dict[str, Any]]:
    with duckdb.connect() as connection:
        for name in ("labels", "s2v1", "split", "country", "s1s2", "snow", "cloud"):
            connection.register(f"m_{name}", getattr(mappings, name))
        found = connection.execute(
            f"""SELECT patch_id, labels, split, country, s1_name, s2v1_name,
                       s2v1_name IN (SELECT s2v1_name FROM m_snow) AS {FLAGS[0]},
                       s2v1_name IN (SELECT s2v1_name FROM m_cloud) AS {FLAGS[1]}
                FROM (SELECT patch_id, array_agg(label ORDER BY label) AS labels FROM m_labels GROUP BY patch_id)
                JOIN m_s2v1 USING (patch_id) JOIN m_split USING (patch_id) JOIN m_country USING (patch_id)
                JOIN m_s1s2 USING (s2v1_name) ORDER BY patch_id"""
        ).fetch_arrow_table()
        return list(found.to_pylist())


PATCHES = st.lists(st.tuples(st.lists(st.sampled_from(CLASSES), unique=True), st.integers(0, 3)), min_size=1).filter(
    lambda patches: any(labels for labels, _ in patches)
)


@settings(max_examples=60)
@given(PATCHES, st.integers(0, 20), st.integers(1, 9))
def test_the_join_is_what_sql_says_whatever_the_blocks(
    patches: list[tuple[list[str], int]], spare: int, rows: int
) -> None:
    mappings = _mappings(patches, spare)
    expected = _by_sql(mappings)
    for given_mappings in (mappings, _streamed(mappings, rows)):
        joined = pa.concat_tables(metadata.join(given_mappings))
        assert joined.schema == metadata.SCHEMA
        assert joined.to_pylist() == expected


SOME = _mappings([(["Arable land", "Marine waters"], n % 4) for n in range(30)], spare=3)


def _without(table: pa.Table, column: str, values: list[str]) -> pa.Table:
    return table.filter(pc.invert(pc.is_in(table[column], pa.array(values))))


LOST = [f"P_{n:04d}" for n in range(5, 17)]
NAMED = ", ".join(LOST[:10]) + r", \.\.\. \(12 in all\)"


@pytest.mark.parametrize(
    ("table", "column", "expected"),
    [
        ("split", "patch_id", f"split of every labelled patch.*{NAMED}"),
        ("country", "patch_id", f"country of every labelled patch.*{NAMED}"),
        ("s2v1", "patch_id", f"s2v1_name of every labelled patch.*{NAMED}"),
        ("s1s2", "s2v1_name", f"s1_name of every labelled patch.*{NAMED}"),
    ],
)
@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_labelled_patches_that_get_lost_are_named_and_counted(
    table: str, column: str, expected: str, rows: int, tmp_path: Path
) -> None:
    gone = LOST if column == "patch_id" else SOME.s2v1["s2v1_name"][5:17].to_pylist()
    bad = _streamed(replace(SOME, **{table: _without(getattr(SOME, table), column, gone)}), rows)
    with pytest.raises(BadTable, match=expected):
        metadata.write(metadata.join(bad), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["labels", "s2v1", "split", "country", "s1s2", "snow", "cloud"])
@pytest.mark.parametrize("writer", WRITERS)
def test_an_empty_table_is_an_error(name: str, writer: str, tmp_path: Path) -> None:
    with pytest.raises(BadTable, match="expected: rows; found: none"):
        metadata.write(metadata.join(replace(SOME, **{name: getattr(SOME, name).slice(0, 0)})), tmp_path, writer)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("labels", "each patch_id and label once in the label mapping.*P_0014"),
        ("s2v1", "each patch_id once in the v1 mapping|each name once in the v1 mapping"),
        ("split", "each patch_id once in the split mapping.*P_0029"),
        ("country", "each patch_id once in the country mapping.*P_0029"),
        ("s1s2", "each name once in the S1-S2 mapping"),
        ("snow", "each name once in the list of patches with snow"),
        ("cloud", "each name once in the list of patches with cloud or shadow"),
    ],
)
@pytest.mark.parametrize("rows", [1, 4, 1000])
def test_a_doubled_row_is_named(name: str, words: str, rows: int) -> None:
    """The thirtieth row, or the last."""
    table = getattr(SOME, name)
    at = min(29, table.num_rows - 1)
    doubled = table.take([*range(at + 1), *range(at, table.num_rows)])
    with pytest.raises(BadTable, match=words):
        list(metadata.join(_streamed(replace(SOME, **{name: doubled}), rows)))


def test_two_patches_of_one_v1_name_and_two_v1_names_of_one_s1_name_are_named() -> None:
    names = SOME.s2v1["s2v1_name"].to_pylist()
    duplicates = SOME.s2v1.set_column(1, "s2v1_name", pa.array([names[1], *names[1:]]))
    with pytest.raises(BadTable, match=f"v1 mapping.*{names[1]}"):
        list(metadata.join(replace(SOME, s2v1=duplicates)))
    s1 = SOME.s1s2["s1_name"].to_pylist()
    duplicates = SOME.s1s2.set_column(1, "s1_name", pa.array([*s1[:-1], s1[0]]))
    with pytest.raises(BadTable, match=f"S1-S2 mapping.*{s1[0]}"):
        list(metadata.join(replace(SOME, s1s2=duplicates)))


@pytest.mark.parametrize("rows", [1, 4, 1000])
@pytest.mark.parametrize("known", [slice(0, 3), slice(12, 15), slice(27, 33)])
def test_patches_may_have_no_country_where_the_recipe_allows_it(known: slice, rows: int) -> None:
    """At the end, too: the table of countries is read to its end before the last patch."""
    country = _mappings([(["Arable land"], 0)] * 30, spare=3).country
    assert isinstance(country, pa.Table)
    country = country.slice(known.start, known.stop - known.start)
    joined = metadata.join(_streamed(replace(SOME, country=country, everywhere=False), rows))
    found = pa.concat_tables(joined)["country"].to_pylist()
    expected: list[str | None] = [None] * 30
    expected[known] = country["country"].to_pylist()
    assert found == expected[:30]


def test_a_table_out_of_order_is_an_error_even_after_the_last_label() -> None:
    turned = SOME.split.take([*range(31), 32, 31])
    with pytest.raises(BadTable, match=r"split mapping in ascending order.*P_0031"):
        list(metadata.join(_streamed(replace(SOME, split=turned), 5)))


@pytest.mark.parametrize(
    ("writer", "group"), [("default", 122_880), pytest.param("published", 124_928, marks=IS_OF_THE_PUBLISHED)]
)
def test_both_files_hold_schema_and_row_groups(tmp_path: Path, writer: str, group: int) -> None:
    """More rows than two row groups hold. DuckDB 1.0.0 makes a group full only with the next vector of 2048 rows."""
    count = 250_000
    ids = [f"P_{n:06d}" for n in range(count)]
    columns = [ids, [["a", "b"]] * count, ["test"] * count, ["Serbia"] * count, ids, ids]
    flags = [[n % 100 == 0 for n in range(count)], [n % 150 == 0 for n in range(count)]]
    rows = pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip([*columns, *flags], metadata.SCHEMA, strict=True)],
        schema=metadata.SCHEMA,
    )
    blocks = [rows.slice(start, 10_007) for start in range(0, count, 10_007)]
    paths = metadata.write(blocks, tmp_path, writer)
    assert set(paths) == {METADATA, FLAGGED} == {path.name for path in tmp_path.iterdir()}
    for name, part in metadata.divide(rows).items():
        file = pq.ParquetFile(paths[name])
        assert file.read().equals(part)
        assert file.schema_arrow.equals(metadata.SCHEMA)
        assert all(file.schema.column(n).max_definition_level > 0 for n in range(8))
        groups = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
        assert groups == [group] * (part.num_rows // group) + [part.num_rows % group]
        assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    whole = metadata.write([rows], tmp_path / "whole", writer)
    assert all(paths[name].read_bytes() == whole[name].read_bytes() for name in paths)


def test_without_flagged_patches_the_second_file_is_empty(tmp_path: Path) -> None:
    plain = _mappings([(["Arable land"], 0)] * 3)
    paths = metadata.write(metadata.join(plain), tmp_path)
    assert pq.read_table(paths[FLAGGED]).num_rows == 0
    assert pq.read_schema(paths[FLAGGED]).equals(metadata.SCHEMA)


def test_csv_is_read_plain_or_compressed_with_either_line_end(tmp_path: Path) -> None:
    text = 'patch_id,label\r\nP_1,Arable land\r\nP_1,"Land, with, commas"\r\n'
    (tmp_path / "a.csv").write_bytes(text.encode())
    (tmp_path / "a.csv.bz2").write_bytes(bz2.compress(text.replace("\r", "").encode()))
    expected = [{"patch_id": "P_1", "label": "Arable land"}, {"patch_id": "P_1", "label": "Land, with, commas"}]
    for path in sorted(tmp_path.iterdir()):
        assert metadata.read_csv(path, ["patch_id", "label"], header=True).to_pylist() == expected


@pytest.mark.parametrize("text", ["", "patch_id,label\n", "patch_id,split\nP,test\n", "patch_id,label\nP,a\nP,a,b\n"])
def test_a_csv_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mapping.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"mapping\.csv"):
        metadata.open_csv(path, ["patch_id", "label"], header=True).read_all()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("S2A_MSIL2A_20170613T101031_0_45 ", "'S2A_MSIL2A_20170613T101031_0_45 ' as s2v1_name in row 3"),
        ("patch_name", "'patch_name' as s2v1_name in row 3"),
        ('"S2A_MSIL2A_20170613T101031_0_45', "as s2v1_name in row 3"),
    ],
)
def test_a_name_by_which_a_flag_would_be_lost_is_an_error(tmp_path: Path, row: str, said: str) -> None:
    path = tmp_path / "snow.csv"
    path.write_text(f"S2A_MSIL2A_20170613T101031_0_46\nS2A_MSIL2A_20170613T94160_0_47\n{row}\n")
    with pytest.raises(BadInput, match=rf"snow\.csv; .*found: .*{said}"):
        metadata.read_csv(path, ["s2v1_name"], header=False)


def test_the_published_writer_says_which_duckdb_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(duckdb, "__version__", "1.3.0")
    monkeypatch.setattr(sys, "version_info", (3, 12))
    with pytest.raises(BadInput, match=r"1\.0\.0; found: 1\.3\.0; next: type: .*-m pip install duckdb==1.0.0"):
        metadata.write(metadata.join(SOME), tmp_path, "published")
    monkeypatch.setattr(sys, "version_info", (3, 13))  # for which pip would have to compile it
    with pytest.raises(BadInput, match=r"next: install ben_luigi with Python 3\.11 or 3\.12.*, or take writer"):
        metadata.write(metadata.join(SOME), tmp_path, "published")
    assert not list(tmp_path.iterdir())
