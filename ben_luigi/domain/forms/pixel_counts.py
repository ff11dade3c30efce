"""Count the pixels of patches by band and part of the dataset, and add up what was counted in several files.

Pixels of Sentinel-2 are counted by value. Those of Sentinel-1 are floating point, with too many values to count: they
are counted by the upper half of their bits, and of each patch number, sum and squared deviations from its mean are
kept. From these follow the mean and standard deviation of all, the same in whatever order patches come.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from ben_luigi.domain.dataset.statistics_parts import OVERALL
from ben_luigi.domain.files import atomic_write
from ben_luigi.domain.formats import tables
from ben_luigi.domain.forms.pixels import DTYPES
from ben_luigi.domain.vocabulary import SPLITS

Counts = np.ndarray
"""How often each value of 16 bits is there: (65536,), int64."""

VALUES = 2**16
_GATHERED_PX = 2**18
"""Pixels that are gathered before they are counted: numpy passes over all 65,536 counts each time."""
_SIGN = np.uint32(2**31)
_SCHEMA = pa.schema(
    [
        ("band", pa.string()),
        ("part", pa.string()),
        ("values", pa.list_(pa.uint16())),
        ("numbers", pa.list_(pa.int64())),
        ("not_finite", pa.int64()),
        ("least", pa.float64()),
        ("most", pa.float64()),
        ("pixels", pa.list_(pa.int64())),
        ("sums", pa.list_(pa.float64())),
        ("deviations", pa.list_(pa.float64())),
    ]
)


class Whole:
    """Count values of 16 bits, many pixels at a time."""

    def __init__(self) -> None:
        self._counts = np.zeros(VALUES, dtype="int64")
        self._waiting: list[np.ndarray] = []
        self._waiting_px = 0

    def add(self, values: np.ndarray) -> None:
        """Count these, uint16 of any shape."""
        self._waiting.append(values.ravel())
        self._waiting_px += values.size
        if self._waiting_px >= _GATHERED_PX:
            self.counts()

    def take(self, counts: Counts) -> None:
        """Add what was counted elsewhere."""
        self._counts += counts

    def counts(self) -> Counts:
        """Return the number of pixels of each value so far."""
        if self._waiting:
            self._counts += np.bincount(np.concatenate(self._waiting), minlength=VALUES)
            self._waiting, self._waiting_px = [], 0
        return self._counts


class Floats:
    """Count float32 values by the upper half of their bits; those that are not finite are only counted.

    Memory: 24 bytes per patch.
    """

    def __init__(self) -> None:
        self.upper = Whole()
        self.not_finite = 0
        self.least, self.most = math.inf, -math.inf
        self.pixels = array("q")
        self.sums, self.deviations = array("d"), array("d")

    def add(self, values: np.ndarray) -> None:
        """Count the pixels of a patch."""
        finite = finite_of(values)
        self.not_finite += values.size - finite.size
        if not finite.size:
            return
        self.upper.add((ordered(finite) >> 16).astype("uint16"))
        self.least, self.most = min(self.least, float(finite.min())), max(self.most, float(finite.max()))
        exact = finite.astype("float64")
        total = float(exact.sum())
        self.pixels.append(finite.size)
        self.sums.append(total)
        self.deviations.append(float(np.square(exact - total / finite.size).sum()))

    def take(self, other: Floats) -> None:
        """Add what was counted elsewhere."""
        self.upper.take(other.upper.counts())
        self.not_finite += other.not_finite
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)
        self.pixels.extend(other.pixels)
        self.sums.extend(other.sums)
        self.deviations.extend(other.deviations)

    @property
    def number(self) -> int:
        """Number of finite values."""
        return sum(self.pixels)

    def mean_and_deviation(self) -> tuple[float, float]:
        """Return mean and standard deviation of all values that are finite, of which there has to be one."""
        # fsum rounds once, so the order of the patches does not matter.
        number = self.number
        mean = math.fsum(self.sums) / number
        between = (pixels * (total / pixels - mean) ** 2 for pixels, total in zip(self.pixels, self.sums, strict=True))
        return mean, math.sqrt((math.fsum(self.deviations) + math.fsum(between)) / number)


class PixelCounts:
    """What was counted of each band in each part of a dataset: splits, and the patches with snow, cloud or shadow."""

    def __init__(self) -> None:
        self.whole: dict[tuple[str, str], Whole] = {}
        self.floats: dict[tuple[str, str], Floats] = {}

    def add(self, part: str, pixels: Mapping[str, np.ndarray]) -> None:
        """Count the pixels of a patch by band."""
        for band, values in pixels.items():
            self._of(band, part).add(values)

    def _of(self, band: str, part: str) -> Whole | Floats:
        if DTYPES[band] == "float32":
            return self.floats.setdefault((band, part), Floats())
        return self.whole.setdefault((band, part), Whole())

    def take(self, other: PixelCounts) -> None:
        """Add what was counted elsewhere."""
        for key, whole in other.whole.items():
            self.whole.setdefault(key, Whole()).take(whole.counts())
        for key, floats in other.floats.items():
            self.floats.setdefault(key, Floats()).take(floats)

    def of_band(self, band: str) -> dict[str, Counts]:
        """Return the counts of a band of Sentinel-2 by part, with those of all splits together."""
        found = {part: whole.counts() for (of, part), whole in self.whole.items() if of == band}
        splits = [found[split] for split in SPLITS if split in found]
        return {**found, **({OVERALL: np.sum(splits, axis=0)} if splits else {})}

    def of_radar(self, band: str) -> dict[str, Floats]:
        """Return the same of a band of Sentinel-1."""
        found = {part: floats for (of, part), floats in self.floats.items() if of == band}
        together = Floats()
        for split in SPLITS:
            if split in found:
                together.take(found[split])
        return {**found, **({OVERALL: together} if found.keys() & {*SPLITS} else {})}

    def write(self, path: Path) -> None:
        """Write them to a Parquet file atomically: a row per band and part, with the values that are there."""
        rows = [_row(*key, whole) for key, whole in sorted(self.whole.items())]
        rows += [_row(*key, floats.upper, floats) for key, floats in sorted(self.floats.items())]
        table = pa.Table.from_pylist(rows, _SCHEMA)
        with atomic_write(path) as work, tables.writing(work, _SCHEMA, compression="zstd") as writer:
            writer.write_table(table)

    @classmethod
    def read(cls, paths: Iterable[Path]) -> PixelCounts:
        """Return what several such files have together."""
        result = cls()
        for path in paths:
            for row in tables.read_own(path).to_batches():
                for at in range(len(row)):
                    result._take_row(row.slice(at, 1))
        return result

    def _take_row(self, row: pa.RecordBatch) -> None:
        band, part = (row[name][0].as_py() for name in ("band", "part"))
        counts = np.zeros(VALUES, dtype="int64")
        counts[_numbers(row, "values")] = _numbers(row, "numbers")
        if DTYPES[band] != "float32":
            self.whole.setdefault((band, part), Whole()).take(counts)
            return
        found = Floats()
        found.upper.take(counts)
        found.not_finite = row["not_finite"][0].as_py()
        if len(counts.nonzero()[0]):
            found.least, found.most = (row[name][0].as_py() for name in ("least", "most"))
        found.pixels.frombytes(_numbers(row, "pixels").tobytes())
        found.sums.frombytes(_numbers(row, "sums").tobytes())
        found.deviations.frombytes(_numbers(row, "deviations").tobytes())
        self.floats.setdefault((band, part), Floats()).take(found)


def _row(band: str, part: str, whole: Whole, floats: Floats | None = None) -> dict[str, object]:
    values = np.flatnonzero(whole.counts())
    row: dict[str, object] = {"band": band, "part": part, "values": values, "numbers": whole.counts()[values]}
    if floats is not None:
        row |= {"not_finite": floats.not_finite, "least": floats.least, "most": floats.most}
        row |= {"pixels": floats.pixels, "sums": floats.sums, "deviations": floats.deviations}
    return row


def _numbers(row: pa.RecordBatch, name: str) -> np.ndarray:
    found: np.ndarray = row[name][0].values.to_numpy()
    return found


def ordered(values: np.ndarray) -> np.ndarray:
    """Return integers that ascend as the numbers do: uint32 of float32. IEEE 754: the sign first, then the size."""
    bits = values.view("uint32")
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def number_of(order: int) -> float:
    """Return the number of an integer of `ordered`."""
    bits = np.uint32(order ^ 2**31 if order & 2**31 else ~order & 0xFFFFFFFF)
    return float(bits.view("float32"))


def finite_of(values: np.ndarray) -> np.ndarray:
    """Return the values that are finite, in one dimension."""
    flat = values.ravel()
    is_finite = np.isfinite(flat)
    return flat if is_finite.all() else flat[is_finite]
