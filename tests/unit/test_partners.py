"""Datasets in which a patch has no partner in Sentinel-1, and several share one: forms, statistics, unpack, view."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ben_luigi.domain.dataset import unpacking
from ben_luigi.domain.dataset.form import FORM_V2
from ben_luigi.domain.forms import parquet, statistics
from ben_luigi.domain.forms.export import FORMS, export, verify
from ben_luigi.domain.forms.form import Options
from ben_luigi.domain.forms.pixels import DTYPES, side_px
from ben_luigi.domain.forms.source import S1, Source
from ben_luigi.domain.report import viewer_folders
from ben_luigi.domain.vocabulary import PIXELS
from tests.unit.exports import SMALL, counted, files_of, pixels_of, varied_dataset
from tests.unit.small_dataset import Dataset
from tests.unit.test_viewer_folders import GIVEN


@pytest.fixture(scope="module")
def uneven() -> Dataset:
    """The first patch has no partner, three share one."""
    dataset = varied_dataset()
    dataset.rows[0]["s1_name"] = None
    for row in (2, 4):
        dataset.rows[row]["s1_name"] = dataset.rows[1]["s1_name"]
    names = {row["s1_name"] for row in dataset.rows}
    dataset.parts[S1] = [
        {name: data for name, data in part.items() if name.split("/")[2] in names} for part in dataset.parts[S1]
    ]
    return dataset


@pytest.fixture(scope="module")
def folder(uneven: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return uneven.write(tmp_path_factory.mktemp("uneven") / "dataset")


@pytest.mark.parametrize("name", FORMS)
def test_each_patch_has_the_pixels_of_its_partner_in_every_form(
    name: str, uneven: Dataset, folder: Path, tmp_path: Path
) -> None:
    source = Source.open(folder)
    export(FORMS[name], source, tmp_path / "out", SMALL)
    assert verify(source, tmp_path / "out") == []
    partners = {str(row["patch_id"]): row["s1_name"] for row in uneven.rows}
    files = {Path(file).stem: data for file, data in files_of(uneven)}
    shown = [one for one in FORMS[name].read(tmp_path / "out") if one.kind == "VV"]
    for one in shown:
        assert np.array_equal(one.pixels, pixels_of(files[f"{partners.get(one.name, one.name)}_VV"]))
    by_name = {*filter(None, partners.values())} if name == "lmdb" else {key for key in partners if partners[key]}
    assert Counter(one.name for one in shown) == Counter(by_name)


@pytest.mark.parametrize("pixels", PIXELS)
def test_parquet_has_the_same_rows_whatever_the_size_of_its_row_groups(
    pixels: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory of a row group is used again for the next one, for other lengths, and for files that are not there."""
    source, tables = Source.open(folder), []
    for rows in (1, 2, 32):
        monkeypatch.setattr(parquet, "ROWS_A_GROUP", rows)
        out = tmp_path / str(rows)
        export(FORMS["parquet"], source, out, Options(pixels=pixels))
        assert verify(source, out) == []
        files = sorted(out.glob("*.parquet"))
        groups = [pq.ParquetFile(file).metadata.row_group(0).num_rows for file in files]
        assert max(groups) == min(rows, max(pq.ParquetFile(file).metadata.num_rows for file in files))
        tables.append(pa.concat_tables(pq.read_table(file) for file in files))
    assert tables[0]["VV"].null_count == 1
    assert tables[0].equals(tables[2])
    assert tables[1].equals(tables[2])


@pytest.mark.parametrize("pixels", PIXELS)
def test_a_row_group_of_large_patches_has_fewer_of_them(
    pixels: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that they exceed neither memory nor Arrow's offsets of 32 bits; 32 of the usual ones never reach the bound."""
    usual = sum(np.dtype(DTYPES[kind]).itemsize * side_px(kind, FORM_V2.patch_m) ** 2 for kind in DTYPES)
    assert 1.5 * parquet.ROWS_A_GROUP * usual < parquet.GROUP_BYTES < 2**31
    for most in (1, 2):
        monkeypatch.setattr(parquet, "GROUP_BYTES", 1 + (most - 1) * usual)
        export(FORMS["parquet"], Source.open(folder), tmp_path / "form", Options(pixels=pixels))
        assert verify(Source.open(folder), tmp_path / "form") == []
        found = [pq.read_metadata(path) for path in (tmp_path / "form").glob("*.parquet")]
        rows = [each.row_group(group).num_rows for each in found for group in range(each.num_row_groups)]
        assert max(rows) == most or (pixels == "tiff" and max(rows) > most == 2)  # TIFFs are packed


def test_statistics_count_the_pixels_of_a_partner_with_each_patch(uneven: Dataset, folder: Path) -> None:
    found = statistics.statistics(Source.open(folder), counted(Source.open(folder)))["bands"]["VV"]["statistics"][
        "overall"
    ]
    files = {Path(file).stem: data for file, data in files_of(uneven)}
    partners = [row["s1_name"] for row in uneven.rows if row["s1_name"] and not row["contains_seasonal_snow"]]
    pixels = np.concatenate([pixels_of(files[f"{name}_VV"]).ravel() for name in partners])
    assert found["pixels"] == len(pixels) == 3 * 120**2
    assert found["mean"] == pytest.approx(pixels.mean(dtype="float64"), rel=1e-9)


def test_unpack_writes_a_shared_partner_once(uneven: Dataset, folder: Path, tmp_path: Path) -> None:
    done = unpacking.unpack(folder, unpacking.archives_of(folder, FORM_V2), tmp_path / "out")
    assert [(one.archive, one.patches) for one in done][-1] == (S1, 3)
    written = {path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in tmp_path.rglob("*.tif")}
    assert written == dict(files_of(uneven))


def test_a_viewer_shows_each_patch_with_its_partner(uneven: Dataset, folder: Path) -> None:
    shown = viewer_folders.of_dataset(folder, FORM_V2, 300, GIVEN)
    found = {patch.row["patch_id"]: "VV" in patch.pixels for patch in shown.patches}
    assert found == {row["patch_id"]: row["s1_name"] is not None for row in uneven.rows}
