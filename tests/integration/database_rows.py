"""Rows of a few products for the tables of the database, and the targets that write them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from ben_luigi.domain.names import ProductName
from ben_luigi.domain.placement.grid import PatchGrid, tile_square
from ben_luigi.state import database
from ben_luigi.state.tile_rows import TileRows

PRODUCTS = [
    ProductName.parse(f"S2A_MSIL2A_2017061{n}T101031_N9999_R022_T33UUP_20170613T101608.SAFE") for n in range(1, 7)
]
TILE, OTHER = PRODUCTS[0].tile_key, PRODUCTS[1].tile_key
SIDE_M = 6000
Set = Callable[[str, str, str], None]


@dataclass(frozen=True)
class By:
    """A task that makes something, as far as targets know it."""

    task_family: str
    made_from: dict[str, Any]

    def adopts(self) -> bool:
        return False

    def to_str_params(self) -> dict[str, str]:
        return {}

    def fingerprint(self) -> dict[str, Any]:
        return self.made_from


def grid(name: ProductName) -> PatchGrid:
    return PatchGrid(name.tile_name, tile_square(name, SIDE_M))


def fill(name: ProductName) -> None:
    square = tile_square(name, SIDE_M)
    row = {
        "tile": name.tile_key,
        "l2a_name": str(name),
        "folder": "l2a",
        "start_time": datetime(2017, 6, 13),
        "season": "summer",
        "baseline": "02.05",
        "boa_offset": False,
        "epsg": square.epsg,
        **{f"{check}_quality": "PASSED" for check in ("general", "geometric", "radiometric", "sensor")},
        "left_m": float(square.left),
        "top_m": float(square.top),
        "side_m": float(SIDE_M),
    }
    TileRows("product", name.tile_key, By("ReadProduct", {})).replace(pd.DataFrame([row]))
    TileRows("patch", name.tile_key, By("GridPatches", {})).replace(patches(name))


def patches(name: ProductName) -> pd.DataFrame:
    return grid(name).table().assign(tile=name.tile_key, season="summer")


def splits(name: ProductName, split: str = "train") -> pd.DataFrame:
    return pd.DataFrame({"patch_id": pd.array(grid(name).ids(), dtype="str"), "split": split})


def pairs(name: ProductName, *positions: int, first: int = 0) -> pd.DataFrame:
    ids = [grid(name).ids()[position].as_py() for position in positions]
    names = [f"S2A_MSIL2A_20170613T101031_{first + n}_0" for n in range(len(ids))]
    return pd.DataFrame({"patch_id": ids, "v1_name": names})


def target(made_from: dict[str, object] | None = None, tile: str = TILE) -> TileRows:
    return TileRows("split", tile, By("AssignSplits", made_from or {"side_m": SIDE_M}))


def held(table: str, *columns: str) -> list[tuple[Any, ...]]:
    rows = database.query(f"SELECT {', '.join(columns)} FROM {table} ORDER BY 1")
    return [tuple(row) for row in rows.itertuples(index=False)]
