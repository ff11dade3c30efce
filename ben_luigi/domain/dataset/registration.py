"""Measure how two images of one square differ: by a shift, by phase correlation, and by offset, scale and correlation.

Phase correlation (Kuglin and Hines 1975): the phases of the cross-power spectrum of two shifted images are those of the
shift alone. They are averaged over many pairs of patches, so that frequencies without common content cancel out, and
the highest point of the inverse transform is located to a tenth of a pixel by a matrix DFT around it (Guizar-Sicairos
et al. 2008, doi:10.1364/OL.33.000156). On images of only 20 pixels a side, shifts of several pixels come out up to a
tenth too small, for the window.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np

STEP_PX = 0.1
"""The resolution of a shift, in pixels."""

_AROUND_PX = 1.5
_AGREE_PX = 1.0
"""Both halves of the pairs must have the same shift within this: unrelated images have any."""


class Shift(NamedTuple):
    """By how many pixels the other image lies farther to the east (x) and to the south (y), in steps of STEP_PX."""

    x_px: float
    y_px: float


@dataclass
class Difference:
    """What is summed up of pairs of images, each of `side_px` * `side_px` pixels; 0 in either of them is no-data.

    The phases are summed up of every other pair.
    """

    side_px: int
    pairs: int = 0
    _halves: list[list[np.ndarray]] = field(default_factory=lambda: [[], []])
    _counts: list[int] = field(default_factory=lambda: [0, 0])
    _sums: np.ndarray = field(default_factory=lambda: np.zeros(7, dtype=object))

    def add(self, ours: np.ndarray, theirs: np.ndarray) -> None:
        """Add a pair of images, (row, col) of unsigned integers."""
        self.pairs += 1
        there = (ours != 0) & (theirs != 0)
        x, y = ours[there].astype("int64"), theirs[there].astype("int64")
        # Python's integers, since the squares of many pixels exceed 64 bits.
        sums = (len(x), x.sum(), y.sum(), x @ x, y @ y, x @ y, np.count_nonzero(x == y))
        self._sums = self._sums + np.array([int(one) for one in sums], dtype=object)
        if there.all() and x.min() < x.max() and y.min() < y.max():
            self._add_phases(self._counts[1] < self._counts[0], _phases(ours, theirs), 1)

    def merge(self, other: Difference) -> None:
        """Add all pairs of another one."""
        self.pairs += other.pairs
        self._sums = self._sums + other._sums
        for half in (False, True):
            for phases in other._halves[half]:
                self._add_phases(half, phases, other._counts[half])

    def _add_phases(self, half: bool, phases: np.ndarray, count: int) -> None:
        before = self._halves[half]
        self._halves[half] = [before[0] + phases] if before else [phases]
        self._counts[half] += count

    @property
    def shift(self) -> Shift | None:
        """The shift; None where the images have nothing in common that tells it."""
        halves = [half[0] for half in self._halves if half]
        if not halves:
            return None
        found = [_peak(half, self.side_px) for half in halves]
        if any(abs(one - other) > _AGREE_PX for one, other in zip(found[0], found[-1], strict=True)):
            return None
        return _peak(np.sum(halves, axis=0), self.side_px)

    @property
    def correlation(self) -> float | None:
        """Pearson's correlation of the pixels at the same places; None where either image is uniform."""
        count, xx, yy, xy = self._centred()
        return float(xy / (xx**0.5 * yy**0.5)) if count and xx and yy else None

    @property
    def scale(self) -> float | None:
        """The factor in theirs = offset + scale * ours; None where the images do not tell it.

        It is that of the reduced major axis, the ratio of the standard deviations: a regression would give less where
        the images are shifted, or have noise.
        """
        _, xx, yy, _ = self._centred()
        correlation = self.correlation
        return float(np.sign(correlation) * (yy / xx) ** 0.5) if correlation else None

    @property
    def offset(self) -> float | None:
        """The offset in theirs = offset + scale * ours."""
        if self.scale is None:
            return None
        count, x, y = (int(one) for one in self._sums[:3])
        return float(y / count - self.scale * (x / count))

    @property
    def equal(self) -> float | None:
        """The share of pixels that have the same value in both."""
        return float(self._sums[6] / self._sums[0]) if self._sums[0] else None

    def _centred(self) -> tuple[int, float, float, float]:
        """Return the number of pixels, and the variances and the covariance times its square."""
        count, x, y, xx, yy, xy, _ = (int(one) for one in self._sums)
        return count, float(count * xx - x * x), float(count * yy - y * y), float(count * xy - x * y)


def _peak(phases: np.ndarray, n: int) -> Shift:
    """Return the place of the highest point of the inverse transform of a half spectrum of n * n pixels."""
    surface = np.fft.irfft2(phases, s=(n, n))
    row, col = (float(at - n if at > n // 2 else at) for at in np.unravel_index(surface.argmax(), surface.shape))
    steps = np.round(np.arange(-_AROUND_PX, _AROUND_PX + STEP_PX / 2, STEP_PX), 1)
    fine = _surface_at(phases, n, row + steps, col + steps)
    down, right = np.unravel_index(fine.argmax(), fine.shape)
    return Shift(round(col + float(steps[right]), 1) + 0.0, round(row + float(steps[down]), 1) + 0.0)


def _phases(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Return the phases of the cross-power spectrum (row frequency, half of the column frequencies), complex64."""
    window = _window(len(ours))
    first, second = (np.fft.rfft2((image - image.mean(dtype="float64")) * window) for image in (ours, theirs))
    cross = np.conj(first) * second
    size = np.abs(cross)
    return np.asarray(np.divide(cross, size, out=np.zeros_like(cross), where=size > 0).astype("complex64"))


@lru_cache(maxsize=8)
def _window(side_px: int) -> np.ndarray:
    """Return a Hann window, without which the edges of a square would look like structures that do not move."""
    one = np.hanning(side_px + 2)[1:-1]
    return np.outer(one, one)


def _surface_at(phases: np.ndarray, n: int, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Return the inverse transform of a half spectrum at places between pixels: (row, col)."""
    of_rows, of_cols = np.fft.fftfreq(n), np.fft.rfftfreq(n)
    twice = np.full(len(of_cols), 2.0)
    twice[0] = 1.0
    if n % 2 == 0:
        twice[-1] = 0.0  # at the Nyquist frequency the direction of a shift is unknown
        phases = phases.copy()
        phases[n // 2] = 0
    down = np.exp(2j * np.pi * np.outer(rows, of_rows))
    right = np.exp(2j * np.pi * np.outer(of_cols, cols)) * twice[:, None]
    return np.asarray((down @ phases @ right).real / n**2)
