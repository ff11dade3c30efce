"""What verify finds in forms: nothing in what was exported, and each thing that is changed, missing or too much."""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from ben_luigi.domain.errors import DamagedFile
from ben_luigi.domain.forms.export import FORMS, export, verify
from ben_luigi.domain.forms.selecting import selected
from ben_luigi.domain.forms.source import Source
from tests.unit.exports import SMALL, files_of, varied_dataset
from tests.unit.small_dataset import Dataset


@pytest.mark.parametrize("name", FORMS)
def test_verify_finds_nothing_wrong_with_what_was_exported(
    name: str, finished: Path, exported: Mapping[str, Path]
) -> None:
    assert verify(Source.open(finished), exported[name]) == []


@pytest.mark.parametrize("name", FORMS)
def test_verify_names_the_file_of_which_one_pixel_differs(
    name: str, varied: Dataset, exported: Mapping[str, Path], tmp_path: Path
) -> None:
    changed = varied_dataset()
    member = next(name for name in changed.names("BigEarthNet-S2") if name.endswith("_B03.tif"))
    data = bytearray(dict(files_of(changed))[member])
    data[-1] ^= 1
    changed.replace(member, bytes(data))
    found = verify(Source.open(changed.write(tmp_path / "changed")), exported[name])
    stem = Path(member).stem
    assert found == [f"{name}: other pixels than in the dataset: {stem.removesuffix('_B03')} B03"]


@pytest.mark.parametrize("name", FORMS)
def test_verify_names_what_a_form_has_too_much(name: str, finished: Path, exported: Mapping[str, Path]) -> None:
    source = Source.open(finished)
    surplus = source.rows["patch_id"][0].as_py()
    number, line = verify(replace(source, rows=source.rows.slice(1)), exported[name])
    assert number == "form.json: another number of patches: patches (expected 5, found 6)"
    assert line.startswith(f"{name}: surplus: ") and f"{surplus} B0" in line


@pytest.mark.parametrize("name", FORMS)
def test_verify_names_what_a_form_lacks(name: str, finished: Path, tmp_path: Path) -> None:
    source = Source.open(finished)
    lacking = source.rows["patch_id"][0].as_py()
    export(FORMS[name], replace(source, rows=source.rows.slice(1)), tmp_path / "fewer", SMALL)
    number, line = verify(source, tmp_path / "fewer")
    assert number == "form.json: another number of patches: patches (expected 6, found 5)"
    assert line.startswith(f"{name}: missing: {lacking} B01, {lacking} B02") and "(1" in line


@pytest.mark.parametrize("damage", ["byte", "cut", "empty"])
@pytest.mark.parametrize("name", FORMS)
def test_verify_names_a_damaged_file_of_a_form(
    name: str, damage: str, finished: Path, exported: Mapping[str, Path], tmp_path: Path
) -> None:
    """Whatever its reader makes of it: LMDB would end the process."""
    shutil.copytree(exported[name], tmp_path / "damaged")
    largest = max((tmp_path / "damaged").rglob("*"), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 0xFF
    kept = {"cut": 2 * len(content) // 3, "empty": 0}.get(damage, len(content))
    largest.write_bytes(content[:kept])
    assert verify(Source.open(finished), tmp_path / "damaged")


@pytest.mark.parametrize("file", ["index.parquet", "train-000000.tar"])
def test_what_a_damaged_byte_of_shards_is_read_as_is_named(
    file: str, exported: Mapping[str, Path], tmp_path: Path
) -> None:
    """Bytes by chance: the readers of zip, NumPy and Parquet raise many kinds of errors."""
    shutil.copytree(exported["webdataset"], tmp_path / "damaged")
    whole, rng = (tmp_path / "damaged" / file).read_bytes(), random.Random(17)
    for _ in range(60):
        content = bytearray(whole)
        content[rng.randrange(min(len(content), 4_000))] = rng.randrange(256)
        (tmp_path / "damaged" / file).write_bytes(content)
        with suppress(DamagedFile):
            assert all(shown.pixels.ndim == 2 for shown in FORMS["webdataset"].read(tmp_path / "damaged"))


@pytest.mark.parametrize("name", FORMS)
def test_a_form_of_a_selection_is_verified_by_the_same_selection(name: str, finished: Path, tmp_path: Path) -> None:
    """Season, tile and area by the names, as there is no patches.parquet."""
    whole = Source.open(finished)
    snowy = [row["patch_id"] for row in whole.rows.to_pylist() if row["patch_id"].startswith("S2B_MSIL2A_20180204")]
    west, south, east, north = 13, 40, 30, 50
    options = {"seasons": "winter", "tiles": "34TEN_20180204", "area": f"{west}, {south}, {east}, {north}"}
    source = selected(whole, options)
    assert source.rows["patch_id"].to_pylist() == snowy
    export(FORMS[name], source, tmp_path / "out", SMALL)
    assert verify(whole, tmp_path / "out") == []
