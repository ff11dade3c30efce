"""Find patches of different tiles that show the same ground, and split leakage: pairs in different splits.

Tiles overlap, within a zone and across zones, and a tile has several dates, while the split of a patch depends on its
place in its tile, or on what the recipe says otherwise. The *overlap* of two patches is the area that both cover, as a
fraction of the smaller one, in an equal-area projection: Europe's (EPSG:3035), or elsewhere one around the patches.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import shapely

from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.formats.tables import read_parquet
from ben_luigi.domain.placement.footprints import EDGES, equal_area, polygons

LEAST_OVERLAP = 0.01
"""Patches with a smaller overlap do not count."""

_DIGITS = 6
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


def overlaps(patches: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs of patches that overlap and are of one season or in different splits.

    Columns: patch_id_a, patch_id_b, split_a, split_b, same_season, overlap. Each pair occurs once, with the lesser id
    as `a`, and the rows are sorted. `patches` is as `read_patches` returns it.
    """
    patches = patches.sort_values("patch_id", ignore_index=True)
    epsg, edges = patches["epsg"].to_numpy(), patches[list(EDGES)].to_numpy()
    shapes = polygons(epsg, edges, equal_area(epsg, edges))
    area = shapely.area(shapes)
    found = [np.empty((3, 0))]
    for first, second in _candidates(patches, shapes):
        common = shapely.area(shapely.intersection(shapes[first], shapes[second]))
        overlap = common / np.minimum(area[first], area[second])
        found.append(np.stack([first, second, overlap])[:, overlap > LEAST_OVERLAP])
    one, other, overlap = np.concatenate(found, axis=1)
    pairs = np.sort(np.stack([one, other]), axis=0).astype("int64")
    order = np.lexsort(pairs[::-1])
    a, b = (patches.iloc[rows[order]].reset_index(drop=True) for rows in pairs)
    columns = {f"{name}_{side}": rows[name] for name in ("patch_id", "split") for side, rows in (("a", a), ("b", b))}
    same_season = a["season"] == b["season"]
    return pd.DataFrame({**columns, "same_season": same_season, "overlap": overlap[order].round(_DIGITS).clip(max=1)})


def _candidates(patches: pd.DataFrame, shapes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, for each two tiles that meet, the positions of patches whose bounding boxes intersect."""
    of_tile = [np.asarray(rows) for rows in patches.groupby("tile").indices.values()]
    trees = [shapely.STRtree(shapes[rows]) for rows in of_tile]
    hulls = np.array([shapely.box(*shapely.total_bounds(shapes[rows])) for rows in of_tile])
    season, split = (pd.factorize(patches[name])[0] for name in ("season", "split"))
    for here, there in shapely.STRtree(hulls).query(hulls).T:
        if here < there:
            first, second = trees[there].query(shapes[of_tile[here]])
            first, second = of_tile[here][first], of_tile[there][second]
            wanted = (season[first] == season[second]) | (split[first] != split[second])
            yield first[wanted], second[wanted]


def counted(pairs: pd.DataFrame) -> dict[str, int]:
    """Count the pairs of `overlaps` that are of one season, that leak, and that leak within a season."""
    leaks = pairs["split_a"] != pairs["split_b"]
    return {
        "overlaps_within_a_season": int(pairs["same_season"].sum()),
        "leaks": int(leaks.sum()),
        "leaks_within_a_season": int((leaks & pairs["same_season"]).sum()),
    }
