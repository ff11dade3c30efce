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
def opened(path: Path, *, expected: str = EXPECTED, remedy: str) -> Iterator[Any]:
    """Yield the open raster.

    Raise BadInput for all that GDAL cannot read, then or later, and for rasters with several bands, of complex numbers
    or without a CRS. What is done in the block should only read, since every OSError is taken for one of the raster.
    """
    try:
        given.check_file(path)
        with rasterio.open(path) as file:
            found = f"{file.count} bands" if file.count != 1 else "" if file.crs else "no CRS"
            if found or file.dtypes[0].startswith("complex"):
                raise BadInput(path, expected=expected, found=found or file.dtypes[0], remedy=remedy)
            yield file
    except (RasterioError, CRSError, OSError, ValueError) as error:
        raise BadInput(path, expected=expected, found=str(error), remedy=remedy) from error


def fault(path: Path) -> str:
    """Return what is wrong with a raster by itself; empty if nothing is."""
    try:
        with rasterio.Env(), opened(path, remedy=""):
            return ""
    except BadInput as error:
        return error.found
