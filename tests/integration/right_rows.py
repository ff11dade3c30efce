"""One right row for every table."""

from __future__ import annotations

from datetime import datetime
from typing import Any

NAME = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
PATCH = f"{NAME}_26_07"
ROWS: dict[str, dict[str, Any]] = {
    "marker": {"task": "GridPatches", "tile": "33UUP_20170613", "made_from": "{}", "rows": 0, "digest": "0" * 64},
    "product": {
        "tile": "33UUP_20170613",
        "l2a_name": f"{NAME}_20170613T101608.SAFE",
        "folder": "l2a",
        "start_time": datetime(2017, 6, 13, 10, 10, 31),
        "season": "summer",
        "baseline": "02.05",
        **{f"{check}_quality": "PASSED" for check in ("general", "geometric", "radiometric", "sensor")},
        "boa_offset": False,
        "epsg": 32633,
        "left_m": 300_000.0,
        "top_m": 5_400_000.0,
        "side_m": 109_800.0,
    },
    "patch": {
        "patch_id": PATCH,
        "tile": "33UUP_20170613",
        "x": 26,
        "y": 7,
        "epsg": 32633,
        "season": "summer",
        "left_m": 331_200.0,
        "right_m": 332_400.0,
        "bottom_m": 5_390_400.0,
        "top_m": 5_391_600.0,
        "valid": True,
    },
    "split": {"patch_id": PATCH, "split": "train"},
    "country": {"patch_id": PATCH, "country": "Austria"},
    "alignment": {"patch_id": PATCH, "v1_name": "S2A_MSIL2A_20170613T101031_26_7"},
    "clc_count": {"patch_id": PATCH, "code": 112, "pixels": 14_400},
    "label": {"patch_id": PATCH, "label": "Urban fabric"},
}


def insert(cursor: Any, table: str, row: dict[str, Any]) -> None:
    columns, values = ", ".join(row), ", ".join(["%s"] * len(row))
    cursor.execute(f"INSERT INTO {table} ({columns}) VALUES ({values})", list(row.values()))
