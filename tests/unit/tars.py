"""What is in a tar."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import zstandard


def unpacked(path: Path) -> bytes:
    with zstandard.open(path, "rb") as file:
        return bytes(file.read())


def names(tar: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as opened:
        return opened.getnames()
