"""Open rasters of other people with GDAL: one band, in any CRS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyproj
import pyproj.exceptions
import rasterio
import rasterio.dtypes
import rasterio.enums
import rasterio.errors

from ben_luigi.domain import given
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.formats.crs import on_earth

EXPECTED = "a raster with one band of numbers, and a CRS"


@contextmanager
def opened(path: Path, *, band: int | None = None, expected: str = EXPECTED, remedy: str) -> Iterator[Any]:
    """Yield the open raster, as one with a single band: of several that `band`, counted from 1.

    Where a further band says that pixels are transparent (alpha), they have no data: it becomes the raster's mask. A
    raster with a mask that also has a value for no data gets that value wherever its mask leaves pixels out.

    Raise BadInput for all that GDAL cannot read, then or later, and for rasters with several bands if none is chosen,
    of complex numbers or without a CRS on Earth. What is done in the block should only read, since every OSError is
    taken for one of the raster.
    """
    try:
        given.check_file(path)
        with ExitStack() as stack:
            file = stack.enter_context(rasterio.open(path))
            is_there = file.count == 1 if band is None else band <= file.count
            found = _without_place(file.crs) if is_there else _number(file.count)
            dtype = file.dtypes[(band or 1) - 1] if is_there else ""
            if found or dtype.startswith("complex"):
                wanted = expected if band is None else f"{expected}, or several of which band {band} is taken"
                raise BadInput(path, expected=wanted, found=found or dtype, remedy=remedy)
            yield _with_one_band(stack, file, path, band or 1)
    except (rasterio.errors.RasterioError, pyproj.exceptions.CRSError, OSError, ValueError) as error:
        raise BadInput(path, expected=expected, found=str(error), remedy=remedy) from error


def is_masked(file: Any) -> bool:
    """Return whether a mask, in the raster or beside it, says which pixels of its first band have data."""
    return rasterio.enums.MaskFlags.per_dataset in file.mask_flag_enums[0]


def _alpha(file: Any) -> list[int]:
    """Return the numbers of the bands of transparency."""
    alpha = rasterio.enums.ColorInterp.alpha
    return [number for number, what in zip(file.indexes, file.colorinterp, strict=True) if what == alpha]


def _with_one_band(stack: ExitStack, file: Any, path: Path, band: int) -> Any:
    """Return a band of an open raster as GDAL warps it right, open until the stack is left."""
    name = str(path.absolute())
    if file.count > 1:
        # Only this band is warped: GDAL would take values for no data of other bands into account, and blend one of
        # transparency into the pixels. It takes a half transparent one for half data.
        alpha = [number for number in _alpha(file) if number != band]
        by_dataset = f"mask,{band}" if is_masked(file) else ""
        text = _text(file, name, band, file.nodatavals[band - 1], mask=str(alpha[0]) if alpha else by_dataset)
        file, band = _opened(stack, text), 1
        name = file.name
    if not is_masked(file) or file.nodata is None:
        return file
    # GDAL warps by the value or by the mask. What the mask leaves out gets the value, or else no pixel has it.
    if _can_have(file.dtypes[0], file.nodata):
        return _opened(stack, _text(file, name, band, file.nodata, is_filled=True))
    return _opened(stack, _text(file, name, band, None, mask=f"mask,{band}"))


def _opened(stack: ExitStack, text: bytes) -> Any:
    memory = stack.enter_context(rasterio.MemoryFile(text, ext=".vrt"))
    return stack.enter_context(memory.open())


def _text(file: Any, name: str, band: int, nodata: float | None, *, mask: str = "", is_filled: bool = False) -> bytes:
    """Return a VRT with a single band, which is that of an open raster of this name, whatever characters are in it.

    `mask` names the raster's band that becomes the mask. One that `is_filled` has the value for no data wherever the
    raster's own mask leaves pixels out.
    """
    root = ElementTree.Element("VRTDataset", rasterXSize=str(file.width), rasterYSize=str(file.height))
    ElementTree.SubElement(root, "SRS").text = file.crs.to_wkt()
    ElementTree.SubElement(root, "GeoTransform").text = ", ".join(map(repr, file.transform.to_gdal()))

    def add(to: ElementTree.Element, dtype: str, number: str, kind: str) -> ElementTree.Element:
        it = ElementTree.SubElement(to, "VRTRasterBand", dataType=dtype, band="1")
        if nodata is not None and to is root:
            ElementTree.SubElement(it, "NoDataValue").text = repr(float(nodata))
        source = ElementTree.SubElement(it, kind)
        ElementTree.SubElement(source, "SourceFilename", relativeToVRT="0").text = name
        ElementTree.SubElement(source, "SourceBand").text = number
        return source

    dtype = rasterio.dtypes.typename_fwd[rasterio.dtypes.dtype_rev[file.dtypes[band - 1]]]
    source = add(root, dtype, str(band), "ComplexSource" if is_filled else "SimpleSource")
    if is_filled:
        ElementTree.SubElement(source, "UseMaskBand").text = "true"
    if mask:
        add(ElementTree.SubElement(root, "MaskBand"), "Byte", mask, "SimpleSource")
    return ElementTree.tostring(root)


def _can_have(dtype: str, value: float) -> bool:
    """Return whether a pixel of a type can have a value."""
    if np.dtype(dtype).kind not in "iu":
        return True
    limits = np.iinfo(dtype)
    return float(value).is_integer() and limits.min <= value <= limits.max


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
