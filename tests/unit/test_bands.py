"""How bands are shown, against plain arithmetic; and the sheets that have them all."""

from __future__ import annotations

import numpy as np
import pytest

from ben_luigi.domain.report import bands, rendering
from ben_luigi.domain.vocabulary import RESOLUTION_M
from tests.unit.test_rendering import decoded

BRIGHTEST = {
    "B01": 0.25,
    "B02": 0.25,
    "B03": 0.25,
    "B04": 0.25,
    "B05": 0.25,
    "B06": 0.5,
    "B07": 0.5,
    "B08": 0.5,
    "B8A": 0.5,
    "B09": 0.5,
    "B11": 0.4,
    "B12": 0.4,
}
DECIBELS = {"VV": (-25, 0), "VH": (-30, -5), "VV/VH": (0, 15)}


@pytest.mark.parametrize("band", BRIGHTEST)
def test_reflectance_follows_one_curve_per_band(band: str) -> None:
    values = np.array([[-500, 0, 1, 250], [1000, 2500, 4999, 15_000]], "int32")
    expected = [
        [round(255 * min(max(value / 10_000 / BRIGHTEST[band], 0), 1) ** (2 / 3)) for value in row]
        for row in values.tolist()
    ]
    assert bands.shown_reflectance(band, values).tolist() == expected
    assert set(bands.FULL) == set(RESOLUTION_M)


def test_backscatter_is_linear_in_decibels_and_the_ratio_is_a_difference() -> None:
    rng = np.random.default_rng(5)
    pixels = {"VV": rng.uniform(-32, 6, (9, 9)), "VH": rng.uniform(-40, 2, (9, 9))}
    pixels = {band: values.astype("float32") for band, values in pixels.items()}
    shown = bands.shown_radar(pixels["VV"], pixels["VH"])
    exact = {band: values.astype(float) for band, values in pixels.items()}
    exact["VV/VH"] = exact["VV"] - exact["VH"]
    assert set(shown) == set(DECIBELS)
    for band, (black, white) in DECIBELS.items():
        expected = [round(255 * min(max((x - black) / (white - black), 0), 1)) for x in exact[band].flat]
        assert shown[band].dtype == "uint8" and shown[band].ravel().tolist() == expected


def test_backscatter_that_is_not_finite_is_black() -> None:
    vv, vh = (np.full((2, 2), value, "float32") for value in (-3, -9))
    vv[0], vh[0, 1] = (np.nan, np.inf), np.inf
    shown = bands.shown_radar(vv, vh)
    assert shown["VV"].tolist() == [[0, 0], [224, 224]]
    assert shown["VH"].tolist() == [[214, 0], [214, 214]]
    assert shown["VV/VH"].tolist() == [[0, 0], [102, 102]]


def test_the_strip_has_all_three_then_each_polarisation() -> None:
    rng = np.random.default_rng(6)
    shown = {band: rng.integers(0, 256, (5, 5), "uint8") for band in DECIBELS}
    strip = bands.radar_strip(shown)
    assert strip.shape == (5, 15, 3)
    for channel, band in enumerate(("VV", "VH", "VV/VH")):
        assert np.array_equal(strip[:, :5, channel], shown[band])
        assert np.array_equal(strip[:, 5:10, channel], shown["VV"])
        assert np.array_equal(strip[:, 10:, channel], shown["VH"])


@pytest.mark.parametrize("patch_m", [60, 1200, 2400, 6000, 24_000])
@pytest.mark.parametrize("has_radar", [False, True])
def test_cells_of_a_sheet_keep_out_of_each_other(patch_m: int, has_radar: bool) -> None:
    cells = bands.cells(patch_m, has_radar=has_radar)
    assert set(cells) == {*RESOLUTION_M, *(DECIBELS if has_radar else ())}
    shown = {band: np.full((cell.side, cell.side), at + 1, "uint8") for at, (band, cell) in enumerate(cells.items())}
    sheet = bands.sheet(shown, cells)
    assert max(sheet.shape) < 4096 and np.array_equal(sheet[:, :, 0], sheet[:, :, 2])
    for at, (left, top, side) in enumerate(cells.values()):
        assert 0 < side <= 240 and left % 16 == top % 16 == 0
        assert (sheet[top : top + side, left : left + side] == at + 1).all()


def test_a_sheet_keeps_pixels_and_takes_every_nth_of_many() -> None:
    cells = bands.cells(4800, has_radar=False)
    pixels = np.arange(480 * 480).reshape(480, 480) % 251
    left, top, side = cells["B02"]
    assert side == 240
    found = bands.sheet({"B02": pixels.astype("uint8")}, cells)[top : top + side, left : left + side, 0]
    assert np.array_equal(found, pixels[1::2, 1::2])
    assert np.array_equal(bands.nearest(pixels, 480), pixels)


def test_a_sheet_survives_webp() -> None:
    """WebP loses some of what changes from pixel to pixel: of smooth ground next to nothing, also at the borders."""
    cells = bands.cells(1200, has_radar=True)
    smooth = {
        band: (60 + at * 10 + np.add.outer(np.arange(cell.side), np.arange(cell.side)) * 20 / cell.side).astype("uint8")
        for at, (band, cell) in enumerate(cells.items())
    }
    picture = decoded(rendering.webp(bands.sheet(smooth, cells)))
    for band, (left, top, side) in cells.items():
        found = picture[top : top + side, left : left + side, :3].astype(int)
        assert np.abs(found - smooth[band][:, :, None]).max() <= 8, band


def test_each_view_has_bands_that_are_in_a_sheet() -> None:
    for has_radar in (False, True):
        views = bands.views(has_radar=has_radar)
        cells = bands.cells(1200, has_radar=has_radar)
        assert len({view.key for view in views}) == len(views)
        assert {band for view in views for band in view.bands} == set(cells)
        assert [view.key for view in views if not view.bands] == [bands.MAP]
        singles = [view.name for view in views if view.group == "Single bands"]
        assert singles == ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"]
