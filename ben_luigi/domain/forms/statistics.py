"""Exact statistics of a finished dataset: of the pixels of each band and split, and of the classes.

Pixels have been counted by `pixel_counts`, those of Sentinel-1 by the upper half of their bits; here those values that
percentiles fall among are counted by the lower half. Memory: some 60 MB, and 100 bytes per patch of Sentinel-1.

Pixels count as they are stored, for those who normalize what they read. Where products carry BOA_ADD_OFFSET and the
recipe keeps it, they are not reflectance alone: the unit says so, and `offset_tiles` names these tiles.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ben_luigi.domain import files
from ben_luigi.domain.dataset.statistics_parts import FLAGGED, OVERALL, PARTS
from ben_luigi.domain.dataset.statistics_parts import STATISTICS as STATISTICS
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.forms.pixel_counts import (
    VALUES,
    Counts,
    Floats,
    PixelCounts,
    finite_of,
    number_of,
    ordered,
)
from ben_luigi.domain.forms.pixels import GROUPS, PIXEL_M, pixels_in, side_px
from ben_luigi.domain.forms.source import FLAG, KINDS, S1, S2, Source, offset_tiles, spelled_out
from ben_luigi.domain.names import tile_name_of
from ben_luigi.domain.products.product import BOA_ADD_OFFSET
from ben_luigi.domain.progress import OnFraction, ignore_fraction
from ben_luigi.domain.vocabulary import SPLITS

PERCENTILES = (1, 2, 50, 98, 99)
UNITS = {S2: "reflectance times 10,000", S1: "dB"}
CENTRES_NM = {
    "S2A": (442.7, 492.4, 559.8, 664.6, 704.1, 740.5, 782.8, 832.8, 945.1, 1613.7, 2202.4, 864.7),
    "S2B": (442.2, 492.1, 559.0, 664.9, 703.8, 739.1, 779.7, 832.9, 943.2, 1610.4, 2185.7, 864.0),
}
"""Centre wavelengths in nanometres, in the order of RESOLUTION_M; ESA, COPE-GSEG-EOPG-TN-15-0007 (2018)."""

Json = dict[str, Any]


def write(source: Source, counts: PixelCounts, path: Path, progress: OnFraction = ignore_fraction) -> None:
    """Write the statistics of a dataset to `path` atomically. Raise errors as `statistics`."""
    files.write_json(path, statistics(source, counts, progress))


def statistics(source: Source, counts: PixelCounts, progress: OnFraction = ignore_fraction) -> Json:
    """Return the statistics of a dataset, of whose pixels `counts` are: see docs/dataset.md.

    Splits have the patches of the first file of metadata, `overall` has all of these, `flagged` those of the second
    one. Raise BadInput if not all pixels were counted, or `provenance.json` cannot be read; DamagedFile or BadArchive
    about the archive of Sentinel-1, which is read once.
    """
    about = source.form.about
    tiles = {tile_name_of(name) for name in source.rows["patch_id"].to_pylist()}
    offset = sorted(tiles & offset_tiles(source.folder))
    units = {**UNITS, S2: _unit(len(offset), len(tiles))}
    parts = _parts(source)
    _require_all(source, parts, counts)
    bands = {**_count_s2(counts), **_count_s1(source, parts, counts, progress)}
    return {
        "version": 1,
        "dataset": {"name": about.name, "version": about.version},
        "band_order": {name: list(group) for name, group in GROUPS.items() if group[0] in bands},
        **({"offset_tiles": offset} if offset else {}),
        "bands": {band: {**_about_band(band, units), "statistics": found} for band, found in bands.items()},
        "patches": {part: int((parts == part).sum()) for part in PARTS},
        "classes": _classes(source, parts),
    }


def _parts(source: Source) -> np.ndarray:
    """Return the part of each row: its split, or FLAGGED."""
    splits = spelled_out(source.rows.select(["split"]))["split"].to_numpy(zero_copy_only=False)
    return np.where(source.rows[FLAG].to_numpy(zero_copy_only=False), FLAGGED, splits)


def _require_all(source: Source, parts: np.ndarray, counts: PixelCounts) -> None:
    """Raise BadInput unless as many pixels were counted as the patches of each part have."""
    found = {key: int(whole.counts().sum()) for key, whole in counts.whole.items()}
    found |= {key: floats.number + floats.not_finite for key, floats in counts.floats.items()}
    of_archive = {archive: Counter(parts[source.names(archive).is_valid()].tolist()) for archive in (S2, S1)}
    expected = {
        (band, part): patches * side_px(band, source.form.patch_m) ** 2
        for archive, of in of_archive.items()
        for part, patches in of.items()
        for band in KINDS[archive]
    }
    for band, part in sorted({*found, *expected}):
        if found.get((band, part)) != expected.get((band, part)):
            raise BadInput(
                f"counts of pixels of {source.folder.name}",
                expected=f"{expected.get((band, part), 0):,} of {band} in {part}, as the metadata have patches",
                found=f"{found.get((band, part), 0):,}",
                remedy="remove the files that they were read from, counts/ beside the parts, and run again",
            )


def _unit(offset: int, tiles: int) -> str:
    """Return the unit of Sentinel-2, where pixels of `offset` of the tiles carry BOA_ADD_OFFSET."""
    if not offset:
        return UNITS[S2]
    of_some = "" if offset == tiles else f" in {offset:,} of {tiles:,} tiles"
    return f"{UNITS[S2]}, plus {-BOA_ADD_OFFSET:,}{of_some}"


def _about_band(band: str, units: Mapping[str, str]) -> Json:
    if band in GROUPS["s1"]:
        return {"unit": units[S1], "dtype": "float32", "pixel_m": PIXEL_M[band]}
    at = list(PIXEL_M).index(band)
    centres = {satellite: of_all[at] for satellite, of_all in CENTRES_NM.items()}
    return {"unit": units[S2], "dtype": "uint16", "pixel_m": PIXEL_M[band], "centre_wavelength_nm": centres}


def _classes(source: Source, parts: np.ndarray) -> Json:
    """Return for each part how many patches have each class, and the weights that follow from it.

    `positive_weight` is (patches - count) / count, as BCEWithLogitsLoss of PyTorch takes it; None for none.
    """
    counts: dict[str, Counter[str]] = {part: Counter() for part in PARTS}
    for part, labels in zip(parts.tolist(), source.rows["labels"].to_pylist(), strict=True):
        counts[part].update(labels)
    counts[OVERALL] = sum((counts[split] for split in SPLITS), Counter())
    patches = Counter(parts.tolist())
    patches[OVERALL] = sum(patches[split] for split in SPLITS)
    classes = sorted(set().union(*counts.values()))
    return {
        name: {
            part: {
                "patches": found[name],
                "positive_weight": (patches[part] - found[name]) / found[name] if found[name] else None,
            }
            for part, found in counts.items()
        }
        for name in classes
    }


def _count_s2(counts: PixelCounts) -> dict[str, Json]:
    return {
        band: {part: of_counts(values) for part, values in counts.of_band(band).items()}
        for band in chain(GROUPS["s2_10m"], GROUPS["s2_20m"], GROUPS["s2_60m"])
    }


def of_counts(counts: Counts) -> Json:
    """Return the statistics of integers by how often each of them, from 0, is there. Sums are exact."""
    values = np.flatnonzero(counts)
    numbers = [int(number) for number in counts[values]]
    pixels = sum(numbers)
    first = sum(int(value) * number for value, number in zip(values, numbers, strict=True))
    second = sum(int(value) ** 2 * number for value, number in zip(values, numbers, strict=True))
    below = np.cumsum(counts)

    def at(rank: int) -> float:
        return float(np.searchsorted(below, rank, side="right"))

    return {
        "pixels": pixels,
        "mean": first / pixels,
        # The numerator is a whole number, so nothing is lost to cancellation.
        "standard_deviation": math.sqrt(pixels * second - first**2) / pixels,
        "minimum": int(values[0]),
        "maximum": int(values[-1]),
        "percentiles": percentiles(pixels, at),
    }


def percentiles(number: int, at: Callable[[int], float]) -> dict[str, float]:
    """Return the percentiles of `number` values; `at` returns the value of a rank, counted from 0.

    Between two ranks they are interpolated as numpy does by default (method 7 of Hyndman and Fan, 1996).
    """
    found = {}
    for percent in PERCENTILES:
        virtual = (number - 1) * (percent / 100)
        below, above = at(math.floor(virtual)), at(min(math.floor(virtual) + 1, number - 1))
        weight, step = virtual - math.floor(virtual), above - below
        found[str(percent)] = above - step * (1 - weight) if weight >= 0.5 else below + step * weight
    return found


class _Ranked:
    """The values of Sentinel-1 by rank: counted by the upper half of their bits, and some of these by the lower one."""

    def __init__(self, floats: Floats) -> None:
        self._number = floats.number
        self._below = np.cumsum(floats.upper.counts())
        self.uppers = self._wanted()

    def _wanted(self) -> frozenset[int]:
        """Return the upper halves of the values that percentiles fall among."""
        found: set[int] = set()

        def at(rank: int) -> float:
            found.add(self._upper(rank))
            return 0.0

        if self._number:
            percentiles(self._number, at)
        return frozenset(found)

    def _upper(self, rank: int) -> int:
        return int(np.searchsorted(self._below, rank, side="right"))

    def percentiles(self, lower: Mapping[int, Counts]) -> dict[str, float]:
        """Return the percentiles; `lower` counts the lower halves of values by each upper half that is wanted."""
        within = {upper: np.cumsum(lower[upper]) for upper in self.uppers}

        def at(rank: int) -> float:
            upper = self._upper(rank)
            left = rank - (int(self._below[upper - 1]) if upper else 0)
            return number_of((upper << 16) + int(np.searchsorted(within[upper], left, side="right")))

        return percentiles(self._number, at)


def _count_s1(source: Source, parts: np.ndarray, counts: PixelCounts, progress: OnFraction) -> dict[str, Json]:
    if S1 not in source.archives:
        return {}
    floats = {band: counts.of_radar(band) for band in GROUPS["s1"]}
    ranked = {(band, part): _Ranked(found) for band, of in floats.items() for part, found in of.items()}
    lower = _count_lower(source, parts, {key: ranks.uppers for key, ranks in ranked.items()}, progress)
    return {
        band: {
            part: _of_floats(found, ranked[band, part].percentiles(lower[band, part]))
            for part, found in of.items()
            if found.number
        }
        for band, of in floats.items()
    }


def _count_lower(
    source: Source, parts: np.ndarray, wanted: Mapping[tuple[str, str], frozenset[int]], progress: OnFraction
) -> dict[tuple[str, str], dict[int, Counts]]:
    """Return how often each lower half of the bits is among the values of Sentinel-1 with a wanted upper half."""
    nothing: frozenset[int] = frozenset()
    counted = {
        (band, part): _Lower(uppers | (wanted.get((band, OVERALL), nothing) if part in SPLITS else nothing))
        for (band, part), uppers in wanted.items()
        if part != OVERALL
    }
    names = source.names(S1)
    for done, patch in enumerate(source.patches(S1), start=1):
        for band, pixels in pixels_in(source, patch.files, names[patch.row].as_py()).items():
            counted[band, parts[patch.row]].add(ordered(finite_of(pixels)))
        progress(done / len(parts))
    found = {key: of_part.counts() for key, of_part in counted.items()}
    for band, part in wanted:
        if part == OVERALL:
            splits = [found[band, split] for split in SPLITS if (band, split) in found]
            found[band, part] = {upper: np.sum([of[upper] for of in splits], axis=0) for upper in wanted[band, part]}
    return found


class _Lower:
    """Count the lower halves of the bits of values with some upper halves."""

    def __init__(self, uppers: Iterable[int]) -> None:
        self._uppers = sorted(uppers)
        self._number = np.full(VALUES, -1, dtype="int32")
        self._number[self._uppers] = np.arange(len(self._uppers))
        self._counts = np.zeros(len(self._uppers) * VALUES, dtype="int64")
        self._waiting: list[np.ndarray] = []
        self._waiting_px = 0

    def add(self, order: np.ndarray) -> None:
        """Count those of these, as `ordered` returns them."""
        number = self._number[order >> 16]
        is_wanted = number >= 0
        self._waiting.append((number[is_wanted] << 16) + (order[is_wanted] & (VALUES - 1)))
        self._waiting_px += len(self._waiting[-1])
        if self._waiting_px >= len(self._counts):
            self.counts()

    def counts(self) -> dict[int, Counts]:
        """Return the counts so far by upper half."""
        if self._waiting:
            self._counts += np.bincount(np.concatenate(self._waiting), minlength=len(self._counts))
            self._waiting, self._waiting_px = [], 0
        return {upper: self._counts[at * VALUES : (at + 1) * VALUES] for at, upper in enumerate(self._uppers)}


def _of_floats(floats: Floats, found: Mapping[str, float]) -> Json:
    mean, deviation = floats.mean_and_deviation()
    return {
        "pixels": floats.number,
        "not_finite": floats.not_finite,
        "mean": mean,
        "standard_deviation": deviation,
        "minimum": floats.least,
        "maximum": floats.most,
        "percentiles": found,
    }


def lines(bands: Mapping[str, Any]) -> list[str]:
    """Return a line per band with mean and standard deviation of all splits together, of `bands` of the statistics."""
    return [
        f"{band:>3}: mean {found['mean']:,.2f}, standard deviation {found['standard_deviation']:,.2f}, {about['unit']}"
        for band, about in bands.items()
        if (found := about["statistics"].get(OVERALL))
    ]
