"""Patch folders as BigEarthNet-S2 v1.0 has them, made up: JSON, and if asked for one TIFF a patch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from pyproj import CRS
from rasterio.transform import from_origin

from ben_luigi.domain.names import v1_sensing_time
from ben_luigi.sample.version1 import V1Patch, v1_patches


@dataclass(frozen=True)
class V1Folder:
    """A patch as its folder says it: corner in metres of the zone, labels, and the L1C product that it comes from."""

    name: str
    epsg: int
    left: float
    top: float
    labels: tuple[str, ...] = ("Pastures", "Mixed forest")
    product: str = "S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE"

    def json(self) -> dict[str, object]:
        """`<name>_labels_metadata.json`."""
        return {
            "labels": list(self.labels),
            "coordinates": {"ulx": self.left, "uly": self.top, "lrx": self.left + 1200, "lry": self.top - 1200},
            "projection": CRS.from_epsg(self.epsg).to_wkt("WKT1_GDAL"),
            "tile_source": self.product,
            "acquisition_date": f"{v1_sensing_time(self.name):%Y-%m-%d %H:%M:%S}",
        }

    def write(self, folder: Path, *, tiff: bool = False) -> Path:
        """Write the patch's folder in `folder`; give it."""
        path = folder / self.name
        path.mkdir(parents=True)
        (path / f"{self.name}_labels_metadata.json").write_text(json.dumps(self.json()))
        if tiff:
            with rasterio.open(
                path / f"{self.name}_B02.tif",
                "w",
                driver="GTiff",
                width=120,
                height=120,
                count=1,
                dtype="uint16",
                crs=f"EPSG:{self.epsg}",
                transform=from_origin(self.left, self.top, 10, 10),
            ) as raster:
                raster.write(np.ones((1, 120, 120), dtype="uint16"))
        return path


def of_sample_world(patch: V1Patch) -> V1Folder:
    """A v1 patch of the sample world as its folder says it, with labels that depend on where it is."""
    labels = ("Pastures", "Mixed forest", "Sea and ocean")[: 1 + (patch.x + patch.y) % 3]
    return V1Folder(patch.name, patch.scene.product.epsg, *patch.corner, labels, str(patch.scene.product))


def write_sample_world(folder: Path) -> list[V1Folder]:
    """Write all v1 patches of the sample world; give them by name."""
    patches = sorted(map(of_sample_world, v1_patches()), key=lambda patch: patch.name)
    write_all(patches, folder)
    return patches


def write_all(patches: Iterable[V1Folder], folder: Path) -> None:
    """Write these patches, the first with its TIFF."""
    for number, patch in enumerate(patches):
        patch.write(folder, tiff=number == 0)
