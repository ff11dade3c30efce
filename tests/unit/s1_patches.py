"""Files of Sentinel-1 patches, made up."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterable

import numpy as np
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from ben_luigi.domain.placement.grid import Square

SQUARE = Square(300_000, 5_000_040, 1200, 32633)
FOLDER = "BigEarthNet-S1-v1.0"

Member = tuple[tarfile.TarInfo, bytes]


def s1_tiff(square: Square = SQUARE, side_px: int = 120) -> bytes:
    """A file of a patch."""
    with MemoryFile() as file:
        with file.open(
            driver="GTiff",
            width=side_px,
            height=side_px,
            count=1,
            dtype="float32",
            crs=f"EPSG:{square.epsg}",
            transform=from_origin(square.left, square.top, 10, 10),
        ) as raster:
            raster.write(np.full((1, side_px, side_px), -12.5, dtype="float32"))
        return bytes(file.read())


def member(name: str, data: bytes) -> Member:
    """A file in the folder of the published archive."""
    info = tarfile.TarInfo(f"{FOLDER}/{name}")
    info.size = len(data)
    return info, data


def tar_gz(members: Iterable[Member]) -> bytes:
    """A `.tar.gz`, always with the same bytes."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(content.getvalue(), 1, mtime=0)
