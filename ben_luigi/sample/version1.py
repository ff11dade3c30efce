"""Make up BigEarthNet version 1 for the sample world: its patches, and the lists and geometries about them.

Names have version 1's bugs: the leading zero of an hour before ten is lost if the name's time is not the product's, and
seconds exceed 59 (`T94160`).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ben_luigi.domain.dataset.version1 import write_spatial
from ben_luigi.domain.placement.alignment import season
from ben_luigi.sample.layout import World
from ben_luigi.sample.scenes import PATCHES, SCENES, Scene

_SOUTH_FROM = 6
"""The row of patches from which version 1 is one second later still."""


@dataclass(frozen=True)
class V1Patch:
    """A version 1 patch: `x` counts east and `y` south in its scene."""

    scene: Scene
    x: int
    y: int

    @property
    def name(self) -> str:
        """Version 1's name of the patch."""
        product = self.scene.product
        lag_s = self.scene.v1_lag_s + (self.y >= _SOUTH_FROM)
        hour, minute, second = product.sensing[9:11], product.sensing[11:13], int(product.sensing[13:]) + lag_s
        hour = hour.lstrip("0") if lag_s else hour
        return f"{product.mission}_MSIL2A_{product.sensing[:8]}T{hour}{minute}{second:02d}_{self.x}_{self.y}"

    @property
    def s1_name(self) -> str:
        """The Sentinel-1 patch of the same ground."""
        return f"{self.scene.s1_tile}_{self.scene.product.mgrs}_{self.x}_{self.y}"

    @property
    def corner(self) -> tuple[float, float]:
        """Left and top in metres, in the tile's UTM zone."""
        return self.scene.square.corner(self.x, self.y)


def v1_patches() -> list[V1Patch]:
    """Return most patches of each scene, valid or not; about one in eleven is not in version 1."""
    return [
        V1Patch(scene, x, y)
        for scene in SCENES
        for x in range(PATCHES)
        for y in range(PATCHES)
        if (7 * x + 3 * y + scene.absolute_orbit) % 11
    ]


def write_lists(world: World, patches: list[V1Patch]) -> None:
    """Write the CSV files about version 1 patches, with the line ends that the real ones have."""
    _write(world.tile_names_csv, "\r\n", (f"{p.name},{p.scene.product},{_link(p.scene)}" for p in patches))
    _write(world.s1s2_mapping_csv, "\n", (f"{p.name},{p.s1_name}" for p in patches))
    _write(world.snow_csv, "\r\n", (p.name for p in patches if _is_snowy(p)))
    _write(world.cloud_csv, "\r\n", (p.name for p in patches if _is_cloudy(p)))


def _write(path: Path, end: str, lines: Iterable[str]) -> None:
    path.write_text("".join(line + end for line in lines), encoding="utf-8", newline="")


def _link(scene: Scene) -> str:
    """Return a link to the hub that was closed in 2023."""
    hub = "https://scihub.copernicus.eu/apihub/odata/v1/Products"
    return f"{hub}('{uuid.uuid5(uuid.NAMESPACE_URL, f'{hub}/{scene.product}')}')/$value"


def _is_snowy(patch: V1Patch) -> bool:
    return season(patch.scene.product.sensing_time) == "winter" and (patch.x + 3 * patch.y) % 8 == 0


def _is_cloudy(patch: V1Patch) -> bool:
    """Return whether a patch is cloudy: one cloud in the first scene and one in the third, there also over snow."""
    at = {SCENES[0]: (6, 3), SCENES[2]: (2, 2)}.get(patch.scene)
    return at is not None and abs(patch.x - at[0]) + abs(patch.y - at[1]) <= 1


def write_geometries(folder: Path, patches: list[V1Patch]) -> None:
    """Write one GeoParquet file per UTM zone."""
    folder.mkdir()
    for epsg in sorted({patch.scene.product.epsg for patch in patches}):
        zone = sorted((p for p in patches if p.scene.product.epsg == epsg), key=lambda patch: patch.name)
        write_spatial(folder, epsg, [patch.name for patch in zone], np.array([patch.corner for patch in zone]))
