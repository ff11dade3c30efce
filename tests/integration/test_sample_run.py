"""The main job: the sample world from nothing to the finished dataset, and what a rerun does."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
import tomllib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pyproj
import rasterio
import shapely

import ben_luigi
from ben_luigi.domain.cdse.resolve import read_tile_ids
from ben_luigi.domain.dataset import stac
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.vocabulary import RESOLUTION_M
from ben_luigi.sample.layout import World
from tests.integration.running import Run, pipeline

TILES = ["31UGR_20171015", "31UGR_20180508", "35VNJ_20180204", "35VPK_20180204"]
LABELLED = 194


def _rows(folder: Path) -> list[dict[str, object]]:
    rows = [row for path in sorted(folder.glob("metadata*.parquet")) for row in pq.read_table(path).to_pylist()]
    return sorted(rows, key=lambda row: str(row["patch_id"]))


def test_the_dataset_is_there_and_nothing_else(sample_run: Run) -> None:
    assert sorted(path.name for path in (sample_run.data / "dataset").iterdir()) == [
        "BigEarthNet-S1.tar.zst",
        "BigEarthNet-S2.tar.zst",
        "LICENSE",
        "README.md",
        "Reference_Maps.tar.zst",
        "comparison.json",
        "croissant.json",
        "metadata.parquet",
        "metadata_for_patches_with_snow_cloud_or_shadow.parquet",
        "patch_hashes.csv",
        "patches.parquet",
        "provenance.json",
        "reference_map_hashes.csv",
        "report",
        "s1_hashes.csv",
        "stac",
    ]
    assert not list(sample_run.data.rglob(".unfinished-*"))
    assert "The dataset is complete" in sample_run.said
    assert f"open {sample_run.data}/dataset/report/index.html in a browser" in sample_run.said


def test_the_readme_counts_the_patches_and_names_every_file(sample_run: Run) -> None:
    folder = sample_run.data / "dataset"
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# Sample world of ben_luigi\n")
    flagged = pq.read_table(folder / "metadata_for_patches_with_snow_cloud_or_shadow.parquet").num_rows
    assert f"There are {LABELLED} patches. {flagged} of them have seasonal snow" in text
    for path in folder.iterdir():
        assert f"`{path.name}" in text or path.name == "README.md", path.name
    licence = (folder / "LICENSE").read_text(encoding="utf-8")
    assert licence.startswith(f"SPDX-License-Identifier: {stac.LICENSE}\n")
    assert "modified Copernicus Sentinel data" in licence and "Copernicus Land Monitoring Service" in licence


def test_the_pipeline_is_seen_to_recover(sample_run: Run) -> None:
    retried = [line for line in sample_run.said.splitlines() if "next try in" in line]
    assert len({tile for tile in TILES for line in retried if tile in line}) == 2


def test_the_provenance_shows_which_source_had_what(sample_run: Run) -> None:
    """One product with a band that was damaged in the bucket, one only there, and two only at CDSE."""
    content = json.loads((sample_run.data / "dataset" / "provenance.json").read_text())
    products = {tile: entry["l1c"] for tile, entry in content["tiles"].items()}
    damaged, offline, *others = (products[tile] for tile in TILES)
    assert damaged["source"] == "google" and damaged["sources"]["cdse"] == 1
    ((band, source),) = damaged["repaired"].items()
    assert band.endswith("_B04.jp2") and source == "cdse"
    assert set(damaged["proven_by"]) == {"manifest", "object store"} and not damaged["not_verified"]
    assert (offline["source"], list(offline["sources"]), offline["state"]) == ("google", ["google"], "offline")
    assert [(product["source"], product["state"]) for product in others] == [("cdse", "found")] * 2
    assert re.search(rf"{band.rpartition('/')[2]} from google; .*found: md5 .*asking again", sample_run.said)


def test_exactly_the_patches_of_the_metadata_are_there(extracted: Path) -> None:
    rows = _rows(extracted)
    assert len(rows) == LABELLED
    for root, key, files in (
        ("BigEarthNet-S2", "patch_id", 12),
        ("BigEarthNet-S1", "s1_name", 2),
        ("Reference_Maps", "patch_id", 1),
    ):
        found = {path.name: len(list(path.iterdir())) for path in (extracted / root).glob("*/*")}
        assert found == dict.fromkeys((str(row[key]) for row in rows), files)


def test_patches_hold_the_pixels_of_their_product(extracted: Path, sample_run: Run) -> None:
    """Read back by rasterio, window by window, from the L2A product that the run made."""
    for row in _rows(extracted)[::37]:
        patch = str(row["patch_id"])
        tile, x, y = patch.rsplit("_", 2)
        mgrs, day = tile[-5:], tile[11:19]
        for band, resolution_m in RESOLUTION_M.items():
            side = 1200 // resolution_m
            (source,) = (sample_run.data / "l2a" / f"{mgrs}_{day}").glob(
                f"*.SAFE/GRANULE/*/IMG_DATA/R{resolution_m}m/*_{band}_*"
            )
            with (
                rasterio.open(source) as product,
                rasterio.open(extracted / "BigEarthNet-S2" / tile / patch / f"{patch}_{band}.tif") as ours,
            ):
                window = rasterio.windows.Window(int(x) * side, int(y) * side, side, side)
                assert np.array_equal(ours.read(1), product.read(1, window=window))
                assert ours.crs == product.crs
                assert ours.transform == product.window_transform(window)
                assert ours.nodata == 0
                assert ours.read(1).all()


def test_s1_s2_and_maps_cover_the_same_square(extracted: Path) -> None:
    for row in _rows(extracted)[::7]:
        patch, s1 = str(row["patch_id"]), str(row["s1_name"])
        tile = patch.rsplit("_", 2)[0]
        paths = [
            extracted / "BigEarthNet-S2" / tile / patch / f"{patch}_B8A.tif",
            extracted / "BigEarthNet-S1" / s1.rsplit("_", 3)[0] / s1 / f"{s1}_VV.tif",
            extracted / "Reference_Maps" / tile / patch / f"{patch}_reference_map.tif",
        ]
        places = set()
        for path in paths:
            with rasterio.open(path) as raster:
                places.add((raster.crs.to_epsg(), *raster.bounds))
        assert len(places) == 1


def test_labels_are_those_of_the_map(extracted: Path) -> None:
    """Restated: classes of the nomenclature on at least one pixel, if fewer than 3,600 pixels have none."""
    classes = tomllib.loads((Path(__file__).parents[2] / "tracked_artifacts" / "nomenclature.toml").read_text())[
        "class"
    ]
    name_of = {code: entry["name"] for entry in classes for code in entry["codes"]}
    for row in _rows(extracted):
        patch = str(row["patch_id"])
        with rasterio.open(
            extracted / "Reference_Maps" / patch.rsplit("_", 2)[0] / patch / f"{patch}_reference_map.tif"
        ) as raster:
            codes, pixels = np.unique(raster.read(1), return_counts=True)
        assert sum(n for code, n in zip(codes, pixels, strict=True) if int(code) not in name_of) < 3600
        assert row["labels"] == sorted({name_of[int(code)] for code in codes if int(code) in name_of})


def test_the_product_that_failed_its_quality_result_is_not_in_it(extracted: Path, sample_run: Run) -> None:
    assert not any("T35VPK" in str(row["patch_id"]) for row in _rows(extracted))
    with tarfile.open(sample_run.data / "patches" / "35VPK_20180204.tar") as shard:
        assert len(shard.getnames()) == 91 * 12


def test_no_patch_of_the_corner_without_data_is_written(sample_run: Run) -> None:
    with tarfile.open(sample_run.data / "patches" / "35VNJ_20180204.tar") as shard:
        places = {tuple(int(n) for n in name.split("/")[2].rsplit("_", 2)[1:]) for name in shard.getnames()}
    assert len(places) == 80
    assert not places & {(x, y) for x in range(3) for y in range(6, 10)}


def test_the_comparison_says_why_nothing_can_be_equal(sample_run: Run) -> None:
    content = json.loads((sample_run.data / "dataset" / "comparison.json").read_text())
    assert content["world"] == "sample"
    assert content["tiles"] == TILES
    assert {line["state"] for line in content["compared"]} == {"not comparable"}
    assert sum(content["counts"]["split"].values()) == LABELLED


def test_the_provenance_names_products_hashes_and_versions(sample_run: Run) -> None:
    content = json.loads((sample_run.data / "dataset" / "provenance.json").read_text())
    assert list(content["tiles"]) == TILES
    assert content["software"]["GDAL"] == rasterio.__gdal_version__
    assert content["software"]["GEOS"] == shapely.geos_version_string
    assert content["software"]["PROJ"] == pyproj.proj_version_str
    assert content["software"]["ben_luigi"] == ben_luigi.__version__
    ids = read_tile_ids(sample_run.data / "tiles" / "bigearthnet_s2_tile_ids.csv")
    for tile, entry in content["tiles"].items():
        zipped = sample_run.data / "l1c" / f"{tile}.zip"
        sha256 = hashlib.sha256(zipped.read_bytes()).hexdigest() if zipped.exists() else ""
        assert (entry["l1c"]["sha256"], bool(sha256)) == (sha256, entry["l1c"]["source"] == "cdse")
        assert entry["sen2cor"] == "stand-in"
        l1c, l2a = (ProductName.parse(name) for name in (entry["l1c"]["name"], entry["l2a_name"]))
        assert ids.get(str(l1c), entry["l1c"]["id"]) == entry["l1c"]["id"]
        assert (l1c.tile_key, l1c.converted().tile_name) == (tile, l2a.tile_name)
        assert re.fullmatch(r"\d\d\.\d\d", entry["baseline"])
    assert sum(entry["labelled"] for entry in content["tiles"].values()) == LABELLED
    assert sum(entry["patches"] for entry in content["tiles"].values()) == 352


def test_a_rerun_does_nothing_and_says_so(sample_run: Run) -> None:
    again = pipeline(sample_run.data.parent)
    assert again.code == 0
    assert "Nothing to do" in again.said
    assert again.tasks() == []


def test_only_what_is_missing_is_made_again(sample_run: Run, tmp_path: Path) -> None:
    sample_run.copy_to(tmp_path)
    shard = tmp_path / "data" / "patches" / f"{TILES[1]}.tar"
    before = shard.read_bytes()
    archive = tmp_path / "data" / "dataset" / "BigEarthNet-S2.tar.zst"
    shard.unlink()
    again = pipeline(tmp_path)
    assert again.code == 0, again.said
    assert again.tasks() == [f"CutPatches(tile={TILES[1]})", "ProcessTiles()", "FinalizeDataset()"]
    assert shard.read_bytes() == before
    archived = archive.read_bytes()

    # What provenance.json quotes is there before it is looked at.
    (tmp_path / "data" / "tiles" / "states.csv").unlink()
    asked = pipeline(tmp_path)
    assert asked.code == 0, asked.said
    assert "AskCatalogue()" in asked.tasks() and "WriteProvenance()" not in asked.tasks()

    # Another threshold needs other labels, and what follows from them, but no new patches or maps.
    own = tmp_path / "own.cfg"
    own.write_text("[metadata]\nunlabeled_limit = 0.01\n[dataset]\ndata_dir = data\n")
    changed = pipeline(tmp_path, config=own)
    assert changed.code == 0, changed.said
    assert not any(task.startswith(("CutPatches", "MakeReferenceMaps", "Convert")) for task in changed.tasks())
    assert any(task.startswith("LabelPatches") for task in changed.tasks())
    assert archive.read_bytes() != archived
    rows = pq.read_table(tmp_path / "data" / "dataset" / "metadata.parquet").num_rows
    assert rows < LABELLED


def test_patches_can_be_had_as_folders(sample_run: Run, extracted: Path, tmp_path: Path) -> None:
    sample_run.copy_to(tmp_path)
    run = pipeline(tmp_path, "ExportPatches", "--tile", TILES[0])
    assert run.code == 0, run.said
    exported = tmp_path / "data" / "export"
    assert len(list(exported.glob("BigEarthNet-S2/*/*/*.tif"))) == 90 * 12
    for path in (extracted / "Reference_Maps").glob("*20171015*/*/*.tif"):
        assert (exported / path.relative_to(extracted)).read_bytes() == path.read_bytes()
    rows = pq.read_table(sample_run.data / "dataset" / "patches.parquet").to_pylist()
    s1_names = sorted(row["s1_name"] for row in rows if row["patch_id"].split("_")[2].startswith("20171015"))
    found = sorted(exported.glob("BigEarthNet-S1/*/*/*.tif"))
    assert sorted({path.parent.name for path in found}) == s1_names and len(found) == 2 * len(s1_names)
    assert all((extracted / path.relative_to(exported)).read_bytes() == path.read_bytes() for path in found)
    maps = len(list(exported.glob("Reference_Maps/*/*/*.tif")))
    assert run.said.splitlines()[1:6] == [
        "ExportPatches is complete.",
        f"  {exported}",
        f"  90 patches of Sentinel-2, {len(s1_names)} of them in the dataset",
        f"  {maps} reference maps",
        f"  {len(s1_names)} of Sentinel-1, from the extracted BigEarthNet-S1",
    ]


def test_the_world_comes_with_the_run(sample_world: World) -> None:
    assert sample_world.catalogue.exists()
