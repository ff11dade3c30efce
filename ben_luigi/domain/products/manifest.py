"""Read a product's `manifest.safe`: its files, and the checksum of each."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree import ElementTree

from ben_luigi.domain import given
from ben_luigi.domain.bounded import parse_xml
from ben_luigi.domain.errors import PipelineError

NAME = "manifest.safe"
MOST_BYTES = 2**23
"""More than any manifest."""

Checksum = tuple[str, str]
"""Algorithm, by hashlib's name, and hexadecimal value in lower case."""

Listed = dict[str, Checksum | None]
"""The checksum of each file that a manifest lists, by its path in the `.SAFE`; None where it states none."""

_CHUNK_BYTES = 2**20
_SHOWN_BYTES = 60
_ALGORITHMS = {"MD5": "md5", "SHA1": "sha1", "SHA256": "sha256", "SHA512": "sha512", "SHA3256": "sha3_256"}


def read(
    chunks: Iterable[bytes], subject: str | os.PathLike[str], kind: type[PipelineError], remedy: str = ""
) -> Listed:
    """Return what a manifest lists, from wherever it is read, in bounded memory.

    Raise `kind` about `subject` if it cannot be read or is no manifest; errors of `chunks` other than OSError pass.
    """
    text = bytearray()
    try:
        for chunk in chunks:
            text += chunk
            if len(text) > MOST_BYTES:
                raise ValueError(f"more than {MOST_BYTES:,} bytes")
        return checksums(bytes(text))
    except (OSError, ValueError) as error:
        beginning = f"; it begins {bytes(text[:_SHOWN_BYTES])!r}" if text else ""
        found = f"{str(error)[:200]}{beginning}"
        raise kind(
            subject, expected="a manifest in XML with a checksum per file", found=found, remedy=remedy
        ) from error


def read_file(path: Path, kind: type[PipelineError], remedy: str = "") -> Listed:
    """Return what the manifest at `path` lists. Raise `kind` if it cannot be read or is no manifest."""
    return read(_chunks(path), path, kind, remedy)


def _chunks(path: Path) -> Iterator[bytes]:
    with given.open_file(path) as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def checksums(manifest: bytes) -> Listed:
    """Parse a manifest.

    Raise ValueError if it is not XML, lists no files, states checksums of an unknown algorithm, or contradicts itself.
    """
    found: Listed = {}
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
