"""Write a Sentinel-2 product, given as a set of members, as a `.SAFE` folder or as one of CDSE's zips."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import numpy as np
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from ben_luigi.domain.placement.grid import Square

Members = Mapping[str, bytes]
"""Content by path inside the `.SAFE`; a path that ends in a slash is an empty folder."""


def jpeg2000(pixels: np.ndarray, square: Square, pixel_m: int) -> bytes:
    """Encode a uint8 or uint16 array (row, col) without loss, placed by GMLJP2 alone as in ESA's products.

    Unlike those, without arithmetic coding of the lowest bits (BYPASS): noise is coded and decoded in 2/3 of the time.
    """
    height, width = pixels.shape
    with MemoryFile(ext=".jp2") as file:
        with file.open(
            driver="JP2OpenJPEG",
            width=width,
            height=height,
            count=1,
            dtype=pixels.dtype,
            crs=f"EPSG:{square.epsg}",
            transform=from_origin(square.left, square.top, pixel_m, pixel_m),
            quality=100,
            reversible="YES",
            geojp2="NO",
            codeblock_style="BYPASS",
        ) as raster:
            raster.write(pixels, 1)
        return bytes(file.read())


def manifest(members: Members, level: str) -> bytes:
    """Return `manifest.safe`: every file with its size and MD5. `level` is L1C or L2A."""
    objects = "".join(_data_object(path, content) for path, content in sorted(members.items()) if path[-1] != "/")
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1" xmlns:gml="http://www.opengis.net/gml" \
xmlns:safe="http://www.esa.int/safe/sentinel/1.1" \
version="esa/safe/sentinel/1.1/sentinel-2/msi/archive_{level.lower()}_user_product">
  <informationPackageMap>
    <xfdu:contentUnit textInfo="SENTINEL-2 MSI Level-{level[1:]} User Product" unitType="Product_Level-{level[1:]}"/>
  </informationPackageMap>
  <dataObjectSection>
{objects}  </dataObjectSection>
</xfdu:XFDU>
""".encode()


def _data_object(path: str, content: bytes) -> str:
    kind = "text/xml" if path.endswith((".xml", ".gml")) else "application/octet-stream"
    return f"""    <dataObject ID="{re.sub("[^A-Za-z0-9_.-]", "_", path)}">
      <byteStream mimeType="{kind}" size="{len(content)}">
        <fileLocation locatorType="URL" href="./{path}"/>
        <checksum checksumName="MD5">{hashlib.md5(content, usedforsecurity=False).hexdigest()}</checksum>
      </byteStream>
    </dataObject>
"""


def write_folder(members: Members, folder: Path) -> None:
    """Write the members into `folder`, a new `.SAFE` folder."""
    for path, content in members.items():
        target = folder / path
        if path[-1] == "/":
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def write_zip(members: Members, file: Path, top: str, time: datetime) -> None:
    """Write the members as a zip, stored, under the one folder `top`, all of the same `time`."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for path, content in sorted(members.items()):
            member = zipfile.ZipInfo(f"{top}/{path}", time.timetuple()[:6])
            member.create_system = 3
            member.external_attr = (0o40755 << 16 | 0x10) if path[-1] == "/" else 0o100644 << 16
            archive.writestr(member, content)
