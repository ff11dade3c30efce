"""Draw the map of the report, Europe's borders with the tiles, as SVG in kilometres of EPSG:3035, y downwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely

from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.placement.country import COUNTRIES, TEN, read_all
from ben_luigi.domain.placement.footprints import EQUAL_AREA, LONGITUDE_LATITUDE, transformer
from ben_luigi.domain.placement.grid import Square
from ben_luigi.domain.recipe.model import Countries

_WEST, _SOUTH, _EAST, _NORTH = 2500, 1450, 5850, 5450
_NEAR = (-32.0, 30.0, 62.0, 74.0)  # degrees; the projection is not defined far beyond
_SMALLEST_KM = 70

WIDTH, HEIGHT = _EAST - _WEST, _NORTH - _SOUTH
"""The map's size in kilometres."""


@dataclass(frozen=True)
class Outline:
    """A country as an SVG path, and whether it is one of the dataset's."""

    name: str
    path: str
    occurs: bool


@dataclass(frozen=True)
class Mark:
    """A tile on the map: its corner and side in kilometres; small tiles are drawn enlarged."""

    x: float
    y: float
    side: float


def outlines(borders: Path, occurring: Sequence[str] = COUNTRIES, wanted: Countries = TEN) -> list[Outline]:
    """Return the countries that reach into the map, those that occur in the dataset last: their borders are on top.

    `wanted` are those of the recipe, whose file `borders` is.
    """
    countries = read_all(borders, wanted)
    try:
        found = [Outline(name, _path(_projected(polygon)), name in occurring) for name, polygon in countries]
    except (ValueError, shapely.errors.ShapelyError) as error:
        raise BadInput(
            borders,
            expected="polygons of countries that can be drawn",
            found=repr(error),
            remedy="fetch the file again: [inputs] countries_geojson",
        ) from error
    return sorted((outline for outline in found if outline.path), key=lambda outline: outline.occurs)


def _projected(polygon: shapely.Geometry) -> shapely.Geometry:
    """Return a country (longitude, latitude) in map coordinates, clipped to the map."""
    near = shapely.segmentize(shapely.clip_by_rect(polygon, *_NEAR), 1.0)
    on_map = shapely.transform(near, lambda points: np.stack(_to_map(points, LONGITUDE_LATITUDE), axis=1))
    return shapely.clip_by_rect(shapely.make_valid(on_map), 0, 0, WIDTH, HEIGHT)


def _to_map(points: np.ndarray, epsg: int) -> tuple[np.ndarray, np.ndarray]:
    """Return east and south on the map, in kilometres, of points (point, xy) in a CRS."""
    east, north = transformer(epsg, EQUAL_AREA).transform(*points.T)
    return np.asarray(east) / 1000 - _WEST, _NORTH - np.asarray(north) / 1000


def _path(geometry: shapely.Geometry) -> str:
    """Return an SVG path in whole kilometres; lines and points, which clipping can leave, are dropped."""
    rings = []
    for part in shapely.get_parts(shapely.simplify(geometry, 2.0)):
        if part.geom_type == "Polygon":
            rings += [part.exterior, *part.interiors]
    return "".join(_ring(shapely.get_coordinates(ring)) for ring in rings)


def _ring(points: np.ndarray) -> str:
    return "M" + "L".join(f"{x:.0f} {y:.0f}" for x, y in points[:-1].tolist()) + "Z"


def mark(square: Square) -> Mark:
    """Return where a square is drawn."""
    corners = np.array(square.bounds)
    x, y = _to_map(corners[[[0, 1], [2, 3], [0, 3], [2, 1]]], square.epsg)
    side = max(square.side_m / 1000, _SMALLEST_KM)
    return Mark(round(float(x.mean()) - side / 2, 1), round(float(y.mean()) - side / 2, 1), round(side, 1))


def shows(square: Square) -> bool:
    """Return whether a square lies on the map, which is one of Europe."""
    west, south, east, north = _NEAR
    longitude, latitude = centre(square)
    if not (west < longitude < east and south < latitude < north):
        return False
    place = mark(square)
    return 0 <= place.x <= WIDTH - place.side and 0 <= place.y <= HEIGHT - place.side


def enlarged(square: Square) -> bool:
    """Return whether a square is drawn larger than it is."""
    return square.side_m < 1000 * _SMALLEST_KM


def centre(square: Square) -> tuple[float, float]:
    """Return longitude and latitude of the middle of a square, in degrees."""
    middle = square.left + square.side_m / 2, square.top - square.side_m / 2
    longitude, latitude = transformer(square.epsg, LONGITUDE_LATITUDE).transform(*middle)
    return round(longitude, 4), round(latitude, 4)
