"""Find the files that belong to a file: what lies beside vectors and masked rasters, and what a VRT is made from."""

from __future__ import annotations

import warnings
from pathlib import Path

import rasterio
import rasterio.errors

from ben_luigi.domain import given

_VIRTUAL, _TIFFS, _MASK = ".vrt", (".tif", ".tiff"), ".msk"
# ESRI, Shapefile Technical Description (1998): the index and the attributes. The CRS and the encoding came later.
_BESIDE = {
    ".shp": (".shx", ".dbf", ".prj", ".cpg"),
    ".mif": (".mid",),
    ".tab": (".dat", ".map", ".id"),
}


def companions(path: Path) -> list[Path]:
    """Return the existing files, sorted, without which a file means something else; none for other kinds of files.

    A virtual raster that cannot be read has none: whoever reads it says why.
    """
    suffix = path.suffix.lower()
    if suffix in _BESIDE:
        beside = given.listed(path.absolute().parent)
        return [one for one in beside if one.stem == path.stem and one.suffix.lower() in _BESIDE[suffix]]
    if suffix in _TIFFS:
        mask = path.absolute().with_name(f"{path.name}{_MASK}")
        return [mask] if given.kind(mask) == given.FILE else []
    return _sources(path, {path.absolute()}) if suffix == _VIRTUAL else []


def _sources(path: Path, known: set[Path]) -> list[Path]:
    """Return the files of a virtual raster that are not `known`; one may be made from other virtual rasters."""
    try:
        given.check_file(path)
        with (
            warnings.catch_warnings(action="ignore", category=rasterio.errors.NotGeoreferencedWarning),
            rasterio.open(path) as raster,
        ):
            files = {Path(name).absolute() for name in raster.files}
    except (rasterio.errors.RasterioError, OSError, ValueError):
        return []
    new = sorted(name for name in files - known if given.kind(name) == given.FILE)
    known |= set(new)
    further = [one for name in new if name.suffix.lower() == _VIRTUAL for one in _sources(name, known)]
    return sorted({*new, *further})
