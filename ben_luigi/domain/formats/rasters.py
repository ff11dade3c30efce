"""Open rasters of other people with GDAL: one band, in any CRS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rasterio
from pyproj.exceptions import CRSError
from rasterio.errors import RasterioError

from ben_luigi.domain import given
from ben_luigi.domain.errors import BadInput

EXPECTED = "a raster with one band of numbers, and a CRS"


@contextmanager
def opened(path: Path, *, band: int | None = None, expected: str = EXPECTED, remedy: str) -> Iterator[Any]:
    """Yield the open raster, as one with a single band: of several that `band`, counted from 1.

    Raise BadInput for all that GDAL cannot read, then or later, and for rasters with several bands if none is chosen,
    of complex numbers or without a CRS. What is done in the block should only read, since every OSError is taken for
    one of the raster.
    """
    try:
        given.check_file(path)
        with rasterio.open(path) as file:
            is_there = file.count == 1 if band is None else band <= file.count
            found = "" if is_there and file.crs else "no CRS" if is_there else _number(file.count)
            dtype = file.dtypes[(band or 1) - 1] if is_there else ""
            if found or dtype.startswith("complex"):
                wanted = expected if band is None else f"{expected}, or several of which band {band} is taken"
                raise BadInput(path, expected=wanted, found=found or dtype, remedy=remedy)
            if file.count == 1:
                yield file
                return
        # Only this band is warped: GDAL would take values for no data of other bands into account.
        with rasterio.open(f"vrt://{path}?bands={band}") as file:
            yield file
    except (RasterioError, CRSError, OSError, ValueError) as error:
        raise BadInput(path, expected=expected, found=str(error), remedy=remedy) from error


def _number(bands: int) -> str:
    return f"{bands} band{'' if bands == 1 else 's'}"


def fault(path: Path, band: int | None = None) -> str:
    """Return what is wrong with a raster, of several bands with this one, by itself; empty if nothing is."""
    try:
        with rasterio.Env(), opened(path, band=band, remedy=""):
            return ""
    except BadInput as error:
        return error.found
