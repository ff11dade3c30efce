"""Turn squares of a UTM zone into polygons of another CRS: corners reprojected, straight edges between them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import shapely
from pyproj import Transformer

LONGITUDE_LATITUDE = 4326
"""EPSG code of longitude and latitude; x is the longitude here, as in OGC:CRS84."""

EQUAL_AREA = 3035
"""EPSG code of Europe's Lambert azimuthal equal-area projection, in metres."""


EDGES = ("left_m", "bottom_m", "right_m", "top_m")
"""The edges of a square by the names of their columns: west, south, east, north."""


def polygons(epsg: np.ndarray, edges: np.ndarray, to_epsg: int) -> np.ndarray:
    """Return the polygon in `to_epsg` (x, y) of each rectangle, counterclockwise from its south-west corner.

    `epsg` (rectangle) is the zone of each; `edges` (rectangle, edge) are ordered as EDGES, in metres.
    """
    corners = edges.astype("float64")[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    for zone in np.unique(epsg):
        of_zone = np.flatnonzero(epsg == zone)
        x, y = corners[of_zone].reshape(-1, 2).T
        corners[of_zone] = np.stack(transformer(int(zone), to_epsg).transform(x, y), axis=1).reshape(-1, 4, 2)
    return np.asarray(shapely.polygons(corners))


def outline(epsg: int, edges: Sequence[float], to_epsg: int, most_m: float) -> shapely.Geometry:
    """Return the polygon of one large rectangle, whose edges bend: with a vertex at least every `most_m` metres."""
    dense = shapely.segmentize(shapely.box(*edges), most_m)
    to = transformer(epsg, to_epsg)
    return shapely.transform(dense, lambda points: np.stack(to.transform(*points.T), axis=1))


@lru_cache(maxsize=16)
def transformer(epsg: int, to_epsg: int) -> Transformer:
    """Return the transformation from one CRS to another, x before y, longitude before latitude."""
    return Transformer.from_crs(epsg, to_epsg, always_xy=True)
