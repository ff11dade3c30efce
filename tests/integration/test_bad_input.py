"""What goes wrong is said by tile, file, expectation and next step; nothing half-written stays; other tiles go on."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from ben_luigi.sample.cdse_server import CdseServer
from ben_luigi.sample.layout import World
from tests.integration.running import Run, configuration, pipeline

GOOD, BAD = "31UGR_20171015", "31UGR_20180508"


def _copied(source: Path, target: Path) -> Path:
    """A folder of links to what is in `source`."""
    target.mkdir(parents=True)
    for path in source.iterdir():
        (target / path.name).symlink_to(path.resolve())
    return target


def _l2a(l2a_dir: Path, target: Path) -> tuple[Path, Path]:
    """The two products of one square, of which that of BAD may be changed."""
    target.mkdir()
    for product in l2a_dir.glob("*_T31UGR_*.SAFE"):
        if "20180508" in product.name:
            bad = Path(shutil.copytree(product.resolve(), target / product.name))
        else:
            (target / product.name).symlink_to(product.resolve())
    return target, bad


def _nothing_unfinished(run: Run) -> None:
    assert not list(run.data.rglob(".unfinished-*"))


def test_a_damaged_product_stops_its_tile_and_no_other(sample_world: World, l2a_dir: Path, tmp_path: Path) -> None:
    folder, bad = _l2a(l2a_dir, tmp_path / "l2a")
    (band,) = bad.glob("GRANULE/*/IMG_DATA/R10m/*_B03_10m.jp2")
    band.write_bytes(band.read_bytes()[: band.stat().st_size // 2])
    (tmp_path / "l2a" / "readme.txt").write_text("not a product")
    config = configuration(tmp_path, sample_world, inputs={"l2a_dir": folder})
    run = pipeline(tmp_path, config=config)
    assert run.code == 20, run.said
    (line,) = [line for line in run.said.splitlines() if "failed " in line and f"(tile={BAD})" in line]
    assert band.name in line and "expected" in line and "next" in line
    assert (run.data / "reference_maps" / f"{GOOD}.tar").exists()
    assert not (run.data / "patches" / f"{BAD}.tar").exists()
    assert not (run.data / "dataset").exists()
    _nothing_unfinished(run)

    # Once it is mended, a rerun makes what is missing.
    (source,) = l2a_dir.glob("*20180508*.SAFE")
    shutil.copy(source / band.relative_to(bad), band)
    again = pipeline(tmp_path, config=config)
    assert again.code == 0, again.said
    assert f"CutPatches(tile={BAD})" in again.tasks()
    assert f"CutPatches(tile={GOOD})" not in again.tasks()


def test_a_missing_band_is_named(sample_world: World, l2a_dir: Path, tmp_path: Path) -> None:
    folder, bad = _l2a(l2a_dir, tmp_path / "l2a")
    next(bad.glob("GRANULE/*/IMG_DATA/R20m/*_B8A_20m.jp2")).unlink()
    config = configuration(tmp_path, sample_world, inputs={"l2a_dir": folder})
    run = pipeline(tmp_path, "ReadProduct", "--tile", BAD, config=config)
    assert run.code == 20
    assert f"{BAD}: {bad.name}; expected: one file of band B8A" in run.said


def test_a_tile_of_another_size_is_refused(sample_world: World, l2a_dir: Path, tmp_path: Path) -> None:
    config = configuration(tmp_path, sample_world, inputs={"l2a_dir": l2a_dir}, tile={"side_m": 109_800})
    run = pipeline(tmp_path, "ReadProduct", "--tile", BAD, config=config)
    assert run.code == 20
    assert f"{BAD}: " in run.said and "(1830, 1830," in run.said and "(203, 203," in run.said


def test_clc_without_its_columns_is_refused(sample_world: World, l2a_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "clc.gpkg"
    shutil.copy(sample_world.clc_gpkg, path)
    with sqlite3.connect(path) as database:
        (table,) = database.execute("SELECT table_name FROM gpkg_geometry_columns").fetchone()
        database.execute("PRAGMA writable_schema = ON")
        database.execute("UPDATE sqlite_master SET sql = replace(sql, 'Code_18', 'Colour') WHERE name = ?", (table,))
    config = configuration(
        tmp_path, sample_world, dataset={"tiles": GOOD}, inputs={"l2a_dir": l2a_dir, "clc_gpkg": path}
    )
    run = pipeline(tmp_path, "MakeReferenceMaps", "--tile", GOOD, config=config)
    assert run.code == 20
    assert "Code_18" in run.said and "Colour" in run.said and "[inputs] clc_gpkg" in run.said
    assert not (run.data / "reference_maps").exists() or not list((run.data / "reference_maps").iterdir())


def test_what_is_missing_is_said_with_where_to_get_it(sample_world: World, l2a_dir: Path, tmp_path: Path) -> None:
    """The GeoPackage of CLC is wanted and not given, and S1 is not where it was: both are told before any work."""
    config = configuration(
        tmp_path,
        sample_world,
        dataset={"tiles": GOOD},
        inputs={"l2a_dir": l2a_dir, "clc_gpkg": "", "s1_dir": tmp_path / "none"},
        land_cover={"source": "geopackage"},
    )
    run = pipeline(tmp_path, config=config)
    assert run.code == 20
    assert "land.copernicus.eu" in run.said and "[inputs] clc_gpkg" in run.said
    assert "[inputs] s1_dir" in run.said, run.said
    assert not (run.data / "patches").exists()


def test_a_missing_s1_patch_is_named(sample_world: World, l2a_dir: Path, tmp_path: Path) -> None:
    s1 = _copied(sample_world.s1_dir, tmp_path / "s1")
    lost = sorted(path for path in s1.iterdir() if "31UGR" in path.name and "20171016" in path.name)[10]
    lost.unlink()
    config = configuration(tmp_path, sample_world, dataset={"tiles": GOOD}, inputs={"l2a_dir": l2a_dir, "s1_dir": s1})
    run = pipeline(tmp_path, config=config)
    assert run.code == 20
    assert lost.name in run.said and "zenodo" in run.said
    assert not (run.data / "dataset" / "BigEarthNet-S1.tar.zst").exists()
    assert (run.data / "dataset" / "BigEarthNet-S2.tar.zst").exists()
    _nothing_unfinished(run)


def test_a_zip_cut_short_is_refused(sample_world: World, tmp_path: Path) -> None:
    folder = tmp_path / "l1c"
    folder.mkdir()
    (source,) = sample_world.products.glob("*20180508*.zip")
    (folder / source.name).write_bytes(source.read_bytes()[:-1000])
    config = configuration(
        tmp_path, sample_world, inputs={"l1c_dir": folder}, sen2cor={"executable": sample_world.l2a_process}
    )
    run = pipeline(tmp_path, config=config)
    assert run.code != 0
    assert source.name in run.said
    assert not (run.data / "l2a").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "tile_names.csv"),
        ("a,b,c\r\n", "line 1"),
        ("a,S2A_MSIL1C_2017_nonsense.SAFE,c\r\n", "S2A_MSIL1C_2017_nonsense"),
    ],
)
def test_a_list_of_products_that_is_none_is_refused(
    sample_world: World, tmp_path: Path, content: str, said: str
) -> None:
    names = tmp_path / "tile_names.csv"
    names.write_bytes(content.encode())
    config = configuration(tmp_path, sample_world, inputs={"tile_names_csv": names})
    run = pipeline(tmp_path, "ResolveTileIds", config=config)
    assert run.code != 0
    assert said in run.said and "tile_names.csv" in run.said
    assert not (run.data / "tiles").exists()


@pytest.mark.parametrize("times", [0, 2])
def test_a_product_not_found_or_found_twice_is_named_with_its_candidates(
    sample_world: World, tmp_path: Path, times: int
) -> None:
    catalogue = json.loads(sample_world.catalogue.read_text())
    (record,) = [record for record in catalogue if "MSIL1C_20171015" in record["Name"] and record.get("File")]
    twin = {**record, "Id": "11111111-2222-5333-8444-555555555555"}
    others = [other for other in catalogue if "_T31UGR_" not in other["Name"]]
    with CdseServer([*others, *[record, twin][:times]], sample_world.folder) as server:
        config = configuration(
            tmp_path,
            sample_world,
            dataset={"tiles": GOOD},
            inputs={"tile_names_csv": sample_world.tile_names_csv, "published_tile_ids_csv": tmp_path / "none.csv"},
            cdse={"catalogue_url": server.catalogue_url, "pause_s": 0.05},
        )
        run = pipeline(tmp_path, "ResolveTileIds", config=config)
    assert run.code == 20, run.said
    assert record["Name"] in run.said
    if times:
        assert record["Id"] in run.said and twin["Id"] in run.said
    assert not (run.data / "tiles" / "bigearthnet_s2_tile_ids.csv").exists()


def test_a_tile_that_is_not_there_is_named(sample_world: World, l2a_dir: Path, tmp_path: Path) -> None:
    config = configuration(tmp_path, sample_world, dataset={"tiles": "33UUP_20170613"}, inputs={"l2a_dir": l2a_dir})
    run = pipeline(tmp_path, config=config)
    assert run.code != 0
    assert "33UUP_20170613" in run.said and "[dataset] tiles" in run.said


def test_a_database_that_is_gone_is_said_without_its_password(
    sample_world: World, l2a_dir: Path, tmp_path: Path
) -> None:
    config = configuration(
        tmp_path,
        sample_world,
        inputs={"l2a_dir": l2a_dir},
        database={"url": "postgresql://somebody:secret@127.0.0.1:1/nowhere"},
    )
    run = pipeline(tmp_path, config=config)
    assert run.code != 0
    assert "PostgreSQL at" in run.said and "127.0.0.1" in run.said
    assert "secret" not in run.said
