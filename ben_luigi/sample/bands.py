"""Define the 13 bands of the multispectral instrument: order, resolution and wavelength."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ben_luigi.domain.blocks import block_sums


@dataclass(frozen=True)
class Band:
    """A band: its pixel size in metres, its name in metadata and its central wavelength in nanometres."""

    pixel_m: int
    physical: str
    central_nm: float


BANDS = {
    "B01": Band(60, "B1", 443.9),
    "B02": Band(10, "B2", 496.6),
    "B03": Band(10, "B3", 560.0),
    "B04": Band(10, "B4", 664.5),
    "B05": Band(20, "B5", 703.9),
    "B06": Band(20, "B6", 740.2),
    "B07": Band(20, "B7", 782.5),
    "B08": Band(10, "B8", 835.1),
    "B8A": Band(20, "B8A", 864.8),
    "B09": Band(60, "B9", 945.0),
    "B10": Band(60, "B10", 1373.5),
    "B11": Band(20, "B11", 1613.7),
    "B12": Band(20, "B12", 2202.4),
}
"""By file name, in the order of their `bandId`."""


def coarser(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Return means of factor * factor pixels of an array (row, col), float32; the array itself if `factor` is 1."""
    if factor == 1:
        return pixels
    return block_sums(pixels.astype("float32"), factor) / np.float32(factor**2)
