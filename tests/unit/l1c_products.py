"""A small L1C product as a folder and as a zip, with a manifest of its files."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from random import Random

from ben_luigi.domain.names import ProductName
from ben_luigi.domain.products import l1c
from ben_luigi.domain.products.l1c_container import MemberDigests

NAME = ProductName.parse("S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE")
OTHER = ProductName.parse("S2A_MSIL1C_20170613T101031_N0205_R022_T33UUQ_20170613T101608.SAFE")
GRANULE = "GRANULE/L1C_T33UUP_A010309_20170613T101608"
DATASTRIP = "DATASTRIP/DS_MTI__20170613T101608_S20170613T101608"
BAND = f"{GRANULE}/IMG_DATA/T33UUP_20170613T101031_{{}}.jp2"
ENTRY = """<dataObject ID="x{number}"><byteStream mimeType="application/octet-stream" size="{size}">
<fileLocation locatorType="URL" href="./{file}"/><checksum checksumName="{algorithm}">{checksum}</checksum>
</byteStream></dataObject>"""
FRAME = """<?xml version="1.0" encoding="UTF-8" standalone="no"?><xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1">
<metadataSection/><dataObjectSection>{}</dataObjectSection></xfdu:XFDU>"""


def write_manifest(safe: Path, algorithm: str = "MD5") -> None:
    """A manifest of all files that are in the folder."""
    files = [path.relative_to(safe).as_posix() for path in safe.rglob("*") if path.is_file()]
    hasher = {"MD5": hashlib.md5, "SHA3-256": hashlib.sha3_256, "SHA-256": hashlib.sha256, "CRC": hashlib.md5}[
        algorithm
    ]
    entries = [
        ENTRY.format(
            number=number,
            size=(safe / file).stat().st_size,
            file=file,
            algorithm=algorithm,
            # In capitals, as some of ESA's processors wrote it.
            checksum=hasher((safe / file).read_bytes()).hexdigest().upper(),
        )
        for number, file in enumerate(sorted(files))
        if file != "manifest.safe"
    ]
    (safe / "manifest.safe").write_text(FRAME.format("".join(entries)))


def make_safe(safe: Path, image_bytes: int = 3000) -> Path:
    """Write a product with images of that many bytes."""
    random = Random(1)
    for folder in (f"{GRANULE}/IMG_DATA", f"{GRANULE}/AUX_DATA", f"{DATASTRIP}/QI_DATA"):
        (safe / folder).mkdir(parents=True)
    for band in l1c.BANDS:
        (safe / BAND.format(band)).write_bytes(random.randbytes(image_bytes))
    (safe / BAND.format("TCI")).write_bytes(b"true colour")
    (safe / "MTD_MSIL1C.xml").write_text("<metadata/>")
    write_manifest(safe)
    return safe


def make_image(safe: Path, band: str) -> Path:
    """One more image, empty."""
    (safe / BAND.format(band)).touch()
    return safe


def zipped(safe: Path, target: Path, method: int = zipfile.ZIP_STORED, folders: bool = True) -> Path:
    """The folder as a zip."""
    with zipfile.ZipFile(target, "w", method) as archive:
        for path in sorted(safe.rglob("*")):
            if folders or path.is_file():
                archive.write(path, path.relative_to(safe.parent))
    return target


def digests_of(path: Path, step: int) -> MemberDigests:
    """What is taken of a zip that comes in pieces."""
    digests, content = MemberDigests(), path.read_bytes()
    for start in range(0, len(content), step):
        digests.update(content[start : start + step])
    return digests
