"""Whole runs of recipes whose products or files do not fit: all of it is told at once, and nothing is fetched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from ben_luigi.sample.layout import World
from tests.integration.running import Run, command, configuration, pipeline
from tests.unit import geopackages

OWN = """\
name = "own"
title = "Mine"
version = "1.0.0"
license = "CC-BY-4.0"
[products]
level = "L1C"
list = "tile_names_csv"
baselines = ["02.05"]
[countries]
file = "countries_geojson"
names = ["Portugal", "Belgium"]
[land_cover]
file = "cover.tif"
nomenclature = "codes.toml"
[split]
rule = "csv"
file = "splits.csv"
"""
CODES = '[[class]]\nname = "Water"\ncodes = [80]\n[codes]\n80 = "Water"\n'


def write(folder: Path) -> None:
    """A recipe with a raster that covers no tile, and a CSV that splits a patch of another tile."""
    (folder / "own.toml").write_text(OWN)
    (folder / "codes.toml").write_text(CODES)
    (folder / "splits.csv").write_text("patch_id,split\nS2A_MSIL2A_20230613T101031_N0509_R022_T33UUP_00_00,train\n")
    kind = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": 9, "width": 9, "crs": "EPSG:32633"}
    with rasterio.open(folder / "cover.tif", "w", transform=from_origin(300_000, 5_400_000, 10, 10), **kind) as file:
        file.write(np.full((9, 9), 80, "uint8"), 1)


SAMPLE = ("--world", "sample", "--recipe")
SAID = (
    "expected: processing baselines 02.05, as [products] baselines of the recipe says; found: S2",
    "splits.csv; expected: patches of the tiles of the dataset; found: 1 others",
    "splits.csv; expected: patches of each tile",
    "tile 35VNJ_20180204; expected: a tile in one of the 2 countries of the recipe",
    *(f"tile {tile}: " for tile in ("31UGR_20171015", "31UGR_20180508", "35VNJ_20180204")),
    "cover.tif; expected: a raster that covers the tile",
)


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of that recipe."""
    folder = tmp_path_factory.mktemp("refused")
    write(folder)
    return pipeline(folder, *SAMPLE, "own.toml")


def test_all_that_does_not_fit_is_told_at_once_and_nothing_is_fetched(refused: Run) -> None:
    assert refused.code == 20, refused.said
    assert [part for part in SAID if part not in refused.said] == [], refused.said
    assert "FinalizeDataset by the recipe own is not complete (exit code 20)" in refused.said
    assert "problems with the listed products" in refused.said and "Traceback" not in refused.said
    data = refused.data / "recipes" / "own"
    assert not list((data / "l1c").glob("*")) and not (data / "l2a").exists(), "nothing was fetched"


def test_plan_tells_the_same_and_what_would_be_made(refused: Run) -> None:
    code, plan = command("plan", refused.data.parent, None, *SAMPLE, "own.toml")
    assert code == 20 and [part for part in SAID if part not in plan] == [], plan
    assert "Recipe: own, Mine, version 1.0.0, in " in plan and "as listed in splits.csv" in plan
    assert "4 products of 3 MGRS squares, sensed 2017-10-15 to 2018-05-08" in plan
    makes = next(line for line in plan.splitlines() if line.strip().startswith("makes"))
    assert "CITATION.cff" in makes and "recipe.toml" in makes and "comparison.json" not in makes


def test_another_recipe_of_the_same_name_is_refused(refused: Run) -> None:
    """Each keeps its results: a copy under the same name that says otherwise would undo the work of the first."""
    folder = refused.data.parent
    (folder / "copy.toml").write_text(OWN.replace('"1.0.0"', '"2.0.0"'))
    run = pipeline(folder, *SAMPLE, "copy.toml")
    assert run.code == 20 and "found: another one in " in run.said and "own.toml, by which" in run.said, run.said
    code, plan = command("plan", folder, None, *SAMPLE, "copy.toml")
    assert code == 20 and "expected: one recipe of a name in a data folder" in plan
    (folder / "copy.toml").write_text(OWN.replace('"own"', '"another"'))
    code, plan = command("plan", folder, None, *SAMPLE, "copy.toml")
    assert "expected: one recipe of a name" not in plan and "recipes/another" in plan


def test_status_says_which_recipe_is_followed(sample_run: Run) -> None:
    """The default one, too: its products and dates, and what it makes."""
    code, said = command("status", sample_run.data.parent, None)
    assert code == 0
    assert "Recipe: bigearthnet-v2, BigEarthNet v2, version 2.0.0\n" in said
    assert "4 products of 3 MGRS squares, sensed 2017-10-15 to 2018-05-08" in said
    made = {path.name + "/" * path.is_dir() for path in (sample_run.data / "dataset").iterdir()}
    makes = next(line for line in said.splitlines() if line.strip().startswith("makes"))
    assert set(makes.replace("makes", "").strip().split(", ")) == made


def test_patches_larger_than_a_tile_are_refused(tmp_path: Path) -> None:
    """Before anything divides its no patches, or asks where they lie."""
    write(tmp_path)
    splits = OWN[OWN.index("[split]") :]
    (tmp_path / "own.toml").write_text(OWN.replace(splits, '[patches]\nside_m = 15_000\n[split]\nrule = "rings"\n'))
    code, plan = command("plan", tmp_path, None, *SAMPLE, "own.toml")
    said = "recipe own: [patches] side_m; expected: at most the side of a tile, 12,180 m; found: 15,000 m"
    assert code == 20 and said in plan and "Traceback" not in plan, plan
    run = pipeline(tmp_path, "CheckPlaces", *SAMPLE, "own.toml")
    assert run.code == 20 and said in run.said and "Traceback" not in run.said, run.said


def test_with_the_default_recipe_too_all_inputs_are_told_at_once(sample_world: World, tmp_path: Path) -> None:
    """A second layer that fits, and tiles in another country and in a zone without v1 patches; no source is asked."""
    two = geopackages.write(tmp_path / "two.gpkg", layer="first")
    geopackages.write(two, layer="second")
    names = [
        f"S2A_MSIL1C_2017061{day}T101031_N0205_R022_T{mgrs}_2017061{day}T101608.SAFE"
        for day, mgrs in ((3, "32UPV"), (4, "29SKB"))
    ]
    (tmp_path / "list.csv").write_text("".join(f"a,{name},b\n" for name in names))
    inputs: dict[str, object] = {"tile_names_csv": tmp_path / "list.csv", "clc_gpkg": two}
    sources: dict[str, object] = {"order": "google", "google_url": "http://127.0.0.1:9"}
    run = pipeline(
        tmp_path, "CheckPlaces", config=configuration(tmp_path, sample_world, inputs=inputs, sources=sources)
    )
    assert run.code == 20, run.said
    said = (
        "two.gpkg; expected: one layer in EPSG:3035",
        "second (",
        "32UPV_20170613; ",
        "in Germany",
        "29SKB_20170614; ",
        "Portugal",
    )
    assert [part for part in said if part not in run.said] == [], run.said
    assert "bigearthnet_v1_spatial_32632.parquet" in run.said and "127.0.0.1:9" not in run.said


def test_products_of_the_user_are_looked_through_before_the_first_is_read(sample_world: World, tmp_path: Path) -> None:
    """By their names alone: these folders are empty."""
    for day, mgrs in ((3, "32UPV"), (4, "29SKB")):
        name = f"S2A_MSIL2A_2017061{day}T101031_N9999_R022_T{mgrs}_2017061{day}T101608.SAFE"
        (tmp_path / "l2a" / name).mkdir(parents=True)
    config = configuration(tmp_path, sample_world, inputs={"l2a_dir": tmp_path / "l2a"})
    run = pipeline(tmp_path, "FindL2A", "--tile", "32UPV_20170613", config=config)
    assert run.code == 20, run.said
    assert "32UPV_20170613; " in run.said and "in Germany" in run.said and "29SKB_20170614; " in run.said, run.said
    assert "bigearthnet_v1_spatial_32632.parquet" in run.said and not (run.data / "l2a").exists()
