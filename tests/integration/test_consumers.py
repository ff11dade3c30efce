"""What the programs that load the dataset ask of it, restated without them, on the extracted sample dataset."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio

from ben_luigi.config import TRACKED_ARTIFACTS

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
CLC_CODES = {
    *(111, 112, 121, 122, 123, 124, 131, 132, 133, 141, 142, 211, 212, 213, 221, 222, 223, 231, 241, 242, 243, 244),
    *(311, 312, 313, 321, 322, 323, 324, 331, 332, 333, 334, 335, 411, 412, 421, 422, 423, 511, 512, 521, 522, 523),
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


def test_torchgeo_stacks_the_bands_and_maps_the_codes(extracted: Path) -> None:
    """BigEarthNetV2: 12 bands brought to 120 px, 2 of radar, one map of CORINE codes; labels as 19 zeros and ones."""
    classes = tomllib.loads((TRACKED_ARTIFACTS / "nomenclature.toml").read_text())["class"]
    codes = {code for entry in classes for code in entry["codes"]}
    sides = {"B01": 20, "B09": 20, **dict.fromkeys(("B02", "B03", "B04", "B08", "VV", "VH", "map"), 120)}
    for row in _rows(extracted)[::29]:
        patch, s1 = str(row["patch_id"]), str(row["s1_name"])
        tile, acquisition = "_".join(patch.split("_")[:-2]), "_".join(s1.split("_")[:-3])
        paths = [
            path
            for folder in (f"BigEarthNet-S2/{tile}/{patch}", f"BigEarthNet-S1/{acquisition}/{s1}")
            for path in sorted((extracted / folder).glob("*.tif"))
        ]
        assert len(paths) == 14
        for path in [*paths, extracted / f"Reference_Maps/{tile}/{patch}/{patch}_reference_map.tif"]:
            with rasterio.open(path) as raster:
                pixels = raster.read(1)
            side = sides.get(path.stem.rpartition("_")[2], 60)
            assert pixels.shape == (side, side)
            assert pixels.dtype == ("float32" if s1 in path.stem else "uint16")
        covered = {int(code) for code in np.unique(pixels)}
        assert covered <= CLC_CODES | {999}
        assert covered & codes, "no class on the map of a labelled patch"


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
            assert len(list(path.iterdir())) == (2 if root == "BigEarthNet-S1" else 12)
        for file in [file for path in found[::17] for file in path.iterdir()]:
            with rasterio.open(file) as raster:
                assert (raster.dtypes, raster.count) == ((dtype,), 1)


def test_no_name_holds_a_dot_and_nothing_else_lies_there(extracted: Path) -> None:
    assert sorted(path.name for path in extracted.iterdir()) == sorted(
        ["BigEarthNet-S1", "BigEarthNet-S2", "Reference_Maps", "patches.parquet", *NAMES]
    )
    for row in _rows(extracted):
        assert "." not in f"{row['patch_id']}{row['s1_name']}{row['s2v1_name']}"
