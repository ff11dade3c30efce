"""What is in a tar."""

from __future__ import annotations

import io
import tarfile
import zlib
from pathlib import Path

import zstandard


def unpacked(path: Path) -> bytes:
    with zstandard.open(path, "rb") as file:
        return bytes(file.read())


def names(tar: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as opened:
        return opened.getnames()


def checked(*parts: Path) -> list[tuple[Path, str]]:
    """Each part with its CRC-32, as zlib finds it; none for what is not there."""
    return [(part, f"{zlib.crc32(part.read_bytes()) if part.exists() else 0:08x}") for part in parts]
