"""Estimate before a run what it will take: download volume, disk space, quota and hours.

The figures apply to a full tile of 109,800 m; those that depend on the size of a tile are scaled by its area.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ben_luigi.domain.cdse.download import USUAL_BYTES
from ben_luigi.domain.placement.grid import PATCH_M, TILE_SIDE_M

TILES = 125
"""Number of products of the published dataset."""
QUOTA_BYTES, QUOTA_DAYS = 12 * 10**12, 30
CONNECTION_BYTES_S = 20e6
"""By CDSE's documentation of 2025, a normal account has 12 TB per 30 days, and 20 MB/s on each of 4 connections."""

SMALL_INPUT_BYTES = 20_000_000
"""More than most of the pinned lists and geometries have, each."""
SQUARE_BYTES = 45_000_000
"""Estimated: about 5,000 polygons meet a tile; CORINE's GeoPackage has 3.5 KB for each, JSON 2.5 times as much."""
INSTALLER_BYTES = 500_000_000
"""Not known; programs of this kind have some hundred MB."""
_L2A_BYTES = 1.2e9
"""Sen2Cor's product of a full tile, including its coarser copies of bands; ESA states 0.8 GB for the L1C product."""
_CONVERSION_BYTES = 5e9
"""Used while Sen2Cor runs: the unpacked L1C product and temporary files. Users report several GB."""
_CONVERSION_H = (6 / 60, 40 / 60)
"""Users report 6 to 40 minutes per tile."""
_SHARD_BYTES, _ARCHIVE_RATIO = 824e6, 1.83
"""Measured: the 4,760 aligned patches of a real tile, and their compression ratio at zstd level 6."""
_PATCHES, _ALL_PATCHES = 4_760, 8_281
_FILE_BYTES, _FILES = 1_536, 12
"""Of each file in a shard, its TIFF and tar headers; the files of a patch, of which the rest is pixels."""
_MAP_BYTES = 2_000
"""Measured on the sample world: one reference map in its shard."""
_S1_BYTES_M2 = 2 * 4 / 10**2
"""Two bands of float32 at 10 m, assuming that zstd saves nothing."""
_FORM_BYTES = 430_000
"""Measured: a patch of 1,200 m in the largest form, and Sentinel-1 beside it while others are made."""
_DATABASE_BYTES, _LOG_BYTES, _DATABASE_BYTES_A_PATCH = 5e7, 1e9, 2_000
"""PostgreSQL's own files; its write-ahead log, at most; the rows of one patch in all tables with their indexes."""
_SLOW, _LOADED = 3, 2
"""Allowances, not measured: downloads at a third of the rate, steps that share the machine."""
_CUT_H = 55 / 3600
"""Measured: decoding and cutting a real tile and making its reference maps, on one core."""
_COMPRESS_H = 21 / 3600
"""Measured: 11 minutes for 125 tiles on two cores; half of that is the time of one core per tile."""


@dataclass(frozen=True)
class Retention:
    """Which products are removed as soon as they are not needed any more."""

    l1c: bool = False
    l2a: bool = False
    parts: bool = False


EVERYTHING = Retention(l1c=True, l2a=True, parts=True)


@dataclass(frozen=True)
class Work:
    """The work that remains.

    `downloads_bytes` has one entry per product to fetch, None where its size is unknown. `tiles` counts all tiles of
    the dataset, finished or not. `tasks_at_once` limits how many tiles are cut or compressed at once; `rate_bytes_s`
    limits all downloads together, 0 means no limit. A recipe's patches are `patch_m` metres a side; `keeps_all` means
    that all of a tile count, and not only those aligned with v1. `layers_bytes_m2` are the bytes of the pixels of all
    further layers per square metre, `layer_files` how many files of them a patch has; `has_s1` means that there is
    Sentinel-1, `collects_s1` that it is read from its `.tar.gz`.
    `fetches_bytes` has an entry for each kind of input that is to be fetched, which stays; `forms` is the number of
    forms to export. With `cache_bytes`, shards, archives and forms live in a store, and so many bytes of them here.
    """

    tiles: int
    downloads_bytes: Sequence[int | None]
    conversions: int
    cuts: int
    archives: bool
    side_m: int = TILE_SIDE_M
    patch_m: int = PATCH_M
    keeps_all: bool = False
    layers_bytes_m2: float = 0.0
    layer_files: int = 0
    has_s1: bool = True
    from_l1c: bool = True
    from_cdse: bool = True
    collects_s1: bool = False
    downloads_at_once: int = 1
    conversions_at_once: int = 1
    tasks_at_once: int = 1
    rate_bytes_s: float = 0.0
    fetches_bytes: Sequence[int] = ()
    forms: int = 0
    cache_bytes: int = 0

    @property
    def _area(self) -> float:
        return (self.side_m / TILE_SIDE_M) ** 2

    def download_bytes(self) -> float:
        """Return the bytes to download from CDSE."""
        return sum(self._usual_bytes() if size is None else size for size in self.downloads_bytes)

    def _usual_bytes(self) -> float:
        return USUAL_BYTES * self._area

    def quota(self) -> float:
        """Return the fraction of CDSE's quota that the downloads use."""
        return self.download_bytes() / QUOTA_BYTES

    def peak_bytes(self, retention: Retention) -> float:
        """Return the most bytes that the data folder will hold at any time.

        The peak is at one of three moments: all products have arrived, since downloads are quicker than Sen2Cor; all
        tiles are cut; or the last archive is being joined.
        """
        tiles = self.tiles * self._area
        l1c = tiles * USUAL_BYTES * self.from_cdse
        l2a, work = tiles * _L2A_BYTES * self.from_l1c, self._in_work_bytes() * self.from_l1c
        kept_m2 = tiles * (_ALL_PATCHES if self.keeps_all else _PATCHES) * PATCH_M**2
        patches = kept_m2 / self.patch_m**2
        pixels = kept_m2 * (_SHARD_BYTES / _PATCHES - _FILES * _FILE_BYTES) / PATCH_M**2
        cut, maps = pixels + patches * _FILES * _FILE_BYTES, patches * _MAP_BYTES
        layers = kept_m2 * self.layers_bytes_m2 + patches * self.layer_files * _FILE_BYTES
        shards = cut + maps + layers
        s2, s1 = cut / _ARCHIVE_RATIO, (kept_m2 * _S1_BYTES_M2 + patches * 2 * _FILE_BYTES) * self.has_s1
        dataset = s2 + s1 + maps + layers
        kept = l1c * (not retention.l1c) + l2a * (not retention.l2a)
        collected = s1 * self.collects_s1
        joined = shards + dataset + (max(s2, s1 + collected) if retention.parts else dataset + collected)
        rows = tiles * _ALL_PATCHES * (PATCH_M / self.patch_m) ** 2
        database = _DATABASE_BYTES + rows * _DATABASE_BYTES_A_PATCH + _LOG_BYTES * min(1.0, tiles)
        forms = self.forms * kept_m2 / PATCH_M**2 * _FORM_BYTES
        if self.cache_bytes:  # besides, the archive or form that is being written
            making = max(s2, s1, forms / max(self.forms, 1))
            joined = min(joined + forms, self.cache_bytes + collected + making)
            shards, forms = min(shards, self.cache_bytes), 0.0
        products = max(l1c, kept + shards) + work
        return max(products, kept + joined + forms) + database + sum(self.fetches_bytes)

    def _in_work_bytes(self) -> float:
        return (_CONVERSION_BYTES * self.conversions_at_once + _L2A_BYTES * self.tasks_at_once) * self._area

    def hours(self) -> dict[str, tuple[float, float]]:
        """Return the hours of each step, (best case, worst case); steps overlap."""
        rate = min(CONNECTION_BYTES_S * self.downloads_at_once, self.rate_bytes_s or CONNECTION_BYTES_S * 4)
        download = self.download_bytes() / rate / 3600
        rounds = self.conversions * self._area / self.conversions_at_once
        cut = self.cuts * self._area * _CUT_H / self.tasks_at_once
        packed = self.tiles * self.archives * self._area * _COMPRESS_H / self.tasks_at_once
        fetched = sum(self.fetches_bytes) / CONNECTION_BYTES_S / 3600
        return {
            "inputs": (fetched, _SLOW * fetched),
            "download": (download, _SLOW * download),
            "Sen2Cor": (rounds * _CONVERSION_H[0], rounds * _CONVERSION_H[1]),
            "patches and maps": (cut, _LOADED * cut),
            "archives and checks": (packed, _LOADED * packed),
        }

    def total_hours(self) -> tuple[float, float]:
        """Return the hours in all: at best those of the slowest step, at worst the sum of all steps."""
        steps = self.hours().values()
        return max(best for best, _ in steps), sum(worst for _, worst in steps)
