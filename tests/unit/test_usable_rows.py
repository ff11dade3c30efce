"""Metadata that others have written: a row that cannot be used is named, and nothing is written outside of a folder."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ben_luigi.domain.dataset.form import FORM_V2
from ben_luigi.domain.dataset.geoparquet import PATCHES
from ben_luigi.domain.dataset.metadata import METADATA
from ben_luigi.domain.errors import BadInput, BadTable, DamagedFile
from ben_luigi.domain.forms import webdataset
from ben_luigi.domain.forms.export import FORMS, export
from ben_luigi.domain.forms.selecting import selected
from ben_luigi.domain.forms.source import Source
from ben_luigi.domain.report import viewer_folders
from tests.unit.exports import SMALL
from tests.unit.test_viewer_folders import GIVEN

TILE_NAME = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"


@pytest.fixture
def dataset(finished: Path, tmp_path: Path) -> Path:
    """A copy of the metadata, beside links to the archives."""
    folder = tmp_path / "dataset"
    folder.mkdir()
    for path in finished.iterdir():
        if path.suffix == ".parquet":
            shutil.copy(path, folder)
        else:
            (folder / path.name).symlink_to(path)
    return folder


def change(path: Path, column: str, value: Any, row: int = 1) -> str:
    """Put a value into one row of a Parquet file; return the patch id of that row, as it is then."""
    table = pq.read_table(path)
    values = table[column].to_pylist()
    values[row] = value
    number = table.column_names.index(column)
    changed = table.set_column(number, table.schema.field(column), pa.array(values, table.schema.field(column).type))
    pq.write_table(changed, path)
    return str(changed["patch_id"][row].as_py())


@pytest.mark.parametrize(
    ("column", "value", "expected", "found"),
    [
        ("patch_id", None, "a value of patch_id in each row", "none: None"),
        ("patch_id", "../../S2A", "names in patch_id", "others: '../../S2A'"),
        ("patch_id", "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_00_ß", "names in patch_id", "others: 'S2A_"),
        ("patch_id", "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_00_01\n", "names in patch_id", "others: 'S2A_"),
        ("s1_name", "../S1", "names in s1_name", "others: '../S1'"),
        (
            "s1_name",
            f"{TILE_NAME}_00_00",
            "s1_name of Sentinel-1, or the patch_id of its row",
            f"others: '{TILE_NAME}_00_00'",
        ),
        ("s2v1_name", "no/name", "names in s2v1_name", "others: 'no/name'"),
        ("split", "../ESCAPED", "split: train, validation, test", "others: '../ESCAPED'"),
        ("split", None, "a value of split in each row", "none: '{patch_id}'"),
        ("country", None, "a value of country in each row", "none: '{patch_id}'"),
        ("labels", None, "a value of labels in each row", "none: '{patch_id}'"),
        ("labels", ["Pastures", None], "labels without gaps", "an empty one: '{patch_id}'"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(dataset: Path, column: str, value: Any, expected: str, found: str) -> None:
    patch_id = change(dataset / METADATA, column, value)
    with pytest.raises(BadTable) as raised:
        Source.open(dataset)
    assert raised.value.subject == str(dataset / METADATA)
    assert raised.value.expected == expected
    assert raised.value.found.startswith(found.format(patch_id=patch_id).replace("\n", "\\n"))


def test_a_folder_in_the_place_of_metadata_is_named(dataset: Path) -> None:
    (dataset / METADATA).unlink()
    (dataset / METADATA).mkdir()
    with pytest.raises(BadInput, match=f"{METADATA}; expected: .*; found: a folder, not a file; next"):
        Source.open(dataset)


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        (lambda table: table.drop_columns(["labels"]), "no column labels"),
        (lambda table: _with(table, "labels", pa.array(["x"] * len(table))), "labels of type string, where list<"),
        (lambda table: table.select(table.column_names[::-1]), "columns contains_cloud_or_shadow, "),
        (lambda table: table.append_column("more", pa.nulls(len(table))), "more, where there should be patch_id, "),
    ],
)
def test_columns_that_are_not_those_of_metadata_are_named(dataset: Path, harm: Any, found: str) -> None:
    pq.write_table(harm(pq.read_table(dataset / METADATA)), dataset / METADATA)
    with pytest.raises(BadInput, match=found):
        Source.open(dataset)


def test_metadata_without_rows_are_no_dataset(dataset: Path) -> None:
    for name in FORM_V2.tables:
        pq.write_table(pq.read_table(dataset / name).slice(0, 0), dataset / name)
    with pytest.raises(BadTable, match=f"expected: patches in the metadata; found: no row in {METADATA}, "):
        Source.open(dataset)


def test_a_label_of_no_class_is_named_to_who_wants_to_see_it(dataset: Path) -> None:
    change(dataset / METADATA, "labels", ["Pastures", "Moon dust"])
    with pytest.raises(BadTable, match="found: Moon dust; next"):
        viewer_folders.of_dataset(dataset, FORM_V2, 10, GIVEN)


def test_text_that_is_no_utf_8_is_named(dataset: Path) -> None:
    path = dataset / METADATA
    table = pq.read_table(path)
    bad = pa.array([b"Finl\xffand", *[b"Finland"] * (len(table) - 1)]).view(pa.string())
    pq.write_table(table.set_column(table.column_names.index("country"), "country", bad), path)
    with pytest.raises(BadInput, match=f"{METADATA}.*Invalid UTF8"):
        Source.open(dataset)


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        (lambda table: table.slice(1), "none of S2"),
        (lambda table: pa.concat_tables([table, table.slice(0, 1)]), "more than one row of S2"),
        (
            lambda table: table.set_column(
                table.column_names.index("left_m"), "left_m", pa.nulls(len(table), pa.float64())
            ),
            "rows without a value of left_m",
        ),
        (lambda table: table.drop_columns(["season"]), "rows without a value of season"),
        (lambda table: _with(table, "top_m", pa.array([math.nan] * len(table))), "rows without a value of top_m"),
        (lambda table: _with(table, "epsg", pa.array([math.inf] * len(table))), "rows without a value of epsg"),
        (lambda table: _with(table, "epsg", pa.array(["here"] * len(table))), "Failed to parse"),
    ],
)
def test_places_that_are_not_those_of_the_patches_select_nothing(
    whole: Path, tmp_path: Path, harm: Any, found: str
) -> None:
    folder = tmp_path / "dataset"
    folder.mkdir()
    for path in whole.glob("*.parquet"):
        shutil.copy(path, folder)
    pq.write_table(harm(pq.read_table(folder / PATCHES)), folder / PATCHES)
    with pytest.raises(BadInput, match=f"{PATCHES}.*found: .*{found}"):
        selected(Source.open(folder), {"seasons": "summer spring fall winter"})


def _with(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


@pytest.mark.parametrize(
    "kind", [pa.string_view(), pa.large_string(), pa.binary(), pa.dictionary(pa.int8(), pa.string())]
)
def test_texts_of_any_kind_tell_places_and_metadata(whole: Path, tmp_path: Path, kind: pa.DataType) -> None:
    folder = tmp_path / "dataset"
    folder.mkdir()
    names = ("season",) if pa.types.is_dictionary(kind) else ("season", "patch_id")
    for path in whole.glob("*.parquet"):
        table = pq.read_table(path)
        for name in names if path.name == PATCHES else ("split", "country"):
            if name in table.column_names:
                table = _with(table, name, table[name].cast(kind))
        pq.write_table(table, folder / path.name)
    expected = selected(Source.open(whole), {"seasons": "summer", "splits": "train"})
    assert selected(Source.open(folder), {"seasons": "summer", "splits": "train"}).rows.equals(expected.rows)


def test_shards_of_others_name_no_file_outside_of_a_folder(dataset: Path, tmp_path: Path) -> None:
    export(FORMS["webdataset"], Source.open(dataset), tmp_path / "shards", SMALL)
    place = webdataset.read_index(tmp_path / "shards").to_pylist()[0]
    shard = tmp_path / "shards" / place["shard"]
    data = shard.read_bytes()
    row = webdataset.read_row(tmp_path / "shards", place)
    for column, value, said in (
        ("patch_id", "../../ESCAPED", "is of '../../ESCAPED'"),
        ("patch_id", None, "is of None"),
        ("split", "moon", "split: train, validation, test"),
        ("labels", 5, "whole shard"),
        ("s1_name", "../S1", "names in s1_name"),
    ):
        old, new = (json.dumps(one, ensure_ascii=False).encode() for one in (row, {**row, column: value}))
        assert len(new) <= len(old) and data.count(old) == 1
        shard.write_bytes(data.replace(old, new.ljust(len(old))))
        with pytest.raises(DamagedFile, match=f"{shard.name}.*{said}"):
            viewer_folders.of_webdataset(tmp_path / "shards", 10, GIVEN)
    shard.write_bytes(data)
    change(tmp_path / "shards" / webdataset.INDEX, "shard", f"../shards/{place['shard']}", row=0)
    with pytest.raises(DamagedFile, match=r"shards outside of its folder: \.\./shards/"):
        webdataset.read_index(tmp_path / "shards")
