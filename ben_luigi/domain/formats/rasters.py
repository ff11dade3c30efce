"""Open rasters of other people with GDAL: one band, in any CRS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyproj
import pyproj.exceptions
import rasterio
import rasterio.enums
import rasterio.errors
import rasterio.shutil

from ben_luigi.domain import given
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.formats.crs import on_earth

EXPECTED = "a raster with one band of numbers, and a CRS"


@contextmanager
def opened(path: Path, *, band: int | None = None, expected: str = EXPECTED, remedy: str) -> Iterator[Any]:
    """Yield the open raster, as one with a single band: of several that `band`, counted from 1.

    Where a further band says that pixels are transparent (alpha), they have no data: it becomes the raster's mask.

    Raise BadInput for all that GDAL cannot read, then or later, and for rasters with several bands if none is chosen,
    of complex numbers or without a CRS on Earth. What is done in the block should only read, since every OSError is
    taken for one of the raster.
    """
    try:
        given.check_file(path)
        with rasterio.open(path) as file:
            is_there = file.count == 1 if band is None else band <= file.count
            found = _without_place(file.crs) if is_there else _number(file.count)
            dtype = file.dtypes[(band or 1) - 1] if is_there else ""
            if found or dtype.startswith("complex"):
                wanted = expected if band is None else f"{expected}, or several of which band {band} is taken"
                raise BadInput(path, expected=wanted, found=found or dtype, remedy=remedy)
            if file.count == 1:
                yield file
                return
            alpha = [number for number in _alpha(file) if number != band]
        # Only this band is warped: GDAL would take values for no data of other bands into account.
        with rasterio.open(f"vrt://{path}?bands={band}") as file:
            if not alpha:
                yield file
                return
            with rasterio.open(_masked(file, path, alpha[0])) as masked:
                yield masked
    except (rasterio.errors.RasterioError, pyproj.exceptions.CRSError, OSError, ValueError) as error:
        raise BadInput(path, expected=expected, found=str(error), remedy=remedy) from error


def is_masked(file: Any) -> bool:
    """Return whether a mask, in the raster or beside it, says which pixels of its first band have data."""
    return rasterio.enums.MaskFlags.per_dataset in file.mask_flag_enums[0]


def _alpha(file: Any) -> list[int]:
    """Return the numbers of the bands of transparency."""
    alpha = rasterio.enums.ColorInterp.alpha
    return [number for number, what in zip(file.indexes, file.colorinterp, strict=True) if what == alpha]


def _masked(file: Any, path: Path, alpha: int) -> str:
    """Return the text of a VRT of a raster with one band, whose mask is the band `alpha` of the file at `path`.

    A band of transparency beside it would be blended into the pixels: GDAL takes a half transparent one for half data.
    """
    with rasterio.MemoryFile(ext=".vrt") as memory:
        rasterio.shutil.copy(file, memory.name, driver="VRT")
        root = ElementTree.fromstring(memory.read())
    band = ElementTree.SubElement(ElementTree.SubElement(root, "MaskBand"), "VRTRasterBand", dataType="Byte")
    source = ElementTree.SubElement(band, "SimpleSource")
    ElementTree.SubElement(source, "SourceFilename", relativeToVRT="0").text = str(path.absolute())
    ElementTree.SubElement(source, "SourceBand").text = str(alpha)
    return ElementTree.tostring(root, "unicode")


def _without_place(crs: Any) -> str:
    if not crs:
        return "no CRS"
    of = pyproj.CRS.from_wkt(crs.to_wkt())
    return "" if on_earth(of) else f"a CRS without a place on Earth, {of.name}"


def _number(bands: int) -> str:
    return f"{bands} band{'' if bands == 1 else 's'}"


def fault(path: Path, band: int | None = None) -> str:
    """Return what is wrong with a raster, of several bands with this one, by itself; empty if nothing is."""
    try:
        with rasterio.Env(), opened(path, band=band, remedy=""):
            return ""
    except BadInput as error:
        return error.found
