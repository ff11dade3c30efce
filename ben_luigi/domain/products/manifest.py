"""Read a product's `manifest.safe`: its files, and the checksum of each."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from ben_luigi.domain.bounded import parse_xml

NAME = "manifest.safe"
MOST_BYTES = 2**23
"""More than any manifest."""

Checksum = tuple[str, str]
"""Algorithm, by hashlib's name, and hexadecimal value in lower case."""

_ALGORITHMS = {"MD5": "md5", "SHA1": "sha1", "SHA256": "sha256", "SHA512": "sha512", "SHA3256": "sha3_256"}


def checksums(manifest: bytes) -> dict[str, Checksum | None]:
    """Return the checksum of each file that a manifest lists, by its path in the `.SAFE`; None where it states none.

    Raise ValueError if it is not XML, lists no files, states checksums of an unknown algorithm, or contradicts itself.
    """
    found: dict[str, Checksum | None] = {}
    for stream in parse_xml(manifest).findall(".//{*}byteStream"):
        location = stream.find("{*}fileLocation")
        file = (location.get("href", "") if location is not None else "").removeprefix("./")
        checksum = _checksum(stream.find("{*}checksum"), file)
        if found.setdefault(file, checksum) != checksum:
            raise ValueError(f"different checksums of {file[:200]}")
    if not found:
        raise ValueError("no files in it")
    return found


def _checksum(element: ElementTree.Element | None, file: str) -> Checksum | None:
    value = (element.text or "").strip().lower() if element is not None else ""
    if element is None or not value:
        return None
    name = element.get("checksumName", "")
    algorithm = _ALGORITHMS.get(re.sub(r"[^A-Z0-9]", "", name.upper()))
    if algorithm is None:
        raise ValueError(f"a checksum {name[:40]!r} of {file[:200]}, where only {', '.join(_ALGORITHMS)} are known")
    return algorithm, value
