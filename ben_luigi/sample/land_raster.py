"""Write a raster of land cover in degrees, with the codes of ESA WorldCover, from the parcels of a sample world."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import rasterio
from pyproj import Transformer
from rasterio.features import rasterize
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds

from ben_luigi.domain.placement.footprints import LONGITUDE_LATITUDE
from ben_luigi.domain.placement.grid import Square
from ben_luigi.sample.land_cover import Parcel, reprojected

_PIXELS_A_DEGREE = 12_000
_MARGIN_PX = 12
_GRASSLAND = 30
_CODES = {"1": 50, "2": 40, "231": 30, "3": 10, "32": 20, "321": 30, "33": 60, "4": 90, "5": 80}
"""The code of WorldCover for codes of CORINE that begin so; the longest beginning counts."""


def write_land_raster(path: Path, parcels: Iterable[Parcel], squares: Mapping[str, Square]) -> None:
    """Write a GeoTIFF in EPSG:4326 that covers the squares, uint8; between the parcels there is grassland.

    Parcels that overlap hide each other in the order of their IDs.
    """
    edges = np.array([transform_bounds(square.epsg, LONGITUDE_LATITUDE, *square.bounds) for square in squares.values()])
    pixels = np.concatenate(
        [np.floor(edges[:, :2].min(0) * _PIXELS_A_DEGREE), np.ceil(edges[:, 2:].max(0) * _PIXELS_A_DEGREE)]
    )
    west, south, east, north = pixels.astype(int) + _MARGIN_PX * np.array([-1, -1, 1, 1])
    transform = from_origin(west / _PIXELS_A_DEGREE, north / _PIXELS_A_DEGREE, *(2 * [1 / _PIXELS_A_DEGREE]))
    to_degrees = {
        mgrs: Transformer.from_crs(square.epsg, LONGITUDE_LATITUDE, always_xy=True) for mgrs, square in squares.items()
    }
    shapes = [
        (reprojected(parcel.outline, to_degrees[parcel.mgrs]), _code(parcel.code))
        for parcel in sorted(parcels, key=lambda parcel: parcel.clc_id)
    ]
    shape = (int(north - south), int(east - west))
    codes = rasterize(shapes, out_shape=shape, fill=_GRASSLAND, transform=transform, dtype="uint8")
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": 0, "compress": "deflate", "tiled": True}
    with rasterio.open(
        path, "w", width=shape[1], height=shape[0], crs=f"EPSG:{LONGITUDE_LATITUDE}", transform=transform, **profile
    ) as raster:
        raster.write(codes, 1)


def _code(corine: int) -> int:
    return next(_CODES[str(corine)[:digits]] for digits in (3, 2, 1) if str(corine)[:digits] in _CODES)
