from __future__ import annotations

import bz2
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from ben_luigi.domain.cdse.resolve import read_tile_ids
from ben_luigi.domain.errors import BadAlignment, BadInput, BadName
from ben_luigi.domain.names import ProductName, v1_sensing_time
from ben_luigi.domain.placement import alignment
from ben_luigi.domain.placement.alignment import V1Patches
from ben_luigi.domain.placement.grid import PatchGrid, Square, tile_square

TILE = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
GRID = PatchGrid(TILE, Square(300_000, 5_400_000, 12_180, 32633))
SENSED = datetime(2017, 6, 13, 10, 10, 31)


@given(st.datetimes(datetime(2015, 1, 1), datetime(2026, 1, 1)))
def test_seasons_follow_the_calendar_and_its_quirk(time: datetime) -> None:
    """A second formulation by date comparison."""
    time = time.replace(microsecond=0)
    year = time.year
    expected = "winter"
    if datetime(year, 3, 1) <= time <= datetime(year, 5, 31):
        expected = "spring"
    elif datetime(year, 6, 1) <= time <= datetime(year, 8, 31):
        expected = "summer"
    elif datetime(year, 9, 1) <= time <= datetime(year, 11, 30):
        expected = "fall"
    assert alignment.season(time) == expected


@pytest.mark.parametrize("last", [datetime(2017, 5, 31), datetime(2016, 8, 31), datetime(2018, 11, 30)])
def test_the_last_day_of_a_season_is_winter_after_midnight(last: datetime) -> None:
    assert alignment.season(last) != "winter"
    assert alignment.season(last.replace(second=1)) == "winter"


@given(st.lists(st.datetimes(datetime(2017, 1, 1), datetime(2019, 1, 1)), min_size=1, max_size=20), st.booleans())
def test_all_names_at_once_are_read_as_one_by_one(times: list[datetime], buggy: bool) -> None:
    names = [
        f"S2A_MSIL2A_{t:%Y%m%d}T{t.hour if buggy else f'{t.hour:02d}'}{t:%M}{60 if buggy else t.second:02d}_1_2"
        for t in times
    ]
    read = alignment.v1_sensing_times(pa.array(names), "test")
    assert read.astype("datetime64[s]").tolist() == [v1_sensing_time(name) for name in names]


@pytest.mark.parametrize("name", ["S2A_MSIL2A_20170613T253031_0_1", "nonsense"])
def test_names_that_are_none_are_named(name: str) -> None:
    with pytest.raises(BadName, match=name):
        alignment.v1_sensing_times(pa.array(["S2A_MSIL2A_20170613T101031_0_1", name]), "v1.parquet")


def _v1(
    squares: Sequence[tuple[str, float, float, float]], season: str = "summer", sensed: datetime = SENSED
) -> pd.DataFrame:
    rows = [(name, sensed, season, left, top - side, left + side, top) for name, left, top, side in squares]
    return pd.DataFrame(rows, columns=["v1_name", "sensed", "season", "left_m", "bottom_m", "right_m", "top_m"])


@given(st.lists(st.tuples(st.integers(-3, 13), st.integers(-3, 13), st.integers(0, 3)), unique=True, max_size=12))
def test_pairs_are_the_squares_that_patches_cover(places: list[tuple[int, int, int]]) -> None:
    """A second formulation, by geometry: shapely says which patch covers which v1 patch."""
    squares = [
        (f"v{n}", 300_000 + x * 1200 + shift * 10, 5_400_000 - y * 1200 - shift * 10, 1200 - 10 * (shift % 2))
        for n, (x, y, shift) in enumerate(places)
        if (x, y) not in [(a, b) for a, b, _ in places[:n]]
    ]
    table = GRID.table()
    patches = shapely.box(table["left_m"], table["bottom_m"], table["right_m"], table["top_m"])
    expected = {
        (patch_id, name)
        for name, left, top, side in squares
        for patch_id, patch in zip(table["patch_id"], patches, strict=True)
        if patch.covers(shapely.box(left, top - side, left + side, top))
    }
    found = alignment.align(GRID, SENSED, V1Patches(_v1(squares)))
    assert set(zip(found["patch_id"], found["v1_name"], strict=True)) == expected
    assert found["patch_id"].is_monotonic_increasing


EDGE = st.integers(-2, 60).map(lambda steps: 295_000 + 500 * steps)


@given(
    st.lists(st.tuples(EDGE, EDGE, st.sampled_from([500, 1200, 15_000])), min_size=1, max_size=30),
    st.tuples(EDGE, EDGE, st.sampled_from([500, 12_000, 25_000])),
)
def test_the_v1_patches_in_a_square_are_those_that_it_covers(
    places: list[tuple[int, int, int]], place: tuple[int, int, int]
) -> None:
    """On all sides of the borders of cells, in any order of rows."""
    table = _v1([(f"v{n}", left, top, side) for n, (left, top, side) in enumerate(places)])
    square = Square(*place, 32633)
    patches = shapely.box(table["left_m"], table["bottom_m"], table["right_m"], table["top_m"])
    v1 = V1Patches(table)
    found = v1.table["v1_name"].iloc[v1.inside(square)]
    assert sorted(found) == sorted(table["v1_name"][shapely.covers(shapely.box(*square.bounds), patches)])


def test_another_season_is_no_partner() -> None:
    assert alignment.align(GRID, SENSED, V1Patches(_v1([("a", 300_000, 5_400_000, 1200)], "winter"))).empty


def test_two_candidates_are_an_error_that_names_them() -> None:
    twins = _v1([("first", 300_000, 5_400_000, 1200), ("second", 300_000, 5_400_000, 1200)])
    with pytest.raises(BadAlignment, match=r"_00_00 = first.*_00_00 = second"):
        alignment.align(GRID, SENSED, V1Patches(twins))
    pairs = pd.DataFrame({"patch_id": ["a", "b"], "v1_name": ["v", "v"]})
    with pytest.raises(BadAlignment, match="v = a, v = b"):
        alignment.check_pairs(pairs, "all tiles")


def test_a_file_without_its_columns_or_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bigearthnet_v1_spatial_32633.parquet"
    path.write_bytes(b"nonsense")
    with pytest.raises(BadInput, match="32633"):
        alignment.read_v1(path)
    pq.write_table(pa.table({"patch_name": ["S2A_MSIL2A_20170613T101031_0_1"]}), path)
    with pytest.raises(BadInput, match="geom"):
        alignment.read_v1(path)
    with pytest.raises(BadInput, match="none"):
        alignment.spatial_files(tmp_path / "..")


def test_published_geometries_carry_the_times_that_their_names_say(published: Path) -> None:
    for path in alignment.spatial_files(published / "v1_spatial").values():
        table = pq.read_table(path)
        times = alignment.v1_sensing_times(table["patch_name"], str(path))
        assert (times == table["sensing_time"].to_numpy().astype("datetime64[s]")).all()
        assert len(alignment.read_v1(path)) == len(table)
        assert np.isin(alignment.read_v1(path)["season"].unique(), alignment.SEASONS).all()


def _file(folder: Path, name: str, epsg: int | None, names: list[str]) -> Path:
    squares = [shapely.box(300_000 + n * 1200, 5_398_800, 301_200 + n * 1200, 5_400_000).wkb for n in range(len(names))]
    table = pa.table({"patch_name": names, "geom": pa.array(squares, pa.binary())})
    if epsg is not None:
        geo = {"columns": {"geom": {"crs": {"id": {"authority": "EPSG", "code": epsg}}}}}
        table = table.replace_schema_metadata({"geo": json.dumps(geo)})
    path = folder / name
    pq.write_table(table, path)
    return path


def test_a_file_whose_geometries_lie_in_another_zone_than_its_name_says_is_refused(tmp_path: Path) -> None:
    names = ["S2A_MSIL2A_20170613T101031_0_0"]
    wrong = _file(tmp_path, "bigearthnet_v1_spatial_32633.parquet", 32634, names)
    with pytest.raises(BadAlignment, match=r"_32633\.parquet; expected: .*EPSG:32633.*; found: EPSG:32634"):
        alignment.read_v1(wrong)
    for epsg in (32634, None):
        assert len(alignment.read_v1(_file(tmp_path, "bigearthnet_v1_spatial_32634.parquet", epsg, names))) == 1


def test_a_tile_in_another_zone_than_its_name_says_is_refused() -> None:
    stray = PatchGrid(TILE, Square(300_000, 5_400_000, 12_180, 32634))
    with pytest.raises(BadAlignment, match=f"{TILE}; expected: .*; found: EPSG:32634"):
        alignment.align(stray, SENSED, V1Patches(_v1([("a", 300_000, 5_400_000, 1200)])))


def test_findings_are_named(tmp_path: Path) -> None:
    """Hours of two digits and of one, the day that the quirk takes from a season, a name that no pair holds."""
    names = {
        "S2A_MSIL2A_20170613T101031_0_0": [],
        "S2A_MSIL2A_20170613T131500_0_1": [alignment.LATE_HOUR],
        "S2A_MSIL2A_20170613T13150_0_2": [],  # 01:31:50
        "S2A_MSIL2A_20170531T94160_0_3": [alignment.QUIRK],
        "S2A_MSIL2A_20170831T235959_0_4": [alignment.LATE_HOUR, alignment.QUIRK],
        "S2A_MSIL2A_20171130T000000_0_5": [],
        "S2A_MSIL2A_20171130T000001_0_6": [alignment.QUIRK],
        "S2A_MSIL2A_20180204T94160_0_7": [alignment.NO_TILE],
    }
    v1 = alignment.read_v1(_file(tmp_path, "bigearthnet_v1_spatial_32633.parquet", 32633, list(names)))
    found = alignment.findings(v1, [name for name in names if not name.endswith("_7")])
    assert set(zip(found["finding"], found["v1_name"], strict=True)) == {
        (finding, name) for name, its in names.items() for finding in its
    }
    assert found.equals(found.sort_values(["finding", "v1_name"], ignore_index=True))


@given(st.datetimes(datetime(2015, 1, 1), datetime(2026, 1, 1)))
def test_only_three_days_a_year_need_the_quirk(time: datetime) -> None:
    name = f"S2A_MSIL2A_{time:%Y%m%dT%H%M%S}_0_0"
    v1 = pd.DataFrame({"v1_name": [name], "sensed": np.array([time], "datetime64[s]")})
    quirk = f"{time:%m%d}" in ("0531", "0831", "1130") and f"{time:%H%M%S}" != "000000"
    assert (alignment.QUIRK in set(alignment.findings(v1, [name])["finding"])) == quirk


def test_every_published_v1_patch_lies_in_a_tile_and_only_those_of_one_day_need_the_quirk(published: Path) -> None:
    tiles = [ProductName.parse(tile).converted() for tile in read_tile_ids(published / "bigearthnet_s2_tile_ids.csv")]
    for epsg, path in alignment.spatial_files(published / "v1_spatial").items():
        v1 = alignment.read_v1(path)
        pairs = [
            alignment.align(PatchGrid(tile.tile_name, tile_square(tile)), tile.sensing_time, V1Patches(v1))
            for tile in tiles
            if tile.epsg == epsg
        ]
        found = alignment.findings(v1, pd.concat(pairs)["v1_name"])
        assert set(found["finding"]) <= {alignment.QUIRK}
        assert found["v1_name"].str.startswith("S2B_MSIL2A_20170831T").all()


@pytest.mark.parametrize(
    ("sensed", "v1_name"),
    [
        (datetime(2023, 6, 14, 10, 10, 31), "S2A_MSIL2A_20170613T101031_0_0"),
        (datetime(2017, 6, 14, 10, 10, 31), "S2A_MSIL2A_20170613T101031_0_0"),
        (datetime(2017, 6, 13, 11, 50, 31), "S2A_MSIL2A_20170613T101031_0_0"),
        (datetime(2017, 6, 13, 10, 11, 32), "S2A_MSIL2A_20170613T101031_0_0"),
    ],
)
def test_imagery_of_another_time_than_that_of_its_v1_name_is_an_error(sensed: datetime, v1_name: str) -> None:
    """Flags of snow and cloud, and Sentinel-1 scenes, go with the day: 2023 is not 2017, if of the same season."""
    v1 = _v1([(v1_name, 300_000, 5_400_000, 1200), ("another", 301_200, 5_400_000, 1200)])
    with pytest.raises(BadAlignment) as error:
        alignment.align(GRID, sensed, V1Patches(v1))
    said = str(error.value)
    assert TILE in said and str(sensed) in said and f"{v1_name}: 2017-06-13 10:10:31" in said
    assert "2 of 2 v1 patches" in said and "next: give the product of the v1 patches' day" in said


def test_one_v1_patch_of_another_day_is_an_error_too() -> None:
    v1 = pd.concat(
        [
            _v1([("right", 300_000, 5_400_000, 1200)]),
            _v1([("wrong", 301_200, 5_400_000, 1200)], sensed=datetime(2017, 7, 3)),
            _v1([("winter", 302_400, 5_400_000, 1200)], "winter", sensed=datetime(2018, 1, 3)),
            _v1([("outside", 400_000, 5_400_000, 1200)], sensed=datetime(2017, 7, 3)),
        ]
    )
    with pytest.raises(BadAlignment, match=r"wrong: 2017-07-03 .*1 of 2 v1 patches"):
        alignment.align(GRID, SENSED, V1Patches(v1))


@pytest.mark.parametrize("seconds", [-60, -8, 0, 3, 60])
def test_v1_names_may_be_some_seconds_off(seconds: int) -> None:
    v1 = _v1([("a", 300_000, 5_400_000, 1200)], sensed=SENSED + timedelta(seconds=seconds))
    assert alignment.align(GRID, SENSED, V1Patches(v1))["v1_name"].tolist() == ["a"]


def test_no_published_v1_name_is_more_than_8_s_from_its_product(published: Path) -> None:
    """All 590,326 pairs, of those zones too whose geometries are not at hand."""
    with bz2.open(published / "tile_names_and_links.csv.bz2", "rt") as file:
        rows = [line.split(",")[:2] for line in file]
    of_product = {name: ProductName.parse(name).sensing_time for name in {product for _, product in rows}}
    sensed = np.array([of_product[product] for _, product in rows], dtype="datetime64[s]")
    times = alignment.v1_sensing_times(pa.array([name for name, _ in rows]), "list")
    assert len(rows) == 590_326
    assert np.abs(times - sensed).max() == np.timedelta64(8, "s") <= alignment.SAME_TIME


@pytest.fixture
def one_square(tmp_path: Path) -> Path:
    """A folder whose one v1 patch lies in GRID."""
    _file(tmp_path, "bigearthnet_v1_spatial_32633.parquet", 32633, ["S2A_MSIL2A_20170613T101031_0_0"])
    return tmp_path


ELSEWHERE = PatchGrid(f"{TILE[:-5]}33UVP", Square(400_000, 5_400_000, 12_180, 32633))
ANOTHER_ZONE = PatchGrid(f"{TILE[:-5]}34UCU", Square(300_000, 5_400_000, 12_180, 32634))


def test_no_partner_for_any_tile_is_an_error_that_names_them(one_square: Path) -> None:
    """By the tiles' names alone, so that it is known as soon as one has none."""
    without = {"one": (ELSEWHERE, SENSED), "two": (ANOTHER_ZONE, SENSED), "three": (GRID, datetime(2018, 1, 3))}
    with pytest.raises(BadAlignment, match=r"one, two, three; found: none for any of them.* empty"):
        alignment.check_any_partner(without, one_square)
    alignment.check_any_partner({**without, "four": (GRID, SENSED)}, one_square)


def test_what_would_stop_the_alignment_is_told_all_at_once(one_square: Path) -> None:
    tiles = {"right": (GRID, SENSED), "wrong": (GRID, datetime(2023, 6, 13)), "other": (ANOTHER_ZONE, SENSED)}
    said = [str(problem) for problem in alignment.problems(tiles, one_square)]
    assert len(said) == 2
    assert "sensed 2023-06-13" in said[0] and "other: " in said[1] and "spatial_32634.parquet" in said[1]
    (alone,) = alignment.problems({"elsewhere": (ELSEWHERE, SENSED)}, one_square)
    assert "would be empty" in str(alone)
    assert not alignment.problems({"right": tiles["right"], "elsewhere": (ELSEWHERE, SENSED)}, one_square)
