"""Differences of two runs, beside sets and dictionaries, and on published rows."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ben_luigi.domain.dataset.differences import COLUMNS, Row, differences, hash_rows, metadata_rows
from ben_luigi.domain.dataset.metadata import FLAGGED, METADATA, SCHEMA
from ben_luigi.domain.errors import BadInput

tables = st.dictionaries(st.text("ab_", min_size=1, max_size=3), st.tuples(st.integers(0, 1), st.integers(0, 1)))


def sorted_rows(table: dict[str, tuple[int, int]]) -> list[Row]:
    return sorted(table.items())


@given(tables, tables)
def test_numbers_and_names_are_those_of_sets(
    ours: dict[str, tuple[int, int]], theirs: dict[str, tuple[int, int]]
) -> None:
    both = ours.keys() & theirs.keys()
    expected = {
        "missing": theirs.keys() - ours.keys(),
        "new": ours.keys() - theirs.keys(),
        "other a": {key for key in both if ours[key][0] != theirs[key][0]},
        "other b": {key for key in both if ours[key][1] != theirs[key][1]},
    }
    said = differences(["a", "b"], sorted_rows(ours), sorted_rows(theirs))
    found = {kind: (int(count), names) for count, kind, names in re.findall(r"(\d+) ([a-z ]+) \(([^)]*)\)", said)}
    assert found.keys() == {kind for kind, keys in expected.items() if keys}
    for kind, (count, names) in found.items():
        assert count == len(expected[kind])
        assert names.split(", ")[:3] == sorted(expected[kind])[:3]
        assert names.endswith(", ...") == (count > 3)


def test_published_rows_differ_where_they_were_changed(published: Path, tmp_path: Path) -> None:
    for name, folder in ((METADATA, "theirs"), (FLAGGED, "theirs"), (METADATA, "ours")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).symlink_to(published / f"{Path(name).stem}_zones_31_32_33.parquet")
    rows = pq.read_table(tmp_path / "theirs" / FLAGGED).sort_by("patch_id")
    labels = pa.array([[], *rows["labels"].to_pylist()[1:]], rows.schema.field("labels").type)
    changed = rows.set_column(1, rows.schema.field("labels"), labels).slice(0, len(rows) - 2)
    pq.write_table(changed, tmp_path / "ours" / FLAGGED)
    ids = rows["patch_id"].to_pylist()
    ours, theirs = (list(metadata_rows(tmp_path / name, lambda patch: True)) for name in ("ours", "theirs"))
    assert len(theirs) == 63_327 + 2_389
    assert differences(COLUMNS, theirs, theirs) == ""
    assert differences(COLUMNS, ours, theirs) == f"2 missing ({ids[-2]}, {ids[-1]}); 1 other labels ({ids[0]})"
    summer = pc.sum(pc.match_substring(pq.read_table(tmp_path / "ours" / METADATA)["patch_id"], "_20170613T")).as_py()
    assert len(list(metadata_rows(tmp_path / "ours", lambda patch: "_20170613T" in patch))) >= summer > 0


def test_hash_lists_are_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "patch_hashes.csv"
    path.write_text("name,hash-sha256\na,1\nb,2\n")
    assert list(hash_rows(path, lambda name: name != "a")) == [("b", ("2",))]
    for text, said in (("a,1\n", "found: a,1"), ("", "found: nothing"), ("name,hash-sha256\nb,1\nb,2\n", "b after b")):
        path.write_text(text)
        with pytest.raises(BadInput, match=said):
            list(hash_rows(path, lambda name: True))


def test_a_file_of_other_columns_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"patch_id": ["a"]}), tmp_path / METADATA)
    with pytest.raises(BadInput, match=f"{METADATA}.*labels"):
        list(metadata_rows(tmp_path, lambda patch: True))
    assert list(metadata_rows(tmp_path / "none", lambda patch: True)) == []


def test_rows_of_both_files_come_in_one_order_and_each_has_an_id(tmp_path: Path) -> None:
    """Of files whose own rows have any order; what has no id could be compared with nothing."""
    row = dict.fromkeys(SCHEMA.names) | {"labels": ["Pastures"], "split": "train"}
    ids = {METADATA: ["d", "a", "e"], FLAGGED: ["c", "b"]}
    for file, patches in ids.items():
        pq.write_table(pa.Table.from_pylist([{**row, "patch_id": patch} for patch in patches], SCHEMA), tmp_path / file)
    found = list(metadata_rows(tmp_path, lambda patch: patch != "b"))
    assert found == [(key, tuple(row[name] for name in COLUMNS)) for key in ("a", "c", "d", "e")]
    table = pa.Table.from_pylist([{**row, "patch_id": patch} for patch in ("a", None)])
    pq.write_table(table, tmp_path / FLAGGED)
    with pytest.raises(BadInput, match=f"{FLAGGED}; .*found: rows without patch_id"):
        list(metadata_rows(tmp_path, lambda patch: True))
