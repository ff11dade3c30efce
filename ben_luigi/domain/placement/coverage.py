"""Check that a raster in any CRS covers the square of a tile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyproj
import shapely

from ben_luigi.domain.errors import BadInput, some
from ben_luigi.domain.placement.footprints import outline
from ben_luigi.domain.placement.grid import Square

_CORNER_EVERY_M = 1000


def check_covers(file: Any, path: Path, square: Square, tile: str, where: str) -> None:
    """Raise BadInput, with both extents in the raster's CRS, unless an open raster covers a tile's square.

    `where` is the section of the recipe that names the raster.
    """
    wkt = file.crs.to_wkt()
    of_tile = outline(square.epsg, square.bounds, wkt, _CORNER_EVERY_M)
    corners = [
        file.transform @ corner for corner in ((0, 0), (file.width, 0), (file.width, file.height), (0, file.height))
    ]
    covered = shapely.Polygon(corners)
    if covered.covers(of_tile):
        return
    wanted, found = (some(f"{edge:.6g}" for edge in one.bounds) for one in (of_tile, covered))
    remedy = f"give a raster of a larger area in {where} of the recipe, or take the tile out"
    if file.crs.is_geographic and of_tile.bounds[2] - of_tile.bounds[0] > 180:
        # GDAL warps of a raster that crosses the 180th meridian only the part on one side of it.
        remedy = (
            f"the tile lies across the 180th meridian: give a raster in its zone, EPSG:{square.epsg}, in {where} of "
        )
        remedy += "the recipe, or one that reaches from -180 to 180 degrees, or take the tile out"
    crs = pyproj.CRS.from_wkt(wkt).name
    raise BadInput(
        f"tile {tile}: {path}",
        expected=f"a raster that covers the tile: {wanted} (west, south, east, north in {crs})",
        found=found,
        remedy=remedy,
    )
