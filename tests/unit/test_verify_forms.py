"""What verify finds in a form that is damaged or says something else than its dataset: each finding names the file."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import zarr

from ben_luigi.domain.formats import tarball, tiffheader
from ben_luigi.domain.forms.export import FORMS, export, verify
from ben_luigi.domain.forms.form import NOTE
from ben_luigi.domain.forms.source import Source
from ben_luigi.domain.vocabulary import ARRAY, RAW
from tests.unit.exports import SMALL


@pytest.fixture
def copied(exported: Mapping[str, Path], tmp_path: Path, name: str) -> Path:
    """A copy of a form, to be damaged."""
    return Path(shutil.copytree(exported[name], tmp_path / "form"))


def _forget_files(form: Path) -> None:
    """Make the note one from before files were listed."""
    note = json.loads((form / NOTE).read_text())
    del note["files"], note["crc32"]
    (form / NOTE).write_text(json.dumps(note, indent=1, sort_keys=True) + "\n")


def _files(form: Path) -> list[str]:
    return sorted(path.relative_to(form).as_posix() for path in form.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", FORMS)
def test_a_changed_byte_in_any_file_is_found_and_the_file_is_named(name: str, finished: Path, copied: Path) -> None:
    source, rng = Source.open(finished), random.Random(name)
    for file in _files(copied):
        whole = (copied / file).read_bytes()
        content = bytearray(whole)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        (copied / file).write_bytes(content)
        found = verify(source, copied)
        assert any(line.startswith(f"{file}: ") for line in found), (file, found)
        (copied / file).write_bytes(whole)
    assert verify(source, copied) == []


@pytest.mark.parametrize("name", FORMS)
def test_a_file_that_is_missing_or_cut_is_named(name: str, finished: Path, copied: Path) -> None:
    source = Source.open(finished)
    for file in _files(copied):
        if file == NOTE:
            continue
        whole = (copied / file).read_bytes()
        (copied / file).write_bytes(whole[: len(whole) // 3])
        assert f"{file}: {len(whole) // 3:,} bytes, where {len(whole):,} were exported" in verify(source, copied)
        (copied / file).unlink()
        assert f"{file}: missing" in verify(source, copied)
        (copied / file).write_bytes(whole)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("webdataset", "train-000000.tar"),
        ("webdataset", "index.parquet"),
        ("parquet", "train-00000.parquet"),
        ("geoparquet", "BigEarthNet-S1-00000.tar"),
        ("lmdb", "data.mdb"),
        ("zarr", "s2_10m/c/0/0/0/0"),
        ("zarr", "reference_map/c/0/0/0"),
    ],
)
def test_a_form_whose_note_lists_no_files_has_its_cut_files_named_too(
    name: str, file: str, finished: Path, copied: Path
) -> None:
    """Whose bytes are not compared is said."""
    _forget_files(copied)
    not_looked_at: list[str] = []
    assert verify(Source.open(finished), copied, on_skipped=not_looked_at.append) == []
    (what,) = not_looked_at
    assert f"bytes of {copied}" in what
    whole = (copied / file).read_bytes()
    for length in (1000, len(whole) // 2, len(whole) - 1):
        (copied / file).write_bytes(whole[:length])
        found = verify(Source.open(finished), copied)
        assert any(line.startswith(f"{file}: ") for line in found), found
        assert not any(": missing: " in line or "\\x" in line for line in found), found


@pytest.mark.parametrize("name", ["zarr"])
def test_a_shard_that_is_not_there_is_not_taken_for_one_of_other_pixels(
    name: str, finished: Path, copied: Path
) -> None:
    _forget_files(copied)
    (copied / "s2_20m/c/0/0/0/0").unlink()
    assert verify(Source.open(finished), copied) == ["s2_20m/c/0/0/0/0: cannot be read further (no such file)"]


@pytest.mark.parametrize("name", ["webdataset"])
@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ('"selection": {}', '"selection": {"seasons": "wintre"}', "a selection that cannot be followed"),
        ('"train-000000.tar"', '"../train-000000.tar"', "not in the folder of the form"),
    ],
)
def test_a_note_that_others_have_written_is_judged(
    name: str, before: str, after: str, what: str, finished: Path, copied: Path
) -> None:
    text = (copied / NOTE).read_text()
    assert before in text
    (copied / NOTE).write_text(text.replace(before, after))
    assert any(what in line for line in verify(Source.open(finished), copied))


@pytest.mark.parametrize("name", FORMS)
def test_what_nobody_exported_is_said_and_surplus_in_a_folder_of_the_form(
    name: str, finished: Path, copied: Path, tmp_path: Path
) -> None:
    """A link that leads elsewhere, or in a circle, is not followed."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train-00000.parquet").write_text("mine")
    (copied / "more").symlink_to(tmp_path / "mine")
    (copied / "notes.txt").write_text("mine")
    (copied / ".notes").write_text("mine")
    for path in [path for path in copied.rglob("*") if path.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\26\7")  # as macOS leaves them
    not_looked_at: list[str] = []
    assert verify(Source.open(finished), copied, on_skipped=not_looked_at.append) == []
    assert not_looked_at == [f"{each}: it is no part of the form" for each in ("more/", "notes.txt")]
    if name == "zarr":
        (copied / "s2_10m" / "c" / "9").write_text("mine")
        (copied / "s2_10m" / "circle").symlink_to(copied)
        assert verify(Source.open(finished), copied) == ["s2_10m: surplus: c/9, circle/"]


def _json_of(form: Path, before: bytes, after: bytes) -> None:
    shard = form / "train-000000.tar"
    content = shard.read_bytes()
    assert before in content and len(before) == len(after)
    shard.write_bytes(content.replace(before, after, 1))


def _table(form: Path, file: str, column: str, change: Callable[[pa.Table], pa.Array]) -> None:
    table = pq.read_table(form / file)
    pq.write_table(table.set_column(table.column_names.index(column), table.field(column), change(table)), form / file)


def _header(form: Path, file: str, at: Callable[[bytes], int]) -> None:
    content = bytearray((form / file).read_bytes())
    content[at(bytes(content))] ^= 1
    (form / file).write_bytes(content)


def _array(form: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    array: Any = zarr.open_group(form, mode="r+")[name]
    array[:] = change(array[:])


def _tie_point(content: bytes) -> int:
    """In the west edge of the first patch, after the place of the tie point in the raster."""
    first = tarball.entry(content)
    assert first is not None
    at = {tag: at for tag, _, at in tiffheader.entries(content[first.data : first.data + first.size])}
    return first.data + at[tiffheader.TIE_POINT] + 3 * 8 + 2


FALSIFIED: list[tuple[str, Callable[[Path], object], str]] = [
    (
        "webdataset",
        lambda form: _json_of(form, b'"split": "train"', b'"split": "trian"'),
        "train-000000.tar: other split",
    ),
    ("webdataset", lambda form: _json_of(form, b'"epsg": 32', b'"epsg": 33'), "train-000000.tar: other epsg"),
    ("webdataset", lambda form: _json_of(form, b'"labels": ["A', b'"labels": ["B'), "train-000000.tar: other labels"),
    ("webdataset", lambda form: _header(form, "train-000000.tar", lambda content: 100), "train-000000.tar: expected: "),
    ("webdataset", lambda form: _header(form, "train-000000.tar", lambda content: -1), "train-000000.tar: expected: "),
    (
        "webdataset",
        lambda form: _table(form, "index.parquet", "is_flagged", lambda table: pc.invert(table["is_flagged"])),
        "index.parquet: another split or flag than in the dataset",
    ),
    (
        "webdataset",
        lambda form: shutil.copy(form / "train-000000.tar", form / "train-000009.tar"),
        "index.parquet: another place than train-000009.tar has for the patch",
    ),
    (
        "parquet",
        lambda form: _table(form, "train-00000.parquet", "labels", lambda table: pa.array([["Pastures"]] * len(table))),
        "train-00000.parquet: other labels than in the dataset",
    ),
    (
        "parquet",
        lambda form: _table(form, "train-00000.parquet", "left_m", lambda table: pc.add(table["left_m"], 10.0)),
        "train-00000.parquet: other left_m than in the dataset",
    ),
    (
        "parquet",
        lambda form: (form / "train-00000.parquet").rename(form / "test-00007.parquet"),
        "test-00007.parquet: a patch of another split or flag than the file",
    ),
    ("parquet", lambda form: (form / "train-00000.parquet").unlink(), "train-00000.parquet: missing"),
    (
        "geoparquet",
        lambda form: _header(form, "BigEarthNet-S2-00000.tar", lambda content: 150),
        "BigEarthNet-S2-00000.tar: expected: the header of a member at byte 0",
    ),
    (
        "geoparquet",
        lambda form: _header(form, "BigEarthNet-S2-00000.tar", _tie_point),
        "geoparquet: other bytes around the same pixels than in the dataset's TIFF: ",
    ),
    (
        "geoparquet",
        lambda form: _table(form, "patches.parquet", "bigearthnet:country", lambda table: table["id"]),
        "patches.parquet: other bigearthnet:country than the dataset gives: ",
    ),
    (
        "geoparquet",
        lambda form: _table(
            form, "patches.parquet", "geometry", lambda table: table["geometry"].take([1, 0, 2, 3, 4, 5])
        ),
        "patches.parquet: other geometry than the dataset gives: ",
    ),
    ("zarr", lambda form: _array(form, "labels", np.logical_not), "labels: other labels than in the dataset: "),
    (
        "zarr",
        lambda form: _array(form, "label", lambda labels: labels[::-1]),
        "label: other label than in the dataset: ",
    ),
    ("zarr", lambda form: _array(form, "top_m", lambda top: top + 10), "top_m: other top_m than in the dataset: "),
    (
        "zarr",
        lambda form: _array(form, "band_s2_10m", lambda bands: bands[::-1]),
        "band_s2_10m: other band_s2_10m than in the dataset: B",
    ),
    (
        "zarr",
        lambda form: (form / "s1" / "zarr.json").write_text((form / "s2_10m" / "zarr.json").read_text()),
        "s1/zarr.json: ",
    ),
]


@pytest.mark.parametrize(("name", "falsify", "expected"), FALSIFIED)
def test_what_a_form_says_otherwise_than_its_dataset_is_found_whatever_its_note_lists(
    name: str, falsify: Callable[[Path], object], expected: str, finished: Path, copied: Path
) -> None:
    _forget_files(copied)
    falsify(copied)
    found = verify(Source.open(finished), copied)
    assert any(line.startswith(expected) for line in found), found


def test_lists_whose_numbers_might_be_null_are_those_of_former_versions(finished: Path, tmp_path: Path) -> None:
    source, form = Source.open(finished), tmp_path / "form"
    export(FORMS["parquet"], source, form, replace(SMALL, pixels=ARRAY))
    for path in form.glob("*.parquet"):
        table = pq.read_table(path)
        for at, field in enumerate(table.schema):
            if pa.types.is_fixed_size_list(field.type):
                assert not field.type.value_field.nullable
                former = pa.list_(field.type.value_type, field.type.list_size)
                table = table.set_column(at, pa.field(field.name, former), table[field.name].cast(former))
        pq.write_table(table, path)
    _forget_files(form)
    assert verify(source, form) == []


@pytest.mark.parametrize("stored", [ARRAY, RAW])
def test_a_pixel_that_is_another_one_in_plain_columns_is_found(stored: str, finished: Path, tmp_path: Path) -> None:
    source, form = Source.open(finished), tmp_path / "form"
    export(FORMS["parquet"], source, form, replace(SMALL, pixels=stored))
    path = form / "train-00000.parquet"
    table = pq.read_table(path)
    at, field = table.schema.get_field_index("B04"), table.schema.field("B04")
    rows = [bytearray(row) if stored == RAW else row for row in table["B04"].to_pylist()]
    rows[0][77] ^= 1
    values = pa.array([bytes(row) if stored == RAW else row for row in rows], field.type)
    pq.write_table(table.set_column(at, field, values), path)
    _forget_files(form)
    (found,) = verify(source, form)
    assert f"{table['patch_id'][0]}" in found and "B04" in found


def test_raw_columns_that_name_another_type_are_found(finished: Path, tmp_path: Path) -> None:
    source, form = Source.open(finished), tmp_path / "form"
    export(FORMS["parquet"], source, form, replace(SMALL, pixels=RAW))
    path = form / "train-00000.parquet"
    table = pq.read_table(path)
    said = table.schema.metadata[b"dtypes"].replace(b'"B04": "<u2"', b'"B04": ">u2"')
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"dtypes": said}), path)
    _forget_files(form)
    assert verify(source, form) == ["train-00000.parquet: other dtypes of pixels in its metadata"]


@pytest.mark.parametrize("name", FORMS)
def test_a_form_of_another_dataset_is_found(name: str, finished: Path, copied: Path) -> None:
    _forget_files(copied)
    note = json.loads((copied / NOTE).read_text())
    note["dataset"]["name"] = "another"
    (copied / NOTE).write_text(json.dumps(note))
    found = verify(Source.open(finished), copied)
    assert any(line.startswith("form.json: another dataset") for line in found), found
