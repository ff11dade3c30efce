"""Write `time_series.parquet`: which patches show the same square at different times.

A *square* is the place of a patch in the grid of its MGRS square, `32TQM_03_07`; all datatakes over it have one patch
each. Patches of different MGRS squares are on different squares, though their ground may overlap.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ben_luigi.domain.dataset.geoparquet import SCHEMA as _PATCHES
from ben_luigi.domain.files import atomic_write

TIME_SERIES = "time_series.parquet"
SCHEMA = pa.schema(
    [
        ("square", pa.string()),
        ("patch_id", pa.string()),
        ("datetime", _PATCHES.field("sensing_time").type),
        ("tile", pa.string()),
        ("row", pa.int16()),
        ("column", pa.int16()),
    ]
)
DESCRIPTIONS = {
    "square": "place of the patch: MGRS square, column and row",
    "patch_id": "name of the patch",
    "datetime": "start of the sensing, UTC",
    "tile": "name of the tile",
    "row": "row of the patch in the tile, to the south, from 0",
    "column": "column of the patch in the tile, to the east, from 0",
}
"""The meaning of each column."""

COLUMNS = ("patch_id", "mgrs", "tile", "sensing_time")
"""The columns of `patches.parquet` that it is made from."""

_POSITION = r"_(?P<column>[0-9]+)_(?P<row>[0-9]+)$"


def table(patches: pa.Table) -> pa.Table:
    """Return a row per patch, by square, then time, then patch id, given COLUMNS of `patches.parquet`."""
    ids = patches["patch_id"].combine_chunks()
    place = pc.extract_regex(ids, _POSITION)
    column, row = (pc.struct_field(place, name) for name in ("column", "row"))
    columns = {
        "square": pc.binary_join_element_wise(patches["mgrs"].combine_chunks(), column, row, "_"),
        "patch_id": ids,
        "datetime": patches["sensing_time"],
        "tile": patches["tile"],
        "row": row.cast(pa.int16()),
        "column": column.cast(pa.int16()),
    }
    found = pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)
    return found.sort_by([(name, "ascending") for name in ("square", "datetime", "patch_id")])


def write(patches: pa.Table, path: Path) -> None:
    """Write the table atomically."""
    with atomic_write(path) as work:
        pq.write_table(table(patches), work, compression="zstd")


def divided(squares: pa.Array, splits: pa.Array) -> list[str]:
    """Return the squares whose patches are in more than one split, ascending, given both for each patch."""
    pairs = pa.table({"square": squares, "split": splits}).group_by(["square", "split"]).aggregate([])
    names, counts = np.unique(pairs["square"].to_numpy(zero_copy_only=False).astype(str), return_counts=True)
    return list(map(str, names[counts > 1].tolist()))
