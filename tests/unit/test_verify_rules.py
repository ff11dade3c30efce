"""Rows that break a rule are named: patch, column, what the rule says and what was found; published rows break none."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ben_luigi.domain.dataset import geoparquet
from ben_luigi.domain.dataset.metadata import FLAGGED, METADATA
from ben_luigi.domain.dataset.verify import verify_dataset
from ben_luigi.domain.dataset.verify_findings import Findings
from ben_luigi.domain.dataset.verify_rows import read_rows, rule_square
from ben_luigi.domain.dataset.verify_rules import NO_REFERENCES, References, check_rows
from ben_luigi.domain.placement.grid import TILE_SIDE_M
from tests.unit.small_dataset import S1, Dataset, labels_of

Row = dict[str, Any]


def test_a_whole_dataset_has_no_findings_and_all_of_it_is_looked_at(references: References, tmp_path: Path) -> None:
    folder = Dataset().write_all(tmp_path)
    verdict = verify_dataset(folder, labels_of, references=references, require_all=True)
    assert (verdict.wrong, verdict.not_looked_at) == ([], [])


def at(row: Row, what: str, expected: object, found: object) -> str:
    """What is said of a row without snow."""
    return f"{METADATA}: {what}: {row['patch_id']} (expected {expected}, found {found})"


def split(one: Row, other: Row) -> list[str]:
    one["split"] = "test"
    return [at(one, "split: not that of the patch's place in its tile", "train", "test")]


def country(one: Row, other: Row) -> list[str]:
    one["country"] = "Switzerland"
    return [at(one, "country: not the nearest one", "Austria", "Switzerland")]


def v1_names_swapped(one: Row, other: Row) -> list[str]:
    one["s2v1_name"], other["s2v1_name"] = other["s2v1_name"], one["s2v1_name"]
    what = "s2v1_name: not of the patch's satellite, time and position"
    expected = ("S2A_MSIL2A_20170613T101031_0_1, up to 8 s off", "S2A_MSIL2A_20170613T101031_0_4, up to 8 s off")
    said = at(one, what, expected[0], one["s2v1_name"])
    return [f"{said}, {other['patch_id']} (expected {expected[1]}, found {other['s2v1_name']})", *partner(one, other)]


def partner(*rows: Row) -> list[str]:
    """What the list of pairs says of rows whose v1 names were swapped, or are none of it."""
    pairs = {row["s2v1_name"]: row["s1_name"] for row in Dataset().rows}
    said = ", ".join(
        f"{row['patch_id']} (expected {pairs.get(row['s2v1_name'])}, found {row['s1_name']})" for row in rows
    )
    return [f"{METADATA}: s1_name: not the partner of the v1 patch: {said}"]


@pytest.mark.parametrize(
    "name",
    [
        "S2A_MSIL2A_20230613T101031_0_1",  # of another year
        "S2A_MSIL2A_20170613T101040_0_1",  # 9 s late
        "S2B_MSIL2A_20170613T101031_0_1",  # of the other satellite
        "S2A_MSIL2A_20170613T101031_1_0",  # of another position
        "S2A_MSIL2A_20170613T101031_0_01",
        "nothing",
    ],
)
def test_a_v1_name_that_is_not_the_patchs_is_named(references: References, tmp_path: Path, name: str) -> None:
    def change(one: Row, other: Row) -> list[str]:
        one["s2v1_name"] = name
        what, expected = "s2v1_name: not of the patch's satellite, time and position", "S2A_MSIL2A_20170613T101031_0_1"
        return [at(one, what, f"{expected}, up to 8 s off", name), *partner(one)]

    check(references, tmp_path, change)


@pytest.mark.parametrize("name", ["S2A_MSIL2A_20170613T101023_0_1", "S2A_MSIL2A_20170613T101039_0_1"])
def test_a_v1_name_may_be_eight_seconds_off(tmp_path: Path, name: str) -> None:
    dataset = Dataset()
    dataset.rows[0]["s2v1_name"] = name
    assert verify_dataset(dataset.write(tmp_path), labels_of).wrong == []


def v1_name_twice(one: Row, other: Row) -> list[str]:
    other["s2v1_name"] = one["s2v1_name"]
    what, expected = "s2v1_name: not of the patch's satellite, time and position", "S2A_MSIL2A_20170613T101031_0_4"
    said = at(other, what, f"{expected}, up to 8 s off", one["s2v1_name"])
    return [said, f"metadata: s2v1_name in more than one row: {one['s2v1_name']}", *partner(other)]


def s1_names_swapped(one: Row, other: Row) -> list[str]:
    one["s1_name"], other["s1_name"] = other["s1_name"], one["s1_name"]
    what = "s1_name: not of the patch's MGRS square, position and time"
    expected = [f"..._33UUP_0_{y}, within 6 days of 20170613T101031" for y in (1, 4)]
    said = at(one, what, expected[0], one["s1_name"])
    folder = f"{S1}/S1A_IW_GRDH_1SDV_20170613T165043"
    files = [
        f"{folder}/{name}/{name}_{band}.tif"
        for name in sorted((one["s1_name"], other["s1_name"]))
        for band in ("VH", "VV")
    ]
    return [
        f"{said}, {other['patch_id']} (expected {expected[1]}, found {other['s1_name']})",
        *partner(one, other),
        f"{S1}.tar.zst: not on the square that the patch's name says: {', '.join(files)}",
    ]


def labels_in_another_order(one: Row, other: Row) -> list[str]:
    one["labels"] = ["Pastures", "Arable land"]
    return [at(one, "labels: not ascending, each once", "['Arable land', 'Pastures']", "['Pastures', 'Arable land']")]


def flag_of_another_list(one: Row, other: Row) -> list[str]:
    one["contains_cloud_or_shadow"] = True
    said = f"{one['patch_id']} (expected False, found True)"
    return [f"{FLAGGED}: contains_cloud_or_shadow: not as listed: {said}"]


Change = Callable[[Row, Row], list[str]]


@pytest.mark.parametrize(
    "change",
    [split, country, v1_names_swapped, v1_name_twice, s1_names_swapped, labels_in_another_order, flag_of_another_list],
    ids=lambda change: change.__name__,
)
def test_a_row_that_breaks_a_rule_is_named_and_nothing_else(
    references: References, tmp_path: Path, change: Change
) -> None:
    check(references, tmp_path, change)


def check(references: References, folder: Path, change: Change) -> None:
    """Change rows before all that follows from them is written, so that only the rules can tell."""
    dataset = Dataset()
    expected = change(*dataset.rows[:2])
    verdict = verify_dataset(dataset.write_all(folder), labels_of, references=references, require_all=True)
    assert (verdict.wrong, verdict.not_looked_at) == (expected, [])


def test_without_the_borders_a_country_must_be_one_of_the_ten(tmp_path: Path) -> None:
    dataset = Dataset()
    dataset.rows[0]["country"], dataset.rows[1]["country"] = "Italy", "Portugal"
    verdict = verify_dataset(dataset.write(tmp_path), labels_of)
    (said,) = verdict.wrong
    assert said.startswith(
        f"{METADATA}: country: none of the ten: {dataset.rows[0]['patch_id']} (expected one of Austria, "
    )
    assert said.endswith("found Italy)")
    assert "country: whether it is the nearest of the ten, for want of the borders" in verdict.not_looked_at


@pytest.mark.parametrize("time", ["20170607T095043", "20170619T103043"])
def test_an_s1_patch_of_another_time_is_named(tmp_path: Path, time: str) -> None:
    """Of the same square and position, six days and some minutes off."""
    dataset = Dataset()
    for row in dataset.rows:
        row["s1_name"] = row["s1_name"].replace("20170613T165043", time)
    (files, others) = dataset.parts[S1]
    dataset.parts[S1] = [{name.replace("20170613T165043", time): data for name, data in files.items()}, others]
    first, snowy = verify_dataset(dataset.write(tmp_path), labels_of).wrong
    assert first.startswith(f"{METADATA}: s1_name: not of the patch's MGRS square, position and time: ")
    assert (first.count("(expected ..._33UUP_0_"), snowy.count("(expected ..._33UUP_0_")) == (2, 1)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("patch_id", "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_0_1", "patch_id: another name than it must be"),
        ("patch_id", "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_00_001", "patch_id: another name than it must be"),
        ("patch_id", "S2A_MSIL2A_20171313T101031_N9999_R022_T33UUP_00_01", "patch_id: another name than it must be"),
        ("patch_id", "S2A_MSIL2A_20170613T101031_N9999_R022_T33UAP_00_01", "patch_id: another name than it must be"),
        ("s1_name", "S1A_33UUP_0_1", "s1_name: another name than it must be"),
        *((column, None, f"{column}: without a value") for column in ("patch_id", "labels", "split", "s1_name")),
        ("labels", ["Pastures", None], "labels: with a gap"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_once(tmp_path: Path, column: str, value: object, said: str) -> None:
    dataset = Dataset()
    dataset.rows[0][column] = value
    (line,) = verify_dataset(dataset.write(tmp_path), labels_of).wrong
    assert line.startswith(f"{METADATA}: {said}: ")


def rows_said(folder: Path, given: References = NO_REFERENCES) -> list[str]:
    """What is wrong with the rows alone."""
    findings = Findings()
    rows = read_rows(folder, findings)
    check_rows(rows, {tile: rule_square(tile, TILE_SIDE_M) for tile in rows.tiles}, given, findings)
    return findings.lines()


def test_rows_out_of_order_are_named(tmp_path: Path) -> None:
    dataset = Dataset()
    dataset.rows[:2] = dataset.rows[1::-1]
    assert verify_dataset(dataset.write(tmp_path), labels_of).wrong == [
        f"{METADATA}: rows not ascending by patch_id: {dataset.rows[1]['patch_id']}"
    ]


def test_a_position_outside_of_the_tile_is_named(tmp_path: Path) -> None:
    dataset = Dataset()
    row = dataset.rows[2]
    row["patch_id"] = row["patch_id"].replace("_00_45", "_00_91")
    assert rows_said(dataset.write(tmp_path))[0] == (
        f"{FLAGGED}: patch_id: a position outside of the tile: {row['patch_id']} (expected both below 91, found 0, 91)"
    )


def test_the_published_rows_keep_every_rule(published: Path, tmp_path: Path) -> None:
    zones = "zones_31_32_33.parquet"
    shutil.copy(published / f"metadata_{zones}", tmp_path / METADATA)
    shutil.copy(published / f"{FLAGGED.removesuffix('.parquet')}_{zones}", tmp_path / FLAGGED)
    given = References(
        borders=published / "ne_110m_admin_0_countries.geojson",
        s1s2=published / "s1s2_mapping.csv.bz2",
        snow=published / "patches_with_seasonal_snow.csv",
        cloud=published / "patches_with_cloud_and_shadow.csv",
    )
    findings = Findings()
    assert len(read_rows(tmp_path, findings)) == 65_716
    assert rows_said(tmp_path, given) == []


def test_a_dataset_without_rows_is_a_finding_and_no_error(tmp_path: Path) -> None:
    dataset = Dataset()
    dataset.write_all(tmp_path)
    dataset.rows.clear()
    dataset.parts = {archive: [{}] for archive in dataset.parts}
    dataset.write(tmp_path)
    geoparquet.write([], tmp_path / geoparquet.PATCHES)
    assert "metadata: no rows" in verify_dataset(tmp_path, labels_of, require_all=True).wrong
