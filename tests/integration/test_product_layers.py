"""The default recipe with all layers that a product has besides the twelve bands."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio

from ben_luigi.domain.files import file_hash
from ben_luigi.domain.names import PatchId, ProductName
from ben_luigi.domain.vocabulary import L1C_RESOLUTION_M, PRODUCT_LAYERS
from ben_luigi.exit_codes import ExitCode
from ben_luigi.sample.scenes import SCENES
from tests.integration.running import Run, command, pipeline

SCENE = SCENES[0]
TILE = SCENE.product.tile_key
WANTED = f"[layers]\nof_product = {','.join(PRODUCT_LAYERS)}\n"
FILES = {
    "scl": "IMG_DATA/R20m/*_SCL_20m.jp2",
    "aot": "IMG_DATA/R20m/*_AOT_20m.jp2",
    "wvp": "IMG_DATA/R20m/*_WVP_20m.jp2",
    "cloud_probability": "QI_DATA/MSK_CLDPRB_20m.jp2",
    "snow_probability": "QI_DATA/MSK_SNWPRB_20m.jp2",
    **{f"l1c_{band}": f"IMG_DATA/*_{band}.jp2" for band in L1C_RESOLUTION_M},
}
LACKED = ("scl", "snow_probability")
ARCHIVES = [f"Layer_{layer}" for layer in PRODUCT_LAYERS]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One tile."""
    folder = tmp_path_factory.mktemp("of_product")
    own = folder / "own.cfg"
    own.write_text(f"[dataset]\ndata_dir = data\nworld = sample\n{WANTED}")
    found = pipeline(folder, "--dataset-tiles", TILE, config=own)
    assert found.code == 0, found.said
    return found


@pytest.fixture(scope="module")
def unpacked(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset with the archives of the layers unpacked by `ben-luigi unpack` in their places."""
    folder = tmp_path_factory.mktemp("unpacked") / "dataset"
    shutil.copytree(run.data / "dataset", folder)
    code, said = command("unpack", folder, None, str(folder), "--from", str(folder), "--only", *ARCHIVES)
    assert code == 0, said
    return folder


def _image(run: Run, kind: str) -> np.ndarray:
    """The whole image of the product, as GDAL reads it."""
    level = "l1c" if kind.startswith("l1c_") else "l2a"
    (path,) = run.data.glob(f"{level}/{TILE}/*.SAFE/GRANULE/*/{FILES[kind]}")
    with rasterio.open(path) as raster:
        return np.asarray(raster.read(1))


@pytest.mark.parametrize("kind", FILES)
def test_each_pixel_is_that_of_the_product(run: Run, unpacked: Path, kind: str) -> None:
    whole, layer = _image(run, kind), "l1c" if kind.startswith("l1c_") else kind
    pixel_m = L1C_RESOLUTION_M[kind.removeprefix("l1c_")] if layer == "l1c" else 20
    side = 1200 // pixel_m
    paths = sorted((unpacked / f"Layer_{layer}").glob(f"*/*/*_{kind}.tif"))
    assert [path.parent.name for path in paths] == pq.read_table(unpacked / "patches.parquet")["patch_id"].to_pylist()
    for path in paths:
        patch = PatchId.parse(path.parent.name)
        with rasterio.open(path) as file:
            assert file.bounds[:] == SCENE.square.patch(patch.x, patch.y).bounds and file.nodata is None
            pixels = file.read(1)
        x, y = patch.x * side, patch.y * side
        assert pixels.dtype == whole.dtype and (pixels == whole[y : y + side, x : x + side]).all()
    assert len(np.unique(whole)) > 2


def test_nothing_else_of_the_dataset_changes(run: Run, sample_run: Run) -> None:
    """The same shards and parts of archives as without layers, and no TIFF more in their folders."""
    for part in ("patches/{}.tar", "reference_maps/{}.tar", "archives/BigEarthNet-S2/{}.tar.zst"):
        ours, theirs = (file_hash(each.data / part.format(TILE)) for each in (run, sample_run))
        assert ours == theirs


def test_descriptions_speak_of_the_layers(run: Run) -> None:
    dataset = run.data / "dataset"
    readme = (dataset / "README.md").read_text()
    assert "layer scl: one file per patch, uint8, scene classification of 20 m, as in the product" in readme
    assert "layer l1c: 13 files per patch, uint16" in readme and "`layer_l1c_hashes.csv`" in readme
    stac = json.loads(next((dataset / "stac").glob("S2*/*.json")).read_text())
    bands = {band["name"]: band["gsd"] for band in stac["assets"]["Layer_l1c"]["bands"]}
    assert bands == L1C_RESOLUTION_M
    assert stac["assets"]["Layer_scl"]["bands"] == [{"name": "scl", "gsd": 20, "data_type": "uint8"}]
    parts = json.loads((dataset / "croissant.json").read_text())["distribution"]
    includes = {part["@id"]: part.get("includes") for part in parts}
    assert includes["Layer_l1c"] == "Layer_l1c/*/*/*_l1c_B*.tif" and includes["Layer_scl"] == "Layer_scl/*/*/*_scl.tif"
    report = (dataset / "report" / "index.html").read_text()
    assert all(f"{archive}.tar.zst" in report for archive in ARCHIVES)
    assert json.loads((dataset / "provenance.json").read_text())["settings"]["of_product"] == [*PRODUCT_LAYERS]


def test_verify_finds_what_is_wrong_with_a_layer_without_knowing_the_options(unpacked: Path, tmp_path: Path) -> None:
    for archive in ARCHIVES:
        (unpacked / f"{archive}.tar.zst").unlink()
    code, said = command("verify", tmp_path, None, str(unpacked))
    assert code == 0, said
    changed = next((unpacked / "Layer_l1c").glob("*/*/*_l1c_B10.tif"))
    data = bytearray(changed.read_bytes())
    data[-1] ^= 1
    changed.write_bytes(data)
    moved = sorted((unpacked / "Layer_scl").glob("*/*/*.tif"))
    good = {path: path.read_bytes() for path in moved[:2]}
    moved[0].write_bytes(moved[-1].read_bytes())
    with rasterio.open(moved[1], "r+") as file:
        file.write(np.full((1, 60, 60), 9, "uint8"))
    shutil.rmtree(unpacked / "Layer_aot")
    code, said = command("verify", tmp_path, None, str(unpacked))
    changed.write_bytes(bytes(data[:-1]) + bytes([data[-1] ^ 1]))
    for path, whole in good.items():
        path.write_bytes(whole)
    assert code == ExitCode.FINDINGS
    assert "with another sha256 than in layer_l1c_hashes.csv: Layer_l1c/" in said
    assert f"patches.parquet: scl_cloud: not the part of the scene classification: {moved[1].parent.name}" in said
    assert "Layer_scl/: not on the square that the patch's name says" in said
    assert "Layer_aot.tar.zst: missing" in said


def test_products_that_lack_a_layer_are_all_named_before_the_run(l2a_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "l2a"
    shutil.copytree(l2a_dir, folder)
    lacking = sorted(folder.glob("*.SAFE"))[:2]
    for product in lacking:
        next(product.glob("GRANULE/*/QI_DATA/MSK_SNWPRB_20m.jp2")).unlink()
    own = tmp_path / "own.cfg"
    own.write_text(f"[dataset]\ndata_dir = data\nworld = sample\n[inputs]\nl2a_dir = {folder}\n{WANTED}")
    code, said = command("plan", tmp_path, own)
    assert code == ExitCode.WAITS_FOR_PERSON, said
    assert "expected: layers of L2A products, since the dataset is made from these; found: l1c" in said
    for product in lacking:
        assert f"{product.name}; expected: one file of each kind of the layer snow_probability" in said, said
    assert said.count("layer snow_probability") == len(lacking)


def test_a_tile_is_left_out_of_a_layer_that_its_product_lacks_if_that_is_wished(l2a_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "l2a"
    products = sorted(l2a_dir.glob("*.SAFE"))[:2]
    for product in products:
        shutil.copytree(product, folder / product.name)
    lacking, whole = (ProductName.parse(product.name) for product in products)
    next((folder / str(lacking)).glob("GRANULE/*/QI_DATA/MSK_SNWPRB_20m.jp2")).unlink()
    own = tmp_path / "own.cfg"
    layers = "[layers]\nof_product = scl, snow_probability\nmissing = skip\n"
    own.write_text(f"[dataset]\ndata_dir = data\nworld = sample\n[inputs]\nl2a_dir = {folder}\n{layers}")
    found = pipeline(tmp_path, "--dataset-tiles", f"{lacking.tile_key},{whole.tile_key}", config=own)
    assert found.code == 0, found.said
    dataset = tmp_path / "data" / "dataset"
    patches = pq.read_table(dataset / "patches.parquet")["patch_id"].to_pylist()
    wanted = {
        layer: [name for name in patches if layer == "scl" or name.startswith(whole.tile_name)] for layer in LACKED
    }
    for layer, names in wanted.items():
        listed = subprocess.run(
            ["tar", "--zstd", "-tf", dataset / f"Layer_{layer}.tar.zst"], capture_output=True, text=True, check=True
        )
        assert [Path(line).parent.name for line in listed.stdout.splitlines()] == names
    assert 0 < len(wanted["snow_probability"]) < len(patches)
    tiles = json.loads((dataset / "provenance.json").read_text())["tiles"]
    assert {key: facts.get("lacks") for key, facts in tiles.items()} == {
        lacking.tile_key: ["snow_probability"],
        whole.tile_key: None,
    }
    assert f"- {lacking.tile_key}: `snow_probability`" in (dataset / "README.md").read_text()
    report = "".join(page.read_text() for page in (dataset / "report").glob("*.html"))
    assert f"Tile {lacking.tile_key} has no layer snow_probability" in report
    assert f"{lacking.tile_key}: its product has no snow_probability" in command("status", tmp_path, own)[1]
    code, said = command("verify", tmp_path, None, str(dataset))
    assert (
        code == 0 and f"{len(patches) - len(wanted['snow_probability'])} patches of products without this layer" in said
    )
    code, said = command("unpack", tmp_path, None, "out", "--from", str(dataset), "--only", "Layer_snow_probability")
    assert code == 0, said
    _take_out(own, dataset, "snow_probability", f"{lacking.tile_key},{whole.tile_key}")


def _take_out(own: Path, dataset: Path, layer: str, tiles: str) -> None:
    """What is not wanted any more is not published with the rest; what is no result of ours stays."""
    own.write_text(own.read_text().replace(f", {layer}", ""))
    (dataset / "mine.txt").write_text("no result of ours")
    found = pipeline(own.parent, "--dataset-tiles", tiles, config=own)
    assert found.code == 0, found.said
    assert f"dataset/Layer_{layer}.tar.zst is not part of the dataset any more" in found.said
    there = {path.name for path in dataset.iterdir()}
    assert {name for name in there if "layer" in name.lower()} == {"Layer_scl.tar.zst", "layer_scl_hashes.csv"}
    assert {"mine.txt", "BigEarthNet-S2.tar.zst", "report", "stac"} <= there
