"""Take of polygons in any CRS what lies around a tile: the rest may have no place in the tile's zone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely

from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.placement.footprints import outline, transformer
from ben_luigi.domain.placement.grid import Square

_POINTS_A_SIDE = 100
_TURNS = (-360, 0, 360)
_TURNED = [[turn, 0, turn, 0] for turn in _TURNS]


def boxes(square: Square, crs: int | str) -> np.ndarray:
    """Return the boxes (box, edge) around a tile's square in a CRS: west, south, east, north.

    They reach at least as far beyond the square as it is wide. There are several where the CRS cuts the square in two,
    as degrees do at the 180th meridian, and where one place has several longitudes.
    """
    points = shapely.get_coordinates(outline(square.epsg, square.bounds, crs, square.side_m / _POINTS_A_SIDE))
    parts = [points[np.isfinite(points).all(axis=1)]]
    for axis in (0, 1):
        parts = [half for part in parts for half in _cut(part, axis)]
    if not parts:
        return np.empty((0, 4))
    found = np.array([[*part.min(axis=0), *part.max(axis=0)] for part in parts])
    margin = (found[:, 2:] - found[:, :2]).sum(axis=0).max()
    found += margin * np.array([-1, -1, 1, 1])
    source = transformer(crs, square.epsg).source_crs
    return np.concatenate([found + turned for turned in _TURNED]) if source and source.is_geographic else found


def _cut(points: np.ndarray, axis: int) -> list[np.ndarray]:
    """Return the points of an outline (point, x or y) in two parts where most of their extent is one gap."""
    if not len(points):
        return []
    along = points[np.argsort(points[:, axis])]
    gaps = np.diff(along[:, axis])
    if not gaps.max(initial=0) > (along[-1, axis] - along[0, axis]) / 2:
        return [points]
    return np.split(along, [int(gaps.argmax()) + 1])


def meeting(bounds: np.ndarray, places: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    """Return which bounds intersect some place; both are (box, edge): west, south, east, north."""
    meets = np.zeros(len(bounds), dtype=bool)
    for west, south, east, north in places:
        meets |= (bounds[:, 0] <= east) & (bounds[:, 2] >= west) & (bounds[:, 1] <= north) & (bounds[:, 3] >= south)
    return meets


def clipped(polygons: np.ndarray, within: np.ndarray) -> np.ndarray:
    """Return of each polygon what lies in some box (box, edge), without lines and points: empty if nothing does.

    A polygon that does not leave the boxes stays as it is.
    """
    place = shapely.union_all(shapely.box(*within.T))
    result = valid(polygons.copy())
    far = np.flatnonzero(~shapely.within(result, place))
    result[far] = _areas(shapely.intersection(shapely.make_valid(result[far]), place))
    return result


def projected(polygons: np.ndarray, path: Path, crs: int | str, square: Square) -> np.ndarray:
    """Return polygons of a file, reprojected vertex by vertex to a tile's CRS.

    Raise BadInput if some vertex has no place there.
    """
    to_zone = transformer(crs, square.epsg)
    found = shapely.transform(polygons, lambda at: np.column_stack(to_zone.transform(at[:, 0], at[:, 1])))
    nowhere = np.flatnonzero(~np.isfinite(shapely.bounds(found)).all(axis=1) & ~shapely.is_empty(polygons))
    if len(nowhere):
        raise BadInput(
            path,
            expected=f"polygons with a place in the zone of the tile at {square.left:.0f}, {square.top:.0f}, "
            f"EPSG:{square.epsg}",
            found=f"one that has none: {', '.join(f'{edge:.6g}' for edge in polygons[nowhere[0]].bounds)} "
            "(west, south, east, north in the CRS of the file)",
            remedy="correct this polygon, or the CRS of the file",
        )
    return np.asarray(found)


def valid(polygons: np.ndarray) -> np.ndarray:
    """Repair invalid polygons: GDAL would burn a hole where parts of a multipolygon overlap."""
    wrong = np.flatnonzero(~shapely.is_valid(polygons))
    for place in wrong.tolist():
        parts = shapely.get_parts(shapely.get_parts(shapely.make_valid(polygons[place])))
        areal = parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON]
        if len(areal):
            polygons[place] = shapely.multipolygons(areal)
    return polygons


def _areas(geometries: np.ndarray) -> np.ndarray:
    """Return the polygons that geometries have, without lines and points."""
    parts = [shapely.get_parts(shapely.get_parts(one)) for one in geometries]
    kinds = [shapely.get_type_id(of) == shapely.GeometryType.POLYGON for of in parts]
    return np.array([shapely.multipolygons(of[kind]) for of, kind in zip(parts, kinds, strict=True)], dtype=object)
