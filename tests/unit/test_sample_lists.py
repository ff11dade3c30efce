"""What the sample world has beside its products: version 1, Sentinel-1, land cover, countries and the catalogue."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import fiona
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely

from ben_luigi.domain.names import ProductName, v1_sensing_time
from ben_luigi.domain.placement.country import COUNTRIES
from ben_luigi.sample.land_cover import land_cover
from ben_luigi.sample.layout import World
from ben_luigi.sample.scenes import SCENES
from tests.unit.sample_files import lines_of, md5_of


def test_corner_is_that_of_the_real_tile(world: World, published: Path) -> None:
    real = published / "v1_spatial" / "bigearthnet_v1_spatial_32631.parquet"
    if not real.is_file():
        pytest.skip("needs the published version 1 geometries")
    ours = pq.read_table(world.v1_spatial_dir / real.name).to_pydict()
    theirs = pq.read_table(real).to_pydict()
    outlines = dict(zip(theirs["patch_name"], theirs["geom"], strict=True))
    same = [name for name in ours["patch_name"] if name in outlines]
    assert len(same) > 50
    assert all(
        outlines[name] == geom for name, geom in zip(ours["patch_name"], ours["geom"], strict=True) if name in same
    )
    assert pq.read_schema(real).equals(pq.read_schema(world.v1_spatial_dir / real.name), check_metadata=False)


def test_version_1_lists_agree(world: World) -> None:
    rows = [line.split(",") for line in lines_of(world.tile_names_csv, b"\r\n")]
    names = [name for name, _, _ in rows]
    assert len(set(names)) == len(names) == 363
    assert set(Counter(product for _, product, _ in rows)) == {str(scene.product) for scene in SCENES}
    pairs = dict(line.split(",") for line in lines_of(world.s1s2_mapping_csv, b"\n"))
    assert sorted(pairs) == sorted(names)
    assert sorted(pairs.values()) == sorted(path.name for path in world.s1_dir.iterdir())
    snow, cloud = (set(lines_of(path, b"\r\n")) for path in (world.snow_csv, world.cloud_csv))
    assert snow < set(names)
    assert cloud < set(names)
    assert snow - cloud
    assert cloud - snow
    assert snow & cloud
    assert {name.split("_")[2] for name in names} >= {"20180204T094159", "20180204T94160", "20180204T94161"}
    for name, product, _ in rows:
        late = v1_sensing_time(name) - ProductName.parse(product).sensing_time
        assert 0 <= late.total_seconds() <= 8


def test_version_1_geometries(world: World) -> None:
    names = []
    for epsg in (32631, 32635):
        table = pq.read_table(world.v1_spatial_dir / f"bigearthnet_v1_spatial_{epsg}.parquet")
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
    assert sorted(names) == sorted(line.split(",")[0] for line in lines_of(world.s1s2_mapping_csv, b"\n"))


def test_sentinel_1_lies_on_the_squares_of_version_1(world: World) -> None:
    outlines: dict[str, tuple[int, tuple[float, ...]]] = {}
    for epsg in (32631, 32635):
        table = pq.read_table(world.v1_spatial_dir / f"bigearthnet_v1_spatial_{epsg}.parquet")
        shapes = shapely.from_wkb(table["geom"].to_numpy())
        outlines |= {n: (epsg, s.bounds) for n, s in zip(table["patch_name"].to_pylist(), shapes, strict=True)}
    for line in lines_of(world.s1s2_mapping_csv, b"\n")[::10]:
        v1_name, s1_name = line.split(",")
        for band, mean in (("VV", -11), ("VH", -18)):
            with rasterio.open(world.s1_dir / s1_name / f"{s1_name}_{band}.tif") as raster:
                assert (raster.crs.to_epsg(), tuple(raster.bounds)) == outlines[v1_name]
                assert (raster.count, raster.dtypes[0], raster.shape) == (1, "float32", (120, 120))
                assert abs(raster.read(1).mean() - mean) < 10


def test_clc_is_as_corine_is_published(world: World) -> None:
    with fiona.open(world.clc_gpkg) as layer:
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


def test_catalogue_states_length_and_checksum(world: World) -> None:
    entries = json.loads(world.catalogue.read_text(encoding="utf-8"))
    with_file = {entry["Name"]: entry for entry in entries if "File" in entry}
    assert set(with_file) == {str(scene.product) for scene in SCENES}
    for entry in with_file.values():
        file = world.folder / entry["File"]
        assert entry["ContentLength"] == file.stat().st_size
        assert [(c["Algorithm"], c["Value"]) for c in entry["Checksum"]] == [("MD5", md5_of(file))]
    names = [ProductName.parse(entry["Name"]) for entry in entries]
    assert len(set(names)) == len({entry["Id"] for entry in entries}) == len(entries) == 10
    assert all(entry["Id"] == entry["Id"].lower() for entry in entries)
    assert sum(name.baseline == "N0500" for name in names) == 4


def test_a_border_runs_through_a_tile(world: World) -> None:
    with fiona.open(world.countries_geojson) as layer:
        borders = {f.properties["NAME_LONG"]: shapely.geometry.shape(f.geometry) for f in layer}
    assert set(COUNTRIES) < set(borders)
    assert all(border.is_valid for border in borders.values())
    assert borders["Belgium"].area > borders["Luxembourg"].area
    assert borders["Serbia"].touches(borders["Kosovo"])
    tile = shapely.box(5.8209, 50.4045, 5.9854, 50.5138)  # inside 31UGR's, in degrees
    shares = [borders[country].intersection(tile).area / tile.area for country in ("Belgium", "Luxembourg")]
    assert min(shares) > 0.2
    assert sum(shares) == pytest.approx(1)
