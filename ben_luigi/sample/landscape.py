"""Make up what the satellites see of the ground: reflectance in 13 bands, and radar backscatter.

Each parcel of land cover has a spectrum that depends on its code and the season, and a brightness of its own; smooth
texture over hundreds of metres, field strips on arable land, and noise are added.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rasterio.features import rasterize
from rasterio.transform import from_origin

from ben_luigi.domain.placement.alignment import season
from ben_luigi.sample.bands import BANDS, coarser
from ben_luigi.sample.land_cover import Parcel
from ben_luigi.sample.scenes import Scene

# Surface reflectance * 10,000 of ground, in the order of BANDS.
_SPECTRA = {
    "town": (900, 1000, 1150, 1250, 1350, 1500, 1600, 1650, 1700, 1700, 20, 1900, 1700),
    "crop": (300, 400, 700, 500, 1000, 2500, 3000, 3200, 3300, 3300, 20, 1800, 1000),
    "soil": (600, 800, 1100, 1400, 1700, 1900, 2050, 2150, 2300, 2300, 20, 2900, 2500),
    "grass": (300, 400, 750, 450, 1100, 2800, 3400, 3600, 3700, 3700, 20, 2000, 1050),
    "leaves": (200, 250, 450, 250, 700, 2300, 2900, 3100, 3200, 3200, 15, 1500, 700),
    "needles": (150, 180, 300, 200, 450, 1300, 1550, 1700, 1750, 1750, 15, 800, 400),
    "shrub": (300, 400, 600, 600, 950, 1600, 1850, 1950, 2100, 2100, 20, 1900, 1200),
    "marsh": (250, 350, 500, 500, 800, 1400, 1600, 1700, 1750, 1750, 15, 1100, 650),
    "water": (500, 450, 350, 250, 200, 160, 140, 120, 100, 80, 10, 50, 30),
    "rock": (1000, 1150, 1350, 1500, 1600, 1650, 1700, 1750, 1800, 1800, 20, 2000, 1900),
    "snow": (7500, 7800, 7700, 7600, 7400, 7200, 7000, 6900, 6600, 6000, 150, 900, 800),
}
_COVERS = {"1": "town", "21": "crop", "22": "crop", "23": "grass", "24": "crop", "311": "leaves", "312": "needles"}
_COVERS |= {"313": "leaves", "32": "shrub", "33": "rock", "4": "marsh", "5": "water"}

# What covers how much of the ground in a season, by what lies there otherwise.
_SEASONS = {
    "fall": {"crop": ("soil", 0.6), "leaves": ("shrub", 0.5)},
    "spring": {"crop": ("soil", 0.2)},
    "winter": {cover: ("snow", 0.3 if cover in ("leaves", "needles", "town") else 0.8) for cover in _SPECTRA},
}

# The atmosphere: its own light in reflectance * 10,000, and the fraction of the ground's light that it transmits.
_PATH = (950, 700, 430, 260, 220, 190, 160, 110, 80, 60, 12, 30, 15)
_THROUGH = (0.75, 0.8, 0.85, 0.9, 0.9, 0.92, 0.93, 0.94, 0.95, 0.6, 0.05, 0.95, 0.95)
_NOISE = 3.0

# Backscatter of VV in dB; VH lies below it.
_BACKSCATTER_DB = {"town": -5.0, "leaves": -9.0, "needles": -9.5, "water": -21.0, "marsh": -13.0, "rock": -12.0}
_OPEN_DB = -11.5
_BELOW_DB = {"VV": 0.0, "VH": 7.0}
_PIXEL_M = 10


@dataclass(frozen=True)
class Landscape:
    """The ground of one scene at 10 m: arrays of (row, col).

    `parcel` counts from 1, and 0 is ground outside of CORINE.
    """

    scene: Scene
    parcel: np.ndarray
    covers: list[str]
    brightness: np.ndarray
    texture: np.ndarray
    strips: np.ndarray

    def reflectance(self) -> dict[str, np.ndarray]:
        """Return top-of-atmosphere reflectance * 10,000 of each band at its resolution, uint16.

        0 only in the scene's hole.
        """
        rng = np.random.default_rng([self.scene.absolute_orbit, int(self.scene.square.left)])
        crop = np.array([cover == "crop" for cover in self.covers])
        shade = self.texture * self.brightness[self.parcel] * np.where(crop[self.parcel], self.strips, np.float32(1))
        spectra = np.array([_seasonal(cover, season(self.scene.product.sensing_time)) for cover in self.covers])
        pixels = {}
        for number, (name, band) in enumerate(BANDS.items()):
            ground = spectra[:, number].astype("float32")[self.parcel] * shade
            seen = coarser(ground, band.pixel_m // _PIXEL_M) * np.float32(_THROUGH[number]) + _PATH[number]
            seen += rng.standard_normal(seen.shape, dtype="float32") * np.float32(min(_NOISE, _PATH[number] / 10))
            pixels[name] = np.clip(seen, 1, 65_534).astype("uint16")
        if hole := self.scene.hole:
            pixel_m = BANDS[hole.band].pixel_m
            pixels[hole.band][hole.top_m // pixel_m :, : hole.right_m // pixel_m] = 0
        return pixels

    def backscatter(self) -> dict[str, np.ndarray]:
        """Return radar backscatter in dB of VV and VH, float32."""
        rng = np.random.default_rng([self.scene.absolute_orbit, int(self.scene.square.left), 1])
        of_cover = np.array([_BACKSCATTER_DB.get(cover, _OPEN_DB) for cover in self.covers], dtype="float32")
        ground = of_cover[self.parcel] + 10 * (self.texture - 1)
        return {
            name: (ground - below + rng.standard_normal(ground.shape, dtype="float32")).astype("float32")
            for name, below in _BELOW_DB.items()
        }


def landscape(scene: Scene, parcels: list[Parcel]) -> Landscape:
    """Return the ground of a scene; overlapping parcels hide each other in the order of their IDs."""
    square, size = scene.square, int(scene.square.side_m) // _PIXEL_M
    here = sorted((parcel for parcel in parcels if parcel.mgrs == scene.product.mgrs), key=lambda parcel: parcel.clc_id)
    parcel_of = rasterize(
        [(parcel.outline, number) for number, parcel in enumerate(here, 1)],
        out_shape=(size, size),
        transform=from_origin(square.left, square.top, _PIXEL_M, _PIXEL_M),
        dtype="uint16",
    )
    covers = ["shrub", *(_cover(parcel.code) for parcel in here)]
    rng = np.random.default_rng([square.epsg, int(square.left)])
    brightness = 1 + 0.12 * rng.standard_normal(len(covers)).clip(-2, 2)
    texture = 1 + 0.1 * _smooth(size, 6, rng) + 0.06 * _smooth(size, 25, rng) + 0.04 * _smooth(size, 100, rng)
    strips = 1 + 0.1 * np.sign(_smooth(size, 60, rng))
    return Landscape(scene, parcel_of, covers, brightness.astype("float32"), texture, strips)


def _cover(code: int) -> str:
    return next(_COVERS[str(code)[:digits]] for digits in (3, 2, 1) if str(code)[:digits] in _COVERS)


def _seasonal(cover: str, when: str) -> np.ndarray:
    over, fraction = _SEASONS.get(when, {}).get(cover, (cover, 0.0))
    return (1 - fraction) * np.array(_SPECTRA[cover]) + fraction * np.array(_SPECTRA[over])


def _smooth(size: int, cells: int, rng: np.random.Generator) -> np.ndarray:
    """Return noise (row, col) of -1 to 1, linear between `cells` random values along a side."""
    values = rng.uniform(-1, 1, (cells + 1, cells + 1)).astype("float32")
    position = np.linspace(0, cells, size, endpoint=False, dtype="float32")
    low = position.astype(int)
    fraction = position - low
    rows = values[low] * (1 - fraction)[:, None] + values[low + 1] * fraction[:, None]
    return np.asarray(rows[:, low] * (1 - fraction) + rows[:, low + 1] * fraction)
