"""Which raster a tile takes, by a pattern of the recipe."""

from __future__ import annotations

import tempfile
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.names import TileName
from ben_luigi.domain.tiles import raster_files

NAME = TileName.parse("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP")
SENSED = date(2017, 6, 13)


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def _nearest(folder: Path, pattern: str, max_days: int = 0, **more: str) -> str:
    path = raster_files.nearest(str(folder / pattern), NAME, max_days, where="[layers.dem]", **more)
    return path.relative_to(folder).as_posix()


def test_tile_day_and_polarisation_stand_anywhere_in_the_path(tmp_path: Path) -> None:
    """A path without braces is the same for all tiles; characters that mean something in patterns mean themselves."""
    folder = tmp_path / "a[1]*b"
    _touch(folder, "dem.tif", "20170613/33UUP/VV.tif", "20170613/33UUP/VH.tif", "20170613_33UUP_20170613.tif")
    assert _nearest(folder, "dem.tif") == "dem.tif"
    given_by = folder, "{date}/{tile}/{polarisation}.tif"
    assert _nearest(*given_by, polarisation="VH") == "20170613/33UUP/VH.tif"
    assert _nearest(folder, "{date}_{tile}_{date}.tif") == "20170613_33UUP_20170613.tif"


def test_a_layer_of_another_day_is_an_error_that_names_the_days(tmp_path: Path) -> None:
    _touch(tmp_path, "33UUP_20180613.tif", "33UUP_20170601.tif", "33UUQ_20170613.tif", "33UUP_20179999.tif")
    said = r"expected: a raster of the tile of 2017-06-13; found: only of 2017-06-01, 2018-06-13.*\[layers.dem\]"
    with pytest.raises(BadInput, match=rf"tile 33UUP_20170613: .*{said}"):
        _nearest(tmp_path, "{tile}_{date}.tif")
    with pytest.raises(BadInput, match="within 11 days of 2017-06-13"):
        _nearest(tmp_path, "{tile}_{date}.tif", 11)
    assert _nearest(tmp_path, "{tile}_{date}.tif", 12) == "33UUP_20170601.tif"


def test_a_file_that_is_not_there_is_an_error_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "33UUP.tif").mkdir()
    for pattern, said in (("dem_{tile}.tif", "nothing at .*dem_33UUP.tif"), ("{tile}.tif", "a folder at .*33UUP.tif")):
        with pytest.raises(BadInput, match=said):
            _nearest(tmp_path, pattern)
    assert raster_files.supposed(str(tmp_path / "{date}.tif"), NAME, 3) == tmp_path / "20170613.tif"


@given(st.sets(st.integers(-40, 40)), st.integers(0, 30))
def test_the_nearest_day_is_taken_the_earlier_of_two(apart: set[int], max_days: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        days = {SENSED + timedelta(days=number): number for number in apart}
        _touch(folder, *(f"{day:%Y%m%d}.tif" for day in days))
        near = sorted((abs(number), number) for number in apart if abs(number) <= max_days)
        if not near:
            with pytest.raises(BadInput):
                _nearest(folder, "{date}.tif", max_days)
            return
        taken = _nearest(folder, "{date}.tif", max_days)
        assert taken == f"{SENSED + timedelta(days=near[0][1]):%Y%m%d}.tif"
