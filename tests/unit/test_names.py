from __future__ import annotations

import pickle
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ben_luigi.domain.errors import BadName, some
from ben_luigi.domain.names import (
    PatchId,
    ProductName,
    TileKey,
    TileName,
    is_old_format,
    is_tile_key,
    patch_id_of,
    s1_tile,
    tile_name_of,
    v1_sensing_time,
)

TIMES = st.datetimes(datetime(2015, 6, 23), datetime(2030, 1, 1)).map(lambda time: time.replace(microsecond=0))


@given(
    st.sampled_from(["S2A", "S2B"]),
    st.sampled_from(["L1C", "L2A"]),
    TIMES,
    st.integers(0, 9999),
    st.integers(1, 143),
    st.integers(1, 60),
    TIMES,
)
def test_a_product_name_survives_parsing(
    mission: str, level: str, sensed: datetime, baseline: int, orbit: int, zone: int, processed: datetime
) -> None:
    form = "%Y%m%dT%H%M%S"
    name = f"{mission}_MSI{level}_{sensed:{form}}_N{baseline:04d}_R{orbit:03d}_T{zone:02d}UUP_{processed:{form}}.SAFE"
    product = ProductName.parse(name)
    assert str(product) == name
    assert product.sensing_time == sensed
    assert product.epsg == 32600 + zone
    assert name.startswith(product.tile_name)
    assert product.tile_key == f"{zone:02d}UUP_{sensed:%Y%m%d}"
    tile = TileName.parse(product.tile_name)
    assert str(tile) == product.tile_name
    assert (tile.key, tile.epsg, tile.sensing_time) == (product.key, product.epsg, sensed)
    assert TileKey.parse(product.tile_key) == product.key


@pytest.mark.parametrize("text", ["33UUP", "33UUP_20170631", "33UUP_2017", "00UUP_20170613", "33IUP_20170613", "3 3"])
def test_what_is_no_tile_key_is_refused_by_name(text: str) -> None:
    assert not is_tile_key(text)
    with pytest.raises(BadName, match=text):
        TileKey.parse(text)


@pytest.mark.parametrize("text", ["", "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_20170613T101608.SAFE", "33UUP"])
def test_what_is_no_tile_name_is_refused(text: str) -> None:
    with pytest.raises(BadName):
        TileName.parse(text)


@pytest.mark.parametrize("ending", ["", "_B8A", "_reference_map"])
def test_names_of_files_tell_tile_and_patch(ending: str) -> None:
    patch = PatchId("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP", 26, 7)
    assert tile_name_of(f"{patch}{ending}") == patch.tile_name
    assert not ending or patch_id_of(f"{patch}{ending}") == str(patch)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608",
        "S2A_MSIL1C_20170613T101031_N0205_R022_T33IUP_20170613T101608.SAFE",
        "S2A_MSIL1C_20171313T101031_N0205_R022_T33UUP_20170613T101608.SAFE",
        "S2A_MSIL3C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE",
        "S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE\n",
        "S2A_MSIL1C_２０１７0613T101031_N0205_R022_T33UUP_20170613T101608.SAFE",
    ],
)
def test_what_is_no_product_name_is_refused_by_name(name: str) -> None:
    with pytest.raises(BadName) as caught:
        ProductName.parse(name)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "is_old"),
    [
        ("S2A_OPER_PRD_MSIL1C_PDMC_20160101T000000_R022_V20160101T101031_20160101T101031.SAFE", True),
        ("S2A_USER_PRD_MSIL2A_PDMC_20160101T000000_R022_V20160101T101031_20160101T101031.SAFE", True),
        ("S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE", False),
    ],
)
def test_names_of_the_old_format_are_told(name: str, is_old: bool) -> None:
    assert is_old_format(name) == is_old


def test_a_position_of_thousands_of_digits_is_none() -> None:
    with pytest.raises(BadName):
        PatchId.parse(f"S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_{'1' * 5000}_00")


def test_southern_squares_are_told_apart() -> None:
    name = ProductName.parse("S2A_MSIL1C_20170613T101031_N0205_R022_T33MUP_20170613T101608.SAFE")
    assert name.epsg == 32733


@given(st.integers(0, 150), st.integers(0, 150))
def test_a_patch_id_survives_parsing(x: int, y: int) -> None:
    patch = PatchId("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP", x, y)
    assert PatchId.parse(str(patch)) == patch


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("S2B_MSIL2A_20180204T94160_20_72", datetime(2018, 2, 4, 9, 41, 59)),
        ("S2A_MSIL2A_20170613T101031_0_45", datetime(2017, 6, 13, 10, 10, 31)),
        ("S2A_MSIL2A_20170613T101099_0_45", datetime(2017, 6, 13, 10, 10, 59)),
    ],
)
def test_both_bugs_of_v1_names_are_understood(name: str, expected: datetime) -> None:
    assert v1_sensing_time(name) == expected


@pytest.mark.parametrize("name", ["", "S2A_MSIL2A_20170613T1010_0_45", "S2A_MSIL2A_20170613T256031_0_4", "x"])
def test_what_is_no_v1_name_is_refused(name: str) -> None:
    with pytest.raises(BadName):
        v1_sensing_time(name)


def test_s1_tile_of_other_names_is_refused() -> None:
    with pytest.raises(BadName):
        s1_tile("S1B_IW_GRDH_1SDV_20170612T165809")


def test_errors_travel_between_processes() -> None:
    error = BadName("tile", expected="a", found="b", remedy="c")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.remedy) == (BadName, "tile; expected: a; found: b; next: c", "c")


def test_long_lists_are_cut_and_counted() -> None:
    assert some(range(12)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... (12 in all)"
    assert some([]) == ""
