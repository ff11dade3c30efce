"""Small L2A products for tests, with blocks of 64 pixels, so that patches share blocks and blocks share patches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

from ben_luigi.domain.names import ProductName
from ben_luigi.domain.placement.grid import Square, tile_square
from ben_luigi.domain.vocabulary import RESOLUTION_M
from ben_luigi.sample.safe import Members, manifest, write_folder
from ben_luigi.sample.safe_metadata import CHECKS, Facts, product_xml

NAME = ProductName.parse("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_20260101T000000.SAFE")
SIDE_M = 3_660
"""Three patches a side, and 60 m left over."""


def noise(band: str, side_m: int = SIDE_M) -> np.ndarray:
    """Pixels of a band, without 0."""
    side_px = side_m // RESOLUTION_M[band]
    seed = list(RESOLUTION_M).index(band)
    return np.random.default_rng(seed).integers(1, 10_000, (side_px, side_px), dtype="uint16")


def jpeg2000(pixels: np.ndarray, square: Square, pixel_m: int, epsg: int | None = None) -> bytes:
    """Encode pixels (row, col) without loss, in blocks of 64."""
    height, width = pixels.shape
    with rasterio.MemoryFile(ext=".jp2") as file:
        with file.open(
            driver="JP2OpenJPEG",
            width=width,
            height=height,
            count=1,
            dtype=pixels.dtype,
            crs=f"EPSG:{epsg or square.epsg}",
            transform=from_origin(square.left, square.top, pixel_m, pixel_m),
            quality=100,
            reversible="YES",
            geojp2="NO",
            codeblock_style="BYPASS",
            blockxsize=64,
            blockysize=64,
        ) as raster:
            raster.write(pixels, 1)
        return bytes(file.read())


@dataclass(frozen=True)
class SmallProduct:
    """What a product is made from: `pixels` of some bands, noise in the others."""

    name: ProductName = NAME
    side_m: int = SIDE_M
    pixels: Mapping[str, np.ndarray] = field(default_factory=dict)
    results: Mapping[str, str] = field(default_factory=dict)

    @property
    def square(self) -> Square:
        """Where it lies."""
        return tile_square(self.name, self.side_m)

    @property
    def bands(self) -> dict[str, np.ndarray]:
        """Pixels by band."""
        return {band: self.pixels.get(band, noise(band, self.side_m)) for band in RESOLUTION_M}

    @property
    def facts(self) -> Facts:
        """What its metadata say."""
        results = {check: self.results.get(check, "PASSED") for check in CHECKS}
        return Facts(self.name, self.square, 10_000, results, "made up")

    def image(self, band: str) -> str:
        """Path of a band's file from the `.SAFE`."""
        pixel_m = RESOLUTION_M[band]
        return f"{self.facts.granule}/IMG_DATA/R{pixel_m}m/T33UUP_20170613T101031_{band}_{pixel_m}m.jp2"

    def members(self) -> dict[str, bytes]:
        """Its files but the manifest."""
        images = {
            self.image(band): jpeg2000(pixels, self.square, RESOLUTION_M[band]) for band, pixels in self.bands.items()
        }
        return {**images, self.facts.product_file: product_xml(self.facts, [])}

    def write(self, parent: Path, members: Members | None = None, *, with_manifest: bool = True) -> Path:
        """Write the `.SAFE` folder into `parent`."""
        content = dict(members or self.members())
        if with_manifest:
            content["manifest.safe"] = manifest(content, "L2A")
        write_folder(content, parent / str(self.name))
        return parent / str(self.name)
