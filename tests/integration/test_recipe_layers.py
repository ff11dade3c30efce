"""Datasets of other recipes with further layers, and with Sentinel-1 from rasters or from a folder."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from pyproj import Transformer
from rasterio.transform import from_origin

from ben_luigi.domain.files import file_hash
from ben_luigi.domain.names import PatchId
from ben_luigi.exit_codes import ExitCode
from ben_luigi.sample.layout import World
from ben_luigi.sample.scenes import SCENES, SIDE_M
from ben_luigi.sample.world import make_world
from tests.integration.running import Run, command, pipeline

SCENE = SCENES[0]
TILE = SCENE.product.tile_key
SQUARE = SCENE.square
HEAD = """\
name = "own"
title = "A dataset with layers"
version = "1.0.0"
license = "CC-BY-4.0"
[products]
level = "L1C"
list = "tile_names_csv"
[land_cover]
file = "clc_gpkg"
code = "Code_18"
order = "ID"
nomenclature = "nomenclature.toml"
"""
RASTERS = """\
[sentinel1]
from = "rasters"
rasters = "s1/{date}/{tile}_{polarisation}.tif"
resampling = "nearest"
[layers.dem]
path = "dem_{tile}.tif"
resolution_m = 20
resampling = "average"
dtype = "int16"
nodata = -32768
[layers.soil]
path = "soil.tif"
resolution_m = 60
resampling = "mode"
dtype = "uint8"
"""
FOLDER = """\
[patches]
keep = "aligned with v1"
[seasons]
rule = "published"
[sentinel1]
from = "folder"
folder = "s1"
max_days = 300
"""


def _raster(path: Path, pixels: np.ndarray, left: float, top: float, pixel: float, crs: str, **more: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    place = {"crs": crs, "transform": from_origin(left, top, pixel, pixel), "count": 1, "dtype": pixels.dtype.name}
    height, width = pixels.shape
    with rasterio.open(path, "w", driver="GTiff", width=width, height=height, **place, **more) as file:
        file.write(pixels, 1)


def _backscatter(band: str) -> np.ndarray:
    """10 m pixels from 50 m around the tile; the upper-left patch has one without data."""
    side = SIDE_M // 10 + 10
    pixels = np.random.default_rng(len(band) + ord(band[1])).normal(-14, 3, (side, side)).astype("float32")
    pixels[8, 9] = -99 if band == "VH" else -14
    return pixels


def _soil() -> np.ndarray:
    return np.random.default_rng(4).integers(1, 6, (SIDE_M // 60, SIDE_M // 60)).astype("uint8")


def _in_degrees() -> tuple[float, float, float]:
    """West and north edge of a raster in degrees that has the tile, and its extent."""
    to = Transformer.from_crs(SQUARE.epsg, 4326, always_xy=True)
    west, south, east, north = to.transform_bounds(*SQUARE.bounds)
    return west - 0.01, north + 0.01, max(east - west, north - south) + 0.02


def _write_rasters(folder: Path) -> None:
    for band in ("VV", "VH"):
        place = SQUARE.left - 50, SQUARE.top + 50, 10.0, f"EPSG:{SQUARE.epsg}"
        _raster(folder / "s1" / "20171013" / f"31UGR_{band}.tif", _backscatter(band), *place, nodata=-99)
    west, north, extent = _in_degrees()
    side = int(extent / 0.0005)
    heights = np.add.outer(np.arange(side), np.arange(side)).astype("float32")
    _raster(folder / "dem_31UGR.tif", heights, west, north, 0.0005, "EPSG:4326")
    _raster(folder / "soil.tif", _soil(), SQUARE.left, SQUARE.top, 60, f"EPSG:{SQUARE.epsg}")


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One tile with Sentinel-1 and two layers that are cut from rasters."""
    folder = tmp_path_factory.mktemp("cut")
    (folder / "own.toml").write_text(HEAD + RASTERS)
    _write_rasters(folder)
    run = pipeline(folder, "--recipe", "own.toml", "--dataset-tiles", TILE)
    assert run.code == 0, run.said
    return run


@pytest.fixture(scope="module")
def unpacked(cut: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its dataset, with the archives of Sentinel-1 and the layers unpacked by the real tar in their places."""
    folder = tmp_path_factory.mktemp("unpacked") / "dataset"
    shutil.copytree(_dataset(cut), folder)
    for name in ("BigEarthNet-S1", "Layer_dem", "Layer_soil"):
        subprocess.run(["tar", "--zstd", "-xf", f"{name}.tar.zst"], cwd=folder, check=True)
    return folder


def _dataset(run: Run) -> Path:
    return run.data / "recipes" / "own" / "dataset"


def _pixels(dataset: Path, archive: str, kind: str) -> dict[PatchId, np.ndarray]:
    found = {}
    for path in sorted((dataset / archive).glob(f"*/*/*_{kind}.tif")):
        patch = PatchId.parse(path.parent.name)
        with rasterio.open(path) as file:
            assert file.bounds[:] == SQUARE.patch(patch.x, patch.y).bounds
            found[patch] = file.read(1)
    return found


def test_each_patch_has_sentinel1_and_layers_on_its_square(cut: Run, unpacked: Path) -> None:
    """The pixels of the rasters themselves where they lie on the same grid."""
    rows = pq.read_table(unpacked / "metadata.parquet")
    assert rows.column_names == ["patch_id", "labels", "split", "s1_name"]
    assert rows["s1_name"] == rows["patch_id"]
    ids = rows["patch_id"].to_pylist()
    for band in ("VV", "VH"):
        found, whole = _pixels(unpacked, "BigEarthNet-S1", band), _backscatter(band)[5:, 5:]
        assert [str(patch) for patch in found] == ids and len(ids) > 50
        for patch, pixels in found.items():
            x, y = patch.x * 120, patch.y * 120
            assert (pixels == whole[y : y + 120, x : x + 120]).all() and pixels.dtype == "float32"
    soil = _soil()
    for patch, pixels in _pixels(unpacked, "Layer_soil", "soil").items():
        x, y = patch.x * 20, patch.y * 20
        assert (pixels == soil[y : y + 20, x : x + 20]).all() and pixels.dtype == "uint8"
    heights = _pixels(unpacked, "Layer_dem", "dem")
    assert [str(patch) for patch in heights] == ids
    to, (west, north, _) = Transformer.from_crs(SQUARE.epsg, 4326, always_xy=True), _in_degrees()
    for patch, pixels in heights.items():
        left, top = SQUARE.corner(patch.x, patch.y)
        x, y = to.transform(*np.meshgrid(left + 10 + 20 * np.arange(60), top - 10 - 20 * np.arange(60)))
        expected = (x - west) / 0.0005 - 0.5 + (north - y) / 0.0005 - 0.5  # heights rise by 1 with each pixel
        assert pixels.dtype == "int16" and np.abs(pixels - expected).max() < 1.6


def test_a_patch_without_data_of_sentinel1_is_left_out(cut: Run, unpacked: Path) -> None:
    ids = pq.read_table(unpacked / "metadata.parquet")["patch_id"].to_pylist()
    assert not [name for name in ids if name.endswith("_00_00")]
    assert f"tile {TILE}: 1 of 100 patches have no Sentinel-1 with data on all pixels" in cut.said


def test_no_tif_is_added_to_the_folders_that_consumers_glob(cut: Run) -> None:
    """Layers have archives of their own."""
    listed = subprocess.run(
        ["tar", "--zstd", "-tf", "BigEarthNet-S2.tar.zst"],
        cwd=_dataset(cut),
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    per_patch = {name.rpartition("/")[0] for name in listed}
    assert len(listed) == 12 * len(per_patch)


def test_descriptions_speak_of_the_layers(cut: Run) -> None:
    dataset = _dataset(cut)
    readme = (dataset / "README.md").read_text()
    for text in ("layer dem: one file per patch, int16, cut at 20 m, average", "`layer_soil_hashes.csv`", "`s1_name`"):
        assert text in readme
    stac = json.loads(next((dataset / "stac").glob("S2*/*.json")).read_text())
    band = {"name": "dem", "gsd": 20, "data_type": "int16", "nodata": -32768}
    assert stac["assets"]["Layer_dem"]["bands"] == [band] and "BigEarthNet-S1" in stac["assets"]
    croissant = json.loads((dataset / "croissant.json").read_text())
    includes = {part["@id"]: part.get("includes") for part in croissant["distribution"]}
    assert includes["Layer_soil"] == "Layer_soil/*/*/*_soil.tif" and "Layer_soil.tar.zst" in includes
    facts = json.loads((dataset / "provenance.json").read_text())["tiles"][TILE]["rasters"]
    folder = cut.data.parent
    radar = [folder / "s1" / "20171013" / f"31UGR_{band}.tif" for band in ("VH", "VV")]
    assert facts["sentinel1"] == [{"name": path.name, "sha256": file_hash(path)} for path in radar]
    assert facts["dem"][0]["sha256"] == file_hash(folder / "dem_31UGR.tif")
    report = (dataset / "report" / "index.html").read_text()
    assert "pairs of patches" in report and "Layer_dem.tar.zst" in report


def test_the_report_shows_sentinel1_beside_sentinel2(cut: Run) -> None:
    """Each patch of the tile's page; and in the viewer the files as they were cut."""
    report = _dataset(cut) / "report"
    shown = {path.name.removesuffix(".webp") for path in (report / "tiles" / TILE).glob("[0-9]*.webp")}
    assert {name for name in shown if name.endswith("_s1")} == {f"{name}_s1" for name in shown if name.count("_") == 1}
    told = json.loads((report / "viewer" / "files.js").read_text().partition("(")[2].removesuffix(");\n"))
    listed = (_dataset(cut) / "s1_hashes.csv").read_text()
    for patch, files in told.items():
        sha256 = {name: digest for name, _, digest, _ in files}
        assert len(files) == 15 and f"{patch}_VH,{sha256[f'{patch}_VH.tif']}\n" in listed


def test_unpack_leaves_no_archive_out(cut: Run, unpacked: Path, tmp_path: Path) -> None:
    """The same files as tar unpacks, layers and all."""
    code, said = command("unpack", tmp_path, None, "mine", "--from", str(_dataset(cut)))
    assert code == 0, said
    assert all(f"\n{name}: " in said for name in ("BigEarthNet-S1", "Reference_Maps", "Layer_dem", "Layer_soil"))
    ours, theirs = (
        {path.relative_to(folder): file_hash(path) for path in folder.rglob("*.tif") if "report" not in path.parts}
        for folder in (tmp_path / "mine", unpacked)
    )
    archives = {path.parts[0] for path in theirs}
    assert archives >= {"BigEarthNet-S1", "Layer_dem", "Layer_soil"}
    assert {path: digest for path, digest in ours.items() if path.parts[0] in archives} == theirs
    patches = pq.read_metadata(_dataset(cut) / "metadata.parquet").num_rows
    assert len(ours) == patches * (12 + 1 + 2 + 2), "bands, map, polarisations, layers"


def test_verify_finds_a_changed_file_of_a_layer_and_of_sentinel1(unpacked: Path, tmp_path: Path) -> None:
    for name in ("BigEarthNet-S1", "Layer_dem", "Layer_soil"):
        (unpacked / f"{name}.tar.zst").unlink()
    code, said = command("verify", tmp_path, None, str(unpacked))
    assert code == 0, said
    wrong = []
    for archive, kind in (("Layer_dem", "dem"), ("BigEarthNet-S1", "VV")):
        path = next((unpacked / archive).glob(f"*/*/*_{kind}.tif"))
        data = bytearray(path.read_bytes())
        data[-1] ^= 64
        path.write_bytes(data)
        wrong.append(path)
    moved = sorted((unpacked / "Layer_soil").glob("*/*/*.tif"))
    moved[0].write_bytes(moved[-1].read_bytes())
    code, said = command("verify", tmp_path, None, str(unpacked))
    assert code == ExitCode.FINDINGS
    assert f"with another sha256 than in layer_dem_hashes.csv: Layer_dem/{wrong[0].parent.parent.name}" in said
    assert "with another sha256 than in s1_hashes.csv" in said
    assert "Layer_soil/: not on the square that the patch's name says" in said


def test_a_layer_depends_on_its_raster_and_its_own_section(cut: Run) -> None:
    """So another section of the recipe does not make it again, and a moved raster of the same content neither."""
    folder = cut.data / "recipes" / "own" / "made_from" / "layers" / "dem"
    made = json.loads(next(folder.glob("*.tar.json")).read_text())["made_from"]
    assert set(made) == {"revision", "made_of", "valid", "resolution_m", "resampling", "dtype", "nodata"}
    assert set(made["made_of"]) == {"GridPatches", "HashGiven"}


def test_patches_are_exported_with_layers_and_sentinel1(cut: Run) -> None:
    run = pipeline(cut.data.parent, "ExportPatches", "--tile", TILE, "--recipe", "own.toml")
    assert run.code == 0, run.said
    export = cut.data / "recipes" / "own" / "export"
    assert {path.name for path in export.iterdir() if path.is_dir()} == {
        *("BigEarthNet-S1", "BigEarthNet-S2", "Reference_Maps", "Layer_dem", "Layer_soil")
    }
    assert "patches of the layer soil" in run.said and "from the rasters that the recipe names" in run.said


@pytest.fixture(scope="module")
def given_s1(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two days of a square with the Sentinel-1 patches of a folder, which has those of one day, but for one."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "own.toml").write_text(HEAD + FOLDER)
    make_world(folder / "world")
    given = World(folder / "world").s1_dir
    names = sorted(path.name for path in given.glob(f"{SCENE.s1_tile}_31UGR_*"))
    for name in names[1:]:
        shutil.copytree(given / name, folder / "s1" / SCENE.s1_tile / name)
    run = pipeline(folder, "--recipe", "own.toml", "--dataset-tiles", f"{TILE} {SCENES[1].product.tile_key}")
    assert run.code == 0, run.said
    return run


def test_patches_from_a_folder_keep_their_names_and_bytes(given_s1: Run, tmp_path: Path) -> None:
    """Patches of two days that have the same partner share its name and its files."""
    dataset = _dataset(given_s1)
    rows = pq.read_table(dataset / "metadata.parquet")
    assert rows.column_names[3:6] == ["s1_name", "s2v1_name", "contains_seasonal_snow"]
    names = rows["s1_name"].to_pylist()
    for patch, name in zip(map(PatchId.parse, rows["patch_id"].to_pylist()), names, strict=True):
        assert name == f"{SCENE.s1_tile}_31UGR_{patch.x}_{patch.y}"
    subprocess.run(["tar", "--zstd", "-xf", dataset / "BigEarthNet-S1.tar.zst", "-C", tmp_path], check=True)
    found = {path.name: file_hash(path) for path in tmp_path.rglob("*.tif")}
    days = {PatchId.parse(name).tile_name[11:19] for name in rows["patch_id"].to_pylist()}
    assert len(set(names)) < len(names) and days == {"20171015", "20180508"}
    given = given_s1.data.parent / "s1" / SCENE.s1_tile
    assert found.keys() >= {f"{name}_{band}.tif" for name in names for band in ("VV", "VH")}
    assert all(digest == file_hash(given / name.rpartition("_")[0] / name) for name, digest in found.items())
    code, said = command("unpack", tmp_path, None, "mine", "--from", str(dataset), "--only", "BigEarthNet-S1")
    assert code == 0 and f"BigEarthNet-S1: {len(set(names))} patches" in said, said
    assert {path.name: file_hash(path) for path in (tmp_path / "mine").rglob("*.tif")} == found
    listed = (dataset / "s1_hashes.csv").read_text()
    assert all(f"{Path(name).stem},{digest}" in listed for name, digest in found.items())
    radar = sorted((dataset / "report").rglob("*_s1.webp"))
    assert len(radar) == len(sorted((dataset / "report" / "tiles").rglob("??_??.webp"))) > 12


def test_what_does_not_fit_the_tiles_is_said_at_once_before_any_product_is_fetched(tmp_path: Path) -> None:
    """By a run as by a plan: a raster that is too small, a layer of another day, Sentinel-1 of another month."""
    _write_rasters(tmp_path)
    (tmp_path / "s1" / "20171013").rename(tmp_path / "s1" / "20171113")
    _raster(tmp_path / "soil.tif", _soil()[:100], SQUARE.left, SQUARE.top, 60, f"EPSG:{SQUARE.epsg}")
    (tmp_path / "dem_31UGR.tif").rename(tmp_path / "dem_20171014.tif")
    (tmp_path / "own.toml").write_text(HEAD + RASTERS.replace("dem_{tile}", "dem_{date}"))
    run = pipeline(tmp_path, "--recipe", "own.toml", "--dataset-tiles", TILE)
    assert run.code == ExitCode.WAITS_FOR_PERSON, run.said
    _, planned = command("plan", tmp_path, None, "--recipe", "own.toml", "--dataset-tiles", TILE)
    for said in (run.said, planned):
        assert "only of 2017-10-14" in said and "only of 2017-11-13" in said and "soil.tif" in said
    assert "expected: a raster that covers the tile" in planned
    folder = run.data / "recipes" / "own"
    assert not [*folder.glob("l1c/*")] and not [*folder.glob("l2a/*")]
