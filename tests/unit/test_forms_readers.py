"""The forms of a finished dataset, each loaded by the programs that people use for it, against GDAL's pixels."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import datasets
import duckdb
import geoparquet_validator
import lmdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyproj
import pystac
import pytest
import rasterio
import shapely
import webdataset
import xarray
from safetensors.numpy import load, save

from ben_luigi.domain.forms import webdataset as form_webdataset
from ben_luigi.domain.forms import zarr as form_zarr
from ben_luigi.domain.forms.export import FORMS, export, verify
from ben_luigi.domain.forms.source import Source
from ben_luigi.domain.forms.webdataset import BOA_OFFSET
from ben_luigi.domain.vocabulary import ARRAY, PIXELS, RAW
from tests.unit.exports import SMALL, pixels_of, serving, varied_dataset
from tests.unit.small_dataset import Dataset, square_of

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
RADAR = ("VV", "VH")
RICO_HDL_ORDER = ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12", "B01", "B09")
STAC = ("type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "links", "assets", "collection")


def test_webdataset_reads_each_patch_with_its_members(
    varied: Dataset, exported: Mapping[str, Path], pixels: Mapping[str, np.ndarray]
) -> None:
    rows = {str(row["patch_id"]): row for row in varied.rows}
    shards = sorted(map(str, exported["webdataset"].glob("*.tar")))
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode())
    assert sorted(sample["__key__"] for sample in samples) == sorted(rows)
    for sample in samples:
        row = rows[sample["__key__"]]
        part = ("flagged-" if row["contains_seasonal_snow"] else "") + str(row["split"])
        assert Path(sample["__url__"]).name.startswith(f"{part}-0")
        square = square_of(str(row["patch_id"]))
        place = {"epsg": square.epsg, "left_m": square.left, "top_m": square.top}
        assert sample["json"] == {**row, **place}
        assert np.array_equal(sample["map.npy"], pixels[f"{row['patch_id']}_reference_map"])
        for member, bands, name in (("s2.npz", BANDS, row["patch_id"]), ("s1.npz", RADAR, row["s1_name"])):
            assert sorted(sample[member]) == sorted(bands)
            for band in bands:
                found = sample[member][band]
                assert found.dtype == pixels[f"{name}_{band}"].dtype
                assert np.array_equal(found, pixels[f"{name}_{band}"])


def test_the_page_has_every_key_of_the_json_and_every_column_of_the_index(exported: Mapping[str, Path]) -> None:
    page = Path(__file__).parents[2].joinpath("docs", "forms.md").read_text(encoding="utf-8")
    section = page.partition("## WebDataset")[2].partition("```")[0]
    sample = next(
        iter(webdataset.WebDataset(sorted(map(str, exported["webdataset"].glob("*.tar"))), shardshuffle=False))
    )
    keys = {
        *json.loads(sample["json"]),
        BOA_OFFSET,
        *pa.parquet.read_schema(exported["webdataset"] / "index.parquet").names,
    }
    assert keys == set(re.findall(r"`([a-z]\w+)`", section)) - {"json", "seed", "file_mb"}


def test_gnu_tar_lists_the_shards_and_the_index_leads_to_each_patch(exported: Mapping[str, Path]) -> None:
    index = pa.parquet.read_table(exported["webdataset"] / "index.parquet").to_pylist()
    for shard in sorted(exported["webdataset"].glob("*.tar")):
        listed = subprocess.run(["tar", "-tRf", shard], check=True, capture_output=True, text=True).stdout.splitlines()
        first = {line.split()[-1].partition(".")[0]: int(line.split()[1].rstrip(":")) * 512 for line in listed[::-1]}
        first.pop("**", None)
        assert {row["patch_id"]: row["offset"] for row in index if row["shard"] == shard.name} == first


def test_shards_are_read_whatever_the_order_of_the_index(exported: Mapping[str, Path], tmp_path: Path) -> None:
    """Patches of one shard need not stand together; those of each keep their order."""
    shutil.copytree(exported["webdataset"], tmp_path / "form")
    index = pa.parquet.read_table(tmp_path / "form" / "index.parquet")
    mixed = index.take([4, 1, 5, 0, 3, 2])
    pa.parquet.write_table(mixed, tmp_path / "form" / "index.parquet")
    shards = mixed["shard"].to_pylist()
    of_shard = {
        shard: [one for one, at in zip(mixed["patch_id"].to_pylist(), shards, strict=True) if at == shard]
        for shard in dict.fromkeys(shards)
    }
    assert len(of_shard) < len(shards)
    shown = dict.fromkeys(one.name for one in FORMS["webdataset"].read(tmp_path / "form"))
    assert list(shown) == [patch for patches in of_shard.values() for patch in patches]


def test_an_index_of_many_shards_is_divided_in_one_pass() -> None:
    """Thirty thousand, of which each has its patches in the order of the index, of 60,000 rows."""
    number, per_shard = 30_000, 2
    shards = np.char.add("train-", np.arange(number).astype(str))
    index = pa.table(
        {
            "patch_id": pa.array(np.arange(number * per_shard).astype(str)),
            "shard": pa.array(np.tile(shards, per_shard)),
            "offset": pa.array(np.arange(number * per_shard)),
            "size": pa.repeat(1, number * per_shard),
        }
    )
    found = form_webdataset._by_shard(index)
    assert list(found) == shards.tolist()
    assert found["train-7"].to_pylist() == [
        {"patch_id": "7", "offset": 7, "size": 1},
        {"patch_id": "30007", "offset": 30007, "size": 1},
    ]


def test_configilm_reads_the_lmdb(
    varied: Dataset, exported: Mapping[str, Path], pixels: Mapping[str, np.ndarray]
) -> None:
    """What its BENv2LDMBReader does: with the patch id for S2 and the name in its row for S1, as text, without lock."""
    environment = lmdb.open(
        str(exported["lmdb"]), readonly=True, lock=False, meminit=False, readahead=True, map_size=8 * 1024**3
    )
    for row in varied.rows:
        bands: dict[str, np.ndarray] = {}
        for key in (str(row["patch_id"]), str(row["s1_name"])):
            with environment.begin(write=False, buffers=True) as transaction:
                bands.update(load(bytes(transaction.get(key.encode()))))
        assert sorted(bands) == sorted((*RICO_HDL_ORDER, *RADAR))
        for band, found in bands.items():
            expected = pixels[f"{row['s1_name' if band in RADAR else 'patch_id']}_{band}"]
            assert found.dtype == expected.dtype and np.array_equal(found, expected)
    with environment.begin() as transaction:
        keys = [key.decode() for key in transaction.cursor().iternext(values=False)]
    assert keys == sorted(str(row[name]) for row in varied.rows for name in ("patch_id", "s1_name"))
    environment.close()


def test_each_value_of_the_lmdb_is_what_rico_hdl_makes_of_the_tiffs(
    varied: Dataset, exported: Mapping[str, Path], pixels: Mapping[str, np.ndarray]
) -> None:
    """It gives the bands in an order of its own, which safetensors sorts."""
    with lmdb.open(str(exported["lmdb"]), readonly=True, lock=False) as environment, environment.begin() as transaction:
        for row in varied.rows:
            for name, order in ((row["patch_id"], RICO_HDL_ORDER), (row["s1_name"], RADAR)):
                made_by_it = save({band: pixels[f"{name}_{band}"] for band in order}, metadata=None)
                assert transaction.get(str(name).encode()) == made_by_it


def test_datasets_pandas_and_duckdb_read_the_parquet(
    varied: Dataset, exported: Mapping[str, Path], pixels: Mapping[str, np.ndarray], tmp_path: Path
) -> None:
    folder = exported["parquet"]
    parts = {path.name.rpartition("-")[0] for path in folder.glob("*.parquet")}
    listed = {part.replace("-", "_"): str(folder / f"{part}-*.parquet") for part in parts}
    by_datasets = datasets.load_dataset("parquet", data_files=listed, cache_dir=str(tmp_path))
    with duckdb.connect() as connection:
        query = f"SELECT patch_id, B03 FROM '{folder}/*.parquet' WHERE country = 'Serbia'"
        by_duckdb = dict(connection.execute(query).fetchall())
    by_pandas = pd.concat(pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))).set_index("patch_id")
    assert sorted(by_duckdb) == sorted(str(row["patch_id"]) for row in varied.rows if row["country"] == "Serbia")
    for patch_id, data in by_duckdb.items():
        assert np.array_equal(pixels_of(data), pixels[f"{patch_id}_B03"])
    for row in varied.rows:
        patch_id = str(row["patch_id"])
        part = ("flagged_" if row["contains_seasonal_snow"] else "") + str(row["split"])
        (found,) = [each for each in by_datasets[part] if each["patch_id"] == patch_id]
        assert {name: found[name] for name in row} == row
        assert (found["epsg"], found["left_m"]) == (square_of(patch_id).epsg, square_of(patch_id).left)
        for band in (*BANDS, "reference_map", *RADAR):
            expected = pixels[f"{row['s1_name' if band in RADAR else 'patch_id']}_{band}"]
            assert np.array_equal(pixels_of(found[band]), expected)
            assert by_pandas.loc[patch_id, band] == found[band]


def test_parquet_of_plain_arrays_is_read_without_tiff(
    varied: Dataset, finished: Path, pixels: Mapping[str, np.ndarray], tmp_path: Path
) -> None:
    source = Source.open(finished)
    export(FORMS["parquet"], source, tmp_path / "arrays", replace(SMALL, pixels=ARRAY))
    assert verify(source, tmp_path / "arrays") == []
    for path in (tmp_path / "arrays").glob("*.parquet"):
        for row in pd.read_parquet(path, columns=["patch_id", "s1_name", "B8A", "VH"]).to_dict("records"):
            assert np.array_equal(row["B8A"].reshape(60, 60), pixels[f"{row['patch_id']}_B8A"])
            assert np.array_equal(row["VH"].reshape(120, 120), pixels[f"{row['s1_name']}_VH"])
    with duckdb.connect() as connection:
        query = f"SELECT patch_id, s1_name, B8A, VH FROM '{tmp_path}/arrays/*.parquet'"
        for patch_id, s1_name, band, radar in connection.execute(query).fetchall():
            assert np.array_equal(np.array(band).reshape(60, 60), pixels[f"{patch_id}_B8A"])
            assert np.array_equal(np.array(radar, "float32").reshape(120, 120), pixels[f"{s1_name}_VH"])


def test_parquet_of_raw_pixels_is_read_without_tiff(
    finished: Path, pixels: Mapping[str, np.ndarray], tmp_path: Path
) -> None:
    source, folder = Source.open(finished), tmp_path / "raw"
    export(FORMS["parquet"], source, folder, replace(SMALL, pixels=RAW))
    assert verify(source, folder) == []
    files = [str(path) for path in sorted(folder.glob("*.parquet"))]
    dtypes = json.loads(pa.parquet.read_schema(files[0]).metadata[b"dtypes"])
    columns = ["patch_id", "s1_name", "B8A", "VH"]
    by_pandas = pd.concat(pd.read_parquet(path, columns=columns) for path in files).to_dict("records")
    by_duckdb = duckdb.sql(f"SELECT {', '.join(columns)} FROM '{folder}/*.parquet'").df().to_dict("records")
    streamed = datasets.load_dataset("parquet", data_files=files, split="train", streaming=True)
    found = [*by_pandas, *by_duckdb, *streamed]
    assert len(found) == 3 * len(source.rows)
    for row in found:
        for kind, name, side in (("B8A", row["patch_id"], 60), ("VH", row["s1_name"], 120)):
            values = np.frombuffer(row[kind], dtypes[kind]).reshape(side, side)
            assert np.array_equal(values, pixels[f"{name}_{kind}"])


@pytest.mark.parametrize("stored", PIXELS)
def test_a_band_of_parquet_costs_an_eighth_of_the_bytes_at_most(stored: str, finished: Path, tmp_path: Path) -> None:
    """By the metadata of its column chunks, which are what is read."""
    folder, chunks = tmp_path / stored, dict[str, int]()
    export(FORMS["parquet"], Source.open(finished), folder, replace(SMALL, pixels=stored))
    for path in folder.glob("*.parquet"):
        file = pa.parquet.read_metadata(path)
        for group in range(file.num_row_groups):
            for number in range(file.num_columns):
                chunk = file.row_group(group).column(number)
                column = chunk.path_in_schema.partition(".")[0]
                chunks[column] = chunks.get(column, 0) + chunk.total_compressed_size
    whole = sum(path.stat().st_size for path in folder.iterdir())
    assert max(chunks[band] for band in BANDS) <= whole / 8


def test_gdal_reads_each_tiff_of_the_tars_from_disk(
    varied: Dataset, exported: Mapping[str, Path], pixels: Mapping[str, np.ndarray]
) -> None:
    items = {item["id"]: item for item in pa.parquet.read_table(exported["geoparquet"] / "patches.parquet").to_pylist()}
    assert sorted(items) == sorted(str(row["patch_id"]) for row in varied.rows)
    for row in varied.rows:
        item = items[str(row["patch_id"])]
        assert {name: item[f"bigearthnet:{name}"] for name in row if name != "patch_id"} == {
            name: value for name, value in row.items() if name != "patch_id"
        }
        for band, asset in item["assets"].items():
            path = exported["geoparquet"] / asset["href"]
            with rasterio.open(f"/vsisubfile/{asset['offset']}_{asset['size']},{path}") as raster:
                found, corner = raster.read(1), (raster.bounds.left, raster.bounds.top)
            name = row["s1_name" if band in RADAR else "patch_id"]
            assert np.array_equal(found, pixels[f"{name}_{band}"])
            assert corner == (square_of(item["id"]).left, square_of(item["id"]).top)
            assert asset["gsd"] == raster.res[0]


def test_gdal_reads_a_tiff_by_http_and_asks_only_for_its_bytes(
    exported: Mapping[str, Path], pixels: Mapping[str, np.ndarray]
) -> None:
    item = pa.parquet.read_table(exported["geoparquet"] / "patches.parquet").to_pylist()[1]
    asset = item["assets"]["B04"]
    with serving(exported["geoparquet"]) as (url, sent):
        path = f"/vsisubfile/{asset['offset']}_{asset['size']},/vsicurl/{url}/{asset['href']}"
        env = rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", CPL_VSIL_CURL_CHUNK_SIZE=8192)
        with env, rasterio.open(path) as raster:
            assert np.array_equal(raster.read(1), pixels[f"{item['id']}_B04"])
    assert asset["size"] <= sum(sent) <= asset["size"] + 3 * 8192
    assert (exported["geoparquet"] / asset["href"]).stat().st_size > 10 * sum(sent) / 2


def test_the_items_are_of_stac_and_their_squares_are_where_the_patches_lie(exported: Mapping[str, Path]) -> None:
    report = geoparquet_validator.check(str(exported["geoparquet"] / "patches.parquet"))
    assert geoparquet_validator.conformant(report), geoparquet_validator.failed(report)
    for row in pa.parquet.read_table(exported["geoparquet"] / "patches.parquet").to_pylist():
        own = {name: row.pop(name) for name in list(row) if name not in STAC}
        own["datetime"] = own["datetime"].isoformat()
        shape = shapely.from_wkb(row["geometry"])
        row |= {"geometry": json.loads(shapely.to_geojson(shape)), "bbox": list(row["bbox"].values())}
        item = pystac.Item.from_dict({**row, "properties": own, "stac_extensions": []})
        assert shape.bounds == pytest.approx(item.bbox)
        square = square_of(item.id)
        west, south = pyproj.Transformer.from_crs(square.epsg, 4326, always_xy=True).transform(
            square.left, square.top - 1200
        )
        assert shape.exterior.coords[0] == pytest.approx((west, south))


def test_xarray_opens_the_zarr_with_its_consolidated_metadata(
    varied: Dataset, exported: Mapping[str, Path], pixels: Mapping[str, np.ndarray]
) -> None:
    with xarray.open_zarr(exported["zarr"], consolidated=True, chunks=None) as opened:
        assert sorted(opened["patch"].values) == sorted(str(row["patch_id"]) for row in varied.rows)
        for row in varied.rows:
            patch = opened.sel(patch=row["patch_id"])
            labels = patch["labels"].values
            assert list(opened["label"].values[labels]) == row["labels"]
            others = ("split", "country", "s1_name", "contains_seasonal_snow")
            assert {name: patch[name].item() for name in others} == {name: row[name] for name in others}
            square = square_of(str(row["patch_id"]))
            assert [patch[name].item() for name in ("epsg", "left_m", "top_m")] == [
                square.epsg,
                square.left,
                square.top,
            ]
            found = {"reference_map": patch["reference_map"].values}
            for group in ("s2_10m", "s2_20m", "s2_60m", "s1"):
                found |= dict(zip(patch[f"band_{group}"].values, patch[group].values, strict=True))
            assert sorted(found) == sorted((*BANDS, *RADAR, "reference_map"))
            for band, values in found.items():
                expected = pixels[f"{row['s1_name' if band in RADAR else 'patch_id']}_{band}"]
                assert values.dtype == expected.dtype and np.array_equal(values, expected)


def test_the_labels_of_two_subsets_in_zarr_have_the_same_numbers(finished: Path, tmp_path: Path) -> None:
    source = Source.open(finished)
    every = sorted({label for labels in source.rows["labels"].to_pylist() for label in labels})
    for row in range(len(source.rows)):
        export(FORMS["zarr"], replace(source, rows=source.rows.slice(row, 1)), tmp_path / "one", SMALL)
        with xarray.open_zarr(tmp_path / "one", consolidated=True, chunks=None) as opened:
            assert list(opened["label"].values) == every
            has = opened["labels"].values[0]
            assert [label for label, one in zip(every, has, strict=True) if one] == source.rows["labels"][row].as_py()


def test_a_zarr_of_several_shards_has_each_patch_in_its_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Sentinel-1 comes in another order, and one shard has none of it."""
    monkeypatch.setattr(form_zarr, "PATCHES_A_SHARD", 2)
    dataset = varied_dataset()
    in_order = sorted(dataset.rows, key=lambda row: str(row["patch_id"]))
    for row in in_order[2:4]:
        row["s1_name"] = None
    source = Source.open(dataset.write(tmp_path / "dataset"))
    export(FORMS["zarr"], source, tmp_path / "out", SMALL)
    shards = {
        group: [path.name for path in sorted((tmp_path / "out" / group / "c").iterdir())] for group in ("s1", "s2_10m")
    }
    assert shards == {"s1": ["0", "2"], "s2_10m": ["0", "1", "2"]}
    assert verify(source, tmp_path / "out") == []
    with xarray.open_zarr(tmp_path / "out", consolidated=True, chunks=None) as opened:
        assert np.isnan(opened["s1"].values).all(axis=(1, 2, 3)).tolist() == [False, False, True, True, False, False]


def test_the_zarr_is_of_version_3_and_in_shards(exported: Mapping[str, Path]) -> None:
    root = json.loads((exported["zarr"] / "zarr.json").read_text())
    assert root["zarr_format"] == 3 and set(root["consolidated_metadata"]["metadata"]) > {"s2_10m", "s1", "patch"}
    array = json.loads((exported["zarr"] / "s2_10m" / "zarr.json").read_text())
    (codec,) = array["codecs"]
    assert codec["name"] == "sharding_indexed" and codec["configuration"]["chunk_shape"] == [1, 4, 120, 120]
    assert [path.name for path in (exported["zarr"] / "s2_10m" / "c").iterdir()] == ["0"]


def test_zarr_has_the_columns_of_more_rows_than_a_chunk(
    varied: Dataset, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form_zarr, "_ROWS_A_CHUNK", 4)
    export(FORMS["zarr"], Source.open(finished), tmp_path / "zarr", SMALL)
    with xarray.open_zarr(tmp_path / "zarr", consolidated=True, chunks=None) as patches:
        named = patches["label"].values
        found = {
            str(patch): ({*named[has]}, str(split), str(s1_name))
            for patch, has, split, s1_name in zip(
                patches["patch"].values,
                patches["labels"].values,
                patches["split"].values,
                patches["s1_name"].values,
                strict=True,
            )
        }
    assert found == {row["patch_id"]: ({*row["labels"]}, row["split"], row["s1_name"]) for row in varied.rows}
    assert len(found) > 4
