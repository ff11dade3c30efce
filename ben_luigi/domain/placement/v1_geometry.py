"""Read the v1 geometry files: names of v1 patches, and the bounding boxes of their squares.

They are GeoParquet files, one per UTM zone, with the columns patch_name and geom.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyproj
import pyproj.exceptions
import shapely

from ben_luigi.domain.bounded import parse_json
from ben_luigi.domain.errors import BadAlignment, BadInput, some
from ben_luigi.domain.formats import strings
from ben_luigi.domain.formats.tables import read_parquet

_KINDS = {"patch_name": pa.string(), "geom": pa.binary()}
_WITHIN_M = (50_000.0, 0.0, 950_000.0, 10_000_000.0)
"""West, south, east, north: a UTM zone of the northern hemisphere, with a margin into its neighbours."""

_REMEDY = "fetch the file again, or leave [inputs] v1_spatial_dir empty: it is fetched"


def read(path: Path, epsg: int | None) -> tuple[pa.Array, np.ndarray]:
    """Return names (string) and boxes (patch; west, south, east, north), in metres of the zone, in file order.

    Raise BadInput, naming patches, if a value is missing, is not a square or is duplicate; BadAlignment if the file is
    in another zone than `epsg`.
    """
    try:
        table = read_parquet(path, list(_KINDS))
        names, geometries = (_plain(table[column], kind) for column, kind in _KINDS.items())
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _bad(path, "GeoParquet with patch_name and geom", str(error).splitlines()[0][:300]) from error
    for column, values in zip(_KINDS, (names, geometries), strict=True):
        if values.null_count or not len(values):
            raise _bad(path, f"a {column} for each v1 patch", f"{len(values)} rows, {values.null_count} without")
    _check_zone(path, table.schema.metadata or {}, epsg)
    if repeated := strings.duplicates(pa.chunked_array([names])).unique().to_pylist():
        raise _bad(path, "each v1 patch once", f"more than once: {some(repeated)}")
    return names, _boxes(path, names, geometries)


def _bad(path: Path, expected: str, found: str) -> BadInput:
    return BadInput(path, expected=expected, found=found, remedy=_REMEDY)


def _plain(values: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    """Return a column as one array without a dictionary, whatever type the writer chose."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    plain = values.cast(kind)
    return plain.chunk(0) if plain.num_chunks == 1 else plain.combine_chunks()  # which copies even a single chunk


def _boxes(path: Path, names: pa.Array, geometries: pa.Array) -> np.ndarray:
    """Return the box of each geometry. Raise BadInput if a patch has none, or one outside of a UTM zone."""
    with np.errstate(invalid="ignore"):
        shapes = shapely.from_wkb(geometries.to_numpy(zero_copy_only=False), on_invalid="ignore")
        boxes, areas = shapely.bounds(shapes), shapely.area(shapes)
    west, south, east, north = _WITHIN_M
    inside = (boxes[:, 0] >= west) & (boxes[:, 1] >= south) & (boxes[:, 2] <= east) & (boxes[:, 3] <= north)
    for right, expected in (
        (np.isfinite(areas) & (areas > 0), "the square of each patch, with coordinates that are finite numbers"),
        (inside, "easting and northing in metres of a UTM zone"),
    ):
        if not right.all():
            wrong = np.flatnonzero(~right)
            edges = some(f"{edge:.6g}" for edge in boxes[wrong[0]].tolist())
            patches = some(names.take(pa.array(wrong)).to_pylist(), 3)
            raise _bad(path, expected, f"something else for {patches}: the box of the first is {edges}")
    return np.asarray(boxes)


def _check_zone(path: Path, metadata: dict[bytes, bytes], epsg: int | None) -> None:
    """Raise BadAlignment if the file's CRS is not that of its name.

    GeoParquet gives the CRS as PROJJSON (OGC GeoParquet 1.1, "crs"); without one the name is trusted.
    """
    try:
        found = _epsg(parse_json(metadata[b"geo"])["columns"]["geom"]["crs"])
    except (KeyError, ValueError, TypeError, pyproj.exceptions.CRSError):
        return
    if None not in (epsg, found) and found != f"EPSG:{epsg}":
        raise BadAlignment(
            path,
            expected=f"geometries in EPSG:{epsg}, as the file's name says",
            found=str(found),
            remedy="fetch the file again, or give it the name of its zone",
        )


def _epsg(crs: dict[str, Any]) -> str | None:
    """Return authority and code, from the id or, where there is none, from the definition."""
    if "id" in crs:
        return f"{crs['id']['authority']}:{crs['id']['code']}"
    code = pyproj.CRS.from_json_dict(crs).to_epsg()
    return None if code is None else f"EPSG:{code}"
