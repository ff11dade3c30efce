"""Turn squares of a UTM zone into polygons of another CRS: corners reprojected, straight edges between them.

In longitude and latitude, a shape across the 180th meridian is a MultiPolygon, split there (RFC 7946, 3.1.9).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pyproj
import shapely

LONGITUDE_LATITUDE = 4326
"""EPSG code of longitude and latitude; x is the longitude here, as in OGC:CRS84."""

EQUAL_AREA = 3035
"""EPSG code of Europe's Lambert azimuthal equal-area projection, in metres."""

_EUROPE = (-35, 24, 45, 85)
"""Where EPSG:3035 is used, in degrees: west, south, east, north, from the Azores to Cyprus."""

EDGES = ("left_m", "bottom_m", "right_m", "top_m")
"""The edges of a square by the names of their columns: west, south, east, north."""


def polygons(epsg: np.ndarray, edges: np.ndarray, to_epsg: int | str) -> np.ndarray:
    """Return the polygon in `to_epsg` (x, y) of each rectangle, counterclockwise from its south-west corner.

    `to_epsg` is an EPSG code, or the text of another CRS, as PROJ reads it.

    `epsg` (rectangle) is the zone of each; `edges` (rectangle, edge) are ordered as EDGES, in metres.
    """
    corners = edges.astype("float64")[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    for zone in np.unique(epsg):
        of_zone = np.flatnonzero(epsg == zone)
        x, y = corners[of_zone].reshape(-1, 2).T
        corners[of_zone] = np.stack(transformer(int(zone), to_epsg).transform(x, y), axis=1).reshape(-1, 4, 2)
    shapes = np.asarray(shapely.polygons(corners))
    return _split(shapes) if to_epsg == LONGITUDE_LATITUDE else shapes


def _split(shapes: np.ndarray) -> np.ndarray:
    """Return shapes in degrees, those across the 180th meridian split there: east of it, then west of it.

    Shapes of a tile are small, so one that spans half of the Earth has corners on both sides of the meridian.
    """
    west, _, east, _ = shapely.bounds(shapes).T
    for at in np.flatnonzero(east - west > 180).tolist():
        parts = (_side(shapes[at], *bounds) for bounds in ((0, 180), (-180, 0)))
        found = [part for part in parts if part.area]
        shapes[at] = shapely.MultiPolygon(found) if len(found) > 1 else found[0]
    return shapes


def _side(shape: shapely.Geometry, west: float, east: float) -> shapely.Geometry:
    """Return what lies between two meridians of a shape across the 180th one, counterclockwise."""
    turned = shapely.transform(shape, lambda at: np.column_stack([at[:, 0] % 360 + min(west, 0) * 2, at[:, 1]]))
    found = shapely.intersection(turned, shapely.box(west, -90, east, 90))
    return shapely.orient_polygons(shapely.normalize(found))  # versions of GEOS begin rings at other corners


def bounding_box(shape: shapely.Geometry) -> tuple[float, float, float, float]:
    """Return west, south, east, north of a shape of this module in degrees.

    Across the 180th meridian west is greater than east (RFC 7946, 5.2).
    """
    west, south, east, north = shape.bounds
    if east - west > 180:
        longitudes = shapely.get_coordinates(shape)[:, 0] % 360
        west, east = float(longitudes.min()), float(longitudes.max()) - 360
    return west, south, east, north


def common_box(boxes: np.ndarray) -> list[float]:
    """Return the box around boxes (box, edge) in degrees, as `bounding_box` returns them.

    It goes across the 180th meridian if one of them does, and leaves out the widest gap between them.
    """
    boxes = boxes[np.argsort(boxes[:, 0])]
    west, south, east, north = boxes.T
    if (west <= east).all():
        return [*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist()]
    reached = np.maximum.accumulate(np.where(east < west, east + 360, east))
    reached = np.maximum(reached, reached[-1] - 360)
    gaps = np.r_[west[1:], west[0] + 360] - reached
    widest = int(gaps.argmax())
    edges = (west[(widest + 1) % len(west)], (reached[widest] + 180) % 360 - 180) if gaps.max() > 0 else (-180, 180)
    return [float(edge) for edge in (edges[0], south.min(), edges[1], north.max())]


def equal_area(epsg: np.ndarray, edges: np.ndarray) -> int | str:
    """Return an equal-area projection for rectangles, as `polygons` takes them and its argument `to_epsg`.

    It is EPSG:3035 in Europe, and elsewhere a Lambert azimuthal one around the middle of all rectangles, so that none
    is near its antipode, where shapes are torn.
    """
    points = []
    for zone in np.unique(epsg):
        west, south, east, north = edges[epsg == zone].astype("float64").T
        points.append(transformer(int(zone), LONGITUDE_LATITUDE).transform((west + east) / 2, (south + north) / 2))
    longitude, latitude = np.concatenate(points, axis=1) if points else np.empty((2, 0))
    west, south, east, north = _EUROPE
    if ((west <= longitude) & (longitude <= east) & (south <= latitude) & (latitude <= north)).all():
        return EQUAL_AREA
    across, up = np.radians(longitude), np.radians(latitude)
    x, y, z = (np.cos(up) * np.cos(across)).mean(), (np.cos(up) * np.sin(across)).mean(), np.sin(up).mean()
    middle = np.degrees([np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))])
    return f"+proj=laea +lon_0={middle[0]:.3f} +lat_0={middle[1]:.3f} +ellps=GRS80 +units=m +no_defs"


def outline(epsg: int, edges: Sequence[float], to_epsg: int | str, most_m: float) -> shapely.Geometry:
    """Return the polygon of one large rectangle, whose edges bend: with a vertex at least every `most_m` metres."""
    dense = shapely.segmentize(shapely.box(*edges), most_m)
    to = transformer(epsg, to_epsg)
    shape = shapely.transform(dense, lambda points: np.stack(to.transform(*points.T), axis=1))
    return _split(np.array([shape]))[0] if to_epsg == LONGITUDE_LATITUDE else shape


@lru_cache(maxsize=16)
def transformer(epsg: int | str, to_epsg: int | str) -> pyproj.Transformer:
    """Return the transformation from one CRS to another, x before y, longitude before latitude."""
    return pyproj.Transformer.from_crs(epsg, to_epsg, always_xy=True)
