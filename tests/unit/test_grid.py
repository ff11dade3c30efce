from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ben_luigi.domain.cdse.resolve import read_tile_ids
from ben_luigi.domain.errors import BadInput, BadName
from ben_luigi.domain.names import PatchId, ProductName
from ben_luigi.domain.placement.grid import PatchGrid, Square, check_squares, pixel_window, tile_square


def _name(mgrs: str) -> ProductName:
    return ProductName.parse(f"S2A_MSIL2A_20170613T101031_N9999_R022_T{mgrs}_20170613T101608.SAFE")


GRID = PatchGrid("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP", tile_square(_name("33UUP")))


@pytest.mark.parametrize(
    ("mgrs", "left", "top", "epsg"),
    [
        ("33UUP", 300_000, 5_400_000, 32633),
        ("33UWP", 499_980, 5_400_000, 32633),
        ("31UGR", 699_960, 5_600_040, 32631),
        ("35VLC", 300_000, 6_300_000, 32635),
        ("29SNB", 499_980, 4_200_000, 32629),
    ],
)
def test_squares_lie_where_esa_puts_them(mgrs: str, left: int, top: int, epsg: int) -> None:
    """Corners from the metadata of real products."""
    assert tile_square(_name(mgrs)) == Square(left, top, 109_800, epsg)


@given(st.integers(0, 90), st.integers(0, 90))
def test_positions_columns_and_corners_go_together(x: int, y: int) -> None:
    position = GRID.position(x, y)
    assert GRID.ids()[position].as_py() == str(PatchId(GRID.tile_name, x, y))
    assert GRID.positions(np.array([x]), np.array([y])).tolist() == [position]
    assert [axis.tolist() for axis in GRID.columns_rows(np.array([position]))] == [[x], [y]]
    square = GRID.square.patch(x, y)
    west, south, east, north = GRID.edges[position].tolist()
    assert square.bounds == (west, south, east, north)
    assert GRID.square.corner(x, y) == (west, north)
    inside = GRID.place(np.array([west, east - 1]), np.array([north, south + 1]))
    assert [axis.tolist() for axis in inside] == [[x, x], [y, y]]
    assert GRID.image(range(91**2))[y, x] == position
    rows, columns = pixel_window(x, y, 120)
    assert (rows.start, rows.stop, columns.start) == (120 * y, 120 * (y + 1), 120 * x)


@pytest.mark.parametrize("mgrs", ["33MAA", "33UAA"])
def test_squares_that_are_none_are_refused(mgrs: str) -> None:
    with pytest.raises(BadName, match=mgrs):
        tile_square(_name(mgrs))


def test_all_squares_that_are_none_are_named_before_anything_is_downloaded(tmp_path: Path) -> None:
    """Tile key and latitude band; squares that there are in the north do not disturb."""
    check_squares([_name("33UUP"), _name("31UGR")], tmp_path)
    wrong = [_name(mgrs) for mgrs in ("33MUP", "33UUP", "21HUB", "33UAA", "01CCV")]
    with pytest.raises(BadInput) as error:
        check_squares(wrong, tmp_path / "names.csv")
    said = str(error.value)
    assert "names.csv; expected: " in said and "latitude bands N to X" in said and "[dataset] tiles" in said
    for found in (
        "33MUP_20170613 (latitude band M, south",
        "21HUB_20170613 (latitude band H",
        "01CCV_20170613 (",
        "33UAA",
    ):
        assert found in said
    assert "33UUP" not in said


def test_a_real_tile_has_91_patches_a_side_in_the_order_of_their_ids() -> None:
    ids = GRID.ids().to_pylist()
    assert len(ids) == 91 * 91
    assert ids == sorted(ids)
    table = GRID.table()
    row = table[table["patch_id"] == f"{GRID.tile_name}_26_07"].iloc[0]
    assert (row["x"], row["y"], row["left_m"], row["top_m"]) == (26, 7, 300_000 + 26 * 1200, 5_400_000 - 7 * 1200)
    assert (row["right_m"] - row["left_m"], row["top_m"] - row["bottom_m"]) == (1200, 1200)


def test_splits_of_a_real_tile_are_the_published_rings() -> None:
    """Restated from the published data: by position, not by distance."""
    for x, y, split in zip(GRID.x, GRID.y, GRID.splits(), strict=True):
        if min(x, y) <= 12 or max(x, y) >= 78:
            expected = "train"
        elif min(x, y) >= 23 and max(x, y) <= 68:
            expected = "test"
        else:
            expected = "validation"
        assert split == expected, (x, y)


@given(st.integers(1, 120_000), st.integers(0, 10_000), st.integers(0, 10_000))
def test_splits_are_three_concentric_squares(side_m: int, left: int, top: int) -> None:
    """A second formulation: a square of side s(1 - k) centred on the tile contains the patch's centre."""
    grid = PatchGrid("T", Square(left, top, side_m, 32633))
    assert len(grid.ids()) == (side_m // 1200) ** 2
    centre = side_m / 2
    for x, y, split in list(zip(grid.x, grid.y, grid.splits(), strict=True))[:: 1 + len(grid.x) // 50]:
        away = max(abs(x * 1200 + 600 - centre), abs(y * 1200 + 600 - centre))
        inner, middle = side_m / 4, side_m / (2 * math.sqrt(2))
        if min(abs(away - inner), abs(away - middle)) > 1e-6:
            assert split == ("test" if away < inner else "validation" if away < middle else "train")


def test_all_real_tiles_have_the_published_numbers_of_patches_a_split(published: Path) -> None:
    names = [ProductName.parse(tile) for tile in read_tile_ids(published / "bigearthnet_s2_tile_ids.csv")]
    splits = PatchGrid("T", tile_square(names[0])).splits()
    assert len({name.tile_key for name in names}) == 125
    assert {split: int((splits == split).sum()) * 125 for split in ("train", "validation", "test")} == {
        "train": 507_000,
        "validation": 263_625,
        "test": 264_500,
    }


@pytest.mark.parametrize(
    ("mgrs", "left", "top", "epsg"),
    [
        ("17MNT", 499_980, 9_800_020, 32717),
        ("19KCQ", 300_000, 7_500_040, 32719),
        ("19KCR", 300_000, 7_600_000, 32719),
        ("21HUB", 300_000, 6_200_020, 32721),
        ("24MXV", 600_000, 9_500_020, 32724),
        ("31KES", 499_980, 7_700_020, 32731),
        ("32MME", 399_960, 10_000_000, 32732),
        ("33MUP", 300_000, 9_400_000, 32733),
        ("51HYE", 699_960, 6_500_020, 32751),
        ("56HLH", 300_000, 6_300_040, 32756),
        ("58KDB", 399_960, 7_700_020, 32758),
    ],
)
def test_southern_squares_lie_on_pixels_counted_from_the_equator(mgrs: str, left: int, top: int, epsg: int) -> None:
    assert tile_square(_name(mgrs)) == Square(left, top, 109_800, epsg)


_SOUTHERN = [f"{zone:02d}{band}" for zone in range(1, 61) for band in "CDEFGHJKLM"]


@given(st.sampled_from(_SOUTHERN), st.sampled_from("ABCDEFGHJKLMNPQRSTUVWXYZ"), st.sampled_from("ABCDEFGHJKLMNPQRSTUV"))
def test_a_southern_tile_is_a_northern_one_upside_down(start: str, column: str, row: str) -> None:
    """Pixels are whole from the equator, and cover the square's upper edge with the least of them beyond it."""
    try:
        square = tile_square(_name(start + column + row))
    except BadName:
        return
    down = 10_000_000 - square.top
    assert down % 60 == 0 and square.left % 60 == 0 and 32700 < square.epsg <= 32760
    assert -60 < (down % 100_000) - 100_000 <= 0 or down % 100_000 == 0


def test_southern_squares_are_for_those_who_ask_for_them(tmp_path: Path) -> None:
    check_squares([_name("33MUP"), _name("21HUB"), _name("33UUP")], tmp_path, southern=True)
    with pytest.raises(BadInput, match=r"existing MGRS squares; found: 33MAA"):
        check_squares([_name("33MUP"), _name("33MAA")], tmp_path, southern=True)
