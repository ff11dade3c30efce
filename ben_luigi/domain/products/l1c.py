"""L1C products: find them, tell whether they are whole, unpack them for Sen2Cor, compare them with the published ones.

A product's `manifest.safe` lists its files with a checksum each. CDSE packs the zip anew for each download, drops
folders that are empty, and has added previews without a new id: so the manifest says more about the imagery than the
zip's own hash does.
"""

from __future__ import annotations

import csv
import io
import logging
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from ben_luigi.domain.errors import BadInput, BadProduct, some
from ben_luigi.domain.files import file_hash, published, write_text
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.products.l1c_container import ANEW, Container, Taken, opened

_log = logging.getLogger(__name__)

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
SAME, REPACKED, CHANGED = "same", "repacked, imagery intact", "imagery changed or damaged"
UNKNOWN = "no published hash"
_MANIFEST = "manifest.safe"
_MANIFEST_BYTES = 2**24
_IMAGE = re.compile(r"GRANULE/[^/]+/IMG_DATA/[^/]+_(B\d\d|B8A)\.jp2")
_TO_LOOK_AT = re.compile(r"(HTML|preview)/.+|[^/]+\.html|[^/]+-ql\.jpg")
_ALGORITHMS = {"MD5": "md5", "SHA1": "sha1", "SHA256": "sha256", "SHA512": "sha512", "SHA3256": "sha3_256"}
_NEEDED_BY_SEN2COR = (("DATASTRIP", "QI_DATA"), ("GRANULE", "AUX_DATA"))


@dataclass(frozen=True)
class Verification:
    """What a product's manifest says of its members: paths relative to the product's folder.

    `unlisted` are members that could not be verified beyond their zip CRC: the manifest states no checksum for them.
    `left_out` are listed and not there, but only made to be looked at: previews and HTML, which come and go at CDSE.
    """

    name: ProductName
    members: int
    damaged: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def verify(path: Path, name: ProductName, taken: Taken | None = None) -> Verification:
    """Check that a zip or `.SAFE` folder is the whole of product `name`: CRCs, manifest, 13 bands. Raises BadProduct.

    `taken` are digests that were taken while the zip came in, so that it need not be read again.
    """
    found = inspect(path, taken)
    if found.name != name:
        raise BadProduct(path, expected=f"product {name}", found=f"product {found.name}", remedy=ANEW)
    said = [f"{word} {some(members)}" for word, members in (("damaged", found.damaged), ("missing", found.missing))]
    if found.damaged or found.missing:
        listed = "; ".join(text for text in said if not text.endswith(" "))
        raise BadProduct(path, expected=f"every member as {_MANIFEST} states it", found=listed, remedy=ANEW)
    return found


def inspect(path: Path, taken: Taken | None = None) -> Verification:
    """Compare each member of a zip or `.SAFE` folder with the manifest in it. Raises BadProduct if it has none."""
    with opened(path, taken) as product:
        listed = _manifest(product)
        files = product.files
        damaged = [file for file in files if not _intact(product, file, listed.get(file))]
        bands = Counter(match[1] for file in files if (match := _IMAGE.fullmatch(file)) and file in listed)
        absent = [file for file in listed if file not in set(files)]
        left_out = [file for file in absent if _TO_LOOK_AT.fullmatch(file)]
        missing = [file for file in absent if file not in left_out]
        missing += [f"band {band} (found {bands[band]} times)" for band in BANDS if bands[band] != 1]
        unlisted = [file for file in files if not listed.get(file) and file != _MANIFEST]
        return Verification(product.name, len(files), tuple(damaged), tuple(missing), tuple(unlisted), tuple(left_out))


def _intact(product: Container, file: str, checksum: tuple[str, str] | None) -> bool:
    """Whether a member can be read, fits its CRC if it is in a zip, and fits its checksum if there is one."""
    algorithm, expected = checksum or ("md5", "")
    try:
        found = product.digest(file, algorithm)
    except BadProduct as error:
        _log.warning("%s", error)
        return False
    return found == expected or not expected


def _manifest(product: Container) -> dict[str, tuple[str, str] | None]:
    """Algorithm and checksum of each member that the manifest lists; None where it states none that is known."""
    subject = f"{product.path}, {_MANIFEST}"
    if _MANIFEST not in product.files:
        raise BadProduct(product.path, expected=f"a {_MANIFEST}", found="none", remedy=ANEW)
    text = bytearray()
    for chunk in product.chunks(_MANIFEST):
        text += chunk
        if len(text) > _MANIFEST_BYTES:
            raise BadProduct(subject, expected=f"at most {_MANIFEST_BYTES:,} bytes", found="more", remedy=ANEW)
    try:
        root = ElementTree.fromstring(bytes(text), ElementTree.XMLParser(target=_WithoutDoctype()))
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise BadProduct(subject, expected="XML", found=str(error), remedy=ANEW) from error
    return dict(_listed(stream) for stream in root.findall(".//{*}byteStream"))


class _WithoutDoctype(ElementTree.TreeBuilder):
    """Builds the tree of an XML file, and refuses a document type, with which entities without end could come."""

    def doctype(self, name: str, public_id: str | None, system_id: str | None) -> None:
        raise ValueError("a document type")


def _listed(stream: ElementTree.Element) -> tuple[str, tuple[str, str] | None]:
    location, checksum = stream.find("{*}fileLocation"), stream.find("{*}checksum")
    file = (location.get("href", "") if location is not None else "").removeprefix("./")
    if checksum is None:
        return file, None
    algorithm = _ALGORITHMS.get(re.sub(r"[^A-Z0-9]", "", checksum.get("checksumName", "").upper()))
    value = (checksum.text or "").strip().lower()
    return file, (algorithm, value) if algorithm and value else None


def find_products(folder: Path) -> dict[ProductName, Path]:
    """Products in `folder`: zips (`*.zip`, `*.out`, whatever their name) and `.SAFE` folders; not looked at closely.

    What is no product is passed over with a warning; of two files of one product, the first by name counts.
    """
    found: dict[ProductName, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix not in (".zip", ".out", ".SAFE"):
            continue
        try:
            with opened(path) as product:
                first = found.setdefault(product.name, path)
        except (BadProduct, OSError) as error:
            _log.warning("passed over: %s", error)
            continue
        if first != path:
            _log.warning("%s is passed over: %s is the same product", path, first)
    return found


def unpack(source: Path, into: Path) -> Path:
    """Give a product as a `.SAFE` folder in `into`, under its name, with the empty folders that Sen2Cor needs.

    `source` is a zip, or a folder, which is copied. Raises BadProduct.
    """
    with opened(source) as product, published(into / str(product.name)) as work:
        for folder in product.folders:
            (work / folder).mkdir(parents=True, exist_ok=True)
        for file in product.files:
            with (work / file).open("xb") as copy:
                copy.writelines(product.chunks(file))
        _complete(source, work)
    return into / str(product.name)


def _complete(source: Path, work: Path) -> None:
    """Create the folders that CDSE drops from old products since they are empty, and without which Sen2Cor fails."""
    for parent, needed in _NEEDED_BY_SEN2COR:
        folders = sorted(path for path in (work / parent).glob("*") if path.is_dir())
        if len(folders) != 1:
            listed = some(folder.name for folder in folders) or "none"
            raise BadProduct(source, expected=f"one folder under {parent}", found=listed, remedy=ANEW)
        if not (folders[0] / needed).is_dir():
            (folders[0] / needed).mkdir()
            _log.warning("%s: created %s/%s/%s, which is missing", source, parent, folders[0].name, needed)


def drift(path: Path, published_sha256: str, sha256: str | None = None) -> str:
    """How a zip differs from the published one: "same", "repacked, imagery intact", or which members are damaged.

    `sha256` is the zip's, if it is known already.
    """
    if (sha256 or (file_hash(path) if path.is_file() else "")) == published_sha256:
        return SAME
    try:
        found = inspect(path)
    except BadProduct as error:
        return f"{CHANGED}: {error.found}"
    changed = [*found.damaged, *found.missing]
    return f"{CHANGED}: {some(changed)}" if changed else REPACKED


def write_hashes(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    """Publish `ben_s2_l1c_hashes.csv` from pairs of product id and sha256: `name,hash-sha256`, sorted by name."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "hash-sha256"])
    writer.writerows(sorted((f"{product_id}.out", sha256) for product_id, sha256 in rows))
    write_text(path, text.getvalue())


def read_hashes(path: Path) -> dict[str, str]:
    """Read `ben_s2_l1c_hashes.csv`: sha256 by product id."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    if rows[:1] != [["name", "hash-sha256"]] or any(len(row) != 2 for row in rows):
        raise BadInput(
            path,
            expected="a CSV with the columns name and hash-sha256",
            found=str(rows[:1]),
            remedy="make or fetch the file again",
        )
    return {name.removesuffix(".out"): sha256 for name, sha256 in rows[1:]}
