"""An L2A product: what its metadata say, where its bands are, and where it lies.

Of the bands only the twelve of `BANDS` count, each at its own resolution. No-data is 0 in them, though the files do
not say so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

import rasterio
from rasterio.errors import RasterioIOError

from ben_luigi.domain.errors import BadName, BadProduct, some
from ben_luigi.domain.files import file_hash
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.placement.grid import Square, tile_square
from ben_luigi.domain.products import jpeg2000

RESOLUTION_M = {
    "B01": 60,
    "B02": 10,
    "B03": 10,
    "B04": 10,
    "B05": 20,
    "B06": 20,
    "B07": 20,
    "B08": 10,
    "B09": 60,
    "B11": 20,
    "B12": 20,
    "B8A": 20,
}
"""Pixel size in metres of each band that counts, in the order of their files."""

BANDS = tuple(RESOLUTION_M)

QUALITY_RESULTS = ("GENERAL_QUALITY", "GEOMETRIC_QUALITY", "RADIOMETRIC_QUALITY", "SENSOR_QUALITY")
"""The quality results that decide whether a product's patches get labels."""

BOA_ADD_OFFSET = -1000
"""Surface reflectance * 10,000 is a pixel's value plus this, in every band of a product with `boa_offsets`.

Nothing forbids ESA to choose another one, but all baselines from 04.00 (25 January 2022) on have had this.
"""

_METADATA, _MANIFEST = "MTD_MSIL2A.xml", "manifest.safe"
_ANEW = "remove the product, and convert or download the tile again"


@dataclass(frozen=True)
class Product:
    """What counts of an L2A product.

    `bands` has a file for each of BANDS, `boa_offsets` the offsets that are not zero, `checksums` algorithm and value
    for each band that `manifest.safe` states them of.
    """

    folder: Path
    name: ProductName
    start_time: datetime
    baseline: str
    quality: Mapping[str, str]
    boa_offsets: Mapping[str, int]
    bands: Mapping[str, Path]
    checksums: Mapping[str, tuple[str, str]]
    square: Square

    @property
    def passed(self) -> bool:
        """Whether all quality results are PASSED, so that its patches get labels."""
        return all(result == "PASSED" for result in self.quality.values())

    def verify(self, band: str) -> None:
        """Check that a band's file is whole, and what the manifest says it is: BadProduct if not.

        JPEG 2000 has no checksums of its own: pixels whose bits have changed decode without an error.
        """
        path = self.bands[band]
        _check_whole(path, self.name)
        algorithm, expected = self.checksums.get(band, ("", ""))
        found = file_hash(path, algorithm) if algorithm else ""
        if found != expected:
            raise BadProduct(
                f"{self.name.tile_key}: {path}",
                expected=f"{algorithm} {expected}, as {_MANIFEST} says",
                found=found,
                remedy=f"{_ANEW}; without a {_MANIFEST} bands are taken as they are",
            )


def find_products(folder: Path) -> dict[str, Path]:
    """The L2A products (`*_MSIL2A_*.SAFE`) in a folder, by tile key."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*_MSIL2A_*.SAFE")):
        key = ProductName.parse(path.name).tile_key
        if key in found:
            raise BadName(
                f"tile {key}",
                expected=f"one L2A product in {folder}",
                found=some([found[key].name, path.name]),
                remedy="remove those that are not wanted",
            )
        found[key] = path
    return found


def read_product(folder: Path, side_m: int, *, check_extent: bool = True, accept_offset: bool = False) -> Product:
    """Read an L2A `.SAFE` folder: its metadata, and the headers of its bands.

    BadProduct when the metadata, a band, the extent or the CRS is missing or contradicts the product's name, when bands
    differ in extent, when a band is truncated, or when pixels carry an offset (`BOA_ADD_OFFSET`, baselines from 04.00)
    and `accept_offset` is not set. Without `check_extent` the raster may lie elsewhere than its MGRS square says; its
    side is `side_m` still.
    """
    root = _metadata(folder)
    name = _name(folder, root)
    bands = _bands(folder, name)
    square = tile_square(name, side_m)
    if not check_extent:
        with _opened(bands["B02"], name) as raster:
            square = Square(raster.transform.c, raster.transform.f, side_m, name.epsg)
    for band, path in bands.items():
        _check_raster(path, name, square, RESOLUTION_M[band])
    offsets = _offsets(root)
    if offsets and not accept_offset:
        raise BadProduct(
            f"{name.tile_key}: {folder.name}",
            expected="pixels without BOA_ADD_OFFSET, as in the published dataset",
            found=f"offsets {offsets}",
            remedy="take the product of the original baseline, or set [tile] accept_offset = true",
        )
    return Product(
        folder=folder,
        name=name,
        start_time=_start_time(root, folder),
        baseline=_text(root, "PROCESSING_BASELINE", folder),
        quality=_quality(root, folder),
        boa_offsets=offsets,
        bands=bands,
        checksums=_checksums(folder, bands),
        square=square,
    )


def _metadata(folder: Path) -> ElementTree.Element:
    path = folder / _METADATA
    try:
        return ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise BadProduct(path, expected="the metadata of an L2A product", found=str(error), remedy=_ANEW) from error


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _text(root: ElementTree.Element, tag: str, folder: Path) -> str:
    for element in root.iter():
        if _local(element) == tag and element.text:
            return element.text.strip()
    raise BadProduct(folder / _METADATA, expected=f"an element {tag}", found="none", remedy=_ANEW)


def _name(folder: Path, root: ElementTree.Element) -> ProductName:
    name = ProductName.parse(folder.name)
    uri = _text(root, "PRODUCT_URI", folder)
    if uri != folder.name or name.level != "L2A":
        raise BadProduct(
            folder,
            expected=f"the L2A product {uri}, as its metadata say",
            found=f"a folder {folder.name}",
            remedy="give the folder its product's name",
        )
    return name


def _start_time(root: ElementTree.Element, folder: Path) -> datetime:
    text = _text(root, "PRODUCT_START_TIME", folder)
    try:
        return datetime.fromisoformat(text.rstrip("Z"))
    except ValueError as error:
        raise BadProduct(folder / _METADATA, expected="a time PRODUCT_START_TIME", found=text, remedy=_ANEW) from error


def _quality(root: ElementTree.Element, folder: Path) -> dict[str, str]:
    """The four results; spelt as attribute `checkType` or, in older products, as the element's own name."""
    results: dict[str, str] = {}
    for element in root.iter():
        check = element.get("checkType") or _local(element).removesuffix("_FLAG")
        text = (element.text or "").strip()
        if check in QUALITY_RESULTS and text and results.get(check, "PASSED") == "PASSED":
            results[check] = text
    missing = [check for check in QUALITY_RESULTS if check not in results]
    if missing:
        raise BadProduct(folder / _METADATA, expected="four quality results", found=f"no {some(missing)}", remedy=_ANEW)
    return results


def _offsets(root: ElementTree.Element) -> dict[str, int]:
    elements = [element for element in root.iter() if _local(element) == "BOA_ADD_OFFSET"]
    values = {element.get("band_id", "?"): int(element.text or 0) for element in elements}
    return {band: value for band, value in values.items() if value}


def _bands(folder: Path, name: ProductName) -> dict[str, Path]:
    bands = {}
    for band, resolution_m in RESOLUTION_M.items():
        found = sorted(folder.glob(f"GRANULE/*/IMG_DATA/R{resolution_m}m/*_{band}_{resolution_m}m.jp2"))
        if len(found) != 1:
            raise BadProduct(
                f"{name.tile_key}: {folder.name}",
                expected=f"one file of band {band} at {resolution_m} m",
                found=some(path.name for path in found) or "none",
                remedy=_ANEW,
            )
        bands[band] = found[0]
    return bands


def _checksums(folder: Path, bands: Mapping[str, Path]) -> dict[str, tuple[str, str]]:
    """What `manifest.safe` says of the bands' files: algorithm, as hashlib calls it, and hexadecimal value."""
    manifest = folder / _MANIFEST
    if not manifest.is_file():
        return {}
    try:
        streams = ElementTree.parse(manifest).getroot().findall(".//{*}byteStream")
    except ElementTree.ParseError as error:
        raise BadProduct(manifest, expected="a manifest in XML", found=str(error), remedy=_ANEW) from error
    stated = {}
    for stream in streams:
        location, checksum = stream.find("{*}fileLocation"), stream.find("{*}checksum")
        if location is not None and checksum is not None and checksum.text:
            algorithm = checksum.get("checksumName", "").lower().replace("-", "_")
            if algorithm in hashlib.algorithms_guaranteed:
                stated[location.get("href", "").removeprefix("./")] = algorithm, checksum.text.strip().lower()
    names = {band: path.relative_to(folder).as_posix() for band, path in bands.items()}
    return {band: stated[name] for band, name in names.items() if name in stated}


def _opened(path: Path, name: ProductName) -> rasterio.DatasetReader:
    try:
        return rasterio.open(path)
    except RasterioIOError as error:
        raise BadProduct(
            f"{name.tile_key}: {path}", expected="a JPEG 2000 file", found=str(error), remedy=_ANEW
        ) from error


def _check_whole(path: Path, name: ProductName) -> None:
    try:
        jpeg2000.check_whole(path)
    except (OSError, ValueError) as error:
        raise BadProduct(
            f"{name.tile_key}: {path}", expected="a whole JPEG 2000 file", found=str(error), remedy=_ANEW
        ) from error


def _check_raster(path: Path, name: ProductName, square: Square, resolution_m: int) -> None:
    _check_whole(path, name)
    with _opened(path, name) as raster:
        epsg = raster.crs.to_epsg() if raster.crs else None
        found = (raster.width, raster.height, raster.dtypes[0], epsg, *tuple(raster.transform)[:6])
    side_px = int(square.side_m) // resolution_m
    expected = (side_px, side_px, "uint16", square.epsg, resolution_m, 0, square.left, 0, -resolution_m, square.top)
    if found != expected:
        raise BadProduct(
            f"{name.tile_key}: {path}",
            expected=f"width, height, type, EPSG code and transform {expected}",
            found=f"{found}",
            remedy="check the product; [tile] side_m and check_extent set what is expected",
        )
