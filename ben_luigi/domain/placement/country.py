"""Find the country of a patch: the nearest of the ten BigEarthNet countries, or of those of another recipe.

Borders are Natural Earth's 1:110m admin-0 countries in longitude and latitude. Their vertices are reprojected to the
patch's UTM zone, and the distance is measured there from the patch's square; its centre would give other countries (89
rows of the published data). At equal distance, where two countries touch one patch, the larger country wins.

Another recipe names its polygons: any vector file in any CRS, whose features of one name are one region. Those that it
names divide the patches as the ten countries do. If it takes all of a file, a patch has the region that it touches, the
larger one if there are two, and none if it touches none.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely

from ben_luigi.domain.bounded import read_json
from ben_luigi.domain.errors import BadInput, some
from ben_luigi.domain.formats import vector
from ben_luigi.domain.placement.footprints import LONGITUDE_LATITUDE, bounding_box, outline, transformer
from ben_luigi.domain.placement.grid import PatchGrid, Square
from ben_luigi.domain.recipe.model import Countries
from ben_luigi.domain.remembered import State, remembered, state
from ben_luigi.domain.vocabulary import COUNTRIES as COUNTRIES

BOXES = {
    "Austria": (9, 46, 18, 50),
    "Belgium": (2, 49, 7, 52),
    "Finland": (19, 59, 32, 71),
    "Ireland": (-11, 51, -5, 56),
    "Kosovo": (20, 41, 22, 44),
    "Lithuania": (20, 53, 27, 57),
    "Luxembourg": (5, 49, 7, 51),
    "Portugal": (-10, 36, -6, 43),
    "Serbia": (18, 41, 24, 47),
    "Switzerland": (5, 45, 11, 48),
}
"""The ten countries, and whole degrees around their mainland: west, south, east, north."""


NEAR_M = 50_000
"""A tile farther than this from all ten countries belongs to another one.

Of the published tiles, those off Finland's coast lie up to 31 km from it: its islands are too small for these borders.
"""

_MOST_OF_TILE = 0.5
"""A tile of which a larger part lies in another country is not off a coast.

Of published tiles that touch none of the ten, up to 0.29 lies in another one: these borders are coarse.
"""

_EARTH = (-180, -90, 180, 90)
_ROUNDING = 1e-6
_AROUND_M = 300_000
_MOST_BYTES = 100_000_000
_NO_SHAPE = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)
_DEGREES = ('CRS84"', 'EPSG::4326"', 'EPSG:4326"')
_REMEDY = "use Natural Earth's 1:110m admin-0 countries, or leave [inputs] countries_geojson empty: they are fetched"


NO_COUNTRY = ""
"""The country of a patch that is in none."""

TEN = Countries(column="name_long", names=COUNTRIES)
"""The countries of BigEarthNet."""


@remembered()
def read_borders(path: Path, wanted: Countries = TEN) -> dict[str, shapely.Geometry]:
    """Read the polygons of the wanted countries (longitude, latitude in EPSG:4326), by name.

    Those of the ten in a GeoJSON are taken as they are. Raise BadInput naming the country whose polygon is missing,
    invalid or elsewhere.
    """
    if not _is_natural_earth(path, wanted):
        return _regions(path, wanted)
    collection = _json(path)
    _check_crs(collection, path)
    of_name: dict[str, list[dict[str, Any]]] = {}
    for feature in collection["features"]:
        of_name.setdefault(_name(feature, wanted.column), []).append(feature)
    names = list(COUNTRIES)
    missing = [name for name in names if name not in of_name]
    twice = [name for name in names if len(of_name.get(name, [])) > 1]
    if missing or twice:
        raise BadInput(
            path,
            expected=f"one feature for each of the {_number(wanted)}, by its property {wanted.column}",
            found=f"more than one for {some(sorted(twice))}"
            if twice and not missing
            else f"none for {some(sorted(missing))}; {_columns(collection, wanted.column)}",
            remedy=_REMEDY,
        )
    return {name: _border(name, of_name[name][0], path) for name in names}


def _regions(path: Path, wanted: Countries) -> dict[str, shapely.Geometry]:
    """Return the regions of another recipe: the union of all features of a name, repaired where that is clear."""
    try:
        found = vector.read(path, [wanted.column])
        degrees = shapely.make_valid(found.projected(LONGITUDE_LATITUDE))
        outside = np.flatnonzero(~shapely.within(degrees, shapely.box(*_EARTH).buffer(_ROUNDING)))
        if len(outside):
            box = some(f"{edge:.6g}" for edge in degrees[outside[0]].bounds)
            raise ValueError(f"feature {found.numbers[outside[0]]} at {box}, which is not on Earth in {found.crs.name}")
        texts = np.array(
            ["" if text is None else str(text).strip() for text in found.values[wanted.column]], dtype=object
        )
        names = sorted(set(texts) - {""}) if wanted.names is None else list(wanted.names)
        missing = [name for name in names if name not in texts]
        if missing or not names:
            raise ValueError(f"none for {some(missing) or 'any'}; the file has {some(sorted(set(texts))) or 'none'}")
    except (OSError, ValueError) as error:
        raise BadInput(
            path,
            expected=f"polygons of the {_number(wanted)}, by their column {wanted.column}",
            found=str(error),
            remedy="correct [countries] of the recipe, or the file",
        ) from error
    return {name: shapely.union_all(degrees[texts == name]) for name in names}


def _is_natural_earth(path: Path, wanted: Countries) -> bool:
    """Return whether a file is read as Natural Earth's GeoJSON: that of the ten, unless it is binary, as a GeoPackage.

    A text that is no GeoJSON, such as a page with an error, is meant to be one.
    """
    if wanted.names != COUNTRIES or "json" in path.suffix.lower() or not path.is_file():
        return wanted.names == COUNTRIES
    try:
        with path.open("rb") as file:
            return b"\0" not in file.read(100)
    except OSError:  # which reading it says
        return True


def _number(wanted: Countries) -> str:
    """Return how the wanted countries are called."""
    if wanted.names == COUNTRIES:
        return "ten BigEarthNet countries"
    return f"{len(wanted.names)} countries of the recipe" if wanted.names else "countries of the file"


def read_all(path: Path, wanted: Countries = TEN) -> list[tuple[str, shapely.Geometry]]:
    """Return name and polygon (longitude, latitude in EPSG:4326) of every country in the file, by name.

    Of another recipe's file only the wanted ones are returned if the others are not usable.
    """
    if not _is_natural_earth(path, wanted):
        try:
            return list(read_borders(path, replace(wanted, names=None)).items())
        except BadInput:
            return sorted(read_borders(path, wanted).items())
    found = []
    for feature in _json(path)["features"]:
        try:
            found.append((_name(feature, wanted.column), shapely.geometry.shape(feature["geometry"])))
        except (*_NO_SHAPE, shapely.errors.ShapelyError) as error:
            problem = f"no geometry ({type(error).__name__}: {error})"
            raise BadInput(
                f"{path}, {_name(feature, wanted.column)}", expected="a polygon", found=problem, remedy=_REMEDY
            ) from error
    return sorted(found, key=lambda country: country[0])


def _json(path: Path) -> dict[str, Any]:
    try:
        collection = read_json(path, _MOST_BYTES)
        if not isinstance(collection, dict) or not isinstance(collection.get("features"), list):
            raise ValueError("no list of features")
    except (OSError, ValueError) as error:
        raise BadInput(path, expected="GeoJSON features of countries", found=str(error), remedy=_REMEDY) from error
    return collection


def _check_crs(collection: dict[str, Any], path: Path) -> None:
    """Raise BadInput unless coordinates are in degrees.

    RFC 7946 (4) requires it; older files state another CRS in `crs`.
    """
    crs = json.dumps(collection.get("crs"))
    if collection.get("crs") is not None and not any(name in crs for name in _DEGREES):
        raise BadInput(
            path,
            expected="longitude and latitude (CRS84, EPSG:4326)",
            found=f"crs {crs[:200]}",
            remedy=f"ogr2ogr -t_srs EPSG:4326 mended.geojson {shlex.quote(str(path))}, or {_REMEDY}",
        )


def _properties(feature: object) -> dict[str, object]:
    """Return properties by their names in lower case; the case differs between releases of Natural Earth."""
    found = feature.get("properties") if isinstance(feature, dict) else None
    return {str(key).lower(): value for key, value in found.items()} if isinstance(found, dict) else {}


def _name(feature: object, column: str) -> str:
    return str(_properties(feature).get(column.lower()))


def _columns(collection: dict[str, Any], column: str) -> str:
    """Describe the content of a file that lacks the wanted columns."""
    features = collection["features"]
    if any(column.lower() in _properties(feature) for feature in features):
        return f"{len(features)} features"
    return (
        f"no {column} among {some(sorted({key for feature in features for key in _properties(feature)}), 5) or 'none'}"
    )


def _border(name: str, feature: dict[str, Any], path: Path) -> shapely.Geometry:
    """Return the polygon of a country. Raise BadInput if it is missing, invalid, or outside of the ten's region."""
    try:
        with np.errstate(invalid="ignore"):  # NaN is reported below as invalid
            border = shapely.geometry.shape(feature["geometry"])
        found = f"a {border.geom_type}" if border.geom_type not in ("Polygon", "MultiPolygon") else ""
        found = found or (
            "an empty one" if border.is_empty else "" if border.is_valid else shapely.is_valid_reason(border)
        )
    except (*_NO_SHAPE, shapely.errors.ShapelyError) as error:
        found = f"no geometry ({type(error).__name__}: {error})"
    if found:
        mend = f"ogr2ogr -makevalid mended.geojson {shlex.quote(str(path))}"
        raise BadInput(f"{path}, {name}", expected="a valid polygon", found=found, remedy=f"{mend}, or {_REMEDY}")
    west, south, east, north = np.array(list(BOXES.values())).T
    box = shapely.box(west.min(), south.min(), east.max(), north.max())
    if not border.intersects(box):
        exchanged = shapely.transform(border, lambda points: points[:, ::-1]).intersects(box)
        found = "latitude before longitude: " if exchanged else ""
        raise BadInput(
            f"{path}, {name}",
            expected="longitude before latitude, in degrees, within " + some(f"{edge:g}" for edge in box.bounds),
            found=found + some(f"{edge:.6g}" for edge in border.bounds),
            remedy=_REMEDY,
        )
    return border


def _polygons(path: Path, square: Square, wanted: Countries) -> tuple[np.ndarray, np.ndarray]:
    """Return the names and the polygons in the square's zone, largest country first."""
    if wanted.names == COUNTRIES:
        return _projected(path, state(path), square.epsg, wanted)
    return _clipped(path, state(path), square, wanted)


@lru_cache(maxsize=32)
def _clipped(path: Path, changed: State, square: Square, wanted: Countries) -> tuple[np.ndarray, np.ndarray]:
    """Return those of regions anywhere on Earth, as far as they lie around a square.

    What lies far away cannot be projected to its zone.
    """
    west, south, east, north = bounding_box(outline(square.epsg, square.bounds, LONGITUDE_LATITUDE, 10_000))
    east += 360 if east < west else 0  # on both sides of the 180th meridian
    up = _AROUND_M / 111_000
    across = up / np.cos(np.radians(min(85, max(abs(south), abs(north)))))
    box = shapely.box(west - across, south - up, east + across, north + up)
    to_zone = transformer(LONGITUDE_LATITUDE, square.epsg)
    names, polygons, areas = [], [], []
    for name, border in read_borders(path, wanted).items():
        turns = [shapely.transform(border, lambda at, turn=turn: at + np.array([turn, 0])) for turn in (-360, 0, 360)]
        near = shapely.union_all([shapely.intersection(turn, box) for turn in turns if turn.intersects(box)])
        if not near.is_empty:
            names.append(name)
            polygons.append(shapely.transform(near, lambda at: np.column_stack(to_zone.transform(*at.T))))
            areas.append(abs(pyproj.Geod(ellps="WGS84").geometry_area_perimeter(border)[0]))
    order = np.argsort(-np.array(areas), kind="stable")
    found = np.array(polygons, dtype=object)[order]
    shapely.prepare(found)
    return np.array(names, dtype=object)[order], found


@lru_cache(maxsize=32)
def _projected(path: Path, changed: State, epsg: int, wanted: Countries) -> tuple[np.ndarray, np.ndarray]:
    """Return the names and the polygons in the zone, largest country first."""
    borders = read_borders(path, wanted)
    to_zone = transformer(LONGITUDE_LATITUDE, epsg)
    geometries = np.array(list(borders.values()), dtype=object)
    projected = shapely.transform(
        geometries, lambda points: np.column_stack(to_zone.transform(points[:, 0], points[:, 1]))
    )
    # argmin takes the first of equals, so the larger country wins, as Serbia does over Kosovo in the published 34TEN.
    order = np.argsort(-shapely.area(projected), kind="stable")
    names, polygons = np.array(list(borders))[order], projected[order]
    shapely.prepare(polygons)
    return names, polygons


def check_tile(tile: str, square: Square, borders: Path, wanted: Countries = TEN) -> None:
    """Raise BadInput, with the distance, if a tile lies too far from the wanted countries to belong to one of them.

    It does, too, if it touches none of them and most of it lies in another country of the file. If all countries of a
    file are wanted, any place is right.
    """
    if wanted.names is None:
        return  # a patch may be in none
    names, polygons = _polygons(borders, square, wanted)
    distance = shapely.distance(polygons, shapely.box(*square.bounds))
    if len(names) and not distance.min():
        return
    found = f"{distance.min() / 1000:,.0f} km to {names[distance.argmin()]}, the nearest of them" if len(names) else ""
    other = _around(borders, square, wanted)
    if other or not len(names) or distance.min() > NEAR_M:
        raise BadInput(
            f"tile {tile}",
            expected=f"a tile in one of the {_number(wanted)}, or off their coasts",
            found=", ".join(filter(None, (other, found or f"more than {_AROUND_M / 1000:.0f} km to all of them"))),
            remedy="take the product out of the list or folder that it comes from, or name others in [dataset] tiles",
        )


def _around(borders: Path, square: Square, wanted: Countries) -> str:
    """Return in which other country of the file most of a tile lies; an empty text if in none, or at sea."""
    try:
        names, polygons = _clipped(borders, state(borders), square, replace(wanted, names=None))
    except BadInput:  # other features of the file need not be usable
        return ""
    tile = shapely.box(*square.bounds)
    parts = shapely.area(shapely.intersection(shapely.make_valid(polygons), tile)) / tile.area
    most = int(parts.argmax()) if len(parts) else 0
    return f"in {names[most]}" if len(parts) and parts[most] > _MOST_OF_TILE else ""


def untouched(square: Square, borders: Path, wanted: Countries) -> bool:
    """Return whether a tile touches none of the wanted countries."""
    names, polygons = _polygons(borders, square, wanted)
    return not len(names) or bool(shapely.distance(polygons, shapely.box(*square.bounds)).min() > 0)


def countries(grid: PatchGrid, borders: Path, wanted: Countries = TEN) -> np.ndarray:
    """Return the country name of each patch of a tile, in the grid's order; `borders` is a file for `read_borders`.

    It is NO_COUNTRY for a patch in none, if all countries of a file are wanted. Raise BadInput if the tile lies in none
    of those that are wanted; see `check_tile`.
    """
    check_tile(grid.tile_name, grid.square, borders, wanted)
    return nearest(grid, borders, wanted)


def nearest(grid: PatchGrid, borders: Path, wanted: Countries = TEN) -> np.ndarray:
    """Return the same as `countries`, however far the country is."""
    names, polygons = _polygons(borders, grid.square, wanted)
    if not len(names):
        return np.full(grid.patches_a_side**2, NO_COUNTRY)
    near = _near(polygons, grid.square)
    names, polygons = names[near], polygons[near]
    if len(names) == 1 and wanted.names is not None:
        return np.repeat(names, grid.patches_a_side**2)
    patches = shapely.box(*grid.edges.T)
    distance = np.stack([shapely.distance(polygon, patches) for polygon in polygons])
    found = names[distance.argmin(axis=0)]
    return np.asarray(found if wanted.names is not None else np.where(distance.min(axis=0) > 0, NO_COUNTRY, found))


def _near(polygons: np.ndarray, square: Square) -> np.ndarray:
    """Return whether each polygon can be the nearest one of any patch.

    It is at most the tile's diagonal farther away than the nearest.
    """
    tile = shapely.box(*square.bounds)
    around = shapely.contains_properly(polygons, tile)
    if around.any():
        return np.asarray(around)
    distance = shapely.distance(polygons, tile)
    return np.asarray(distance <= distance.min() + square.side_m * 2**0.5)
