"""Count what the report shows: patches and labels by split and country, classes that occur together, and examples.

A *table of splits* is an array (row, split) of numbers of patches, with the splits in the order of `grid.SPLITS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ben_luigi.domain.dataset.cover import greedy_cover, have
from ben_luigi.domain.placement.country import COUNTRIES
from ben_luigi.domain.placement.grid import SPLITS


@dataclass(frozen=True)
class Counts:
    """Properties of the patches of metadata rows: arrays with one element per row.

    `labels` tells (row, class) whether a patch has a class of `classes`; `split` and `country` are indexes of SPLITS
    and of `countries`, -1 for none of them.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    split: np.ndarray
    country: np.ndarray
    countries: tuple[str, ...] = COUNTRIES

    @classmethod
    def of(cls, rows: pa.Table, classes: Sequence[str], countries: Sequence[str] = COUNTRIES) -> Counts:
        """Return the counts for rows of the metadata."""
        labels = have(rows["labels"], classes)
        has_country = "country" in rows.column_names
        country = _places(rows["country"], countries) if has_country else np.full(rows.num_rows, -1)
        return cls(tuple(classes), labels, _places(rows["split"], SPLITS), country, tuple(countries))

    @property
    def by_split(self) -> np.ndarray:
        """Number of patches per split."""
        return np.bincount(self.split, minlength=len(SPLITS))

    @property
    def country_by_split(self) -> np.ndarray:
        """Table of splits of the countries."""
        return self._by_split(self.country[:, None] == np.arange(len(self.countries)))

    @property
    def label_by_split(self) -> np.ndarray:
        """Table of splits of the classes."""
        return self._by_split(self.labels)

    def _by_split(self, member: np.ndarray) -> np.ndarray:
        return np.stack([member[self.split == place].sum(axis=0) for place in range(len(SPLITS))], axis=1)

    @property
    def label_by_country(self) -> np.ndarray:
        """Number of patches (class, country)."""
        of_country = [self.labels[self.country == place].sum(axis=0) for place in range(len(self.countries))]
        return np.stack(of_country, axis=1) if of_country else np.zeros((len(self.classes), 0), dtype="int64")

    @cached_property
    def co_occurrence(self) -> np.ndarray:
        """Number of patches (class, class) that have both; on the diagonal, those that have the class."""
        member = self.labels.astype("float64")  # exact up to 2**53, and BLAS multiplies floats only
        return np.asarray((member.T @ member).astype("int64"))


def _places(values: pa.ChunkedArray, known: Sequence[str]) -> np.ndarray:
    places = pc.fill_null(pc.index_in(values, value_set=pa.array(known, pa.string())), -1)
    return np.asarray(places, dtype="int64")


def examples(labels: np.ndarray, most: int) -> list[int]:
    """Return up to `most` rows of labels (patch, class), ascending, chosen to show every class.

    First come those of a greedy cover of the classes, then evenly spaced patches.
    """
    chosen = greedy_cover(labels, [], most)
    rest = np.setdiff1d(np.arange(len(labels)), chosen)
    spaced = np.linspace(0, len(rest) - 1, min(most - len(chosen), len(rest))).round().astype(int)
    return sorted([*chosen, *rest[spaced].tolist()])
