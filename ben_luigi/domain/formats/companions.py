"""Find the files that belong to a file: what lies beside vectors and rasters, and what a VRT is made from."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Iterator
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
    places = _there(path.stem, (".wld", f"{suffix}w", f".{suffix[1]}{suffix[-1]}w"), path)
    headers = (".hdr", f"{suffix}.hdr", ".prj", ".ige") if suffix.lower() in _WITH_HEADER else ()
    found = [*_there(path.name, (_MASK,), path), *_there(path.stem, headers, path)]
    if places:  # of a raster that has a place of its own GDAL reads none
        read = _read_by_gdal(path)
        found += [one for one in places if read is None or one in read]
    notes = _there(path.name, (_NOTES,), path)
    return sorted({*found, *filter(_tells, notes)})


def _there(stem: str, endings: Iterable[str], path: Path) -> list[Path]:
    """Return the files beside `path` that have one of these names, in lower or upper case."""
    folder = os.fspath(path.parent)  # texts, since a `Path` for each takes longer than the look itself
    names = {os.path.join(folder, stem + one) for ending in endings for one in (ending, ending.lower(), ending.upper())}  # noqa: PTH118
    return [Path(name) for name in names if os.path.isfile(name)]  # noqa: PTH113


def _tells(notes: Path) -> bool:
    """Return whether GDAL's notes on a raster say more than statistics, which programs write that only look at it."""
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


def _read_by_gdal(path: Path) -> set[Path] | None:
    """Return the files that GDAL reads when it opens a raster; None if it cannot."""
    try:
        given.check_file(path)
        with (
            warnings.catch_warnings(action="ignore", category=rasterio.errors.NotGeoreferencedWarning),
            rasterio.open(path) as raster,
        ):
            return {_on_disk(name) for name in raster.files}
    except (rasterio.errors.RasterioError, OSError, ValueError):
        return None


def _sources(path: Path, known: set[Path]) -> list[Path]:
    """Return the files of a virtual raster that are not `known`; one may be made from other virtual rasters."""
    new = sorted(name for name in (_read_by_gdal(path) or set()) - known if given.kind(name) == given.FILE)
    known |= set(new)
    further = [one for name in new for one in (_sources(name, known) if _is_virtual(name) else companions(name))]
    return sorted({*new, *further})


def _is_virtual(path: Path) -> bool:
    return path.suffix.lower() == _VIRTUAL


def _on_disk(name: str) -> Path:
    """Return the file that GDAL's name of a file is about: of one in an archive (`/vsizip/`) that archive."""
    archived = re.fullmatch(r"/vsi\w+/(.+)", name)
    if archived is None:
        return Path(name).absolute()
    within = Path(archived[1]).absolute()
    return next((one for one in (within, *within.parents) if given.kind(one) == given.FILE), within)
