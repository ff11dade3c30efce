"""Tell which coordinate reference systems (CRS) are of use here: those that say where on Earth a point lies."""

from __future__ import annotations

import pyproj


def on_earth(crs: pyproj.CRS) -> bool:
    """Return whether a CRS says where on Earth its x and y lie, as that of a building site or of heights does not."""
    return bool(crs.is_geographic or crs.is_projected)
