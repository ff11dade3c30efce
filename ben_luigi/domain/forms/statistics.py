"""Exact statistics of a finished dataset: of the pixels of each band and split, and of the classes.

Pixels of Sentinel-2 are counted by value. Those of Sentinel-1 are floating point, with too many values to count: a
first pass counts them by the upper half of their bits, a second one those values that percentiles fall among by the
lower half. Memory: some 60 MB, and 50 bytes per patch of Sentinel-1.

Pixels count as they are stored, for those who normalize what they read. Where products carry BOA_ADD_OFFSET and the
recipe keeps it, they are not reflectance alone: the unit says so, and `offset_tiles` names these tiles.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ben_luigi.domain import files
from ben_luigi.domain.dataset.statistics_parts import FLAGGED, OVERALL, PARTS
from ben_luigi.domain.dataset.statistics_parts import STATISTICS as STATISTICS
from ben_luigi.domain.forms.pixels import GROUPS, PIXEL_M, pixels_in
from ben_luigi.domain.forms.source import FLAG, S1, S2, Source, offset_tiles
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

_VALUES = 2**16
_GATHERED_PX = 2**18
"""Pixels that are gathered before they are counted: numpy passes over all 65,536 counts each time."""

_SIGN = np.uint32(2**31)

Json = dict[str, Any]
Counts = np.ndarray


def write(source: Source, path: Path, progress: OnFraction = ignore_fraction) -> None:
    """Write the statistics of a dataset to `path` atomically. Raise errors about archives and metadata as Source."""
    files.write_json(path, statistics(source, progress))


def statistics(source: Source, progress: OnFraction = ignore_fraction) -> Json:
    """Return the statistics of a dataset: see docs/dataset.md.

    Splits have the patches of the first file of metadata, `overall` has all of these, `flagged` those of the second
    one. Raise DamagedFile or BadArchive about an archive, BadInput about a TIFF or `provenance.json`.
    """
    about = source.form.about
    tiles = {tile_name_of(name) for name in source.rows["patch_id"].to_pylist()}
    offset = sorted(tiles & offset_tiles(source.folder))
    units = {**UNITS, S2: _unit(len(offset), len(tiles))}
    parts = _parts(source)
    bands = {**_count_s2(source, parts, progress), **_count_s1(source, parts, progress)}
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
    splits = source.rows["split"].to_numpy(zero_copy_only=False)
    return np.where(source.rows[FLAG].to_numpy(zero_copy_only=False), FLAGGED, splits)


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


def _pixels(source: Source, archive: str) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    names = source.names(archive)
    for patch in source.patches(archive):
        yield patch.row, pixels_in(source, patch.files, names[patch.row].as_py())


def _count_s2(source: Source, parts: np.ndarray, progress: OnFraction) -> dict[str, Json]:
    counts: defaultdict[tuple[str, str], _Gathered] = defaultdict(_Gathered)
    passes = 3 if S1 in source.archives else 1
    for done, (row, of_patch) in enumerate(_pixels(source, S2), start=1):
        for band, pixels in of_patch.items():
            counts[band, parts[row]].add(pixels)
        progress(done / len(parts) / passes)
    found = {key: gathered.counts() for key, gathered in counts.items()}
    return {
        band: {part: of_counts(values) for part, values in _with_overall(band, found).items()}
        for band in chain(GROUPS["s2_10m"], GROUPS["s2_20m"], GROUPS["s2_60m"])
    }


def _with_overall(band: str, found: Mapping[tuple[str, str], Counts]) -> dict[str, Counts]:
    of_band = {part: found[band, part] for part in PARTS if (band, part) in found}
    splits = [of_band[split] for split in SPLITS if split in of_band]
    return {**of_band, **({OVERALL: np.sum(splits, axis=0)} if splits else {})}


class _Gathered:
    """Count values of 16 bits, many pixels at a time."""

    def __init__(self) -> None:
        self._counts = np.zeros(_VALUES, dtype="int64")
        self._waiting: list[np.ndarray] = []
        self._waiting_px = 0

    @classmethod
    def of(cls, parts: Sequence[_Gathered]) -> _Gathered:
        """Return the counts of all of these together."""
        result = cls()
        for part in parts:
            result._counts += part.counts()
        return result

    def add(self, values: np.ndarray) -> None:
        """Count these, uint16 of any shape."""
        self._waiting.append(values.ravel())
        self._waiting_px += values.size
        if self._waiting_px >= _GATHERED_PX:
            self.counts()

    def counts(self) -> Counts:
        """Return the number of pixels of each value so far: (65536,), int64."""
        if self._waiting:
            self._counts += np.bincount(np.concatenate(self._waiting), minlength=_VALUES)
            self._waiting, self._waiting_px = [], 0
        return self._counts


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


def ordered(values: np.ndarray) -> np.ndarray:
    """Return integers that ascend as the numbers do: uint32 of float32. IEEE 754: the sign first, then the size."""
    bits = values.view("uint32")
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _number(order: int) -> float:
    """Return the number of an integer of `ordered`."""
    bits = np.uint32(order ^ 2**31 if order & 2**31 else ~order & 0xFFFFFFFF)
    return float(bits.view("float32"))


@dataclass
class _Floats:
    """Count float32 values in two passes; those that are not finite are only counted."""

    upper: _Gathered = field(default_factory=_Gathered)
    lower: dict[int, _Gathered] = field(default_factory=dict)
    mean: float = 0.0
    not_finite: int = 0
    least: float = math.inf
    most: float = -math.inf
    sums: array[float] = field(default_factory=lambda: array("d"))
    squares: array[float] = field(default_factory=lambda: array("d"))

    def first(self, values: np.ndarray) -> None:
        """Take values in the first pass."""
        finite = _finite(values)
        self.not_finite += values.size - finite.size
        if finite.size:
            self.upper.add((ordered(finite) >> 16).astype("uint16"))
            self.sums.append(float(finite.sum(dtype="float64")))
            self.least, self.most = min(self.least, float(finite.min())), max(self.most, float(finite.max()))

    def prepare(self, uppers: set[int]) -> None:
        """Get ready for the second pass, in which values with these upper halves are counted by their lower ones."""
        # fsum rounds once, so the order of the patches does not matter.
        self.mean = math.fsum(self.sums) / max(1, self.pixels)
        self.lower = {upper: _Gathered() for upper in sorted(uppers)}

    def second(self, values: np.ndarray) -> None:
        """Take the same values in the second pass."""
        finite = _finite(values)
        self.squares.append(float(np.square(finite.astype("float64") - self.mean).sum()))
        order = ordered(finite)
        for upper, gathered in self.lower.items():
            gathered.add((order[order >> 16 == upper] & (_VALUES - 1)).astype("uint16"))

    @property
    def pixels(self) -> int:
        """Number of finite values."""
        return int(self.upper.counts().sum())

    def uppers(self) -> set[int]:
        """Return the upper halves of the values that percentiles fall among."""
        below, found = np.cumsum(self.upper.counts()), set()

        def at(rank: int) -> float:
            found.add(int(np.searchsorted(below, rank, side="right")))
            return 0.0

        percentiles(self.pixels, at)
        return found

    def value(self, rank: int) -> float:
        """Return the value of a rank, counted from 0, after both passes."""
        below = np.cumsum(self.upper.counts())
        upper = int(np.searchsorted(below, rank, side="right"))
        rank -= int(below[upper - 1]) if upper else 0
        within = np.cumsum(self.lower[upper].counts())
        return _number((upper << 16) + int(np.searchsorted(within, rank, side="right")))

    def result(self) -> Json:
        """Return the statistics, after both passes."""
        return {
            "pixels": self.pixels,
            "not_finite": self.not_finite,
            "mean": self.mean,
            "standard_deviation": math.sqrt(math.fsum(self.squares) / self.pixels),
            "minimum": self.least,
            "maximum": self.most,
            "percentiles": percentiles(self.pixels, self.value),
        }


def _together(parts: Sequence[_Floats]) -> _Floats:
    """Return the counts of all parts together, as they are between the passes or after both."""
    result = _Floats(
        not_finite=sum(part.not_finite for part in parts),
        least=min(part.least for part in parts),
        most=max(part.most for part in parts),
        sums=array("d", chain.from_iterable(part.sums for part in parts)),
    )
    result.upper = _Gathered.of([part.upper for part in parts])
    result.prepare(set())
    result.lower = {
        upper: _Gathered.of([part.lower[upper] for part in parts if upper in part.lower])
        for upper in set().union(*(part.lower for part in parts))
    }
    for part in parts:
        result.squares.extend(part.squares)
        result.squares.append(part.pixels * (part.mean - result.mean) ** 2)
    return result


def _finite(values: np.ndarray) -> np.ndarray:
    flat = values.ravel()
    is_finite = np.isfinite(flat)
    return flat if is_finite.all() else flat[is_finite]


def _count_s1(source: Source, parts: np.ndarray, progress: OnFraction) -> dict[str, Json]:
    if S1 not in source.archives:
        return {}
    counts: defaultdict[tuple[str, str], _Floats] = defaultdict(_Floats)

    def passed(number: int) -> Iterator[tuple[_Floats, np.ndarray]]:
        for done, (row, of_patch) in enumerate(_pixels(source, S1), start=1):
            for band, pixels in of_patch.items():
                yield counts[band, parts[row]], pixels
            progress((number + done / len(parts)) / 3)

    for of_part, pixels in passed(1):
        of_part.first(pixels)
    for band in GROUPS["s1"]:
        splits = [counts[band, split] for split in SPLITS if (band, split) in counts]
        also = _together(splits).uppers() if any(of_part.pixels for of_part in splits) else set()
        for part in PARTS:
            if (band, part) in counts:
                of_part = counts[band, part]
                of_part.prepare((of_part.uppers() if of_part.pixels else set()) | (also if part in SPLITS else set()))
    for of_part, pixels in passed(2):
        of_part.second(pixels)
    return {band: _floats_of(band, counts) for band in GROUPS["s1"]}


def _floats_of(band: str, counts: Mapping[tuple[str, str], _Floats]) -> dict[str, Json]:
    of_band = {part: counts[band, part] for part in PARTS if (band, part) in counts}
    splits = [of_band[split] for split in SPLITS if split in of_band]
    together = {OVERALL: _together(splits)} if splits else {}
    return {part: found.result() for part, found in {**of_band, **together}.items() if found.pixels}


def lines(bands: Mapping[str, Any]) -> list[str]:
    """Return a line per band with mean and standard deviation of all splits together, of `bands` of the statistics."""
    return [
        f"{band:>3}: mean {found['mean']:,.2f}, standard deviation {found['standard_deviation']:,.2f}, {about['unit']}"
        for band, about in bands.items()
        if (found := about["statistics"].get(OVERALL))
    ]
