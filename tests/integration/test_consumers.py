"""What the programs that load the dataset ask of it, restated without them, on the extracted sample dataset."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio

NAMES = ("metadata.parquet", "metadata_for_patches_with_snow_cloud_or_shadow.parquet")
LABELS = {
    "Urban fabric",
    "Industrial or commercial units",
    "Arable land",
    "Permanent crops",
    "Pastures",
    "Complex cultivation patterns",
    "Land principally occupied by agriculture, with significant areas of natural vegetation",
    "Agro-forestry areas",
    "Broad-leaved forest",
    "Coniferous forest",
    "Mixed forest",
    "Natural grassland and sparsely vegetated areas",
    "Moors, heathland and sclerophyllous vegetation",
    "Transitional woodland, shrub",
    "Beaches, dunes, sands",
    "Inland wetlands",
    "Coastal wetlands",
    "Inland waters",
    "Marine waters",
}
COLUMNS = ["patch_id", "labels", "split", "country", "s1_name", "s2v1_name"]


def _rows(folder: Path) -> list[dict[str, object]]:
    return [row for name in NAMES for row in pq.read_table(folder / name).to_pylist()]


@pytest.mark.parametrize("name", NAMES)
def test_configilm_finds_eight_columns_of_their_types(extracted: Path, name: str) -> None:
    schema = pq.read_schema(extracted / name)
    assert schema.names == [*COLUMNS, "contains_seasonal_snow", "contains_cloud_or_shadow"]
    assert schema.field("labels").type == pa.list_(pa.field("element", pa.string()))
    assert [schema.field(n).type for n in schema.names[6:]] == [pa.bool_(), pa.bool_()]
    assert all(field.nullable for field in schema)


def test_torchgeo_reads_each_patch_from_its_row(extracted: Path) -> None:
    """BigEarthNetV2: folders from the names alone, all `*.tif` of a folder sorted are its bands, labels by name."""
    for row in _rows(extracted):
        patch, s1 = str(row["patch_id"]), str(row["s1_name"])
        tile, acquisition = "_".join(patch.split("_")[:-2]), "_".join(s1.split("_")[:-3])
        s2 = sorted(path.name for path in (extracted / "BigEarthNet-S2" / tile / patch).glob("*.tif"))
        bands = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B11", "B12", "B8A"]
        assert s2 == [f"{patch}_{band}.tif" for band in bands]
        radar = sorted(path.name for path in (extracted / "BigEarthNet-S1" / acquisition / s1).glob("*.tif"))
        assert radar == [f"{s1}_VH.tif", f"{s1}_VV.tif"]
        assert (extracted / "Reference_Maps" / tile / patch / f"{patch}_reference_map.tif").is_file()
        assert row["split"] in {"train", "validation", "test"}
        labels = row["labels"]
        assert isinstance(labels, list) and labels and set(labels) <= LABELS and labels == sorted(labels)


def test_rico_hdl_finds_patches_by_the_names_of_folders_and_files(extracted: Path) -> None:
    for root, folder, bands, dtype in (
        ("BigEarthNet-S2", r"S2[AB]_MSIL2A_.*_\d+_\d+", "B0[1-9]|B1[12]|B8A", "uint16"),
        ("BigEarthNet-S1", r"S1[AB]_IW_GRDH_.*_\d+_\d+", "VV|VH", "float32"),
    ):
        found = sorted((extracted / root).glob("*/*"))
        assert found
        for path in found:
            assert re.fullmatch(folder, path.name)
            for file in path.iterdir():
                assert re.fullmatch(rf"{re.escape(path.name)}_({bands})\.tif", file.name)
        with rasterio.open(next(found[0].iterdir())) as raster:
            assert raster.dtypes == (dtype,)
            assert raster.count == 1


def test_no_name_holds_a_dot_and_nothing_else_lies_there(extracted: Path) -> None:
    assert sorted(path.name for path in extracted.iterdir()) == sorted(
        ["BigEarthNet-S1", "BigEarthNet-S2", "Reference_Maps", "patches.parquet", *NAMES]
    )
    for row in _rows(extracted):
        assert "." not in f"{row['patch_id']}{row['s1_name']}{row['s2v1_name']}"
