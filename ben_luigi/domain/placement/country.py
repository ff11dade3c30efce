"""The country of a patch: the nearest of the ten BigEarthNet countries.

Borders are Natural Earth's 1:110m admin-0 countries in longitude and latitude; their vertices are reprojected to the
patch's UTM zone, and the distance is taken there, from the patch's square (its centre would give other countries). At
equal distance, so where two countries touch one patch, the larger country wins.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import shapely
from pyproj import Transformer
from shapely.geometry import shape

from ben_luigi.domain.errors import BadInput, some
from ben_luigi.domain.placement.grid import PATCH_M, PatchGrid, Square
from ben_luigi.domain.vocabulary import COUNTRIES as COUNTRIES


@lru_cache(maxsize=4)
def read_borders(path: Path) -> dict[str, shapely.Geometry]:
    """Read the ten countries' polygons (longitude, latitude in EPSG:4326) from a GeoJSON with `name_long`."""
    try:
        features = json.loads(path.read_bytes())["features"]
        named = {_name(feature["properties"]): feature for feature in features}
        borders = {name: shape(named[name]["geometry"]) for name in COUNTRIES if name in named}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            path, expected="GeoJSON features with a property name_long", found=repr(error), remedy="fetch it again"
        ) from error
    if len(borders) < len(COUNTRIES):
        raise BadInput(
            path,
            expected="polygons of the ten BigEarthNet countries",
            found=f"none for {some(sorted(set(COUNTRIES) - set(borders)))}",
            remedy="use Natural Earth's 1:110m admin-0 countries",
        )
    return borders


def _name(properties: dict[str, object]) -> object:
    """`name_long`, whose case differs between releases of Natural Earth."""
    return {key.lower(): value for key, value in properties.items()}["name_long"]


@lru_cache(maxsize=32)
def _projected(path: Path, epsg: int) -> tuple[np.ndarray, np.ndarray]:
    """Names, and polygons in the zone, largest country first."""
    borders = read_borders(path)
    to_zone = Transformer.from_crs(4326, epsg, always_xy=True)
    geometries = np.array(list(borders.values()), dtype=object)
    projected = shapely.transform(
        geometries, lambda points: np.column_stack(to_zone.transform(points[:, 0], points[:, 1]))
    )
    order = np.argsort(-shapely.area(projected), kind="stable")
    names, polygons = np.array(list(borders))[order], projected[order]
    shapely.prepare(polygons)
    return names, polygons


def countries(grid: PatchGrid, borders: Path) -> np.ndarray:
    """Country name of each patch of a tile, in the grid's order; `borders` is a GeoJSON as `read_borders` takes it."""
    names, polygons = _projected(borders, grid.square.epsg)
    near = _near(polygons, grid.square)
    names, polygons = names[near], polygons[near]
    if len(names) == 1:
        return np.repeat(names, grid.patches_a_side**2)
    left, top = grid.left, grid.top
    patches = shapely.box(left, top - PATCH_M, left + PATCH_M, top)
    distance = np.stack([shapely.distance(polygon, patches) for polygon in polygons])
    return np.asarray(names[distance.argmin(axis=0)])


def _near(polygons: np.ndarray, square: Square) -> np.ndarray:
    """Whether each polygon can be the nearest of any patch: none is farther than the tile's diagonal more than it."""
    tile = shapely.box(*square.bounds)
    around = shapely.contains_properly(polygons, tile)
    if around.any():
        return np.asarray(around)
    distance = shapely.distance(polygons, tile)
    return np.asarray(distance <= distance.min() + square.side_m * 2**0.5)
