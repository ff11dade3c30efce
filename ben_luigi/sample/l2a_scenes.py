"""Define the L2A products of the sample world, as ESA makes them since 2022: what recipes beside the default one take.

They have made-up names in the form of real ones, and lie in the upper-left corner of the real tile.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from ben_luigi.domain.names import ProductName
from ben_luigi.sample.scenes import SCENES, SIDE_M, Folders, Scene

OFFSET = -1000
"""What is to be added to the pixels of these products to have reflectance * 10,000."""


@dataclass(frozen=True)
class Cloud:
    """A round cloud: its middle from the upper-left corner and its radius, metres."""

    x_m: int
    y_m: int
    radius_m: int

    def covers(self, pixel_m: int, shift_m: int = 0) -> np.ndarray:
        """Return which pixels (row, col) of a sample tile lie under it, or `shift_m` south-east of that; bool."""
        middles = (np.arange(SIDE_M // pixel_m) + 0.5) * pixel_m - shift_m
        distance = np.hypot(middles[None, :] - self.x_m, middles[:, None] - self.y_m)
        return np.asarray(distance <= self.radius_m)


@dataclass(frozen=True)
class L2AScene(Scene):
    """An L2A product and its peculiarities: the cloud percentage that the catalogue states, and a cloud."""

    cloud_percent: float = 0.0
    cloud: Cloud | None = None


def _scene(name: str, absolute_orbit: int, cloud_percent: float, cloud: Cloud | None = None) -> L2AScene:
    product = ProductName.parse(f"{name}.SAFE")
    return L2AScene(product, absolute_orbit, "", Folders.FILLED, cloud_percent=cloud_percent, cloud=cloud)


def _twin(scene: Scene) -> L2AScene:
    """Return the same datatake, reprocessed for Collection-1."""
    product = replace(scene.product, level="L2A", baseline="N0500", discriminator="20230815T101500")
    return L2AScene(product, scene.absolute_orbit, scene.s1_tile, Folders.FILLED, hole=scene.hole, cloud_percent=12.5)


TWINS = tuple(map(_twin, SCENES))
"""The datatakes of the sample world's L1C products, in Collection-1."""

REGION = (
    _scene("S2B_MSIL2A_20250422T100559_N0511_R022_T32TQM_20250422T134410", 42444, 1.5),
    _scene("S2C_MSIL2A_20250716T100621_N0511_R022_T32TQM_20250716T152012", 4488, 4.5, Cloud(3600, 3600, 1200)),
    _scene("S2A_MSIL2A_20251014T100041_N0511_R122_T32TQM_20251014T140811", 53790, 0.5),
    _scene("S2B_MSIL2A_20260117T100309_N0511_R122_T32TQM_20260117T133059", 46306, 9.0),
)
"""One tile in four seasons, by three satellites."""

SOUTH = (_scene("S2C_MSIL2A_20250314T134221_N0511_R024_T21HUB_20250314T170512", 2720, 2.0, Cloud(8000, 5000, 1000)),)
"""One tile south of the equator."""

L2A_SCENES = (*TWINS, *REGION, *SOUTH)


def others(scenes: Iterable[L2AScene]) -> list[tuple[ProductName, float]]:
    """Return products, with their cloud in percent, that a careless search would take in the place of `scenes`.

    Of each there is a cloudier one two days later, and an older processing of the same datatake, without an offset.
    """
    found = []
    for scene in scenes:
        name = scene.product
        day = int(name.sensing[6:8]) + 2
        later = f"{name.sensing[:6]}{day:02d}{name.sensing[8:]}"
        found.append((replace(name, sensing=later, discriminator=later), scene.cloud_percent + 5))
        found.append((replace(name, baseline="N0301", discriminator=f"{name.sensing[:8]}T235959"), 0.0))
    return found
