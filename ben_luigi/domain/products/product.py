"""Read an L2A product: its metadata, its place, and the files of its bands.

Only the twelve bands of `BANDS` count, each at its own resolution. Their no-data value is 0, though the files do not
state it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import rasterio
import rasterio.errors

from ben_luigi.domain import bounded, given
from ben_luigi.domain.errors import BadInput, BadName, BadProduct, some
from ben_luigi.domain.files import file_hash
from ben_luigi.domain.names import ProductName, is_old_format
from ben_luigi.domain.placement.grid import Square, tile_square
from ben_luigi.domain.products import jpeg2000, manifest
from ben_luigi.domain.remembered import remembered
from ben_luigi.domain.vocabulary import RESOLUTION_M

BANDS = tuple(RESOLUTION_M)

QUALITY_RESULTS = ("GENERAL_QUALITY", "GEOMETRIC_QUALITY", "RADIOMETRIC_QUALITY", "SENSOR_QUALITY")
"""The quality results that decide whether a product's patches get labels."""

BOA_ADD_OFFSET = -1000
"""Surface reflectance * 10,000 is a pixel's value plus this, in every band of a product with `boa_offsets`.

ESA may choose another value, but all baselines from 04.00 (25 January 2022) on have had this one.
"""

_Description = tuple[int, int, str, int | None, float, float, float, float, float, float]
"""Width, height, type of the bands, EPSG code, and the six numbers of the affine transform."""

_METADATA = "MTD_MSIL2A.xml"
_BASELINE = re.compile(r"\d\d\.\d\d", re.ASCII)
_RESULT_CHARACTERS = 40
_ANEW = "remove the product, and convert or download the tile again"


@dataclass(frozen=True)
class Product:
    """The properties of an L2A product that the pipeline uses.

    `bands` has the file of each of BANDS, `boa_offsets` the offsets that are not zero, `checksums` algorithm and value
    for each band for which `manifest.safe` states them.
    """

    folder: Path
    name: ProductName
    start_time: datetime
    baseline: str
    quality: Mapping[str, str]
    boa_offsets: Mapping[str, int]
    bands: Mapping[str, Path]
    checksums: Mapping[str, manifest.Checksum]
    square: Square

    @property
    def passed(self) -> bool:
        """Whether all quality results are PASSED, so that its patches get labels."""
        return all(result == "PASSED" for result in self.quality.values())

    @property
    def offset(self) -> int:
        """What is to be added to every pixel of all bands, 0 or BOA_ADD_OFFSET. Raise BadProduct if bands differ."""
        values = set(self.boa_offsets.values()) or {0}
        if len(values) > 1 or (self.boa_offsets and len(self.boa_offsets) < len(BANDS)) or max(values) > 0:
            raise BadProduct(
                f"{self.name.tile_key}: {self.folder.name}",
                expected="one negative BOA_ADD_OFFSET for all bands",
                found=f"offsets {dict(self.boa_offsets)}",
                remedy=_ANEW,
            )
        return values.pop()

    def verify(self, band: str) -> None:
        """Raise BadProduct unless a band's file is complete and has the checksum that the manifest states.

        JPEG 2000 has no checksum of its own: a file with flipped bits decodes to other pixels without an error.
        """
        verify_image(self.name, self.bands[band], self.checksums.get(band))


def verify_image(name: ProductName, path: Path, checksum: manifest.Checksum | None) -> None:
    """Raise BadProduct unless an image of a product is complete and has this checksum of its manifest, if any."""
    _check_whole(path, name)
    algorithm, expected = checksum or ("", "")
    found = file_hash(path, algorithm) if algorithm else ""
    if found != expected:
        raise BadProduct(
            f"{name.tile_key}: {path}",
            expected=f"{algorithm} {expected}, as {manifest.NAME} says",
            found=found,
            remedy=f"{_ANEW}; without a {manifest.NAME} bands are taken as they are",
        )


@remembered()
def find_products(folder: Path) -> dict[str, Path]:
    """Return the L2A products (`*_MSIL2A_*.SAFE`) in a folder, by tile key, with the time for several of a day.

    A product that is alone in a folder around it counts. Entries that look like a product but are none, such as zips,
    are skipped with a warning. The answer is cached in this process until an entry of the folder changes. Raise
    BadInput if there are no products or the folder cannot be listed, BadName if two are of one tile and datatake.
    """
    found: dict[str, Path] = {}  # by timed key
    passed = given.PassedOver(folder)
    listed = given.products(folder, "L2A products, *_MSIL2A_*.SAFE")
    for path in listed:
        product = given.product_within(path)
        if reason := _no_product(product):
            passed.note(path, reason)
        elif product.suffix == ".SAFE" and "_MSIL2A_" in product.name:
            key = ProductName.parse(product.name).timed_key
            if found.setdefault(key, product) != product:
                raise BadName(
                    f"tile {key}",
                    expected=f"one L2A product in {folder}",
                    found=some([found[key].name, product.name]),
                    remedy="remove those that are not wanted",
                )
    if not found:
        reasons = "; ".join(passed.reasons()) or some((path.name for path in listed), 3) or "nothing"
        remedy = "put the folders of L2A products there, or correct [inputs] l2a_dir"
        raise BadInput(folder, expected="folders *_MSIL2A_*.SAFE", found=reasons, remedy=remedy)
    passed.say()
    days = Counter(ProductName.parse(product.name).tile_key for product in found.values())
    names = {key: ProductName.parse(product.name).tile_key for key, product in found.items()}
    return {key if days[day] > 1 else day: found[key] for key, day in names.items()}


def find_product(folder: Path, tile: str) -> Path:
    """Return the L2A product of a tile, as `find_products` finds it. Raise BadProduct if it is not there any more."""
    found = find_products(folder)
    if tile not in found:
        remedy = "put it back, or run again to go on without it"
        raise BadProduct(f"{tile}: {folder}", expected="the tile's L2A product", found=some(found, 3), remedy=remedy)
    return found[tile]


def _no_product(path: Path) -> str:
    """Return why a path that looks like an L2A product is none; empty if it is one, or does not look like one."""
    what, plain = given.kind(path), path.name.removesuffix(".zip").removesuffix(".SAFE")
    if "_MSIL2A_" not in path.name:
        around = any("_MSIL2A_" in name for name in given.products_within(path))
        return f"folders around several products, type: mv {path.parent}/FOLDER/*.SAFE {path.parent}" if around else ""
    if is_old_format(path.name):
        return "products in the format of before December 2016, of several tiles, which are not read"
    if path.suffix == ".zip":
        unzipped = path.with_name(f"{plain}.SAFE").exists() or path.with_name(plain).exists()
        return "" if unzipped else f"zipped products, type: unzip -d {path.parent} {path.parent}/FILE"
    if ".SAFE" not in path.name:
        return ""
    try:
        ProductName.parse(path.name)
    except BadName as error:
        return f"what has no product's name, {error.expected}"
    return "" if what == given.FOLDER else f"what is {what}, not a folder"


def read_product(
    folder: Path,
    side_m: int,
    *,
    check_extent: bool = True,
    accept_offset: bool = False,
    accepted_by: str = "[tile] accept_offset = true",
) -> Product:
    """Read an L2A `.SAFE` folder: its metadata, and the headers of its bands.

    Raise BadProduct if the metadata, a band, the extent or the CRS is missing or contradicts the product's name, if
    bands differ in extent, if a band is truncated, or if pixels carry an offset (`BOA_ADD_OFFSET`, baselines from
    04.00) and `accept_offset` is false. Without `check_extent` the raster may lie elsewhere than its MGRS square; its
    side is still `side_m` metres. `accepted_by` is what a user sets to accept an offset.
    """
    root = _metadata(folder)
    name = _name(folder, root)
    bands = _bands(folder, name)
    square = tile_square(name, side_m)
    if not check_extent:
        georeference = _described(bands["B02"], name)
        square = Square(georeference[6], georeference[9], side_m, name.epsg)
    for band, path in bands.items():
        _check_raster(path, name, square, RESOLUTION_M[band])
    # From baseline 04.00 on, ESA adds an offset to all pixels; the published dataset has only products without it.
    offsets = _offsets(root, folder)
    if offsets and not accept_offset:
        raise BadProduct(
            f"{name.tile_key}: {folder.name}",
            expected="pixels without BOA_ADD_OFFSET, as in the published dataset",
            found=f"offsets {offsets}",
            remedy=f"take the product of the original baseline, or set {accepted_by}",
        )
    return Product(
        folder=folder,
        name=name,
        start_time=_start_time(root, folder),
        baseline=_baseline(root, folder),
        quality=_quality(root, folder),
        boa_offsets=offsets,
        bands=bands,
        checksums=checksums_of(folder, bands),
        square=square,
    )


def _metadata(folder: Path) -> ElementTree.Element:
    path = folder / _METADATA
    try:
        return bounded.read_xml(path)
    except (OSError, ValueError) as error:
        raise BadProduct(path, expected="the metadata of an L2A product", found=str(error), remedy=_ANEW) from error


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _text(root: ElementTree.Element, folder: Path, *tags: str) -> str:
    """Return the text of the first of these elements that exists, in the order of the tags."""
    for tag in tags:
        for element in root.iter():
            if _local(element) == tag and element.text:
                return element.text.strip()
    raise BadProduct(folder / _METADATA, expected=f"an element {tags[0]}", found="none", remedy=_ANEW)


def _name(folder: Path, root: ElementTree.Element) -> ProductName:
    name = ProductName.parse(folder.name)
    uri = _text(root, folder, "PRODUCT_URI", "PRODUCT_URI_2A")  # the latter in baseline 02.05
    if uri != folder.name or name.level != "L2A":
        raise BadProduct(
            folder,
            expected=f"the L2A product {uri[:200]}, as its metadata say",
            found=f"a folder {folder.name}",
            remedy="give the folder its product's name",
        )
    return name


def _start_time(root: ElementTree.Element, folder: Path) -> datetime:
    text = _text(root, folder, "PRODUCT_START_TIME")
    try:
        time = datetime.fromisoformat(text)
        return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
    except (ValueError, OverflowError) as error:
        raise BadProduct(
            folder / _METADATA, expected="a time PRODUCT_START_TIME", found=text[:100], remedy=_ANEW
        ) from error


def _baseline(root: ElementTree.Element, folder: Path) -> str:
    text = _text(root, folder, "PROCESSING_BASELINE")
    if not _BASELINE.fullmatch(text):
        raise BadProduct(folder / _METADATA, expected="a PROCESSING_BASELINE as 02.05", found=text[:100], remedy=_ANEW)
    return text


def _quality(root: ElementTree.Element, folder: Path) -> dict[str, str]:
    """Return the four results.

    They have the attribute `checkType` or, in older products, an element name of their own.
    """
    results: dict[str, str] = {}
    for element in root.iter():
        check = element.get("checkType") or _local(element).removesuffix("_FLAG")
        text = (element.text or "").strip()[:_RESULT_CHARACTERS]
        # A result may stand there more than once: one that is not PASSED decides.
        if check in QUALITY_RESULTS and text and results.get(check, "PASSED") == "PASSED":
            results[check] = text
    missing = [check for check in QUALITY_RESULTS if check not in results]
    if missing:
        raise BadProduct(folder / _METADATA, expected="four quality results", found=f"no {some(missing)}", remedy=_ANEW)
    return results


def _offsets(root: ElementTree.Element, folder: Path) -> dict[str, int]:
    elements = [element for element in root.iter() if _local(element) == "BOA_ADD_OFFSET"]
    try:
        values = {element.get("band_id", "?"): int(element.text or 0) for element in elements}
    except ValueError as error:
        expected = "a whole number as BOA_ADD_OFFSET"
        raise BadProduct(folder / _METADATA, expected=expected, found=str(error), remedy=_ANEW) from error
    return {band: value for band, value in values.items() if value}


def _bands(folder: Path, name: ProductName) -> dict[str, Path]:
    bands = {}
    for band, resolution_m in RESOLUTION_M.items():
        found = band_files(folder, band)
        if len(found) != 1:
            raise BadProduct(
                f"{name.tile_key}: {folder.name}",
                expected=f"one file of band {band} at {resolution_m} m",
                found=some(path.name for path in found) or "none",
                remedy=_ANEW,
            )
        bands[band] = found[0]
    return bands


def band_files(folder: Path, band: str) -> list[Path]:
    """Return the files of a band at its own resolution in an L2A product.

    Raise BadProduct if a folder cannot be listed.
    """
    resolution_m = RESOLUTION_M[band]
    try:
        return given.find(folder, "GRANULE", "*", "IMG_DATA", f"R{resolution_m}m", f"*_{band}_{resolution_m}m.jp2")
    except OSError as error:
        raise BadProduct(folder, expected="a folder that can be read", found=str(error), remedy=_ANEW) from error


def checksums_of(folder: Path, bands: Mapping[str, Path]) -> dict[str, manifest.Checksum]:
    """Return the checksums that `manifest.safe` states for these files, as far as it states them."""
    path = folder / manifest.NAME
    if given.kind(path) == given.NOTHING:
        return {}
    stated = manifest.read_file(path, BadProduct, f"{_ANEW}; without a {manifest.NAME} bands are taken as they are")
    found = {band: stated.get(file.relative_to(folder).as_posix()) for band, file in bands.items()}
    return {band: checksum for band, checksum in found.items() if checksum}


def _check_whole(path: Path, name: ProductName) -> None:
    try:
        jpeg2000.check_whole(path)
    except (OSError, ValueError) as error:
        raise BadProduct(
            f"{name.tile_key}: {path}", expected="a whole JPEG 2000 file", found=str(error), remedy=_ANEW
        ) from error


def _described(path: Path, name: ProductName) -> _Description:
    """Return what a complete JPEG 2000 file states.

    No other format is opened, since a VRT could name any other file.
    """
    _check_whole(path, name)
    try:
        with rasterio.open(path) as raster:
            epsg = raster.crs.to_epsg() if raster.crs else None
            types = ", ".join(raster.dtypes[:2])
            a, b, left, d, e, top = (float(number) for number in raster.transform[:6])
            return raster.width, raster.height, types, epsg, a, b, left, d, e, top
    except (rasterio.errors.RasterioError, ValueError) as error:
        raise BadProduct(
            f"{name.tile_key}: {path}", expected="a JPEG 2000 file with its place", found=str(error), remedy=_ANEW
        ) from error


def _check_raster(path: Path, name: ProductName, square: Square, resolution_m: int) -> None:
    found = _described(path, name)
    side_px = int(square.side_m) // resolution_m
    expected = (side_px, side_px, "uint16", square.epsg, resolution_m, 0, square.left, 0, -resolution_m, square.top)
    if found != expected:
        raise BadProduct(
            f"{name.tile_key}: {path}",
            expected=f"width, height, type, EPSG code and transform {expected}",
            found=f"{found}",
            remedy="check the product; [tile] side_m and check_extent set what is expected",
        )
