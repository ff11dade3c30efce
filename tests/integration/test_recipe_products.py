"""Products that a recipe searches for: L2A ones of the south as ESA made them, whose offset is removed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio

from ben_luigi.domain.formats import shards
from ben_luigi.domain.names import ProductName
from ben_luigi.sample import safe
from ben_luigi.sample.bucket_server import BucketServer
from ben_luigi.sample.cdse_faults import Record
from ben_luigi.sample.cdse_server import CdseServer
from ben_luigi.sample.layout import World
from ben_luigi.sample.objects import bucket_objects
from tests.integration.running import Run, configuration, pipeline
from tests.unit.products import SIDE_M, SmallProduct, jpeg2000, noise

MORNING, EVENING, CLOUDY, OLD = (
    ProductName.parse(f"S2B_MSIL2A_{sensing}_{baseline}_R022_T21HUB_20260101T000000.SAFE")
    for sensing, baseline in (
        ("20230613T101031", "N0509"),
        ("20230813T101031", "N0510"),
        ("20230614T101031", "N0510"),
        ("20230615T101031", "N0214"),
    )
)
TILE = "21HUB_20230613"
RECIPE = """\
name = "south"
title = "South"
version = "1.0.0"
license = "CC-BY-4.0"
[products]
level = "L2A"
search = { tiles = ["21HUB"], from = 2023-06-01, to = 2023-08-31, max_cloud = 50, per = "tile and month" }
baselines = ["05.09", "05.10"]
boa_offset = "remove"
[land_cover]
file = "clc_gpkg"
code = "Code_18"
order = "ID"
nomenclature = "nomenclature.toml"
"""


def product(name: ProductName) -> dict[str, bytes]:
    """A product as ESA makes them since 2022: with the offset, and the scene classification."""
    small = SmallProduct(name)
    members = small.members()
    offsets = "".join(f'<BOA_ADD_OFFSET band_id="{band}">-1000</BOA_ADD_OFFSET>' for band in range(13))
    metadata = members[small.facts.product_file].decode()
    listed = "<Spectral_Information_List>"
    assert listed in metadata
    members[small.facts.product_file] = metadata.replace(listed, f"<n>{offsets}</n>{listed}").encode()
    scenes = np.full((SIDE_M // 20, SIDE_M // 20), 4, dtype="uint8")
    images = f"{small.facts.granule}/IMG_DATA/R20m"
    members[f"{images}/T21HUB_{name.sensing}_SCL_20m.jp2"] = jpeg2000(scenes, small.square, 20)
    members[f"{small.facts.granule}/MTD_TL.xml"] = b"<tile/>\n"
    return {**members, "manifest.safe": safe.manifest(members, "L2A")}


def record(name: ProductName, cloud: float) -> Record:
    start = f"{name.sensing_time:%Y-%m-%dT%H:%M:%S}.026000Z"
    number = f"{name.sensing[:8]}-0000-4000-8000-000000000000"
    return {"Id": number, "Name": str(name), "ContentDate": {"Start": start}, "Cloud": cloud}


@dataclass(frozen=True)
class South:
    """A finished run for one tile, its configuration and the service."""

    run: Run
    config: Path
    cdse: CdseServer

    @property
    def data(self) -> Path:
        """The folder of what was made by the recipe."""
        return self.run.data / "recipes" / "south"


@pytest.fixture(scope="module")
def south(sample_world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[South]:
    folder = tmp_path_factory.mktemp("south")
    (folder / "south.toml").write_text(RECIPE)
    records = [record(MORNING, 5.0), record(EVENING, 5.0), record(CLOUDY, 40.0), record(OLD, 0.0)]
    objects = bucket_objects(product(MORNING), MORNING)
    with BucketServer(objects) as bucket, CdseServer(records, folder) as cdse:
        config = configuration(
            folder,
            sample_world,
            dataset={"recipe": folder / "south.toml"},
            sources={"order": "google", "google_url": bucket.url},
            cdse={"catalogue_url": cdse.catalogue_url, "pause_s": 0.1},
            tile={"side_m": SIDE_M},
        )
        yield South(pipeline(folder, "CutPatches", "--tile", TILE, config=config), config, cdse)


def test_one_product_of_each_month_is_chosen_and_fetched_without_sen2cor(south: South) -> None:
    assert south.run.code == 0, south.run.said
    chosen = (south.data / "tiles" / "products.csv").read_text()
    rows = "".join(f"{name},5,{record(name, 5.0)['Id']}\n" for name in (MORNING, EVENING))
    assert chosen == f"product,cloud_percent,id\n{rows}"
    families = {task.partition("(")[0] for task in south.run.tasks()}
    assert {"SearchProducts", "FetchL2A", "ReadProduct", "CutPatches"} <= families
    assert not {"FindSen2Cor", "ConvertToL2A", "DownloadL1C", "InstallSen2Cor", "AskCatalogue"} & families
    made = south.data / "l2a" / TILE
    assert {path.name for path in made.iterdir()} == {"product.json", str(MORNING)}
    note = json.loads((made / "product.json").read_text())
    assert (note["source"], note["id"]) == ("google", record(MORNING, 5.0)["Id"]), "the catalogue's id, without CDSE"
    assert south.cdse.counts["token"] == 0


def test_patches_lie_in_the_south_without_the_offset(south: South, tmp_path: Path) -> None:
    index = south.data / "patches" / f"{TILE}.parquet"
    patch = f"{MORNING.tile_name}_01_02"
    shards.export(index.with_suffix(".tar"), index, tmp_path, [patch])
    clipped = 0
    for band, side in (("B02", 120), ("B8A", 60), ("B09", 20)):
        (path,) = tmp_path.rglob(f"{patch}_{band}.tif")
        with rasterio.open(path) as raster:
            assert raster.crs.to_epsg() == 32721
            assert (raster.bounds.left, raster.bounds.top) == (300_000 + 1200, 6_200_020 - 2400)
            pixels = raster.read(1)
        original = noise(band)[2 * side : 3 * side, side : 2 * side].astype("int32")
        assert np.array_equal(pixels, np.maximum(original - 1000, 1))
        clipped += int(np.count_nonzero(original <= 1000))
    noted = json.loads((south.data / "patches" / f"{TILE}.clipped.json").read_text())
    assert noted["offset"] == -1000 and noted["clipped_pixels"] > clipped > 0


def test_a_rerun_takes_the_products_that_were_found_whatever_there_is_by_then(south: South) -> None:
    south.cdse.records.append(record(CLOUDY, 0.0))
    asked = south.cdse.counts["catalogue"]
    chosen = (south.data / "tiles" / "products.csv").read_bytes()
    again = pipeline(south.config.parent, "CutPatches", "--tile", TILE, config=south.config)
    assert again.code == 0 and again.tasks() == [], again.said
    assert south.cdse.counts["catalogue"] == asked
    assert (south.data / "tiles" / "products.csv").read_bytes() == chosen


def test_what_the_recipe_does_not_allow_is_told_before_anything_is_fetched(
    south: South, sample_world: World, tmp_path: Path
) -> None:
    """A list instead of the search, with other baselines and offsets."""
    listed = RECIPE.replace("search = {", 'list = "products.csv" # {')
    (tmp_path / "products.csv").write_text(f"{MORNING}\n{OLD}\n")
    for recipe, said in (
        (listed, f"found: {OLD} (02.14)"),
        (listed.replace('"remove"', '"none"').replace("baselines", "# "), f"found: {MORNING} (05.09)"),
        (listed.replace('"remove"', '"keep"').replace("baselines", "# "), "others have none"),
        (listed.replace('"L2A"', '"L1C"'), "products.csv, line 1; expected: the name of an L1C product"),
    ):
        (tmp_path / "south.toml").write_text(recipe)
        config = configuration(
            tmp_path,
            sample_world,
            dataset={"recipe": tmp_path / "south.toml"},
            sources={"order": "google", "google_url": "http://127.0.0.1:9"},
            tile={"side_m": SIDE_M},
        )
        run = pipeline(tmp_path, "CutPatches", "--tile", TILE, config=config)
        assert run.code != 0 and said in run.said, run.said
        assert "Traceback" not in run.said and not list(tmp_path.rglob("l2a"))


def test_several_l1c_products_of_a_tile_and_day_keep_apart(sample_world: World, tmp_path: Path) -> None:
    """In the catalogue's answers, in the table for people, and in the list of ids."""
    first, later = (
        ProductName.parse(f"S2B_MSIL1C_20180204T{time}_N0206_{orbit}_T35VPK_20180204T{time}.SAFE")
        for time, orbit in (("094159", "R036"), ("112203", "R037"))
    )
    (tmp_path / "products.csv").write_text(f"{later}\n{first}\n")
    recipe = RECIPE.replace('"L2A"', '"L1C"').replace("search = {", 'list = "products.csv" # {')
    (tmp_path / "south.toml").write_text(recipe.replace("baselines", "# ").replace('"remove"', '"none"'))
    records = [record(first, 0.0), record(later, 0.0) | {"Id": "20180204-1111-4000-8000-000000000000"}]
    with CdseServer(records, tmp_path) as cdse:
        config = configuration(
            tmp_path,
            sample_world,
            dataset={"recipe": tmp_path / "south.toml"},
            sources={"order": "cdse"},
            cdse={"catalogue_url": cdse.catalogue_url, "pause_s": 0.1},
        )
        run = pipeline(tmp_path, "ResolveTileIds", config=config)
    assert run.code == 0, run.said
    tiles = run.data / "recipes" / "south" / "tiles"
    answers = json.loads((tiles / "products.json").read_text())
    keys = ("35VPK_20180204T094159", "35VPK_20180204T112203")
    assert {key: found["name"] for key, found in answers.items()} == dict(
        zip(keys, map(str, (first, later)), strict=True)
    )
    states = (tiles / "states.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in states[1:]] == [[str(first), "found"], [str(later), "found"]]
    ids = (tiles / "bigearthnet_s2_tile_ids.csv").read_text()
    assert all(str(name) in ids or name.stem in ids for name in (first, later))
