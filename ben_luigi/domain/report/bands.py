"""Show the bands of a patch as bytes, each by a fixed curve, and the combinations of bands that are looked at.

A *shown band* is an array (row, col) of bytes, from black to white. The curves are the same for all patches, so that
pictures of different tiles and seasons are comparable. Reflectance is shown with the exponent 1 / 1.5, as in all true
colour here; backscatter in decibels linearly. A *sheet* has all shown bands of a patch side by side in one grey
picture, from which a page puts together any combination.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ben_luigi.domain.report.rendering import brightness
from ben_luigi.domain.vocabulary import RESOLUTION_M

FULL = {
    **dict.fromkeys(("B01", "B02", "B03", "B04", "B05"), 2500),
    **dict.fromkeys(("B06", "B07", "B08", "B8A", "B09"), 5000),
    **dict.fromkeys(("B11", "B12"), 4000),
}
"""The reflectance * 10,000 that is shown at full brightness, by band: vegetation and dry soil are bright beyond red."""

VV, VH, RATIO = "VV", "VH", "VV/VH"
DECIBELS = {VV: (-25.0, 0.0), VH: (-30.0, -5.0), RATIO: (0.0, 15.0)}
"""The backscatter in dB that is shown black and white; of the ratio, which is a difference in dB, likewise."""

RADAR = tuple(DECIBELS)
"""What is shown of Sentinel-1, in the order red, green, blue of its combination."""

MAP = "map"
"""The view that is the reference map, which has colours of its own."""

_WIDEST_PX = 240
"""Most pixels along a side of a shown band; of larger patches every n-th pixel is shown."""
_BLOCK_PX = 16
"""WebP codes blocks of this many pixels: cells that are multiples of it keep out of each other."""


class View(NamedTuple):
    """What can be looked at: a name, the group that it belongs to, and its bands: one, or those in red, green, blue."""

    key: str
    name: str
    group: str
    bands: tuple[str, ...]


COMBINATIONS = (
    View("true-colour", "True colour", "Combinations", ("B04", "B03", "B02")),
    View("infrared", "Colour infrared", "Combinations", ("B08", "B04", "B03")),
    View("shortwave", "Shortwave infrared", "Combinations", ("B12", "B8A", "B04")),
    View("agriculture", "Agriculture", "Combinations", ("B11", "B08", "B02")),
)


def views(*, has_radar: bool) -> list[View]:
    """Return all that can be looked at, in groups: combinations, Sentinel-1, the reference map, single bands."""
    radar = [View("radar", "All three", "Sentinel-1", RADAR)] if has_radar else []
    radar += [View(_key(band), band, "Sentinel-1", (band,)) for band in RADAR] if has_radar else []
    singles = [View(_key(band), band, "Single bands", (band,)) for band in sorted(FULL, key=_wavelength)]
    return [*COMBINATIONS, View(MAP, "Reference map", "Land cover", ()), *radar, *singles]


def _key(band: str) -> str:
    return band.lower().replace("/", "-")


def _wavelength(band: str) -> tuple[int, str]:
    """Return what sorts bands by wavelength: B8A lies between B08 and B09."""
    return (8, "A") if band == "B8A" else (int(band[1:]), "")


def shown_reflectance(band: str, reflectance: np.ndarray) -> np.ndarray:
    """Return surface reflectance * 10,000 of a band as a shown band."""
    return brightness(reflectance, FULL[band])


def shown_radar(vv: np.ndarray, vh: np.ndarray) -> dict[str, np.ndarray]:
    """Return backscatter in dB of both polarisations, and their ratio, as shown bands; what is not finite is black."""
    with np.errstate(invalid="ignore"):  # infinite minus infinite
        decibels = {VV: vv, VH: vh, RATIO: vv.astype("float64") - vh}
    return {band: _linear(values, *DECIBELS[band]) for band, values in decibels.items()}


def _linear(values: np.ndarray, black: float, white: float) -> np.ndarray:
    fraction = np.clip((values.astype("float64") - black) / (white - black), 0, 1)
    return np.where(np.isfinite(values), np.round(255 * fraction), 0).astype("uint8")


def radar_strip(shown: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return Sentinel-1 as one picture (row, col, 3), three squares wide: all three as red, green, blue; VV; VH."""
    three = np.dstack([shown[band] for band in RADAR])
    return np.hstack([three, *(np.dstack([shown[band]] * 3) for band in (VV, VH))])


class Cell(NamedTuple):
    """Where a band is in a sheet: left column, upper row, and side, in pixels."""

    left: int
    top: int
    side: int


def cells(patch_m: int, *, has_radar: bool) -> dict[str, Cell]:
    """Return where each band is in the sheets of patches of `patch_m` metres: the larger ones first, in rows."""
    sides = {band: _side_px(patch_m // pixel_m) for band, pixel_m in RESOLUTION_M.items()}
    sides |= dict.fromkeys(RADAR, _side_px(patch_m // 10)) if has_radar else {}
    largest = max(sides.values())
    width = sum(_padded(side) for side in sides.values() if side == largest)
    found: dict[str, Cell] = {}
    left = top = height = 0
    for band, side in sorted(sides.items(), key=lambda entry: -entry[1]):
        if left + _padded(side) > width:
            left, top, height = 0, top + height, 0
        found[band] = Cell(left, top, side)
        left, height = left + _padded(side), max(height, _padded(side))
    return found


def _side_px(side: int) -> int:
    return -(-side // -(-side // _WIDEST_PX))


def _padded(side: int) -> int:
    return -(-side // _BLOCK_PX) * _BLOCK_PX


def sheet(shown: Mapping[str, np.ndarray], at: Mapping[str, Cell]) -> np.ndarray:
    """Return the sheet (row, col, 3) of shown bands; the cell of a band that is not among them is black."""
    width = max(cell.left + _padded(cell.side) for cell in at.values())
    height = max(cell.top + _padded(cell.side) for cell in at.values())
    grey = np.zeros((height, width), "uint8")
    for band, pixels in shown.items():
        left, top, side = at[band]
        fitted = nearest(pixels, side)
        room = _padded(side) - side
        grey[top : top + side + room, left : left + side + room] = np.pad(fitted, ((0, room), (0, room)), mode="edge")
    return np.dstack([grey] * 3)


def nearest(pixels: np.ndarray, side: int) -> np.ndarray:
    """Return `side` by `side` of the pixels (row, col): all of them, or the nearest ones of a grid of that size."""
    rows, cols = (((np.arange(side) + 0.5) * length / side).astype(int) for length in pixels.shape)
    return pixels[np.ix_(rows, cols)]


def curves(*, has_radar: bool) -> Sequence[str]:
    """Return in words how bands are shown."""
    by_full: dict[int, list[str]] = {}
    for band, full in FULL.items():
        by_full.setdefault(full, []).append(band)
    words = [f"{full / 10_000:g} in {', '.join(bands)}" for full, bands in by_full.items()]
    said = [f"Reflectance is brightest from {'; '.join(words)}, with the exponent 1 / 1.5."]
    if has_radar:
        ranges = "; ".join(f"{band} from {black:g} to {white:g} dB" for band, (black, white) in DECIBELS.items())
        said.append(f"Backscatter is shown linearly: {ranges}.")
    return said
