"""Find L1C products, check that they are complete, unpack them for Sen2Cor, and compare them with the published ones.

A product's `manifest.safe` lists its files with one checksum each. CDSE packs the zip again for each download, drops
empty folders, and has added previews without a new id: so the manifest says more about the imagery than the hash of the
zip does.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ben_luigi.domain import given
from ben_luigi.domain.errors import BadInput, BadProduct, some
from ben_luigi.domain.files import atomic_write, file_hash
from ben_luigi.domain.formats import hashes
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.products import manifest
from ben_luigi.domain.products.l1c_container import ANEW, Container, Taken, UnreadableProduct, opened

_log = logging.getLogger(__name__)

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
SAME, REPACKED, CHANGED = "same", "repacked, imagery intact", "imagery changed or damaged"
PROVEN = "imagery proven by the manifest"
"""State of a product that came as a folder, without a zip to compare."""
UNKNOWN = "no published hash"
_SUFFIXES = (".zip", ".out", ".SAFE")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_IMAGE = re.compile(r"GRANULE/[^/]+/IMG_DATA/[^/]+_(B\d\d|B8A)\.jp2")
_TO_LOOK_AT = re.compile(r"(HTML|preview)/.+|[^/]+\.html|[^/]+-ql\.jpg|GRANULE/[^/]+/IMG_DATA/[^/]+_TCI\.jp2")
# CDSE drops empty folders from the zips of old products, and Sen2Cor ends without these two: `Error in creating L2A
# User Product`.
_NEEDED_BY_SEN2COR = (("DATASTRIP", "QI_DATA"), ("GRANULE", "AUX_DATA"))
_ROOT_FOLDERS = ("AUX_DATA", "HTML", "rep_info")
"""Without these, even if empty, Sen2Cor 2.4 and 2.5.5 end with "Error in creating L2A User Product" (reported)."""


@dataclass(frozen=True)
class Verification:
    """The result of comparing a product's members with its manifest; paths are relative to the product's folder.

    `unlisted` are members without a checksum in the manifest, which have only their zip CRC. `left_out` are listed
    members that are absent and not needed: previews and HTML, which come and go at CDSE.
    """

    name: ProductName
    members: int
    damaged: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def verify(path: Path, name: ProductName, taken: Taken | None = None) -> Verification:
    """Check that a zip or `.SAFE` folder is the complete product `name`: CRCs, manifest, 13 bands. Raise BadProduct.

    `taken` are digests that were computed while the zip arrived, so that it need not be read again.
    """
    found = inspect(path, taken)
    if found.name != name:
        raise BadProduct(path, expected=f"product {name}", found=f"product {found.name}", remedy=ANEW)
    problems = [f"{word} {some(members)}" for word, members in (("damaged", found.damaged), ("missing", found.missing))]
    if found.damaged or found.missing:
        listed = "; ".join(text for text in problems if not text.endswith(" "))
        raise BadProduct(path, expected=f"every member as {manifest.NAME} states it", found=listed, remedy=ANEW)
    return found


def inspect(path: Path, taken: Taken | None = None) -> Verification:
    """Compare each member of a zip or `.SAFE` folder with its manifest. Raise BadProduct if it has none."""
    with opened(path, taken) as product:
        listed = _manifest(product)
        files = product.files
        damaged = [file for file in files if not _intact(product, file, listed.get(file))]
        missing, left_out = lacking(files, listed)
        unlisted = [file for file in files if not listed.get(file) and file != manifest.NAME]
        return Verification(product.name, len(files), tuple(damaged), tuple(missing), tuple(unlisted), tuple(left_out))


def is_needed(file: str) -> bool:
    """Return whether a file of a product is needed, unlike previews and HTML."""
    return _TO_LOOK_AT.fullmatch(file) is None


def lacking(files: Sequence[str], listed: Mapping[str, object]) -> tuple[list[str], list[str]]:
    """Return the listed files that are missing, including bands, and those that are absent but not needed."""
    bands = Counter(match[1] for file in files if (match := _IMAGE.fullmatch(file)) and file in listed)
    absent = sorted(set(listed).difference(files))
    left_out = [file for file in absent if not is_needed(file)]
    missing = [file for file in absent if is_needed(file)]
    return missing + [f"band {band} (found {bands[band]} times)" for band in BANDS if bands[band] != 1], left_out


def _check_complete(path: Path, files: Sequence[str], listed: Mapping[str, object]) -> None:
    missing, _ = lacking(files, listed)
    if missing:
        expected = f"every member as {manifest.NAME} states it"
        raise BadProduct(path, expected=expected, found=f"missing {some(missing, 3)}", remedy=ANEW)


def _intact(product: Container, file: str, checksum: tuple[str, str] | None) -> bool:
    """Return whether a member can be read, matches its CRC if it is in a zip, and its checksum if there is one."""
    algorithm, expected = checksum or ("md5", "")
    try:
        found = product.digest(file, algorithm)
    except UnreadableProduct:
        raise
    except BadProduct as error:
        _log.warning("%s", error)
        return False
    return found == expected or not expected


def _manifest(product: Container) -> manifest.Listed:
    """Return what the manifest of a product states about its members. Raise BadProduct if it cannot be read."""
    if manifest.NAME not in product.files:
        raise BadProduct(product.path, expected=f"a {manifest.NAME}", found="none", remedy=ANEW)
    return manifest.read(product.chunks(manifest.NAME), f"{product.path}, {manifest.NAME}", BadProduct, ANEW)


def find_products(folder: Path) -> dict[ProductName, Path]:
    """Return the products in `folder`: zips (`*.zip`, `*.out`, whatever their name) and `.SAFE` folders, without
    verifying them.

    Other entries are skipped with a warning. A product that is alone in a folder around it counts; of two files of one
    product, the first by name does. Raise BadInput if the folder cannot be listed.
    """
    found: dict[ProductName, Path] = {}
    passed = given.PassedOver(folder)
    for path in given.products(folder, "L1C products, zips or .SAFE folders"):
        if given.product_within(path).suffix not in _SUFFIXES:
            if given.products_within(path, _SUFFIXES):
                passed.note(path, f"folders around several products, type: mv {folder}/FOLDER/* {folder}")
            continue
        try:
            with opened(path) as product:
                name = product.name
        except BadProduct as error:
            passed.note(path, f"unreadable products ({error.expected}: {error.found})")
            continue
        if name.level != "L1C":
            passed.note(path, "products that are not L1C; L2A products belong in [inputs] l2a_dir")
        elif (first := found.setdefault(name, path)) != path:
            passed.note(path, f"the same product as {first.name}")
    passed.say()
    return found


def unpack(source: Path, into: Path) -> Path:
    """Write a product as a `.SAFE` folder to `into`, under its name, with the empty folders that Sen2Cor needs.

    `source` is a zip, or a folder, which is copied. What is written is verified against the manifest on the way, since
    the source may have been replaced after its check. Raise BadProduct.
    """
    with opened(source) as product, atomic_write(into / str(product.name)) as work:
        listed = _manifest(product)
        for folder in product.folders:
            (work / folder).mkdir(parents=True, exist_ok=True)
        for file in product.files:
            algorithm, expected = listed.get(file) or ("md5", "")
            digest = hashlib.new(algorithm, usedforsecurity=False)
            with (work / file).open("xb") as copy:
                for chunk in product.chunks(file):
                    digest.update(chunk)
                    copy.write(chunk)
            if expected not in ("", digest.hexdigest()):
                stated = f"{algorithm} {expected}, as {manifest.NAME} states it"
                raise BadProduct(f"{source}, {file}", expected=stated, found=digest.hexdigest(), remedy=ANEW)
        _complete(source, work)
        _check_complete(source, product.files, listed)
    return into / str(product.name)


def _complete(source: Path, work: Path) -> None:
    """Create the folders without which Sen2Cor fails: CDSE and buckets drop those that are empty."""
    for name in _ROOT_FOLDERS:
        (work / name).mkdir(exist_ok=True)
    for parent, needed in _NEEDED_BY_SEN2COR:
        folders = sorted(path for path in (work / parent).glob("*") if path.is_dir())
        if len(folders) != 1:
            listed = some(folder.name for folder in folders) or "none"
            raise BadProduct(source, expected=f"one folder under {parent}", found=listed, remedy=ANEW)
        if not (folders[0] / needed).is_dir():
            (folders[0] / needed).mkdir()
            _log.warning("%s: created %s/%s/%s, which is missing", source, parent, folders[0].name, needed)


def deviation(path: Path, published_sha256: str, sha256: str | None = None) -> str:
    """Return how a zip differs from the published one: "same", "repacked, imagery intact", or the damaged members.

    A folder has no zip to compare: its imagery is proven by the manifest, or damaged. `sha256` is that of the zip, if
    it is known.
    """
    if (sha256 or (file_hash(path) if path.is_file() else "")) == published_sha256:
        return SAME
    try:
        found = inspect(path)
    except BadProduct as error:
        return f"{CHANGED}: {error.found}"
    changed = [*found.damaged, *found.missing]
    if changed:
        return f"{CHANGED}: {some(changed)}"
    return REPACKED if path.is_file() else PROVEN


def write_hashes(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    """Write `ben_s2_l1c_hashes.csv` from pairs of product id and sha256: `name,hash-sha256`, sorted by name."""
    hashes.write_list(sorted((f"{product_id}.out", sha256) for product_id, sha256 in rows), path)


def read_hashes(path: Path) -> dict[str, str]:
    """Read `ben_s2_l1c_hashes.csv`: sha256 by product id. Raise BadInput, naming file and line."""
    found: dict[str, str] = {}
    remedy = "make or fetch the file again"
    for number, name, sha256 in hashes.read_list(path, remedy):
        known = found.setdefault(name.removesuffix(".out"), sha256)
        if not name or not _SHA256.fullmatch(sha256) or known != sha256:
            wrong = f"{name[:100]},{sha256[:100]} in line {number}"
            raise BadInput(path, expected=f"{hashes.EXPECTED}, each name once", found=wrong, remedy=remedy)
    return found
