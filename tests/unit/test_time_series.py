"""The table that groups the dates of a square, against one made row by row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import mlcroissant
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from ben_luigi.domain.dataset import croissant, time_series
from ben_luigi.domain.dataset.form import FORM_V2
from ben_luigi.domain.dataset.time_series import TIME_SERIES
from ben_luigi.domain.names import PatchId

START = datetime(2025, 1, 1, 10, 5, 59, tzinfo=UTC)
PATCHES = st.lists(
    st.tuples(
        st.sampled_from(["32TQM", "32TPM", "21HUB"]), st.integers(0, 3), st.integers(0, 120), st.integers(0, 120)
    ),
    unique=True,
    min_size=1,
    max_size=40,
)


def _patches(places: list[tuple[str, int, int, int]]) -> pa.Table:
    rows = []
    for mgrs, day, x, y in places:
        time = START + timedelta(days=day)
        tile = f"S2{'ABC'[day % 3]}_MSIL2A_{time:%Y%m%dT%H%M%S}_N0511_R022_T{mgrs}"
        rows.append({"patch_id": str(PatchId(tile, x, y, 3)), "mgrs": mgrs, "tile": tile, "sensing_time": time})
    return pa.Table.from_pylist(rows)


@settings(deadline=None)
@given(PATCHES, st.randoms())
def test_patches_are_grouped_by_their_square_in_the_order_of_time(
    places: list[tuple[str, int, int, int]], random: Random
) -> None:
    expected = sorted((f"{mgrs}_{x:03d}_{y:03d}", START + timedelta(days=day), y, x) for mgrs, day, x, y in places)
    random.shuffle(places)
    found = time_series.table(_patches(places))
    assert found.schema == time_series.SCHEMA
    assert [
        tuple(row[name] for name in ("square", "datetime", "row", "column")) for row in found.to_pylist()
    ] == expected
    assert all(row["patch_id"].startswith(row["tile"]) for row in found.to_pylist())


@settings(deadline=None)
@given(PATCHES, st.integers(0, 99))
def test_squares_in_several_splits_are_named(places: list[tuple[str, int, int, int]], seed: int) -> None:
    random = Random(seed)
    squares = [f"{mgrs}_{x}_{y}" for mgrs, _, x, y in places]
    splits = [random.choice(["train", "test"]) for _ in squares]
    of: dict[str, set[str]] = {}
    for square, split in zip(squares, splits, strict=True):
        of.setdefault(square, set()).add(split)
    expected = sorted(square for square, found in of.items() if len(found) > 1)
    assert time_series.divided(pa.array(squares), pa.array(splits)) == expected


def test_the_file_has_the_same_bytes_again(tmp_path: Path) -> None:
    patches = _patches([("32TQM", day, x, 1) for day in range(3) for x in range(5)])
    for name in ("one", "other"):
        time_series.write(patches, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    assert pq.read_table(tmp_path / "one") == time_series.table(patches)
    of_columns = pq.ParquetFile(tmp_path / "one").metadata.row_group(0)
    assert {of_columns.column(at).compression for at in range(of_columns.num_columns)} == {"ZSTD"}


def test_croissant_describes_the_table_if_the_dataset_has_it(tmp_path: Path) -> None:
    """By a reader of Croissant: its columns, and what they refer to; without the table the document is as before."""
    names = ("patches.parquet", *(f"{name}.tar.zst" for name in FORM_V2.archives))
    files = dict.fromkeys(names, (1, "0" * 64))
    plain = croissant.describe(files, "Title", "What it is.")
    both = croissant.describe({**files, TIME_SERIES: (2, "1" * 64)}, "Title", "What it is.")
    added = [part for part in both["distribution"] if part not in plain["distribution"]]
    assert [part["@id"] for part in added] == [TIME_SERIES]
    assert (both["recordSet"][:1], len(both["recordSet"])) == (plain["recordSet"], 2)
    croissant.write(both, tmp_path / "croissant.json")
    read = mlcroissant.Dataset(str(tmp_path / "croissant.json"))
    assert not read.metadata.ctx.issues.errors
    series = next(part for part in read.metadata.record_sets if part.id == "time_series")
    assert [field.name for field in series.fields] == time_series.SCHEMA.names
    assert [source.extract.column for source in (field.source for field in series.fields)] == time_series.SCHEMA.names
