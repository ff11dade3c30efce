"""A small finished dataset, made with the pipeline's own writers: two tiles of three patches, one of them with snow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from ben_luigi import config
from ben_luigi.domain.dataset import comparison, croissant, geoparquet, metadata, readme, stac
from ben_luigi.domain.dataset.form import HASH_LISTS
from ben_luigi.domain.dataset.geoparquet import PATCHES, TileSource
from ben_luigi.domain.dataset.metadata import FLAGGED, METADATA, SCHEMA
from ben_luigi.domain.dataset.verify import ALSO_LISTED, DESCRIBED, Verdict, verify_dataset
from ben_luigi.domain.dataset.verify_rules import References
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.files import file_hash
from ben_luigi.domain.formats import geotiff, tarball
from ben_luigi.domain.formats.hashes import write_list
from ben_luigi.domain.names import ProductName, s1_tile
from ben_luigi.domain.placement.alignment import season
from ben_luigi.domain.placement.grid import PatchGrid, Square, tile_square
from ben_luigi.domain.vocabulary import RESOLUTION_M
from ben_luigi.sample.countries import write_countries

S2, MAPS, S1 = "BigEarthNet-S2", "Reference_Maps", "BigEarthNet-S1"
PRODUCTS = [
    ProductName.parse("S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE"),
    ProductName.parse("S2B_MSIL1C_20180204T094159_N0206_R036_T34TEN_20180204T115809.SAFE"),
]
GRIDS = {
    product.converted().tile_name: PatchGrid(product.converted().tile_name, tile_square(product))
    for product in PRODUCTS
}
TILES = {tile: grid.square.epsg for tile, grid in GRIDS.items()}
TILE = next(iter(TILES))
KEY = PRODUCTS[0].tile_key
ITEM = f"stac/{TILE}/{TILE}.json"
POSITIONS = ((0, 1), (0, 4), (0, 45))
CODES = {"Arable land": 211, "Pastures": 231}
TITLE, DESCRIPTION = "A small dataset", "Of two tiles."
NOT_KEPT = "0" * 64
Files = dict[str, bytes]


def labels_of(codes: np.ndarray) -> list[str]:
    if not set(codes.flat) <= {*CODES.values(), 999}:
        raise BadInput("codes", found="no code of CLC")
    return [label for label, code in CODES.items() if code in codes]


def square_of(patch: str) -> Square:
    tile, x, y = patch.rsplit("_", 2)
    square = GRIDS[tile].square
    return Square(square.left + 1200.0 * int(x), square.top - 1200.0 * int(y), 1200, square.epsg)


@lru_cache
def s2_files(tile: str, patch: str) -> tuple[tuple[str, bytes], ...]:
    square = square_of(patch)
    rng = np.random.default_rng(int(square.left + square.top))
    found = []
    for band, pixel_m in RESOLUTION_M.items():
        kind = geotiff.template(1200 // pixel_m, pixel_m, square.epsg)
        header = bytearray(kind.header)
        header[kind.tie_point_at : kind.tie_point_at + 16] = np.array([square.left, square.top], "<f8").tobytes()
        pixels = rng.integers(1, 65_536, kind.side_px**2).astype("<u2").tobytes()
        found.append((f"{S2}/{tile}/{patch}/{patch}_{band}.tif", bytes(header) + pixels))
    return tuple(sorted(found))


@lru_cache
def map_file(tile: str, patch: str, *values: int) -> tuple[str, bytes]:
    square, codes = square_of(patch), np.full((120, 120), 999, "uint16")
    codes[0, : len(values)] = values
    return (
        f"{MAPS}/{tile}/{patch}/{patch}_reference_map.tif",
        geotiff.template(120, 10, square.epsg, packed=True).pack(codes, square.left, square.top),
    )


@lru_cache
def s1_tiff(square: Square) -> bytes:
    with MemoryFile() as file:
        with file.open(
            driver="GTiff",
            width=120,
            height=120,
            count=1,
            dtype="float32",
            crs=f"EPSG:{square.epsg}",
            transform=from_origin(square.left, square.top, 10, 10),
        ) as raster:
            raster.write(np.full((1, 120, 120), -12.5, dtype="float32"))
        return bytes(file.read())


class Dataset:
    """The files of each archive by part, and the rows of the metadata; each may be changed before it is written."""

    def __init__(self) -> None:
        self.parts: dict[str, list[Files]] = {S2: [], MAPS: [], S1: []}
        self.rows: list[dict[str, Any]] = []
        self.names_of = {METADATA: METADATA, FLAGGED: FLAGGED}
        for product in PRODUCTS:
            tile, place = product.converted().tile_name, f"{product.mgrs}_{{}}_{{}}"
            names = {
                f"{tile}_{x:02d}_{y:02d}": f"S1A_IW_GRDH_1SDV_{product.sensing[:8]}T165043_{place.format(x, y)}"
                for x, y in POSITIONS
            }
            self.parts[S2].append(dict(file for patch in names for file in s2_files(tile, patch)))
            self.parts[MAPS].append(dict(map_file(tile, patch, 211, 231) for patch in names))
            self.parts[S1].append(
                {
                    f"{S1}/{s1_tile(name)}/{name}/{name}_{band}.tif": s1_tiff(square_of(patch))
                    for patch, name in sorted(names.items(), key=lambda item: item[1] + "/")
                    for band in ("VH", "VV")
                }
            )
            self.rows += [_row(product, patch, name) for patch, name in names.items()]

    def write(self, folder: Path) -> Path:
        """The archives and the metadata: what the published dataset has, too."""
        folder.mkdir(exist_ok=True)
        for archive, parts in self.parts.items():
            blocks = [b"".join(member(name, data) for name, data in files.items()) for files in parts]
            blocks.append(tarball.end(sum(map(len, blocks))))
            packer = zstandard.ZstdCompressor(level=1, write_checksum=True)
            (folder / f"{archive}.tar.zst").write_bytes(b"".join(packer.compress(block) for block in blocks))
        for name, rows in metadata.divide(pa.Table.from_pylist(self.rows, schema=SCHEMA)).items():
            pq.write_table(rows, folder / self.names_of[name])
        return folder

    def write_all(self, folder: Path) -> Path:
        """All that the pipeline makes."""
        self.write(folder)
        self.write_lists(folder)
        self.write_provenance(folder)
        geoparquet.write((self._patches(product) for product in PRODUCTS), folder / PATCHES)
        compare(folder)
        describe(folder)
        (folder / "report").mkdir()
        (folder / "report" / "index.html").write_text("<!DOCTYPE html>\n<title>A small dataset</title>\n")
        return folder

    def write_lists(self, folder: Path) -> None:
        """The lists of hashes; those of S2 and maps have the files of a patch that was not kept, too."""
        for archive, file in HASH_LISTS.items():
            rows = dict(_hashes(self.parts[archive]))
            if archive != S1:
                kinds = RESOLUTION_M if archive == S2 else ("reference_map",)
                rows |= {f"{tile}_90_90_{kind}": NOT_KEPT for tile in TILES for kind in kinds}
            write_list(sorted(rows.items()), folder / file)

    def write_provenance(self, folder: Path) -> None:
        """Where each tile comes from."""
        content = {
            "software": {"ben_luigi": "0"},
            "settings": {"subset": {}},
            "tiles": {product.tile_key: self._facts(product) for product in PRODUCTS},
        }
        (folder / "provenance.json").write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")

    def _facts(self, product: ProductName) -> dict[str, Any]:
        tile = product.converted()
        square = GRIDS[tile.tile_name].square
        checks = ("general", "geometric", "radiometric", "sensor")
        return {
            "tile": product.tile_key,
            "l2a_name": str(tile),
            "start_time": f"{product.sensing_time}.026",
            "left_m": square.left,
            "top_m": square.top,
            "side_m": square.side_m,
            **{f"{check}_quality": "PASSED" for check in checks},
            "patches": len(POSITIONS) + 1,
            "reference_maps": len(POSITIONS) + 1,
            "labelled": sum(str(row["patch_id"]).startswith(tile.tile_name) for row in self.rows),
            "l1c": {"name": str(product), "id": f"id of {product.tile_key}", "sha256": "ab" * 32},
        }

    def _patches(self, product: ProductName) -> pa.Table:
        tile, time = product.converted().tile_name, product.sensing_time
        rows = [row for row in self.rows if str(row["patch_id"]).startswith(tile)]
        ids = [row["patch_id"] for row in rows]
        counts = {
            "patch_id": np.repeat(ids, 3),
            "code": [211, 231, 999] * len(ids),
            "pixels": [1, 1, 14_398] * len(ids),
        }
        source = TileSource(tile, product.mgrs, str(product), f"id of {product.tile_key}", _milliseconds(time))
        return geoparquet.tile_rows(
            pa.Table.from_pylist(rows, schema=SCHEMA).sort_by("patch_id"),
            source,
            GRIDS[tile].table().assign(season=season(time)),
            pd.DataFrame(counts),
            self._index(S2),
            self._index(MAPS),
            scene=pd.DataFrame(
                # the first without a scene class, another with few valid pixels
                {"patch_id": ids[1:], "pixels": [3600, 7], "cloud": 1, "shadow": 2, "snow": 0, "water": 4}
            ),
        )

    def _index(self, archive: str) -> pa.Table:
        rows = [
            (name.rsplit("_", 1)[0].removesuffix("_reference"), name, sha256)
            for name, sha256 in _hashes(self.parts[archive])
        ]
        return pa.table(dict(zip(("patch_id", "name", "sha256"), map(list, zip(*rows, strict=True)), strict=True)))

    def rename(self, archive: str, change: Callable[[str], str], name: str) -> None:
        """Rename a member where it stands."""
        self.parts[archive] = [
            {change(key) if key == name else key: data for key, data in files.items()} for files in self.parts[archive]
        ]

    def names(self, archive: str) -> list[str]:
        return [name for files in self.parts[archive] for name in files]

    def replace(self, name: str, data: bytes) -> None:
        (files,) = (files for parts in self.parts.values() for files in parts if name in files)
        files[name] = data


def _row(product: ProductName, patch: str, s1_name: str) -> dict[str, Any]:
    x, y = (int(text) for text in patch.rsplit("_", 2)[1:])
    tile = product.converted().tile_name
    return {
        "patch_id": patch,
        "labels": list(CODES),
        "split": str(GRIDS[tile].splits()[x * 91 + y]),
        "country": "Austria" if product == PRODUCTS[0] else "Kosovo" if y == POSITIONS[-1][1] else "Serbia",
        "s1_name": s1_name,
        "s2v1_name": f"{product.mission}_MSIL2A_{product.sensing}_{x}_{y}",
        "contains_seasonal_snow": y == POSITIONS[-1][1],
        "contains_cloud_or_shadow": False,
    }


def _milliseconds(time: datetime) -> datetime:
    return time.replace(microsecond=26_000)


def _hashes(parts: list[Files]) -> Iterator[tuple[str, str]]:
    for files in parts:
        for name, data in files.items():
            yield Path(name).stem, hashlib.sha256(data).hexdigest()


def member(name: str, data: bytes) -> bytes:
    return tarball.header(name, len(data)) + data + tarball.padding(len(data))


def describe(folder: Path, *, has_report: bool = True) -> None:
    """STAC, Croissant, README and LICENSE of what is there."""
    croissant.write(croissant.describe(_facts(folder, DESCRIBED), TITLE, DESCRIPTION), folder / croissant.CROISSANT)
    unflagged, flagged = (pq.read_metadata(folder / name).num_rows for name in (METADATA, FLAGGED))
    readme.write(readme.describe(TITLE, unflagged + flagged, flagged, has_report=has_report), folder)
    patches = pq.read_table(folder / PATCHES, columns=list(stac.COLUMNS))
    listed = _facts(folder, [*DESCRIBED, *ALSO_LISTED])
    keys = stac.keys_of(json.loads((folder / "provenance.json").read_text())["tiles"].values())
    stac.write(stac.describe(patches, listed, TITLE, DESCRIPTION, has_report=has_report, keys=keys), folder / "stac")


def _facts(folder: Path, names: Iterable[str]) -> dict[str, tuple[int, str]]:
    return {name: ((folder / name).stat().st_size, file_hash(folder / name)) for name in names}


def compare(folder: Path) -> None:
    """`comparison.json` of what is there."""
    figures = comparison.read_published(config.TRACKED_ARTIFACTS / "published.toml")
    unflagged, flagged = (pq.read_table(folder / name) for name in (METADATA, FLAGGED))
    values = {name.removesuffix(".csv"): file_hash(folder / name) for name in HASH_LISTS.values()}
    values |= {name: file_hash(folder / name, "md5") for name in DESCRIBED if name != PATCHES}
    comparison.write(
        folder / comparison.COMPARISON,
        [
            *(comparison.compare(what, ours, "", reason="small") for what, ours in values.items()),
            *comparison.compare_counts(unflagged, flagged, figures, "small"),
        ],
        tiles=sorted(product.tile_key for product in PRODUCTS),
        counts=comparison.counted(pa.concat_tables([unflagged, flagged])),
    )


def write_references(folder: Path) -> References:
    """The inputs that the rows of an unharmed dataset come from."""
    rows = Dataset().rows
    given = References(*(folder / name for name in ("borders.geojson", "s1s2.csv", "snow.csv", "cloud.csv")))
    paths = [path for path in (given.borders, given.s1s2, given.snow, given.cloud) if path is not None]
    write_countries(paths[0])
    paths[1].write_text("".join(f"{row['s2v1_name']},{row['s1_name']}\n" for row in rows))
    paths[2].write_text("".join(f"{row['s2v1_name']}\n" for row in rows if row["contains_seasonal_snow"]))
    paths[3].write_text("S2A_MSIL2A_20170613T101031_90_90\n")
    return given


def look(folder: Path, references: References, **more: Any) -> Verdict:
    """Look at all of a dataset that must have everything."""
    return verify_dataset(folder, labels_of, references=references, **{"require_all": True, **more})


def said(file: str, what: str, name: str, expected: object, found: object) -> str:
    """The finding of one row or value."""
    return f"{file}: {what}: {name} (expected {expected}, found {found})"


NOT_FOLLOWING = "not what follows from the files"


def change_json(path: Path, change: Callable[[Any], None], **form: Any) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document, indent=1, **{"sort_keys": True, "ensure_ascii": False, **form}) + "\n")
