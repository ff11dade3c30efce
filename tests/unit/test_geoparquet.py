"""`patches.parquet` from tables: what it refuses, and that the same rows give the same bytes."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import geoparquet_validator
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ben_luigi.domain.dataset import geoparquet, metadata
from ben_luigi.domain.dataset.geoparquet import TileSource
from ben_luigi.domain.errors import BadTable
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.placement.grid import PatchGrid, tile_square
from ben_luigi.domain.products.product import BANDS
from tests.conftest import ROOT


class Tile:
    """What is known of a tile: `tables` as `tile_rows` takes them."""

    def __init__(self, mgrs: str, patches: slice) -> None:
        name = ProductName.parse(f"S2A_MSIL2A_20170613T101031_N9999_R022_T{mgrs}_20170613T101608.SAFE")
        grid = PatchGrid(name.tile_name, tile_square(name))
        ids = grid.ids().to_pylist()
        kept = ids[patches]
        rows: dict[str, Any] = {name: ["x"] * len(kept) for name in metadata.SCHEMA.names}
        rows |= {
            "patch_id": kept,
            "labels": [["Pastures"]] * len(kept),
            **{f: [False] * len(kept) for f in metadata.FLAGS},
        }
        self.rows = pa.table(rows, schema=metadata.SCHEMA)
        self.source = TileSource(name.tile_name, mgrs, str(name), None, datetime(2017, 6, 13, 10, 10, 31, 26_000))
        self.places = grid.table().assign(season="summer")
        self.counts = pd.DataFrame(
            {"patch_id": np.repeat(ids, 2), "code": [231, 999] * len(ids), "pixels": [14_000, 400] * len(ids)}
        )
        files = [
            (patch, f"{patch}_{band}", hashlib.sha256(f"{patch}{band}".encode()).hexdigest())
            for patch in kept
            for band in BANDS
        ]
        self.s2 = pa.table(dict(zip(("patch_id", "name", "sha256"), map(list, zip(*files, strict=True)), strict=True)))
        self.maps = pa.table(
            {"patch_id": kept, "sha256": [hashlib.sha256(patch.encode()).hexdigest() for patch in kept]}
        )

        self.scene: pd.DataFrame | None = None

    def table(self) -> pa.Table:
        known = self.source, self.places, self.counts, self.s2, self.maps
        return geoparquet.tile_rows(self.rows, *known, scene=self.scene)


def test_the_same_rows_give_the_same_bytes_and_a_row_group_a_tile(tmp_path: Path) -> None:
    contents = []
    for name in ("one.parquet", "two.parquet"):
        tiles = [Tile("33UUP", slice(40, 60)), Tile("34VEM", slice(7, 8))]
        geoparquet.write((tile.table() for tile in tiles), tmp_path / name)
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]
    file = pq.ParquetFile(tmp_path / "one.parquet")
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [20, 1]
    assert file.schema_arrow.equals(geoparquet.SCHEMA, check_metadata=False)
    assert geoparquet_validator.conformant(geoparquet_validator.check(str(tmp_path / "one.parquet")))
    boxes = file.read()["bbox"].to_pylist()
    whole = json.loads(file.metadata.metadata[b"geo"])["columns"]["geometry"]["bbox"]
    assert whole == [
        fold(box[edge] for box in boxes) for fold, edge in zip((min, min, max, max), geoparquet.BBOX, strict=True)
    ]


def test_a_patch_has_what_its_tables_say() -> None:
    tile = Tile("33UUP", slice(8_000, 8_001))
    (row,) = tile.table().to_pylist()
    lines = "".join(
        f"{sha256}  {name}.tif\n"
        for name, sha256 in zip(*(tile.s2[n].to_pylist() for n in ("name", "sha256")), strict=True)
    )
    assert row["s2_sha256"] == hashlib.sha256(lines.encode()).hexdigest()
    assert row["reference_map_sha256"] == tile.maps["sha256"][0].as_py()
    assert {name: round(part * 14_400) for name, part in row.items() if name.startswith("clc_") and part} == {
        "clc_231": 14_000,
        "clc_999": 400,
    }
    assert row["sensing_time"].isoformat() == "2017-06-13T10:10:31.026000+00:00"
    assert row["product_id"] is None


def test_shares_are_of_valid_pixels_and_null_where_none_is_known() -> None:
    tile = Tile("33UUP", slice(0, 3))
    first, _, last = tile.rows["patch_id"].to_pylist()
    counted = {"cloud": [0, 1], "shadow": [3600, 2], "snow": [0, 0], "water": [0, 4]}
    tile.scene = pd.DataFrame({"patch_id": [last, first], "pixels": [3600, 7], **counted})
    found = tile.table().select(geoparquet.SHARES).to_pylist()
    thirds = [float(np.float32(part / 7)) for part in (1, 2, 0, 4)]
    assert [[*row.values()] for row in found] == [thirds, [None] * 4, [0, 1, 0, 0]]
    tile.scene = None
    assert tile.table()["scl_cloud"].null_count == 3


@pytest.mark.parametrize("lost", ["places", "counts", "s2", "maps"])
def test_a_patch_of_the_metadata_of_which_something_is_not_known_is_named(lost: str) -> None:
    tile = Tile("33UUP", slice(0, 3))
    patch = tile.rows["patch_id"][1].as_py()
    table = getattr(tile, lost)
    rest = (
        table[table["patch_id"] != patch]
        if isinstance(table, pd.DataFrame)
        else table.filter(pa.compute.not_equal(table["patch_id"], patch))
    )
    setattr(tile, lost, rest)
    with pytest.raises(BadTable, match=f"none of {patch}"):
        tile.table()


def test_a_shard_without_patches_has_no_hashes() -> None:
    assert len(geoparquet.folder_hashes(Tile("33UUP", slice(0, 1)).s2.slice(0, 0))) == 0


def test_the_page_about_it_has_its_columns_and_an_example_that_runs(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "patches.md").read_text(encoding="utf-8")
    for field in geoparquet.SCHEMA:
        if not field.name.startswith("clc_"):
            assert f"| `{field.name}` | {field.type} | {geoparquet.DESCRIPTIONS[field.name]} |\n" in page
    assert page.count("\n| `") == len(geoparquet.SCHEMA) - len(geoparquet.CODES) + 1
    geoparquet.write([Tile("34VEM", slice(0, 9)).table()], tmp_path / "patches.parquet")
    (query,) = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    with duckdb.connect() as connection:
        here = query.replace("patches.parquet", str(tmp_path / "patches.parquet"))
        assert connection.execute(here).fetchall() == []
        pastures = here.replace("Finland", "x").replace("spring", "summer").replace("clc_313", "clc_231")
        assert len(connection.execute(pastures).fetchall()) == 9
