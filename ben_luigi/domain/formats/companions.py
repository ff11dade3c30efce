"""Find the files that belong to a file: what lies beside vectors and rasters, and what a VRT is made from."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import rasterio
import rasterio.errors

from ben_luigi.domain import given
from ben_luigi.domain.bounded import read_xml

_VIRTUAL = ".vrt"
# ESRI, Shapefile Technical Description (1998): the index and the attributes. The CRS and the encoding came later.
_BESIDE = {
    ".shp": (".shx", ".dbf", ".prj", ".cpg"),
    ".mif": (".mid",),
    ".tab": (".dat", ".map", ".id"),
}
_WITH_PLACE = (".tif", ".tiff", ".jp2", ".png", ".jpg", ".jpeg")
"""Rasters that have a place of their own, or get it from a world file beside them."""
_WITH_HEADER = (".asc", ".bil", ".bip", ".bsq", ".dat", ".flt", ".grd", ".img", ".raw")
"""Rasters whose shape, CRS or pixels are in files beside them."""
_MASK, _NOTES = ".msk", ".aux.xml"
_ARCHIVED = "/vsi"


def companions(path: Path) -> list[Path]:
    """Return the existing files, sorted, without which a file means something else; none for other kinds of files.

    A virtual raster that cannot be read has none: whoever reads it says why.
    """
    suffix = path.suffix.lower()
    if suffix in _BESIDE:
        beside = given.listed(path.absolute().parent)
        return [one for one in beside if one.stem == path.stem and one.suffix.lower() in _BESIDE[suffix]]
    if suffix in (*_WITH_PLACE, *_WITH_HEADER):
        return _beside_raster(path.absolute())
    return _sources(path, {path.absolute()}) if suffix == _VIRTUAL else []


def _beside_raster(path: Path) -> list[Path]:
    """Return the files from which GDAL takes the place, the mask and other parts of a raster, as far as they exist.

    They are looked for by name, since a folder may have thousands of rasters. Overviews are left out: pixels are read
    in full resolution.
    """
    suffix = path.suffix
    endings = [".wld", f"{suffix}w", f".{suffix[1]}{suffix[-1]}w"]
    endings += [".hdr", f"{suffix}.hdr", ".prj", ".ige"] if suffix.lower() in _WITH_HEADER else []
    names = {path.name + _MASK, *(path.stem + one for ending in endings for one in (ending.lower(), ending.upper()))}
    found = [one for one in map(path.with_name, names) if given.kind(one) == given.FILE]
    notes = path.with_name(path.name + _NOTES)
    return sorted([*found, *([notes] if _tells(notes) else [])])


def _tells(notes: Path) -> bool:
    """Return whether GDAL's notes on a raster say more than statistics, which programs write that only look at it."""
    if given.kind(notes) != given.FILE:
        return False
    try:
        return any(_said(read_xml(notes)))
    except (OSError, ValueError):
        return True


def _said(element: ElementTree.Element) -> Iterator[str]:
    """Yield what notes say besides statistics."""
    if element.tag == "Histograms" or element.get("key", "").startswith("STATISTICS_"):
        return
    yield (element.text or "").strip()
    for inner in element:
        yield from _said(inner)


def _sources(path: Path, known: set[Path]) -> list[Path]:
    """Return the files of a virtual raster that are not `known`; one may be made from other virtual rasters."""
    try:
        given.check_file(path)
        with (
            warnings.catch_warnings(action="ignore", category=rasterio.errors.NotGeoreferencedWarning),
            rasterio.open(path) as raster,
        ):
            files = {_on_disk(name) for name in raster.files}
    except (rasterio.errors.RasterioError, OSError, ValueError):
        return []
    new = sorted(name for name in files - known if given.kind(name) == given.FILE)
    known |= set(new)
    further = [one for name in new for one in (_sources(name, known) if _is_virtual(name) else companions(name))]
    return sorted({*new, *further})


def _is_virtual(path: Path) -> bool:
    return path.suffix.lower() == _VIRTUAL


def _on_disk(name: str) -> Path:
    """Return the file that GDAL's name of a file is about: of one in an archive (`/vsizip/`) that archive."""
    if not name.startswith(_ARCHIVED):
        return Path(name).absolute()
    within = Path(name.split("/", 2)[2]).absolute()
    return next((one for one in (within, *within.parents) if given.kind(one) == given.FILE), within)
