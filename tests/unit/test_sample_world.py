"""The products of the sample world: the same bytes each time, readable by GDAL as Sentinel-2, faulty on purpose."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio

from ben_luigi.domain.names import ProductName
from ben_luigi.sample import sen2cor_stand_in, world
from ben_luigi.sample.bands import BANDS
from ben_luigi.sample.land_cover import land_cover
from ben_luigi.sample.landscape import landscape
from ben_luigi.sample.layout import World
from ben_luigi.sample.safe_metadata import CHECKS
from ben_luigi.sample.scenes import PATCHES, SCENES, Folders, Scene
from tests.unit.sample_files import md5_of

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


def pixels_of(path: Path) -> np.ndarray:
    with rasterio.Env(GDAL_NUM_THREADS="ALL_CPUS"), rasterio.open(path) as raster:
        return np.asarray(raster.read(1))


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
