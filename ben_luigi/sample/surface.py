"""Turn what a satellite sees into surface reflectance and scene classes, without any physics of the atmosphere."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

_DARK = 100
"""Reflectance * 10,000 of the darkest pixel."""


def surface_of(toa: np.ndarray) -> np.ndarray:
    """Return surface reflectance * 10,000, at least 1; pixels of 0 stay 0."""
    light = max(int(toa[toa > 0].min(initial=65_535)) - _DARK, 0)
    return np.where(toa > 0, np.maximum(toa, light + 1) - light, 0).astype("uint16")


def scene_classes(surface: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return approximate scene classes of Sen2Cor: 0 no-data, 4 vegetation, 5 bare, 6 water, 11 snow."""
    green, red, near, short = (surface[band].astype("float32") for band in ("B03", "B04", "B8A", "B11"))
    empty = np.logical_or.reduce([pixels == 0 for pixels in surface.values()])
    snow = (green - short) > 0.4 * (green + short)
    plants = (near - red) > 0.4 * (near + red)
    return np.select([empty, snow & (green > 1500), near < 400, plants], [0, 11, 6, 4], 5).astype("uint8")


def atmosphere(blue: np.ndarray) -> dict[str, np.ndarray]:
    """Return made-up aerosol (AOT) and water vapour (WVP), times 1,000, uint16 (row, col).

    They are planes, which JPEG 2000 encodes quickly; they differ from pixel to pixel, and with the brightness of blue.
    """
    row, col = np.indices(blue.shape, "uint16")
    start = int(blue.mean()) % 400
    return {"AOT": start + 50 + row + 2 * col, "WVP": start + 300 + 2 * row + col}


def probabilities(surface: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return made-up probabilities of cloud (CLDPRB) and snow (SNWPRB) in per cent, uint8, by a band of 20 m."""
    short = surface["B11"]
    return {"CLDPRB": (short % 101).astype("uint8"), "SNWPRB": (short // 3 % 101).astype("uint8")}
