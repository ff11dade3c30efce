"""Read polygons with some of their columns from a vector file of any kind that GDAL knows, in any CRS."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fiona
import numpy as np
import pyproj
import shapely

from ben_luigi.domain import given
from ben_luigi.domain.errors import some
from ben_luigi.domain.formats import vectorwhole
from ben_luigi.domain.formats.crs import on_earth

_KINDS = ("Polygon", "MultiPolygon")
_READ = (
    "read are GeoPackage, GeoJSON, FlatGeobuf, Shapefile and others, which ogr2ogr makes of KML, GeoParquet or a zip"
)
_FAILED = (OSError, KeyError, TypeError, AttributeError, RuntimeError)  # those of PROJ are RuntimeErrors


@dataclass(frozen=True)
class Features:
    """The features of a layer that have a polygon: values by the wanted column, and the polygons as (x, y).

    `numbers` count the features of the file from 1; `crs` is that of the polygons.
    """

    numbers: np.ndarray
    geometries: np.ndarray
    values: dict[str, list[Any]]
    crs: pyproj.CRS

    def projected(self, crs: int | pyproj.CRS) -> np.ndarray:
        """Return the polygons, reprojected vertex by vertex to another CRS, x or longitude first."""
        if self.crs == pyproj.CRS.from_user_input(crs):
            return self.geometries
        to = pyproj.Transformer.from_crs(self.crs, crs, always_xy=True)
        return np.asarray(shapely.transform(self.geometries, lambda at: np.column_stack(to.transform(*at.T))))


def read(path: Path, columns: Sequence[str], layer: str = "") -> Features:
    """Read the only layer that has polygons and all `columns` (in any case), or the one that is named.

    Raise ValueError that says what was found instead: another kind of file, no such layer or several, no CRS, or, with
    the number of the feature, a geometry that is no polygon or cannot be read. A file that is truncated is an error, as
    far as its kind lets it be seen.
    """
    given.check_file(path)
    vectorwhole.check_pages(path)
    try:
        with fiona.Env(), vectorwhole.heard() as errors:
            name = _layer(path, columns, layer)
            with fiona.open(path, layer=name) as file:
                if not file.crs_wkt:
                    raise ValueError(f"layer {name} without a CRS")
                crs = pyproj.CRS.from_wkt(file.crs_wkt)
                if not on_earth(crs):
                    raise ValueError(f"layer {name} in a CRS without a place on Earth, {crs.name}")
                of = {column: _exact(column, file.schema["properties"]) for column in columns}
                errors.clear()  # those of opening may be about another layer, or a CRS that PROJ knows nevertheless
                rows = list(_rows(file, path, of, errors))
    except (*_FAILED, fiona.errors.FionaError, fiona._err.CPLE_BaseError, shapely.errors.ShapelyError) as error:
        kinds = f"; {_READ}" if isinstance(error, fiona.errors.DriverError) else ""
        raise ValueError(f"no file of polygons: {type(error).__name__}: {error}{kinds}") from error
    geometries = np.array([row[1] for row in rows], dtype=object)
    values = {column: [row[2][column] for row in rows] for column in columns}
    return Features(np.array([row[0] for row in rows], dtype="int64"), shapely.force_2d(geometries), values, crs)


def _layer(path: Path, columns: Sequence[str], wanted: str) -> str:
    """Return the name of the layer."""
    found: dict[str, list[str]] = {}
    for name in fiona.listlayers(path):
        with fiona.open(path, layer=name) as file:
            if file.schema["geometry"] != "None":
                found[name] = list(file.schema["properties"])
    fitting = [
        name
        for name, of in found.items()
        if wanted in ("", name) and all(_exact(column, of) is not None for column in columns)
    ]
    if len(fitting) != 1:
        said = "; ".join(f"{name} ({some(of, 5)})" for name, of in found.items() if name in fitting or not fitting)
        raise ValueError(f"{f'{len(fitting)} layers that fit' if fitting else 'layers'}: {said or 'none'}")
    return fitting[0]


def _exact(column: str, of: Sequence[str]) -> str | None:
    """Return the name as the file writes it: that of the same case, or else one of another."""
    if column in of:
        return column
    return next((name for name in of if name.lower() == column.lower()), None)


def _rows(
    file: Any, path: Path, of: dict[str, str | None], errors: list[str]
) -> Iterator[tuple[int, shapely.Geometry, dict[str, Any]]]:
    """Yield number, polygon and values of each feature with a polygon. Raise ValueError once there are `errors`."""
    vectorwhole.check_text(path, file.driver)
    number, with_ring = 0, vectorwhole.with_ring(path, file.driver)
    for number, feature in enumerate(file, start=1):
        if errors:
            break
        geometry = _polygon(number, feature)
        if geometry is None:
            if with_ring[int(feature.id) : int(feature.id) + 1].any():
                raise ValueError(f"feature {number}: a polygon that cannot be read")
        elif not geometry.is_empty:
            yield number, geometry, {column: feature.properties[name] for column, name in of.items()}
    if errors:
        raise ValueError(f"a file that is truncated or damaged near feature {max(number, 1)}: {errors[0]}")
    vectorwhole.check_count(path, file.driver, _stated(file), number)


def _polygon(number: int, feature: Any) -> shapely.Geometry | None:
    """Return the polygon of a feature, or None if it has no geometry. Raise ValueError for any other geometry."""
    if feature.geometry is None:
        return None
    kind = feature.geometry["type"]
    if kind not in _KINDS:
        raise ValueError(f"feature {number}: a {kind}")
    with np.errstate(invalid="ignore"):  # `isfinite` reports it
        geometry = shapely.geometry.shape(feature.geometry)
        area = geometry.area
    if not np.isfinite(area):
        raise ValueError(f"feature {number}: coordinates that are no finite numbers, {reprlib.repr(area)}")
    return geometry


def _stated(file: Any) -> int | None:
    """Return how many features the file says that it has, if it does."""
    try:
        return len(file)
    except TypeError:
        return None
