"""The sample run's GeoParquet, STAC and Croissant: valid to their own validators, and true to the files."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import geoparquet_validator
import mlcroissant
import numpy as np
import pyarrow.parquet as pq
import pystac
import pytest
import rasterio
import shapely
from pyproj import Transformer
from pystac.validation import validate_dict

from ben_luigi.domain.dataset import geoparquet
from tests.integration.running import Run

EXTENSION = re.compile(r"https://stac-extensions\.github\.io/(\w+)/v(\d+)\.\d+\.\d+/schema\.json")
PREFIXES = {"projection": "proj", "grid": "grid", "file": "file", "eo": "eo"}
FIELDS: dict[tuple[str, int], dict[str, Callable[[Any], bool]]] = {
    ("projection", 2): {
        "proj:code": lambda code: code is None or bool(re.fullmatch(r"[A-Z_0-9]+:\w+", code)),
        "proj:bbox": lambda box: len(box) in (4, 6) and all(type(edge) in (int, float) for edge in box),
    },
    ("eo", 2): {
        "eo:common_name": lambda name: bool(
            re.fullmatch(r"coastal|blue|green|red|rededge07[158]|nir|nir0[89]|swir16|swir22", name)
        )
    },
    ("grid", 1): {"grid:code": lambda code: bool(re.fullmatch(r"[A-Z0-9]+-[-_.A-Za-z0-9]+", code))},
    ("file", 2): {
        "file:size": lambda size: type(size) is int and size >= 0,
        # A multihash in hexadecimal: 0x12 is sha2-256, 0x20 its length in bytes.
        "file:checksum": lambda checksum: bool(re.fullmatch(r"1220[0-9a-f]{64}", checksum)),
    },
}
"""What the specifications of the extensions say of the fields that we use, by their main version."""


@pytest.fixture(scope="module")
def dataset(sample_run: Run) -> Path:
    return sample_run.data / "dataset"


@pytest.fixture(scope="module")
def rows(dataset: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(dataset / "patches.parquet").to_pylist()
    return found


def _folder(extracted: Path, row: dict[str, Any]) -> Path:
    return extracted / "BigEarthNet-S2" / str(row["tile"]) / str(row["patch_id"])


def test_patches_is_valid_geoparquet(dataset: Path) -> None:
    report = geoparquet_validator.check(str(dataset / "patches.parquet"))
    assert geoparquet_validator.conformant(report), geoparquet_validator.failed(report)
    assert report["version"] == "1.1.0"
    passed = {outcome["id"] for outcome in report["outcomes"] if outcome["status"] == "pass"}
    assert {"/conf/core/orientation-rings", "/conf/core/bbox-extent", "/conf/covering/bbox-column-structure"} <= passed


def test_it_has_the_rows_of_the_metadata_in_order(dataset: Path, rows: list[dict[str, Any]]) -> None:
    metadata = [row for path in dataset.glob("metadata*.parquet") for row in pq.read_table(path).to_pylist()]
    names = list(metadata[0])
    assert len(names) == 8
    assert [{name: row[name] for name in names} for row in rows] == sorted(metadata, key=lambda row: row["patch_id"])
    assert list(rows[0]) == list(geoparquet.DESCRIPTIONS)


def test_places_are_those_of_the_files(extracted: Path, rows: list[dict[str, Any]]) -> None:
    for row in rows[::13]:
        with rasterio.open(_folder(extracted, row) / f"{row['patch_id']}_B02.tif") as raster:
            assert raster.crs.to_epsg() == row["epsg"]
            assert tuple(raster.bounds) == (row["left_m"], row["bottom_m"], row["right_m"], row["top_m"])
            to_degrees = Transformer.from_crs(raster.crs, "OGC:CRS84")
            corners = [to_degrees.transform(x, y) for x, y in _corners(raster.bounds)]
        shape = shapely.from_wkb(row["geometry"])
        assert shape.equals_exact(shapely.Polygon(corners), 1e-9, normalize=True)
        assert shape.bounds == tuple(row["bbox"][edge] for edge in ("xmin", "ymin", "xmax", "ymax"))


def _corners(bounds: tuple[float, float, float, float]) -> list[tuple[float, float]]:
    left, bottom, right, top = bounds
    return [(left, bottom), (right, bottom), (right, top), (left, top)]


def test_hashes_are_those_that_sha256sum_gives(extracted: Path, rows: list[dict[str, Any]]) -> None:
    for row in rows[::41]:
        said = subprocess.run(
            "sha256sum *.tif | sha256sum", shell=True, cwd=_folder(extracted, row), capture_output=True, check=True
        )
        assert said.stdout.decode() == f"{row['s2_sha256']}  -\n"
        reference_map = (
            extracted / "Reference_Maps" / row["tile"] / row["patch_id"] / f"{row['patch_id']}_reference_map.tif"
        )
        assert hashlib.sha256(reference_map.read_bytes()).hexdigest() == row["reference_map_sha256"]
        with rasterio.open(reference_map) as raster:
            codes, pixels = np.unique(raster.read(1), return_counts=True)
        fractions = {name: part for name, part in row.items() if name.startswith("clc_") and part}
        expected = {
            f"clc_{code}": float(np.float32(n) / np.float32(14_400)) for code, n in zip(codes, pixels, strict=True)
        }
        assert fractions == expected


def test_shares_of_cloud_shadow_snow_and_water_are_those_of_the_scene_classification(
    sample_run: Run, rows: list[dict[str, Any]]
) -> None:
    """Counted here from the product itself, patch by patch."""
    classes = {"cloud": (8, 9, 10), "shadow": (3,), "snow": (11,), "water": (6,)}
    seen = set()
    for row in rows:
        (path,) = (sample_run.data / "l2a").glob(
            f"{row['mgrs']}_*{row['tile'][11:19]}/*/GRANULE/*/IMG_DATA/R20m/*_SCL_*"
        )
        x, y = (int(number) * 60 for number in row["patch_id"].rsplit("_", 2)[1:])
        with rasterio.open(path) as raster:
            pixels = raster.read(1, window=((y, y + 60), (x, x + 60)))
        valid = int((pixels > 1).sum())
        for what, of in classes.items():
            share = np.isin(pixels, of).sum() / valid
            assert row[f"scl_{what}"] == np.float32(share)
            seen |= {what} if share else set()
    assert seen >= {"snow", "water"}


def test_time_and_product_are_those_of_the_provenance(dataset: Path, rows: list[dict[str, Any]]) -> None:
    tiles = json.loads((dataset / "provenance.json").read_text())["tiles"]
    for row in rows:
        tile = tiles[f"{row['mgrs']}_{row['sensing_time']:%Y%m%d}"]
        assert (row["product"], row["product_id"]) == (tile["l1c"]["name"], tile["l1c"]["id"])
        assert tile["l2a_name"].startswith(row["tile"])
        assert f"{row['sensing_time']:%Y-%m-%d %H:%M:%S}" == tile["start_time"][:19]


def test_stac_is_valid_and_complete(dataset: Path, rows: list[dict[str, Any]]) -> None:
    """By pystac's schemas of the core; its classes read the fields of extensions."""
    collection = pystac.Collection.from_file(str(dataset / "stac" / "collection.json"))
    items = list(collection.get_items())
    for document in (collection, *items):
        assert document.self_href is not None
        written = json.loads(Path(document.self_href).read_text())
        (own_link,) = (link for link in written["links"] if link["rel"] == "self")
        assert own_link["href"] == f"./{Path(document.self_href).name}"
        assert validate_dict(json.loads(Path(document.self_href).read_text()), extensions=[])
    assert {item.id for item in items} == {row["tile"] for row in rows}
    for item in items:
        own = [row for row in rows if row["tile"] == item.id]
        assert (item.ext.proj.epsg, item.ext.grid.code) == (own[0]["epsg"], f"MGRS-{own[0]['mgrs']}")
        assert item.properties["bigearthnet:patches"] == len(own)
        assert item.datetime == own[0]["sensing_time"]
        union = shapely.union_all([shapely.from_wkb(row["geometry"]) for row in own])
        assert shapely.from_geojson(json.dumps(item.geometry)).buffer(1e-4).covers(union)
        assert all(Path(asset.get_absolute_href() or "").is_file() for asset in item.assets.values())
        (s2, s1) = (item.assets[f"BigEarthNet-S{number}"].extra_fields["bands"] for number in (2, 1))
        assert [band["name"] for band in s1] == ["VH", "VV"]
        assert {band["eo:common_name"]: band["name"] for band in s2}.items() >= {("red", "B04"), ("nir08", "B8A")}
        acquisitions = {row["s1_name"].rsplit("_", 3)[0] for row in own}
        assert all(f"BigEarthNet-S1/{name}/" in str(item.assets["BigEarthNet-S1"].description) for name in acquisitions)
        with rasterio.open(item.assets["thumbnail"].get_absolute_href()) as picture:
            assert picture.driver == "WEBP"
    beside = {path.name for path in dataset.iterdir() if path.is_file()}
    assert collection.assets.keys() == beside
    for name, asset in collection.assets.items():
        content = (dataset / name).read_bytes()
        assert Path(asset.get_absolute_href() or "").read_bytes() == content
        assert asset.ext.file.size == len(content)
        assert asset.ext.file.checksum == f"1220{hashlib.sha256(content).hexdigest()}"


def test_stac_has_the_fields_of_the_extensions_that_it_names(dataset: Path) -> None:
    """Their schemas would have to be fetched, so their fields are held against what the specifications say of them."""
    for path in sorted((dataset / "stac").rglob("*.json")):
        document = json.loads(path.read_text())
        named = [EXTENSION.fullmatch(url) for url in document["stac_extensions"]]
        extensions = {(match[1], int(match[2])) for match in named if match}
        assert len(extensions) == len(named)
        found = list(_fields(document))
        for extension in extensions:
            own = [(name, value) for name, value in found if name.startswith(f"{PREFIXES[extension[0]]}:")]
            assert own, f"{path.name} names {extension}, and has nothing of it"
            for name, value in own:
                assert FIELDS[extension][name](value), (path.name, name, value)
        prefixes = {name.partition(":")[0] for name, _ in found} - {"bigearthnet"}
        assert prefixes == {PREFIXES[name] for name, _ in extensions}
        assert document["type"] == "Collection" or "grid:code" in document["properties"], "which grid requires"


def _fields(document: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Fields with a prefix, where extensions may have theirs: properties, assets, and what a collection sums up."""
    assets = list(document.get("assets", {}).values())
    bands = [band for asset in assets for band in asset.get("bands", [])]
    for place in (document.get("properties", {}), *assets, *bands):
        yield from ((name, value) for name, value in place.items() if ":" in name)
    for name, values in document.get("summaries", {}).items():
        yield from ((name, value) for value in values if ":" in name)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_croissant_is_valid_and_its_records_are_the_patches(
    dataset: Path, rows: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        described = mlcroissant.Dataset(jsonld=str(dataset / "croissant.json"))
        records = list(described.records("patches"))
    assert not caplog.records
    assert not described.metadata.ctx.issues.errors | described.metadata.ctx.issues.warnings
    assert len(records) == len(rows)
    for row, record in zip(rows, records, strict=True):
        assert record["patches/patch_id"].decode() == row["patch_id"]
        assert [label.decode() for label in record["patches/labels"]] == row["labels"]
        assert record["patches/sensing_time"] == row["sensing_time"]
    for file in described.metadata.file_objects:
        content = (dataset / file.name).read_bytes()
        assert (file.sha256, file.content_size) == (hashlib.sha256(content).hexdigest(), f"{len(content)} B")


def test_no_two_patches_of_the_sample_world_leak(sample_run: Run) -> None:
    """Its tiles do not overlap but for two dates of one tile, which have the same splits, and are of two seasons."""
    listed = (sample_run.data / "metadata" / "split_leakage.csv").read_text()
    assert listed == "patch_id_a,split_a,patch_id_b,split_b,overlap,same_season\n"
    counts = json.loads((sample_run.data / "dataset" / "comparison.json").read_text())["overlaps"]
    assert counts == {"overlaps_within_a_season": 0, "leaks": 0, "leaks_within_a_season": 0}
