"""A small dataset for the report: two tiles of nine patches, the second of a product that failed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import zstandard
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from ben_luigi import config
from ben_luigi.domain.dataset import sentinel1
from ben_luigi.domain.dataset.comparison import read_published
from ben_luigi.domain.dataset.metadata import SCHEMA
from ben_luigi.domain.formats import geotiff, shards, tarball
from ben_luigi.domain.names import PatchId, ProductName
from ben_luigi.domain.placement.grid import PatchGrid, tile_square
from ben_luigi.domain.report import rendering
from ben_luigi.domain.report.report_tiles import Tile
from ben_luigi.domain.report.report_words import File, Sources
from ben_luigi.domain.tiles import patches, reference_maps
from ben_luigi.domain.tiles.nomenclature import read_nomenclature
from ben_luigi.domain.vocabulary import RESOLUTION_M
from ben_luigi.sample.countries import write_countries
from tests.unit.small_dataset import member

SIDE_M = 3660
NOMENCLATURE = read_nomenclature(config.TRACKED_ARTIFACTS / "nomenclature.toml")
COLOURS = rendering.read_colours(config.TRACKED_ARTIFACTS / "clc_colours.toml")
PRODUCTS = [
    ProductName.parse(f"S2A_MSIL2A_{day}T104031_N9999_R008_T31UGR_{day}T175127.SAFE") for day in (20180508, 20171015)
]
STATES = {"31UGR_20180508": "abc0.cumb", "31UGR_20171015": "uuu.uuu0u"}
CODES = (111, 112, 211, 231, 311, 312, 313, 512, 999)


def grid_of(product: ProductName) -> PatchGrid:
    """The nine patches of a tile."""
    return PatchGrid(product.tile_name, tile_square(product, SIDE_M))


def write_shards(folder: Path, product: ProductName, states: str) -> tuple[Path, Path]:
    """Shards of the bands and the maps of a tile's written patches, with pixels that tell patches apart."""
    grid, rng = grid_of(product), np.random.default_rng(int(product.sensing[:8]))
    paths = {}
    for kind, left_out in (("patches", ".0"), ("reference_maps", ".0m")):
        shard = folder / kind / f"{product.tile_key}.tar"
        shard.parent.mkdir(parents=True, exist_ok=True)
        with shards.writing(shard, shard.with_suffix(".parquet")) as writer:
            for patch_id, state in zip(grid.ids().to_pylist(), states, strict=True):
                if state in left_out:
                    continue
                patch = PatchId.parse(patch_id)
                square = rendering.patch_square(patch, grid)
                if kind == "patches":
                    files = {patches.member_name(patch, band): px for band, px in RESOLUTION_M.items()}
                else:
                    files = {reference_maps.member_name(patch): 10}
                for name, pixel_m in sorted(files.items()):
                    size = (1200 // pixel_m,) * 2
                    pixels = rng.integers(1, 3000, size) if kind == "patches" else rng.choice(CODES, size)
                    data = geotiff.gdal_bytes(
                        pixels.astype("uint16"),
                        square.left,
                        square.top,
                        pixel_m,
                        square.epsg,
                        packed=kind == "reference_maps",
                    )
                    writer.add(patch_id, name, data)
        paths[kind] = shard
    return paths["patches"], paths["reference_maps"]


def rows() -> pa.Table:
    """The metadata of the labelled patches, in no order; the last one has snow."""
    product = PRODUCTS[0]
    ids = grid_of(product).ids().to_pylist()
    labelled = [at for at, state in enumerate(STATES[product.tile_key]) if state in "abc"]
    splits = {"a": "train", "b": "validation", "c": "test"}
    found = [
        {
            "patch_id": ids[at],
            "labels": sorted([NOMENCLATURE.classes[number], NOMENCLATURE.classes[number + 3]]),
            "split": splits[STATES[product.tile_key][at]],
            "country": "Belgium" if number % 2 else "Luxembourg",
            "s1_name": f"S1A_IW_GRDH_1SDV_2018050{number % 2}T055029_31UGR_{at}_7",
            "s2v1_name": f"S2A_MSIL2A_20180508T104031_{at}_8",
            "contains_seasonal_snow": at == labelled[-1],
            "contains_cloud_or_shadow": False,
        }
        for number, at in enumerate(labelled)
    ]
    return pa.Table.from_pylist(found[::-1], schema=SCHEMA)


def backscatter(name: str) -> dict[str, np.ndarray]:
    """VH and VV in dB of an S1 patch, fields of 80 m that tell patches apart, and one pixel that is not a number."""
    rng = np.random.default_rng(list(name.encode()))
    fields = {band: rng.uniform(-35, 5, (15, 15)).repeat(8, axis=0).repeat(8, axis=1) for band in sentinel1.BANDS}
    pixels = {band: values.astype("float32") for band, values in fields.items()}
    pixels["VV"][3, 4] = np.nan
    return pixels


def write_radar(folder: Path) -> None:
    """The archive of Sentinel-1: a frame per patch, as of large patches, and an empty one at the end of each part."""
    frames, size = [], 0
    for _, names in sentinel1.parts_of(rows()["s1_name"].to_pylist()):
        for name in names:
            members = {sentinel1.member_name(name, band): tiff(px) for band, px in backscatter(name).items()}
            frames.append(b"".join(member(path, data) for path, data in members.items()))
            size += len(frames[-1])
        frames.append(b"")
    packer = zstandard.ZstdCompressor(write_checksum=True)
    packed = b"".join(packer.compress(frame) for frame in [*frames, tarball.end(size)])
    (folder / f"{sentinel1.ARCHIVE}.tar.zst").write_bytes(packed)


def tiff(pixels: np.ndarray) -> bytes:
    """Pixels as GDAL writes them, somewhere in UTM zone 31."""
    height, width = pixels.shape
    kind = {"width": width, "height": height, "count": 1, "dtype": pixels.dtype.name, "crs": "EPSG:32631"}
    with MemoryFile() as file:
        with file.open(driver="GTiff", transform=from_origin(600_000, 5_700_000, 10, 10), **kind) as raster:
            raster.write(pixels, 1)
        return bytes(file.read())


def facts(product: ProductName, failed: bool) -> dict[str, Any]:
    """What provenance.json says of a tile."""
    checks = ("general", "geometric", "radiometric", "sensor")
    return {
        "boa_offset": False,
        "l2a_name": str(product),
        "start_time": "2018-05-08 10:40:31.026",
        "baseline": "99.99",
        "reference_maps": 6,
        "l1c": {"id": "an-id", "name": "<L1C & more>", "state": "superseded", "note": "N0500"},
        **{f"{check}_quality": "FAILED" if failed and check == "sensor" else "PASSED" for check in checks},
    }


def make_tile(folder: Path, product: ProductName) -> Tile:
    """A tile with its shards and overviews."""
    key, grid = product.tile_key, grid_of(product)
    patch_shard, map_shard = write_shards(folder, product, STATES[key])
    pictures = {}
    with shards.ShardReader(patch_shard) as shard:
        pictures["rgb"] = rendering.rgb_overview(shard, grid)
    with shards.ShardReader(map_shard) as shard:
        pictures["reference_map"] = rendering.map_picture(rendering.map_overview(shard, grid), COLOURS)
    for name, picture in pictures.items():
        (folder / f"{key}-{name}.png").write_bytes(rendering.png(picture))
    return Tile(
        key=key,
        square=grid.square,
        states=STATES[key],
        facts=facts(product, failed=product != PRODUCTS[0]),
        cover={111: 30, 999: 10},
        patches=patch_shard,
        maps=map_shard,
        rgb=folder / f"{key}-rgb.png",
        reference_map=folder / f"{key}-reference_map.png",
    )


def sources(folder: Path, **others: Any) -> Sources:
    """All that the report is made from."""
    write_countries(folder / "countries.geojson")
    write_radar(folder)
    lines = [
        {"what": "patches", "state": "different", "ours": "5", "published": "549488", "note": "<less>"},
        {"what": "metadata.parquet", "state": "equal", "ours": "ab" * 16, "published": "ab" * 16, "note": ""},
    ]
    provenance = {
        "software": {"ben_luigi": "1", "GDAL": "3"},
        "settings": {"accept_offset": False, "source": "l1c_dir"},
    }
    given: dict[str, Any] = {
        "tiles": [make_tile(folder, product) for product in PRODUCTS],
        "rows": rows(),
        "nomenclature": NOMENCLATURE,
        "colours": COLOURS,
        "countries_geojson": folder / "countries.geojson",
        "published": read_published(config.TRACKED_ARTIFACTS / "published.toml"),
        "comparison": json.loads(json.dumps({"world": "real", "compared": lines})),
        "provenance": provenance,
        "files": [File("metadata.parquet", 4711, "cd" * 32, "ab" * 16)],
        "findings": {"v1 name in no tile": 12},
        "dataset": folder,
    }
    return Sources(**{**given, **others})


def script(path: Path) -> dict[str, Any]:
    """What a script of the search hands over."""
    match = re.fullmatch(r"report\.(tile|index)\((.*)\);\n", path.read_text(encoding="utf-8"))
    assert match
    value: dict[str, Any] = json.loads(match[2])
    return value
