"""Read the land cover polygons of one tile from a vector file of any kind that GDAL knows, in any CRS.

GeoPackages are read by `clc`, which need not hold all of their polygons in memory; this module holds them.
"""

from __future__ import annotations

import reprlib
from pathlib import Path

import numpy as np
import shapely

from ben_luigi.domain.errors import BadInput, some
from ben_luigi.domain.formats import vector
from ben_luigi.domain.formats.vector import Features
from ben_luigi.domain.placement.grid import Square
from ben_luigi.domain.remembered import remembered
from ben_luigi.domain.tiles import around
from ben_luigi.domain.tiles.clc import Content, Polygons, code_of, ranks

_MOST_NAMED = 5


def check(path: Path, content: Content) -> None:
    """Raise BadInput unless maps can be made of the polygons of the file; cached until the file changes."""
    _read(path, content)


def reaches(path: Path, square: Square, content: Content) -> bool:
    """Return whether some polygon may reach into a tile's square, or is at most about as far away as it is wide."""
    found, _, _ = _read(path, content)
    places = around.boxes(square, found.crs.to_wkt())
    return bool(around.meeting(shapely.bounds(found.geometries), places).any())


def read_polygons(path: Path, square: Square, content: Content) -> Polygons:
    """Read the polygons that may reach into a tile's square, reprojected vertex by vertex to its CRS.

    Of a polygon that reaches far beyond the square, only what lies around it is taken: the rest may have no place in
    the tile's zone.
    """
    found, codes, order = _read(path, content)
    crs = found.crs.to_wkt()
    places = around.boxes(square, crs)
    near = np.flatnonzero(around.meeting(shapely.bounds(found.geometries), places))
    near = near[np.argsort(order[near], kind="stable")]
    taken = around.clipped(found.geometries[near], places)
    there = ~shapely.is_empty(taken)
    projected = around.projected(taken[there], path, crs, square)
    return Polygons(around.valid(projected), codes[near][there], square.epsg)


@remembered()
def _read(path: Path, content: Content) -> tuple[Features, np.ndarray, np.ndarray]:
    """Return all polygons, their codes, uint16, and numbers that ascend in the order in which they are burnt."""
    columns = [content.code, *([content.order] if content.order else [])]
    try:
        found = vector.read(path, columns, content.table)
        codes = [code_of(value) for value in found.values[content.code]]
        wrong = [place for place, code in enumerate(codes) if code not in content.codes]
        if wrong:
            given = found.values[content.code]
            shown = (f"{reprlib.repr(given[place])} of feature {found.numbers[place]}" for place in wrong)
            raise ValueError(f"{content.code} {some(shown, _MOST_NAMED)}, which the nomenclature does not have")
        order = found.values[content.order] if content.order else found.numbers.tolist()
        without = [int(found.numbers[place]) for place, value in enumerate(order) if value is None]
        if without:
            raise ValueError(f"no {content.order}: features {some(without, _MOST_NAMED)}")
    except (OSError, ValueError) as error:
        raise BadInput(
            path,
            expected=f"polygons of land cover: a {content}",
            found=str(error),
            remedy=content.remedy,
        ) from error
    return found, np.array(codes, dtype="uint16"), np.asarray(ranks(order))
