"""`patches.parquet` and the hash lists are held against rows and files: every column, every digit."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from ben_luigi.domain.dataset import geoparquet
from ben_luigi.domain.dataset.comparison import COMPARISON
from ben_luigi.domain.dataset.croissant import CROISSANT
from ben_luigi.domain.dataset.form import HASH_LISTS
from ben_luigi.domain.dataset.geoparquet import PATCHES
from ben_luigi.domain.dataset.metadata import METADATA
from ben_luigi.domain.dataset.verify_documents import STAC
from ben_luigi.domain.dataset.verify_rules import References
from tests.unit.small_dataset import S2, TILES, look

TILE = next(iter(TILES))
PATCH = f"{TILE}_00_01"


def changed(column: str, value: Any) -> tuple[Any, str]:
    """Another value of a column of `patches.parquet`, and what it must be as it says itself."""
    if column.startswith("clc_"):
        return 0.5, "not the part of the reference map"
    if column.startswith("scl_"):
        return 0.5, "not as the column must be"
    if column in ("s2_sha256", "reference_map_sha256"):
        digit = value[40]
        return value[:40] + ("0" if digit != "0" else "1") + value[41:], "not that of the files in the archive"
    if isinstance(value, bool):
        return not value, ""
    if isinstance(value, datetime):
        return datetime(2017, 6, 13, 11, tzinfo=UTC), ""
    if isinstance(value, bytes):
        return shapely.to_wkb(shapely.transform(shapely.from_wkb(value), lambda points: points + 2e-9)), ""
    if isinstance(value, dict):
        return {**value, "xmax": value["xmax"] + 2e-9}, ""
    return [*value, "Pastures"] if isinstance(value, list) else "x" if isinstance(value, str) else value + 60, ""


COLUMNS = [name for name in geoparquet.SCHEMA.names if name != "patch_id" and not name.startswith("clc_")]


@pytest.mark.parametrize("column", [*COLUMNS, "clc_111", "clc_211", "clc_999"])
def test_each_column_of_patches_is_held_against_what_it_follows_from(
    folder: Path, references: References, column: str
) -> None:
    """Another value in the first row."""
    rows = pq.read_table(folder / PATCHES).to_pylist()
    rows[0][column], rule = changed(column, rows[0][column])
    write_patches(folder, rows)
    wrong = look(folder, references).wrong
    column = geoparquet.SHARES[-1] if column in geoparquet.SHARES else column
    assert wrong[0].startswith(f"{PATCHES}: {column}: {rule or 'not as '}"), wrong
    assert f": {PATCH} (expected " in wrong[0]
    (other,) = wrong[1:]
    assert re.match(rf"{PATCHES}: not the file that is meant in {STAC}, {CROISSANT}: (size|sha256) \(", other)


def write_patches(folder: Path, rows: list[dict[str, Any]]) -> None:
    tiles = [[row for row in rows if row["patch_id"].startswith(tile)] for tile in TILES]
    geoparquet.write((pa.Table.from_pylist(of, schema=geoparquet.SCHEMA) for of in tiles if of), folder / PATCHES)


@pytest.mark.parametrize(
    "values",
    [{"s1_name": None}, {"s1_name": "S1A_33UUP_0_1"}, {"s1_name": None, "tile": None}]
    + [{"s1_name": None, column: None} for column in ("sensing_time", "epsg")],
)
def test_stac_is_not_held_against_rows_that_cannot_be_used(
    folder: Path, references: References, values: dict[str, Any]
) -> None:
    """The metadata have no such row that can be used, so nothing has checked that of `patches.parquet`."""
    rows = pq.read_table(folder / PATCHES).to_pylist()
    rows[0] |= values
    write_patches(folder, rows)
    metadata = pq.read_table(folder / METADATA)
    given = [*metadata.to_pylist()]
    given[0]["s1_name"] = values["s1_name"]
    pq.write_table(pa.Table.from_pylist(given, schema=metadata.schema), folder / METADATA)
    verdict = look(folder, references)
    assert any(line.startswith(f"{METADATA}: s1_name: ") for line in verdict.wrong), verdict.wrong
    assert any(line.startswith(f"stac/: whether it follows from {PATCHES}: ") for line in verdict.not_looked_at)


@pytest.mark.parametrize(
    ("row", "shares", "good"),
    [
        (0, (None, None, None, None), True),
        (0, (0.25, 0.25, 0.5, 0.0), True),
        (0, (0.25, 0.25, 0.5, 1 / 3600), False),
        (0, (0.25, 0.25, None, 0.0), False),
        (0, (-0.25, 0.25, 0.5, 0.0), False),
        (0, (float("nan"), 0.0, 0.0, 0.0), False),
        (1, (1 / 3599, 0.0, 0.0, 0.0), True),
        (1, (1 / 3599, 1 / 3600, 0.0, 0.0), False),
        (1, (1 / 3601, 0.0, 0.0, 0.0), False),
    ],
)
def test_shares_of_scene_classes_are_parts_of_the_same_pixels(
    folder: Path, references: References, row: int, shares: tuple[float | None, ...], good: bool
) -> None:
    rows = pq.read_table(folder / PATCHES).to_pylist()
    rows[row] |= dict(zip(geoparquet.SHARES, shares, strict=True))
    write_patches(folder, rows)
    wrong = [line for line in look(folder, references).wrong if ": scl_water: " in line]
    assert len(wrong) == (0 if good else 1)
    assert all(
        f"{rows[row]['patch_id']} (expected all scl_ columns parts of the same 1 to 3600" in line for line in wrong
    )


def test_the_file_of_an_older_version_has_no_shares(folder: Path, references: References) -> None:
    table = pq.read_table(folder / PATCHES)
    older = table.drop_columns([*geoparquet.SHARES])
    pq.write_table(older, folder / PATCHES, compression="zstd")
    (other,) = look(folder, references).wrong
    assert other.startswith(f"{PATCHES}: not the file that is meant in {STAC}, {CROISSANT}: ")


@pytest.mark.parametrize("change", ["lost", "twice", "surplus", "order"])
def test_patches_that_are_not_those_of_the_metadata_are_named(
    folder: Path, references: References, change: str
) -> None:
    rows = pq.read_table(folder / PATCHES).to_pylist()
    strange = {**rows[2], "patch_id": f"{TILE}_00_46"}
    what, kept = {
        "lost": (f"patch_id: no row of: {PATCH}", rows[1:]),
        "twice": (f"patch_id: in more than one row: {PATCH}", [rows[0], *rows]),
        "surplus": (f"patch_id: without a row in the metadata: {TILE}_00_46", [*rows[:3], strange, *rows[3:]]),
        "order": (f"rows not ascending by patch_id: {PATCH}", [rows[1], rows[0], *rows[2:]]),
    }[change]
    write_patches(folder, kept)
    first, second = look(folder, references).wrong
    assert first == f"{PATCHES}: {what}"
    assert second.startswith(f"{PATCHES}: not the file that is meant in {STAC}, {CROISSANT}: ")


def test_other_columns_and_no_geoparquet_are_named(folder: Path, references: References) -> None:
    table = pq.read_table(folder / PATCHES)
    pq.write_table(table.replace_schema_metadata(None), folder / PATCHES, compression="zstd")
    assert look(folder, references).wrong[0].startswith(f"{PATCHES}: not the metadata of GeoParquet: geo (expected ")
    pq.write_table(table.drop_columns(["country"]), folder / PATCHES)
    assert look(folder, references).wrong[0].startswith(f"{PATCHES}: cannot be read (columns ")


@pytest.mark.parametrize("archive", HASH_LISTS)
def test_a_digit_of_a_hash_list_counts_wherever_it_is(folder: Path, references: References, archive: str) -> None:
    """The 40th, of a file that is in the archive, and of one that is in the list alone."""
    path = folder / HASH_LISTS[archive]
    good = path.read_text()
    lines = good.splitlines()
    for number in {1, len(lines) - 1}:
        name, _, sha256 = lines[number].partition(",")
        other = sha256[:39] + ("0" if sha256[39] != "0" else "1") + sha256[40:]
        path.write_text(good.replace(lines[number], f"{name},{other}"))
        wrong = look(folder, references).wrong
        assert wrong.pop().startswith(f"{path.name}: not the file that is meant in {COMPARISON}: sha256 (expected ")
        listed_only = "_90_90_" in name
        assert len(wrong) == (0 if listed_only else 1)
        if wrong:
            (line,) = wrong
            assert line.startswith(f"{archive}.tar.zst: with another sha256 than in {path.name}: {archive}/")
            assert line.endswith(f"/{name}.tif")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], "names not ascending: "),
        (lambda lines: [lines[0], lines[1][:-1], *lines[2:]], "without a sha256: "),
        (lambda lines: [lines[0], lines[1].upper(), *lines[2:]], "without a sha256: "),
        (lambda lines: lines[:-1], "not the files that provenance.json counts: rows (expected 96, found 95)"),
        (lambda lines: ["name,sha256", *lines[1:]], "cannot be read (columns ['name', 'sha256'])"),
    ],
)
def test_a_hash_list_in_another_form_is_named(
    folder: Path, references: References, change: Callable[[list[str]], list[str]], what: str
) -> None:
    path = folder / HASH_LISTS[S2]
    path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))
    wrong = [line for line in look(folder, references).wrong if line.startswith(path.name)]
    assert wrong[0].startswith(f"{path.name}: {what}")
    assert wrong[1].startswith(f"{path.name}: not the file that is meant in {COMPARISON}: sha256 ")
