"""The values of a recipe: what a dataset is made from, how it is cut, split and labelled, and what it is called.

A recipe is passed to functions as what they need of it, such as the side of a patch in metres; nothing looks it up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TypeAlias

from ben_luigi.domain.vocabulary import L1C_RESOLUTION_M

DEFAULT = "bigearthnet-v2"
"""The name of the default recipe, which no other may have."""

L1C, L2A = "L1C", "L2A"
REFUSE_OFFSET, KEEP_OFFSET, REMOVE_OFFSET = "none", "keep", "remove"
ALIGNED, VALID = "aligned with v1", "valid"
RINGS, CSV, BLOCKS = "rings", "csv", "blocks"
PUBLISHED, CALENDAR = "published", "calendar"
NO_SENTINEL1, FROM_V1, FROM_FOLDER, FROM_RASTERS = "none", "v1", "folder", "rasters"
RESAMPLING = ("nearest", "bilinear", "cubic", "average", "mode")
DTYPES = ("uint8", "int16", "uint16", "int32", "float32")
PER = ("tile", "tile and season", "tile and month", "tile and day")

File: TypeAlias = Path | str
"""The absolute path of a file; or, as text, the name of an option of [inputs] that gives it."""


def is_own_license(name: str) -> bool:
    """Return whether an identifier is that of a licence which SPDX does not have (SPDX 2.3, annex D)."""
    return name.lower().startswith("licenseref-")


def names_in(parts: Iterable[str], separator: str, known: Iterable[str]) -> list[str]:
    """Return the names in a text that was split at separators: of `known` names, some may have separators themselves.

    Blanks count as one, and at the ends not at all, for names as for the text.
    """
    known_by_parts = {tuple(_bare(part) for part in name.split(separator)): name for name in known}
    most = max(map(len, known_by_parts), default=1)
    rest, found = [_bare(part) for part in parts], []
    while rest:
        end = next((end for end in range(min(most, len(rest)), 1, -1) if tuple(rest[:end]) in known_by_parts), 1)
        found.append(known_by_parts.get(tuple(rest[:end]), rest[0]))
        del rest[:end]
    return found


def _bare(text: str) -> str:
    return " ".join(text.split())


@dataclass(frozen=True)
class Search:
    """A search for products: MGRS squares, or an area in degrees; sensing dates, both ends included; cloud in percent.

    `per` says of what group of products the one with the least cloud is taken. With `same_as`, a list of products, the
    search is for other products of the same squares, days and orbits instead, whatever their level.
    """

    since: date = date.min
    until: date = date.max
    tiles: tuple[str, ...] = ()
    area: tuple[float, float, float, float] | None = None
    max_cloud: float = 100.0
    per: str = PER[1]
    same_as: File | None = None


@dataclass(frozen=True)
class Products:
    """Which products: L1C ones, converted by Sen2Cor, or L2A ones as ESA made them, of which processing baselines.

    Either `list`, a CSV of names, or `search` is set. `baselines` has the form 05.11; empty for any, if all carry the
    same offset.
    """

    level: str
    list: File | None = None
    search: Search | None = None
    baselines: tuple[str, ...] = ()
    boa_offset: str = REFUSE_OFFSET


@dataclass(frozen=True)
class Patches:
    """How a tile is cut: the side of a patch in metres, and which patches are kept.

    `max_cloud` is the largest share of cloud, cloud shadow included, of a patch's valid pixels; None for any.
    """

    side_m: int = 1200
    keep: str = VALID
    max_cloud: float | None = None


@dataclass(frozen=True)
class Split:
    """How patches are divided: by rings of each tile, by a CSV of patch ids, or by blocks of the ground.

    `block_km` is the side of a block, 0 for whole MGRS squares; `shares` are those of train, validation and test.
    """

    rule: str = RINGS
    file: Path | None = None
    block_km: int = 0
    seed: int = 0
    shares: tuple[float, ...] = (0.5, 0.25, 0.25)

    @property
    def leaves_out(self) -> bool:
        """Whether patches may have no split, and are then not in the dataset."""
        return self.rule in (CSV, BLOCKS)


@dataclass(frozen=True)
class Seasons:
    """Where a season ends: as in the published data, or as in the calendar."""

    rule: str = CALENDAR


@dataclass(frozen=True)
class Countries:
    """Polygons of countries, or of any other regions: `column` has their names; `names` is None for all of them.

    Without a `file`, patches have no country.
    """

    file: File | None = None
    column: str = "name_long"
    names: tuple[str, ...] | None = None

    def listed(self, text: str) -> list[str]:
        """Return the names in a text, separated by commas or lines; by blanks, too, if no country has one in it."""
        have_blanks = self.names is None or any(" " in name for name in self.names)
        parts = [part for part in re.split(r"[,\n]" if have_blanks else r"[,\s]", text) if part.strip()]
        return names_in(parts, ",", self.names or ())


@dataclass(frozen=True)
class LandCover:
    """Polygons or a raster of land cover, its codes and classes.

    `code` is the column of polygons with the code, `order` that by which they are burnt, the last on top; both are
    empty for a raster, whose pixels are codes.
    """

    file: File
    nomenclature: Path
    unlabeled_limit: float = 0.25
    code: str = ""
    order: str = ""
    layer: str = ""


@dataclass(frozen=True)
class Sentinel1:
    """Where Sentinel-1 patches come from.

    `file` is the folder, or the pattern of rasters with {tile}, {date} and {polarisation}. `max_days` is how far their
    day may be from that of the Sentinel-2 product; `band` is as for a layer.
    """

    source: str = NO_SENTINEL1
    file: str = ""
    resampling: str = ""
    max_days: int = 6
    band: int | None = None


@dataclass(frozen=True)
class Layer:
    """A raster, or a pattern of rasters with {tile} and {date}, that is cut on the grid of the patches.

    `max_days` is how far {date} may be from the day of the Sentinel-2 product. `band` is which of a raster is taken,
    from 1; None for the only one. A layer that is `of_product`, with what that says of it, is taken from that product
    as it is: without `path` and `resampling`. It may have several `bands`, each with its pixel size in metres; their
    files then have the layer's name and that of the band.
    """

    name: str
    path: str
    resolution_m: int
    resampling: str
    dtype: str
    nodata: float | None = None
    max_days: int = 0
    band: int | None = None
    of_product: str = ""
    bands: Mapping[str, int] = field(default_factory=dict, hash=False)

    @property
    def kinds(self) -> dict[str, int]:
        """What follows the patch's name in the names of its files, ascending, with the pixel size in metres of each."""
        return {f"{self.name}_{band}": pixel_m for band, pixel_m in self.bands.items()} or {
            self.name: self.resolution_m
        }

    @property
    def how(self) -> str:
        """How it is made, in a few words."""
        if self.of_product:
            return f"{self.of_product}, as in the product"
        return f"cut at {self.resolution_m} m, {self.resampling}"


def _of_product(name: str, dtype: str, said: str, bands: Mapping[str, int] | None = None) -> Layer:
    return Layer(name, "", 10 if bands else 20, "", dtype, of_product=said, bands=bands or {})


OF_PRODUCT = {
    layer.name: layer
    for layer in (
        _of_product("scl", "uint8", "scene classification of 20 m"),
        _of_product("aot", "uint16", "aerosol optical thickness of 20 m, times 1,000"),
        _of_product("wvp", "uint16", "water vapour of 20 m, cm times 1,000"),
        _of_product("cloud_probability", "uint8", "probability of cloud of 20 m, per cent"),
        _of_product("snow_probability", "uint8", "probability of snow of 20 m, per cent"),
        _of_product("l1c", "uint16", "top-of-atmosphere reflectance, 13 bands of 10, 20 and 60 m", L1C_RESOLUTION_M),
    )
}
"""The layers that may be taken from each product, by name; all are 20 m a pixel, but for the bands of L1C."""


@dataclass(frozen=True)
class Recipe:
    """All that makes a dataset what it is. `citation` is BibTeX; `path` is the file that it was read from."""

    name: str
    title: str
    version: str
    license: str
    products: Products
    land_cover: LandCover
    citation: str = ""
    patches: Patches = field(default_factory=Patches)
    split: Split = field(default_factory=Split)
    seasons: Seasons = field(default_factory=Seasons)
    countries: Countries = field(default_factory=Countries)
    sentinel1: Sentinel1 = field(default_factory=Sentinel1)
    layers: tuple[Layer, ...] = ()
    path: Path = field(default=Path(), compare=False)

    @property
    def is_default(self) -> bool:
        """Whether it is the default recipe: only that one has its name."""
        return self.name == DEFAULT

    @property
    def is_aligned(self) -> bool:
        """Whether patches are those that BigEarthNet v1 has, too."""
        return self.patches.keep == ALIGNED
