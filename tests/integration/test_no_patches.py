"""Datasets of which no patch is left: plan says so where it can be known, and a run says why, by tile."""

from __future__ import annotations

import json
from pathlib import Path

import fiona
import numpy as np
import pytest
import shapely
from shapely.geometry import mapping

from ben_luigi.domain.names import ProductName
from tests.integration.running import command, pipeline
from tests.unit.products import SIDE_M, SmallProduct, jpeg2000, noise

NAME = ProductName.parse("S2A_MSIL2A_20230613T101031_N0509_R022_T33UUP_20230613T161608.SAFE")
SQUARE = SmallProduct(NAME).square
TILE = NAME.tile_key
RECIPE = """\
name = "mine"
title = "Mine"
version = "1.0.0"
license = "CC-BY-4.0"
[products]
level = "L2A"
list = "tile_names_csv"
boa_offset = "keep"
[patches]
max_cloud = 0.5
[land_cover]
file = "cover.{suffix}"
code = "code"
nomenclature = "codes.toml"
unlabeled_limit = {limit}
"""
CODES = '[[class]]\nname = "Water"\ncodes = [80]\n[codes]\n80 = "Water"\n'
FAR = shapely.box(0, 0, 1, 1)
"""In degrees."""


def write(folder: Path, cover: shapely.Geometry, epsg: int, *, limit: float = 0.25, suffix: str = "geojson") -> Path:
    """A recipe with one polygon of land cover, and a product of 3 by 3 patches: a hole in one, clouds over another."""
    holed, clouded = noise("B02"), np.full((SIDE_M // 20, SIDE_M // 20), 4, dtype="uint8")
    holed[5, 5] = 0
    clouded[:60, 60:120] = 9
    product = SmallProduct(NAME, pixels={"B02": holed})
    images = f"{product.facts.granule}/IMG_DATA/R20m"
    scenes = {f"{images}/T33UUP_{NAME.sensing}_SCL_20m.jp2": jpeg2000(clouded, SQUARE, 20)}
    product.write(folder / "l2a", {**product.members(), **scenes})
    (folder / "mine.toml").write_text(RECIPE.format(limit=limit, suffix=suffix))
    (folder / "codes.toml").write_text(CODES)
    driver = {"geojson": "GeoJSON", "gpkg": "GPKG"}[suffix]
    schema = {"geometry": "Polygon", "properties": {"code": "int"}}
    with fiona.open(folder / f"cover.{suffix}", "w", driver=driver, crs=f"EPSG:{epsg}", schema=schema) as file:
        file.write({"geometry": mapping(cover), "properties": {"code": 80}})
    own = folder / "own.cfg"
    own.write_text(
        f"[dataset]\nrecipe = mine.toml\ndata_dir = data\n[inputs]\nl2a_dir = l2a\n[tile]\nside_m = {SIDE_M}\n"
    )
    return own


@pytest.mark.parametrize("suffix", ["geojson", "gpkg"])
def test_land_cover_that_lies_elsewhere_is_told_before_anything_is_cut(tmp_path: Path, suffix: str) -> None:
    own = write(tmp_path, FAR, 4326, suffix=suffix)
    said = (
        f"cover.{suffix}; expected: land cover on the tiles of the dataset; found: no polygon near any of them: {TILE}"
    )
    code, plan = command("plan", tmp_path, own, "--world", "real")
    assert code == 20 and said in plan and "Traceback" not in plan, plan
    run = pipeline(tmp_path, "MapLabels", "--world", "real", config=own)
    assert run.code == 20 and said in run.said and "Traceback" not in run.said, run.said
    assert not list(run.data.rglob("*.tar"))


def test_a_limit_that_no_patch_keeps_is_told_by_plan(tmp_path: Path) -> None:
    own = write(tmp_path, shapely.box(*SQUARE.bounds), 32633, limit=0)
    code, plan = command("plan", tmp_path, own, "--world", "real", "--json")
    missing = [error["subject"] for error in json.loads(plan)["missing"]]
    assert code == 20 and "recipe mine: [land_cover] unlabeled_limit" in missing, plan


def test_a_run_that_loses_all_patches_says_how_many_and_by_what(tmp_path: Path) -> None:
    """A strip of land cover on the three patches of the west, less than a quarter of each."""
    strip = shapely.box(SQUARE.left, SQUARE.top - 3600, SQUARE.left + 200, SQUARE.top)
    own = write(tmp_path, strip, 32633)
    run = pipeline(tmp_path, "MapLabels", "--world", "real", config=own)
    reasons = (
        "1 with more cloud and shadow than max_cloud, 1 with a hole, 5 without any land cover, "
        "2 of which at least 0.25 is unlabelled"
    )
    assert run.code == 20 and "Traceback" not in run.said, run.said
    assert f"tile {TILE}: none of its patches is in the dataset: {reasons}" in run.said, run.said
    said = f"recipe mine; expected: at least one patch with labels; found: none: {TILE} ({reasons}); next: "
    assert said in run.said, run.said
    assert "raise recipe mine: [land_cover] unlabeled_limit" in run.said
    assert not list(run.data.rglob("patch_id_label_mapping.csv"))
