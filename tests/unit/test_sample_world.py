"""The sample world: the same bytes each time, readable by GDAL's own Sentinel-2 driver, faulty where it says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import fiona
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from rasterio.warp import transform_bounds

from ben_luigi.config import TRACKED_ARTIFACTS
from ben_luigi.domain.names import ProductName, v1_sensing_time
from ben_luigi.domain.placement.country import COUNTRIES
from ben_luigi.domain.products.product import read_product
from ben_luigi.domain.tiles.nomenclature import read_nomenclature
from ben_luigi.sample import sen2cor_stand_in, world
from ben_luigi.sample.bands import BANDS
from ben_luigi.sample.l2a_scenes import SOUTH
from ben_luigi.sample.land_cover import land_cover
from ben_luigi.sample.landscape import landscape
from ben_luigi.sample.layout import World
from ben_luigi.sample.safe_metadata import CHECKS
from ben_luigi.sample.scenes import PATCHES, SCENES, SIDE_M, Folders, Scene

PUBLISHED = Path(__file__).parents[3] / "shared" / "published"
HOLED, FAILED = SCENES[2], SCENES[3]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, World]:
    """The sample world made here, and made at the same time by another process."""
    folder = tmp_path_factory.mktemp("sample")
    code = "import pathlib, sys; from ben_luigi.sample.world import make_world; make_world(pathlib.Path(sys.argv[1]))"
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, "-c", code, str(folder / "elsewhere")], env=environment) as process:
        world.make_world(folder / "world")
    assert process.returncode == 0
    return World(folder / "world"), World(folder / "elsewhere")


@pytest.fixture(scope="module")
def sample(worlds: tuple[World, World]) -> World:
    return worlds[0]


@pytest.fixture(scope="module")
def l1c(sample: World) -> dict[ProductName, Path]:
    """The products, unpacked as a zip program does it."""
    into = sample.folder.parent / "l1c"
    for path in sorted(sample.products.iterdir()):
        with zipfile.ZipFile(path) as archive:
            archive.extractall(into)
    return {ProductName.parse(path.name): path for path in sorted(into.iterdir())}


@dataclass(frozen=True)
class Conversion:
    output: Path
    said: str


@pytest.fixture(scope="module")
def l2a(sample: World, l1c: dict[ProductName, Path]) -> dict[Scene, Conversion]:
    """Two of them converted, after the folders that one lacks have been made."""
    conversions = {}
    for scene in (HOLED, FAILED):
        for parent, child in (("DATASTRIP", "QI_DATA"), ("GRANULE", "AUX_DATA")):
            (folder,) = (l1c[scene.product] / parent).iterdir()
            (folder / child).mkdir(exist_ok=True)
        into = sample.folder.parent / "l2a" / scene.product.tile_key
        done = run_l2a_process(sample, "--output_dir", into, l1c[scene.product])
        assert done.returncode == 0, done.stdout + done.stderr
        conversions[scene] = Conversion(next(into.iterdir()), done.stdout)
    return conversions


def run_l2a_process(sample: World, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the script from elsewhere, with nothing in the environment that helps to find the package."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(sample.l2a_process), *map(str, arguments)]
    return subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)


def sha256sums(folder: Path) -> list[str]:
    """What `sha256sum` says of every file in a folder."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    said = subprocess.run(["sha256sum", *files], cwd=folder, check=True, capture_output=True, text=True)
    return said.stdout.splitlines()


def md5_of(path: Path) -> str:
    return subprocess.run(["md5sum", path], check=True, capture_output=True, text=True).stdout.split()[0]


def pixels_of(path: Path) -> np.ndarray:
    with rasterio.Env(GDAL_NUM_THREADS="ALL_CPUS"), rasterio.open(path) as raster:
        return np.asarray(raster.read(1))


def lines_of(path: Path, end: bytes) -> list[str]:
    text = path.read_bytes()
    assert text.endswith(end)
    assert text.count(b"\n") == text.count(end)
    return text.decode().splitlines()


def test_world_is_the_same_each_time(worlds: tuple[World, World]) -> None:
    first, second = (sha256sums(made.folder) for made in worlds)
    assert len(first) > 700
    assert [line for line in first if " bin/" not in line] == [line for line in second if " bin/" not in line]


def test_world_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(world, "write_countries", full)
    with pytest.raises(OSError, match="no space"):
        world.make_world(tmp_path / "world")
    assert not list(tmp_path.iterdir())


def test_products_are_four_of_two_zones_packed_as_cdse_packs_them(sample: World) -> None:
    products = [scene.product for scene in SCENES]
    assert len({product.tile_key for product in products}) == 4
    assert Counter(product.epsg for product in products) == {32631: 2, 32635: 2}
    assert len({product.mgrs for product in products}) == 3
    for scene in SCENES:
        with zipfile.ZipFile(sample.product_zip(scene.product)) as archive:
            assert archive.testzip() is None
            assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
            names = [member.filename.partition("/") for member in archive.infolist()]
        assert {top for top, _, _ in names} == {str(scene.product)}
        needed = [name.split("/")[2:] for _, _, name in names if "DATASTRIP" in name and "QI_DATA" in name]
        assert {Folders.DROPPED: needed == [], Folders.ENTRIES: needed == [["QI_DATA", ""]]}.get(
            scene.folders, len(needed) == len(CHECKS)
        )
    assert {scene.folders for scene in SCENES} == set(Folders)


def test_manifest_states_every_file(l1c: dict[ProductName, Path], l2a: dict[Scene, Conversion]) -> None:
    for folder in [*l1c.values(), *(conversion.output for conversion in l2a.values())]:
        root = ElementTree.parse(folder / "manifest.safe").getroot()
        stated = {}
        for stream in root.iterfind("dataObjectSection/dataObject/byteStream"):
            location, checksum = stream.find("fileLocation"), stream.find("checksum")
            assert location is not None
            assert checksum is not None
            assert checksum.get("checksumName") == "MD5"
            stated[location.get("href", "").removeprefix("./")] = (checksum.text, int(stream.get("size", "")))
        files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
        del files["manifest.safe"]
        assert stated == {name: (md5_of(path), path.stat().st_size) for name, path in files.items()}


def test_gdal_reads_l1c(l1c: dict[ProductName, Path]) -> None:
    for scene in SCENES:
        with rasterio.open(l1c[scene.product] / "MTD_MSIL1C.xml") as product:
            assert product.driver == "SENTINEL2"
            tags, parts = product.tags(), product.subdatasets
        assert tags["PRODUCT_URI"] == str(scene.product)
        assert tags["RADIOMETRIC_QUALITY_FLAG"] == ("FAILED" if scene is FAILED else "PASSED")
        for pixel_m, count in ((10, 4), (20, 6), (60, 3)):
            (part,) = (part for part in parts if f":{pixel_m}m:EPSG_{scene.product.epsg}" in part)
            with rasterio.open(part) as raster:
                assert (raster.count, raster.shape) == (count, (12_180 // pixel_m,) * 2)
                assert raster.transform[:6] == (pixel_m, 0, scene.square.left, 0, -pixel_m, scene.square.top)
                assert raster.read(1, window=((0, 60), (0, 60))).min() > 0


def test_no_data_is_in_one_band_of_one_product(l1c: dict[ProductName, Path]) -> None:
    holes = {}
    parcels = land_cover()
    for scene in SCENES:
        seen = landscape(scene, parcels).reflectance()
        for band, pixels in seen.items():
            row, col = np.nonzero(pixels == 0)
            if len(row):
                patches = np.column_stack([col, row]) * BANDS[band].pixel_m // 1200
                holes[scene.product.tile_key, band] = {tuple(xy) for xy in patches.tolist() if max(xy) < PATCHES}
        for band in ("B11", "B01"):
            (path,) = l1c[scene.product].glob(f"GRANULE/*/IMG_DATA/*_{band}.jp2")
            assert np.array_equal(pixels_of(path), seen[band])
    assert holes == {(HOLED.product.tile_key, "B11"): {(x, y) for x in range(3) for y in range(6, 10)}}


def test_corner_is_that_of_the_real_tile(sample: World) -> None:
    real = PUBLISHED / "v1_spatial" / "bigearthnet_v1_spatial_32631.parquet"
    if not real.is_file():
        pytest.skip("needs the published version 1 geometries")
    ours = pq.read_table(sample.v1_spatial_dir / real.name).to_pydict()
    theirs = pq.read_table(real).to_pydict()
    outlines = dict(zip(theirs["patch_name"], theirs["geom"], strict=True))
    same = [name for name in ours["patch_name"] if name in outlines]
    assert len(same) > 50
    assert all(
        outlines[name] == geom for name, geom in zip(ours["patch_name"], ours["geom"], strict=True) if name in same
    )
    assert pq.read_schema(real).equals(pq.read_schema(sample.v1_spatial_dir / real.name), check_metadata=False)


def test_stand_in_says_what_it_is_and_ends_as_sen2cor_does(sample: World, l2a: dict[Scene, Conversion]) -> None:
    assert len(sample.l2a_process.read_text().splitlines()[0]) < 127
    for scene, conversion in l2a.items():
        assert ProductName.parse(conversion.output.name) == scene.product.converted()
        assert "Version: 02.11.00" in conversion.said
        assert conversion.said.splitlines()[-1].endswith("Application terminated successfully.")
        assert "STAND-IN" in conversion.said
        assert "STAND-IN" in (conversion.output / "MTD_MSIL2A.xml").read_text()


def test_stand_in_fails_as_sen2cor_does_where_an_output_is(
    sample: World, l1c: dict[ProductName, Path], l2a: dict[Scene, Conversion]
) -> None:
    again = run_l2a_process(sample, "--output_dir", l2a[HOLED].output.parent, l1c[HOLED.product])
    assert again.returncode == 1
    assert "AttributeError: 'bool' object has no attribute 'SPACECRAFT_NAME'" in again.stdout


@pytest.mark.parametrize("lacking", ["DATASTRIP/*/QI_DATA", "GRANULE/*/AUX_DATA"])
def test_stand_in_needs_the_folders_that_cdse_drops(
    sample: World, tmp_path: Path, lacking: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(sample.product_zip(SCENES[0].product)) as archive:
        archive.extractall(tmp_path)
    source = tmp_path / str(SCENES[0].product)
    next(source.glob(lacking)).rmdir()
    assert sen2cor_stand_in.main(["--output_dir", str(tmp_path / "out"), str(source)]) == 1
    assert "Error in creating L2A User Product" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_gdal_reads_l2a(l2a: dict[Scene, Conversion]) -> None:
    for scene, conversion in l2a.items():
        folder = conversion.output
        with rasterio.open(folder / "MTD_MSIL2A.xml") as product:
            assert product.driver == "SENTINEL2"
            tags, parts = product.tags(), product.subdatasets
        assert tags["PRODUCT_URI"] == folder.name
        results = {check: tags[check] for check in CHECKS}
        assert [check for check in CHECKS if results[check] != "PASSED"] == [scene.failed_check] * (scene is FAILED)
        for pixel_m in (10, 20, 60):
            (part,) = (part for part in parts if f":{pixel_m}m:EPSG_{scene.product.epsg}" in part)
            with rasterio.open(part) as raster:
                assert raster.transform[:6] == (pixel_m, 0, scene.square.left, 0, -pixel_m, scene.square.top)
        images = [element.text for element in ElementTree.parse(folder / "MTD_MSIL2A.xml").iter("IMAGE_FILE")]
        assert {f"{image}.jp2" for image in images} == {
            p.relative_to(folder).as_posix() for p in folder.glob("GRANULE/*/IMG_DATA/**/*.jp2")
        }
        assert not any("B10" in str(image) for image in images)


def test_l2a_has_zeros_where_l1c_has_them(l1c: dict[ProductName, Path], l2a: dict[Scene, Conversion]) -> None:
    for band, pixel_m in (("B01", 60), ("B04", 10), ("B11", 20), ("B12", 20)):
        (before,) = l1c[HOLED.product].glob(f"GRANULE/*/IMG_DATA/*_{band}.jp2")
        (after,) = l2a[HOLED].output.glob(f"GRANULE/*/IMG_DATA/R{pixel_m}m/*_{band}_{pixel_m}m.jp2")
        with rasterio.open(before) as toa, rasterio.open(after) as surface:
            assert (surface.dtypes[0], surface.crs, surface.transform) == ("uint16", toa.crs, toa.transform)
            assert surface.nodata is None
        seen, reflected = pixels_of(before), pixels_of(after)
        assert np.array_equal(seen == 0, reflected == 0)
        assert (reflected <= seen).all()
        assert reflected.std() > 100


def test_version_1_lists_agree(sample: World) -> None:
    rows = [line.split(",") for line in lines_of(sample.tile_names_csv, b"\r\n")]
    names = [name for name, _, _ in rows]
    assert len(set(names)) == len(names) == 363
    assert set(Counter(product for _, product, _ in rows)) == {str(scene.product) for scene in SCENES}
    pairs = dict(line.split(",") for line in lines_of(sample.s1s2_mapping_csv, b"\n"))
    assert sorted(pairs) == sorted(names)
    assert sorted(pairs.values()) == sorted(path.name for path in sample.s1_dir.iterdir())
    snow, cloud = (set(lines_of(path, b"\r\n")) for path in (sample.snow_csv, sample.cloud_csv))
    assert snow < set(names)
    assert cloud < set(names)
    assert snow - cloud
    assert cloud - snow
    assert snow & cloud
    assert {name.split("_")[2] for name in names} >= {"20180204T094159", "20180204T94160", "20180204T94161"}
    for name, product, _ in rows:
        late = v1_sensing_time(name) - ProductName.parse(product).sensing_time
        assert 0 <= late.total_seconds() <= 8


def test_version_1_geometries(sample: World) -> None:
    names = []
    for epsg in (32631, 32635):
        table = pq.read_table(sample.v1_spatial_dir / f"bigearthnet_v1_spatial_{epsg}.parquet")
        geo = json.loads(table.schema.metadata[b"geo"])
        assert geo["columns"]["geom"]["crs"]["id"] == {"authority": "EPSG", "code": epsg}
        outlines = shapely.from_wkb(table["geom"].to_numpy())
        assert np.allclose(shapely.total_bounds(outlines), geo["columns"]["geom"]["bbox"])
        corners = {scene.product.mgrs: scene.square for scene in SCENES if scene.product.epsg == epsg}
        for name, outline in zip(table["patch_name"].to_pylist(), outlines, strict=True):
            x, y = map(int, name.split("_")[3:])
            left, bottom, right, top = outline.bounds
            assert outline.area == 1_440_000
            assert (right - left, top - bottom) == (1200, 1200)
            assert (left - 1200 * x, top + 1200 * y) in {(square.left, square.top) for square in corners.values()}
        for name, time in zip(table["patch_name"].to_pylist(), table["sensing_time"].to_pylist(), strict=True):
            assert time.replace(tzinfo=None) == v1_sensing_time(name)
        names += table["patch_name"].to_pylist()
    assert sorted(names) == sorted(line.split(",")[0] for line in lines_of(sample.s1s2_mapping_csv, b"\n"))


def test_sentinel_1_lies_on_the_squares_of_version_1(sample: World) -> None:
    outlines: dict[str, tuple[int, tuple[float, ...]]] = {}
    for epsg in (32631, 32635):
        table = pq.read_table(sample.v1_spatial_dir / f"bigearthnet_v1_spatial_{epsg}.parquet")
        shapes = shapely.from_wkb(table["geom"].to_numpy())
        outlines |= {n: (epsg, s.bounds) for n, s in zip(table["patch_name"].to_pylist(), shapes, strict=True)}
    for line in lines_of(sample.s1s2_mapping_csv, b"\n")[::10]:
        v1_name, s1_name = line.split(",")
        for band, mean in (("VV", -11), ("VH", -18)):
            with rasterio.open(sample.s1_dir / s1_name / f"{s1_name}_{band}.tif") as raster:
                assert (raster.crs.to_epsg(), tuple(raster.bounds)) == outlines[v1_name]
                assert (raster.count, raster.dtypes[0], raster.shape) == (1, "float32", (120, 120))
                assert abs(raster.read(1).mean() - mean) < 10


def test_clc_is_as_corine_is_published(sample: World) -> None:
    with fiona.open(sample.clc_gpkg) as layer:
        assert layer.name == "U2018_CLC2018_V2020_20u1"
        assert layer.crs.to_epsg() == 3035
        assert layer.schema["geometry"] == "MultiPolygon"
        features = list(layer)
        few = list(layer.filter(bbox=features[0].geometry.coordinates[0][0][0] * 2))
    assert 0 < len(few) < len(features)
    codes = {feature.properties["Code_18"] for feature in features}
    assert codes >= {"122", "131", "332", "335", "423", "211", "312", "512"}
    ids = [feature.properties["ID"] for feature in features]
    assert ids == [f"EU-{number}" for number in range(1, len(ids) + 1)]
    assert ids != sorted(ids)


def test_clc_partitions_the_ground_but_for_a_gap_and_an_uncovered_half() -> None:
    parcels = land_cover()
    assert all(parcel.outline.is_valid for parcel in parcels)
    assert any(len(parcel.outline.geoms) > 1 for parcel in parcels)
    assert any(len(part.interiors) for parcel in parcels for part in parcel.outline.geoms)
    covered, doubly = {}, {}
    for scene in SCENES:
        tile = shapely.box(*scene.square.bounds)
        here = [shapely.intersection(p.outline, tile) for p in parcels if p.mgrs == scene.product.mgrs]
        union = shapely.union_all(here).area
        covered[scene.product.mgrs] = union / tile.area
        doubly[scene.product.mgrs] = (sum(part.area for part in here) - union) / tile.area
    assert covered["35VPK"] > 0.9999
    assert 0.95 < covered["31UGR"] < 0.995
    assert 0.5 < covered["35VNJ"] < 0.6
    assert all(0 < part < 0.02 for part in doubly.values())


def test_catalogue_states_length_and_checksum(sample: World) -> None:
    entries = json.loads(sample.catalogue.read_text(encoding="utf-8"))
    with_file = {entry["Name"]: entry for entry in entries if "File" in entry}
    assert set(with_file) == {str(scene.product) for scene in SCENES}
    for entry in with_file.values():
        file = sample.folder / entry["File"]
        assert entry["ContentLength"] == file.stat().st_size
        assert [(c["Algorithm"], c["Value"]) for c in entry["Checksum"]] == [("MD5", md5_of(file))]
    names = [ProductName.parse(entry["Name"]) for entry in entries]
    assert len(set(names)) == len({entry["Id"] for entry in entries}) == len(entries) == 10
    assert all(entry["Id"] == entry["Id"].lower() for entry in entries)
    assert sum(name.baseline == "N0500" for name in names) == 4


def test_a_border_runs_through_a_tile(sample: World) -> None:
    with fiona.open(sample.countries_geojson) as layer:
        borders = {f.properties["NAME_LONG"]: shapely.geometry.shape(f.geometry) for f in layer}
    assert set(COUNTRIES) < set(borders)
    assert all(border.is_valid for border in borders.values())
    assert borders["Belgium"].area > borders["Luxembourg"].area
    assert borders["Serbia"].touches(borders["Kosovo"])
    tile = shapely.box(5.8209, 50.4045, 5.9854, 50.5138)  # inside 31UGR's, in degrees
    shares = [borders[country].intersection(tile).area / tile.area for country in ("Belgium", "Luxembourg")]
    assert min(shares) > 0.2
    assert sum(shares) == pytest.approx(1)


@pytest.fixture(scope="module")
def south(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("south") / "world"
    world.make_l2a_world(folder, SOUTH)
    return World(folder)


def test_a_world_of_l2a_products_has_the_same_bytes_again(south: World, tmp_path: Path) -> None:
    world.make_l2a_world(tmp_path / "again", SOUTH)
    files = {path.relative_to(south.folder): path for path in south.folder.rglob("*") if path.is_file()}
    assert len(files) == 5
    for name, path in files.items():
        assert (tmp_path / "again" / name).read_bytes() == path.read_bytes(), name


def test_l2a_products_are_as_esa_makes_them_since_2022(south: World, tmp_path: Path) -> None:
    """The offset is in pixels and metadata; there is a cloud, in reflectance and in the scene classification."""
    (scene,) = SOUTH
    with zipfile.ZipFile(south.product_zip(scene.product)) as archive:
        archive.extractall(tmp_path)
    product = read_product(tmp_path / str(scene.product), SIDE_M, accept_offset=True)
    assert (product.offset, product.baseline, product.square) == (-1000, "05.11", scene.square)
    (path,) = (tmp_path / str(scene.product)).rglob("*_SCL_20m.jp2")
    with rasterio.open(path) as raster:
        classes, crs = raster.read(1), raster.crs.to_epsg()
    assert crs == 32721 and scene.cloud
    assert classes[scene.cloud.y_m // 20, scene.cloud.x_m // 20] == 9
    assert (classes == 9).sum() * 400 == pytest.approx(np.pi * scene.cloud.radius_m**2, rel=0.02)
    assert {3, 9} < set(np.unique(classes)) <= {3, 4, 5, 6, 9}
    with rasterio.open(product.bands["B02"]) as raster:
        blue = raster.read(1)
    assert blue.min() > 1000 and blue[scene.cloud.y_m // 10, scene.cloud.x_m // 10] == 7000


def test_the_raster_of_land_cover_covers_the_southern_tile(south: World) -> None:
    (scene,) = SOUTH
    known = read_nomenclature(TRACKED_ARTIFACTS / "worldcover.toml").codes
    with rasterio.open(south.land_cover_raster) as raster:
        west, south_edge, east, north = transform_bounds(scene.square.epsg, 4326, *scene.square.bounds)
        assert raster.bounds.left < west and raster.bounds.right > east
        assert raster.bounds.bottom < south_edge and raster.bounds.top > north
        assert set(np.unique(raster.read(1))) <= set(known)
