"""The forms of a finished dataset, each loaded by the program that people use for it, against GDAL's pixels."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
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
from rasterio.io import MemoryFile
from safetensors.numpy import load, save

from ben_luigi.domain import files
from ben_luigi.domain.errors import BadArchive, BadInput, DamagedFile
from ben_luigi.domain.forms.export import FORMS, export, verify
from ben_luigi.domain.forms.form import Options
from ben_luigi.domain.forms.source import S1, Source
from tests.unit.small_dataset import Dataset, square_of

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
RADAR = ("VV", "VH")
RICO_HDL_ORDER = ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12", "B01", "B09")
STAC = ("type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "links", "assets", "collection")
SMALL = Options(seed=3, file_bytes=700_000)
"""Two patches per file."""


class _Ranges(SimpleHTTPRequestHandler):
    """Sends the bytes that are asked for, as any server of static files does."""

    sent: list[int]

    def do_GET(self) -> None:
        """Answer with a range, or the whole file."""
        data = Path(self.translate_path(self.path)).read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first, last = map(int, wanted.groups()) if wanted else (0, len(data) - 1)
        body = data[first : last + 1]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Range", f"bytes {first}-{first + len(body) - 1}/{len(data)}")
        self.end_headers()
        self.wfile.write(body)
        self.sent.append(len(body))

    def do_HEAD(self) -> None:
        """Answer with the length alone."""
        self.send_response(200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(Path(self.translate_path(self.path)).stat().st_size))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """Serve a folder on loopback; yield its URL, and the list of how many bytes were sent with each answer."""
    handler = type("Handler", (_Ranges,), {"sent": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", handler.sent  # type: ignore[attr-defined]
        finally:
            server.shutdown()
            thread.join()


def _dataset() -> Dataset:
    """One whose patches all differ, in S1 and map, too."""
    dataset = Dataset()
    for number, name in enumerate(name for archive in (S1, "Reference_Maps") for name in dataset.names(archive)):
        dataset.replace(name, _other(number, name, dict(_files(dataset))[name]))
    return dataset


@cache
def _other(number: int, name: str, data: bytes) -> bytes:
    """The same TIFF with other pixels, by GDAL."""
    rng = np.random.default_rng(number)
    with MemoryFile(data) as old, old.open() as raster:
        profile, shape = raster.profile, raster.shape
    pixels = rng.normal(-12, 4, shape).astype("float32") if name.startswith(S1) else rng.choice([211, 231, 999], shape)
    with MemoryFile() as new:
        with new.open(**profile) as raster:
            raster.write(pixels.astype(profile["dtype"]), 1)
        return bytes(new.read())


def _files(dataset: Dataset) -> Iterator[tuple[str, bytes]]:
    for parts in dataset.parts.values():
        for part in parts:
            yield from part.items()


def _pixels(data: bytes) -> np.ndarray:
    with MemoryFile(data) as file, file.open() as raster:
        return np.asarray(raster.read(1))


@pytest.fixture(scope="module")
def made() -> Dataset:
    return _dataset()


@pytest.fixture(scope="module")
def folder(made: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.write(tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="module")
def pixels(made: Dataset) -> Mapping[str, np.ndarray]:
    """The pixels of each file, by its name without suffix."""
    return {Path(name).stem: _pixels(data) for name, data in _files(made)}


@pytest.fixture(scope="module")
def exported(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """All forms of the dataset."""
    out = tmp_path_factory.mktemp("forms")
    for name, form in FORMS.items():
        export(form, Source.open(folder), out / name, SMALL)
    return {name: out / name for name in FORMS}


def test_webdataset_reads_each_patch_with_its_members(
    made: Dataset, exported: Mapping[str, Path], pixels: Mapping[str, np.ndarray]
) -> None:
    rows = {str(row["patch_id"]): row for row in made.rows}
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


def test_gnu_tar_lists_the_shards_and_the_index_leads_to_each_patch(exported: Mapping[str, Path]) -> None:
    index = pa.parquet.read_table(exported["webdataset"] / "index.parquet").to_pylist()
    for shard in sorted(exported["webdataset"].glob("*.tar")):
        listed = subprocess.run(["tar", "-tRf", shard], check=True, capture_output=True, text=True).stdout.splitlines()
        first = {line.split()[-1].partition(".")[0]: int(line.split()[1].rstrip(":")) * 512 for line in listed[::-1]}
        first.pop("**", None)
        assert {row["patch_id"]: row["offset"] for row in index if row["shard"] == shard.name} == first


def test_the_seed_alone_orders_the_shards(folder: Path, tmp_path: Path) -> None:
    orders = []
    for seed in (1, 1, 2):
        export(FORMS["webdataset"], Source.open(folder), tmp_path / "out", replace(SMALL, seed=seed))
        orders.append(pa.parquet.read_table(tmp_path / "out" / "index.parquet")["patch_id"].to_pylist())
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])


def test_configilm_reads_the_lmdb(
    made: Dataset, exported: Mapping[str, Path], pixels: Mapping[str, np.ndarray]
) -> None:
    """What its BENv2LDMBReader does: with the patch id for S2 and the name in its row for S1, as text, without lock."""
    environment = lmdb.open(
        str(exported["lmdb"]), readonly=True, lock=False, meminit=False, readahead=True, map_size=8 * 1024**3
    )
    for row in made.rows:
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
    assert keys == sorted(str(row[name]) for row in made.rows for name in ("patch_id", "s1_name"))
    environment.close()


def test_each_value_of_the_lmdb_is_what_rico_hdl_makes_of_the_tiffs(
    made: Dataset, exported: Mapping[str, Path], pixels: Mapping[str, np.ndarray]
) -> None:
    """It gives the bands in an order of its own, which safetensors sorts."""
    with lmdb.open(str(exported["lmdb"]), readonly=True, lock=False) as environment, environment.begin() as transaction:
        for row in made.rows:
            for name, order in ((row["patch_id"], RICO_HDL_ORDER), (row["s1_name"], RADAR)):
                made_by_it = save({band: pixels[f"{name}_{band}"] for band in order}, metadata=None)
                assert transaction.get(str(name).encode()) == made_by_it


def test_datasets_pandas_and_duckdb_read_the_parquet(
    made: Dataset, exported: Mapping[str, Path], pixels: Mapping[str, np.ndarray], tmp_path: Path
) -> None:
    folder = exported["parquet"]
    parts = {path.name.rpartition("-")[0] for path in folder.glob("*.parquet")}
    listed = {part.replace("-", "_"): str(folder / f"{part}-*.parquet") for part in parts}
    by_datasets = datasets.load_dataset("parquet", data_files=listed, cache_dir=str(tmp_path))
    with duckdb.connect() as connection:
        query = f"SELECT patch_id, B03 FROM '{folder}/*.parquet' WHERE country = 'Serbia'"
        by_duckdb = dict(connection.execute(query).fetchall())
    by_pandas = pd.concat(pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))).set_index("patch_id")
    assert sorted(by_duckdb) == sorted(str(row["patch_id"]) for row in made.rows if row["country"] == "Serbia")
    for patch_id, data in by_duckdb.items():
        assert np.array_equal(_pixels(data), pixels[f"{patch_id}_B03"])
    for row in made.rows:
        patch_id = str(row["patch_id"])
        part = ("flagged_" if row["contains_seasonal_snow"] else "") + str(row["split"])
        (found,) = [each for each in by_datasets[part] if each["patch_id"] == patch_id]
        assert {name: found[name] for name in row} == row
        assert (found["epsg"], found["left_m"]) == (square_of(patch_id).epsg, square_of(patch_id).left)
        for band in (*BANDS, "reference_map", *RADAR):
            expected = pixels[f"{row['s1_name' if band in RADAR else 'patch_id']}_{band}"]
            assert np.array_equal(_pixels(found[band]), expected)
            assert by_pandas.loc[patch_id, band] == found[band]


def test_parquet_of_plain_arrays_is_read_without_tiff(
    made: Dataset, folder: Path, pixels: Mapping[str, np.ndarray], tmp_path: Path
) -> None:
    source = Source.open(folder)
    export(FORMS["parquet"], source, tmp_path / "arrays", replace(SMALL, pixels="array"))
    assert verify(source, tmp_path / "arrays") == []
    for path in (tmp_path / "arrays").glob("*.parquet"):
        for row in pd.read_parquet(path, columns=["patch_id", "s1_name", "B8A", "VH"]).to_dict("records"):
            assert np.array_equal(row["B8A"].reshape(60, 60), pixels[f"{row['patch_id']}_B8A"])
            assert np.array_equal(row["VH"].reshape(120, 120), pixels[f"{row['s1_name']}_VH"])


def test_a_band_of_parquet_costs_an_eighth_of_the_bytes_at_most(exported: Mapping[str, Path]) -> None:
    """By the metadata of its column chunks, which are what is read."""
    chunks: dict[str, int] = {}
    for path in exported["parquet"].glob("*.parquet"):
        file = pa.parquet.read_metadata(path)
        for group in range(file.num_row_groups):
            for number in range(file.num_columns):
                chunk = file.row_group(group).column(number)
                chunks[chunk.path_in_schema] = chunks.get(chunk.path_in_schema, 0) + chunk.total_compressed_size
    whole = sum(path.stat().st_size for path in exported["parquet"].iterdir())
    assert max(chunks[band] for band in BANDS) <= whole / 8


def test_gdal_reads_each_tiff_of_the_tars_from_disk(
    made: Dataset, exported: Mapping[str, Path], pixels: Mapping[str, np.ndarray]
) -> None:
    items = {item["id"]: item for item in pa.parquet.read_table(exported["geoparquet"] / "patches.parquet").to_pylist()}
    assert sorted(items) == sorted(str(row["patch_id"]) for row in made.rows)
    for row in made.rows:
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
    made: Dataset, exported: Mapping[str, Path], pixels: Mapping[str, np.ndarray]
) -> None:
    with xarray.open_zarr(exported["zarr"], consolidated=True, chunks=None) as opened:
        assert sorted(opened["patch"].values) == sorted(str(row["patch_id"]) for row in made.rows)
        for row in made.rows:
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


def test_the_zarr_is_of_version_3_and_in_shards(exported: Mapping[str, Path]) -> None:
    root = json.loads((exported["zarr"] / "zarr.json").read_text())
    assert root["zarr_format"] == 3 and set(root["consolidated_metadata"]["metadata"]) > {"s2_10m", "s1", "patch"}
    array = json.loads((exported["zarr"] / "s2_10m" / "zarr.json").read_text())
    (codec,) = array["codecs"]
    assert codec["name"] == "sharding_indexed" and codec["configuration"]["chunk_shape"] == [1, 4, 120, 120]
    assert [path.name for path in (exported["zarr"] / "s2_10m" / "c").iterdir()] == ["0"]


@pytest.mark.parametrize("name", FORMS)
def test_the_same_dataset_gives_the_same_bytes(
    name: str, folder: Path, exported: Mapping[str, Path], tmp_path: Path
) -> None:
    """In another process, and from the folders that tar unpacks."""
    for archive in folder.glob("*.tar.zst"):
        subprocess.run(["tar", "--zstd", "-xf", archive, "-C", tmp_path], check=True)
    for table in folder.glob("*.parquet"):
        (tmp_path / table.name).symlink_to(table)
    code = (
        "import sys; from pathlib import Path; from ben_luigi.domain.forms.export import *; "
        "export(FORMS[sys.argv[1]], Source.open(Path(sys.argv[2])), Path(sys.argv[3]), "
        f"{SMALL!r})"
    )
    subprocess.run([sys.executable, "-c", code, name, tmp_path, tmp_path / "again"], check=True, env=dict(os.environ))
    assert _hashes(tmp_path / "again") == _hashes(exported[name])


def _hashes(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): files.file_hash(path) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", FORMS)
def test_verify_finds_nothing_wrong_with_what_was_exported(
    name: str, folder: Path, exported: Mapping[str, Path]
) -> None:
    assert verify(Source.open(folder), exported[name]) == []


@pytest.mark.parametrize("name", FORMS)
def test_verify_names_the_file_of_which_one_pixel_differs(
    name: str, made: Dataset, exported: Mapping[str, Path], tmp_path: Path
) -> None:
    changed = _dataset()
    member = next(name for name in changed.names("BigEarthNet-S2") if name.endswith("_B03.tif"))
    data = bytearray(dict(_files(changed))[member])
    data[-1] ^= 1
    changed.replace(member, bytes(data))
    found = verify(Source.open(changed.write(tmp_path / "changed")), exported[name])
    stem = Path(member).stem
    assert found == [f"{name}: other pixels than in the dataset: {stem.removesuffix('_B03')} B03"]


@pytest.mark.parametrize("name", FORMS)
def test_verify_names_what_a_form_lacks_and_has_too_much(name: str, folder: Path, exported: Mapping[str, Path]) -> None:
    source = Source.open(folder)
    fewer = replace(source, rows=source.rows.slice(1))
    lacking = source.rows["patch_id"][0].as_py()
    (line,) = verify(fewer, exported[name])
    assert line.startswith(f"{name}: surplus: ") and f"{lacking} B0" in line


@pytest.mark.parametrize("name", FORMS)
def test_only_the_patches_of_a_selection_are_exported(name: str, folder: Path, tmp_path: Path) -> None:
    source = Source.open(folder)
    some = replace(source, rows=source.rows.take([1, 4]))
    export(FORMS[name], some, tmp_path / "some", SMALL)
    assert verify(some, tmp_path / "some") == []
    assert {shown.name for shown in FORMS[name].read(tmp_path / "some")} <= {
        *some.rows["patch_id"].to_pylist(),
        *some.rows["s1_name"].to_pylist(),
    }


@pytest.mark.parametrize("name", FORMS)
def test_a_patch_without_s1_in_the_metadata_has_none_in_the_form(name: str, tmp_path: Path) -> None:
    dataset = _dataset()
    dataset.rows[0]["s1_name"] = None
    source = Source.open(dataset.write(tmp_path / "dataset"))
    export(FORMS[name], source, tmp_path / "out", SMALL)
    assert verify(source, tmp_path / "out") == []


@pytest.mark.parametrize("name", FORMS)
def test_a_patch_whose_s1_is_not_in_the_archive_is_named(name: str, tmp_path: Path) -> None:
    dataset = _dataset()
    dataset.parts[S1][0] = dict(list(dataset.parts[S1][0].items())[2:])
    lacking = str(dataset.rows[0]["s1_name"])
    with pytest.raises(BadArchive, match=f"(?s)BigEarthNet-S1.tar.zst.*lacks {lacking}"):
        export(FORMS[name], Source.open(dataset.write(tmp_path / "dataset")), tmp_path / "out", SMALL)
    assert not list(tmp_path.glob("out*")) and not list(tmp_path.glob(".unfinished*"))


@pytest.mark.parametrize("archive", ["BigEarthNet-S2", "Reference_Maps", "BigEarthNet-S1"])
@pytest.mark.parametrize("name", FORMS)
def test_a_damaged_archive_is_named_and_nothing_is_left(name: str, archive: str, folder: Path, tmp_path: Path) -> None:
    if archive == "Reference_Maps" and "reference_map" not in FORMS[name].kinds(Source.open(folder)):
        return
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    damaged = tmp_path / f"{archive}.tar.zst"
    damaged.write_bytes(damaged.read_bytes()[:-200])
    with pytest.raises(DamagedFile, match=f"{archive}.tar.zst"):
        export(FORMS[name], Source.open(tmp_path), tmp_path / "out", SMALL)
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".unfinished*"))


@pytest.mark.parametrize("name", FORMS)
def test_a_full_disk_is_said_and_nothing_is_left(name: str, folder: Path, tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path; from ben_luigi.domain.forms.export import *\n"
        "FORMS[sys.argv[1]].require_libraries(); resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "try: export(FORMS[sys.argv[1]], Source.open(Path(sys.argv[2])), Path(sys.argv[3]), Options())\n"
        "except NoRoomError as error: print(error)"
    )
    code = f"from ben_luigi.domain.errors import NoRoomError; {code}".replace(
        "import *", "import *; import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, name, folder, tmp_path / "out"],
        check=True,
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    assert "room on the disk" in ran.stdout, ran
    assert not list(tmp_path.iterdir())


def test_a_library_that_is_missing_is_named_with_what_to_install(folder: Path, tmp_path: Path) -> None:
    form = replace(FORMS["webdataset"], libraries=("no_such_library",))
    with pytest.raises(BadInput, match="pip install no_such_library"):
        export(form, Source.open(folder), tmp_path / "out", SMALL)
    assert not list(tmp_path.iterdir())
