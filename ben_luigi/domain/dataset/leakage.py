"""Find patches of different tiles that show the same ground, and split leakage: pairs in different splits.

Tiles overlap, within a zone and across zones, and a tile has several dates, while the split of a patch depends on its
place in its tile, or on what the recipe says otherwise. The *overlap* of two patches is the area that both cover, as a
fraction of the smaller one, in an equal-area projection: Europe's (EPSG:3035), or elsewhere one around the patches.

All dates of a square are patches of one *place*, which is intersected with another place once; their pairs are counted,
not made, but for those that leak.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import shapely

from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.formats.tables import read_parquet
from ben_luigi.domain.placement.footprints import EDGES, equal_area, polygons
from ben_luigi.domain.progress import OnFraction, ignore_fraction

LEAST_OVERLAP = 0.01
"""Patches with a smaller overlap do not count."""

_DIGITS = 6
_PAIRS_AT_ONCE = 2**20
_COLUMNS = ["patch_id", "tile", "split", "season", "epsg", *EDGES]


def read_patches(path: Path) -> pd.DataFrame:
    """Read patch_id, tile, split, season, epsg, left_m, bottom_m, right_m, top_m of `patches.parquet`.

    Raise BadInput if it cannot be read.
    """
    try:
        return pd.DataFrame(read_parquet(path, _COLUMNS).to_pandas())
    except (OSError, ValueError) as error:
        remedy = "remove the file and run again"
        raise BadInput(path, expected="a table of patches", found=str(error), remedy=remedy) from error


@dataclass(frozen=True)
class Overlaps:
    """The patches of two tiles that overlap.

    `leaks` has the pairs in different splits: patch_id_a, patch_id_b, split_a, split_b, same_season, overlap. Each
    occurs once, with the lesser id as `a`, and the rows are sorted. `counts` has the numbers of pairs that are of one
    season, that leak, and that leak within a season.
    """

    leaks: pd.DataFrame
    counts: dict[str, int]


def overlaps(patches: pd.DataFrame, progress: OnFraction = ignore_fraction) -> Overlaps:
    """Return the patches that overlap. `patches` is as `read_patches` returns it.

    Time and memory are in proportion to the places that overlap and to the pairs that leak, however many dates a place
    has. `progress` receives the fraction of the tiles that has been compared.
    """
    patches = patches.sort_values("patch_id", ignore_index=True)
    places = _Places(patches)
    counts, leaks = np.zeros(3, dtype="int64"), [_leaks_of_nothing()]
    for one, other, overlap in places.meetings(progress):
        found = places.counts(one, other)
        counts += found.sum(axis=1)
        leaking = np.flatnonzero(found[1])
        leaks += places.leaks(one[leaking], other[leaking], overlap[leaking])
    a, b, overlap = np.concatenate(leaks, axis=1)
    order = np.lexsort((b, a))
    rows = {side: patches.iloc[of[order].astype("int64")].reset_index(drop=True) for side, of in (("a", a), ("b", b))}
    columns = {f"{name}_{side}": rows[side][name] for name in ("patch_id", "split") for side in rows}
    same_season = rows["a"]["season"] == rows["b"]["season"]
    table = {**columns, "same_season": same_season, "overlap": overlap[order].round(_DIGITS).clip(max=1)}
    names = ("overlaps_within_a_season", "leaks", "leaks_within_a_season")
    return Overlaps(pd.DataFrame(table), dict(zip(names, counts.tolist(), strict=True)))


def _leaks_of_nothing() -> np.ndarray:
    return np.empty((3, 0))


class _Places:
    """The places of patches, which are given by ascending id: squares that have the same edges are one place."""

    def __init__(self, patches: pd.DataFrame) -> None:
        epsg, edges = patches["epsg"].to_numpy(), patches[list(EDGES)].to_numpy()
        _, first, place = np.unique(np.column_stack([epsg, edges]), axis=0, return_index=True, return_inverse=True)
        place = place.reshape(-1)
        self._shapes = polygons(epsg[first], edges[first], equal_area(epsg, edges))
        self._tile = pd.factorize(patches["tile"])[0][first]
        self._rows = np.argsort(place, kind="stable")
        self._number = np.bincount(place, minlength=len(first))
        self._begin = np.r_[0, np.cumsum(self._number)]
        self._season, self._split = (pd.factorize(patches[name])[0] for name in ("season", "split"))
        kinds, kind = np.unique(np.stack([self._season, self._split]), axis=1, return_inverse=True)
        self._of_kind = np.zeros((len(first), kinds.shape[1]), dtype="int64")
        np.add.at(self._of_kind, (place, kind.reshape(-1)), 1)
        same = [of[:, None] == of for of in kinds]
        self._counted = np.array([same[0], ~same[1], same[0] & ~same[1]], dtype="int64")

    def meetings(self, progress: OnFraction) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield places that overlap, and by how much: first each one that several patches have, with itself."""
        several = np.flatnonzero(self._number > 1)
        yield several, several, np.ones(len(several))
        area = shapely.area(self._shapes)
        of_tile = [np.asarray(places) for places in pd.Series(self._tile).groupby(self._tile).indices.values()]
        trees = [shapely.STRtree(self._shapes[of]) for of in of_tile]
        hulls = np.array([shapely.box(*shapely.total_bounds(self._shapes[of])) for of in of_tile])
        near = shapely.STRtree(hulls).query(hulls).T
        for at, (here, there) in enumerate(near, start=1):
            if here < there:
                first, second = trees[there].query(self._shapes[of_tile[here]])
                one, other = of_tile[here][first], of_tile[there][second]
                common = shapely.area(shapely.intersection(self._shapes[one], self._shapes[other]))
                overlap = common / np.minimum(area[one], area[other])
                enough = overlap > LEAST_OVERLAP
                yield one[enough], other[enough], overlap[enough]
            progress(at / len(near))

    def counts(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Return (count, meeting): the pairs of patches of one season, in different splits, and both."""
        pairs: np.ndarray = np.einsum("pk,ckl,pl->cp", self._of_kind[one], self._counted, self._of_kind[other])
        # With itself, a place has each pair twice, and each patch once as a pair of one season with itself.
        alone = np.stack([self._number[one], 0 * one, 0 * one])
        return np.asarray(np.where(one == other, (pairs - alone) // 2, pairs))

    def leaks(self, one: np.ndarray, other: np.ndarray, overlap: np.ndarray) -> Iterator[np.ndarray]:
        """Yield (lesser row, greater row, overlap) by pair of patches in different splits, some meetings at once."""
        number = self._number[one] * self._number[other]
        bounds = np.searchsorted(np.cumsum(number), np.arange(0, number.sum(), _PAIRS_AT_ONCE))
        for part in np.split(np.arange(len(one)), np.unique(bounds)):
            at = np.repeat(part, number[part])
            within = np.arange(len(at)) - np.repeat(np.cumsum(number[part]) - number[part], number[part])
            first, second = np.divmod(within, self._number[other[at]])
            a, b = (self._rows[self._begin[of[at]] + nth] for of, nth in ((one, first), (other, second)))
            wanted = (self._split[a] != self._split[b]) & ((one[at] != other[at]) | (a < b))
            yield np.stack([np.minimum(a, b), np.maximum(a, b), overlap[at]])[:, wanted]
