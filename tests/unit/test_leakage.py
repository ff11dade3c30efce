"""Overlaps of patches, held against the intersection of all pairs, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from ben_luigi.domain.dataset import leakage
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.placement import alignment
from ben_luigi.domain.placement.grid import SPLITS, PatchGrid, Square, tile_square

_SIDE_M = 3 * 1200 + 600


def _tile(number: int, zone: int, east: int, north: int, season: str, splits: list[str]) -> pd.DataFrame:
    """A tile of nine patches, shifted by steps of 60 m from where the zones 32 and 33 meet at 12 degrees east."""
    left = {32: 718_200, 33: 277_620}[zone] + 60 * east
    grid = PatchGrid(
        f"S2A_MSIL2A_201706{number:02d}T101031_N9999_R022_T{zone}UUP",
        Square(left, 5_400_000 + 60 * north, _SIDE_M, 32600 + zone),
    )
    return grid.table().assign(tile=grid.tile_name, season=season, split=splits)


_TILES = st.lists(
    st.tuples(
        st.sampled_from([32, 33]),
        st.integers(-50, 50),
        st.integers(-50, 50),
        st.sampled_from(["spring", "summer"]),
        st.lists(st.sampled_from(SPLITS), min_size=9, max_size=9),
    ),
    min_size=1,
    max_size=4,
)


_to_equal_area = lru_cache(lambda epsg: Transformer.from_crs(f"EPSG:{epsg}", "EPSG:3035"))


def _one_by_one(patches: Any) -> dict[tuple[Any, Any], float]:
    """The overlap of each pair: each corner reprojected and each pair intersected alone."""
    found = {}
    shapes = {}
    for row in patches.itertuples():
        to = _to_equal_area(row.epsg)
        corners = [
            (row.left_m, row.bottom_m),
            (row.right_m, row.bottom_m),
            (row.right_m, row.top_m),
            (row.left_m, row.top_m),
        ]
        shapes[row.patch_id] = shapely.Polygon([to.transform(*corner) for corner in corners])
    for a, b in combinations(patches.sort_values("patch_id").itertuples(), 2):
        common = shapes[a.patch_id].intersection(shapes[b.patch_id]).area
        overlap = common / min(shapes[a.patch_id].area, shapes[b.patch_id].area)
        if overlap > 0.01:
            found[a, b] = overlap
    return found


@settings(max_examples=60)
@given(_TILES)
def test_every_pair_is_found_and_no_other(tiles: list[tuple[int, int, int, str, list[str]]]) -> None:
    patches = pd.concat([_tile(number, *tile) for number, tile in enumerate(tiles, start=1)], ignore_index=True)
    found = leakage.overlaps(patches.sample(frac=1, random_state=0))
    pairs = _one_by_one(patches)
    leaks = sorted((a, b) for a, b in pairs if a.split != b.split)
    rows = [*found.leaks.drop(columns="overlap").itertuples(index=False, name=None)]
    assert rows == [(a.patch_id, b.patch_id, a.split, b.split, a.season == b.season) for a, b in leaks]
    assert np.allclose(found.leaks["overlap"], [pairs[pair] for pair in leaks], atol=1e-6)
    assert found.counts == {
        "overlaps_within_a_season": sum(a.season == b.season for a, b in pairs),
        "leaks": len(leaks),
        "leaks_within_a_season": sum(a.season == b.season for a, b in leaks),
    }


def test_dates_of_a_square_are_counted_and_not_paired() -> None:
    """Memory and geometry as for one date: 200 dates have 179,100 pairs of one season."""
    dates = [_tile(1, 33, 0, 0, "summer", ["train"] * 9) for _ in range(200)]
    names = [f"S2A_MSIL2A_2017{number:04d}T101031_N9999_R022_T33UUP" for number in range(200)]
    tables = [
        one.assign(tile=name, patch_id=name + one["patch_id"].str.slice(44))
        for one, name in zip(dates, names, strict=True)
    ]
    told: list[float] = []
    found = leakage.overlaps(pd.concat(tables, ignore_index=True), told.append)
    pairs = 9 * 200 * 199 // 2
    assert found.counts == {"overlaps_within_a_season": pairs, "leaks": 0, "leaks_within_a_season": 0}
    assert found.leaks.empty and told[-1] == 1
    tables[0]["split"] = "test"
    found = leakage.overlaps(pd.concat(tables, ignore_index=True))
    assert found.counts == {
        "overlaps_within_a_season": pairs,
        "leaks": len(found.leaks),
        "leaks_within_a_season": 9 * 199,
    }


def test_tiles_of_two_zones_leak_where_their_splits_do_not_agree() -> None:
    west, east = (_tile(zone, zone, 0, 0, "summer", [split] * 9) for zone, split in ((32, "train"), (33, "test")))
    found = leakage.overlaps(pd.concat([west, east], ignore_index=True)).leaks
    assert len(found) > 9
    assert set(found["split_a"]) == {"train"}
    assert found["overlap"].between(0.01, 1).all()


def test_pairs_are_made_some_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two dates of nine places: four pairs of rows each, one of them a leak. Eight are made at once, of two places."""
    dates = [_tile(number, 33, 0, 0, "summer", [split] * 9) for number, split in ((1, "train"), (2, "test"))]
    patches = pd.concat(dates, ignore_index=True)
    whole = leakage.overlaps(patches)
    monkeypatch.setattr(leakage, "_PAIRS_AT_ONCE", 8)
    leaks, made = leakage._Places.leaks, list[int]()

    def noting(*given: Any) -> Iterator[np.ndarray]:
        for part in leaks(*given):
            made.append(part.shape[1])
            yield part

    monkeypatch.setattr(leakage._Places, "leaks", noting)
    assert leakage.overlaps(patches).leaks.equals(whole.leaks)
    assert sum(made) == len(whole.leaks) == 9 and max(made) == 2


def test_none_of_the_published_patches_leak(published: Path) -> None:
    """Zones 31, 32 and 33, with one search over all patches instead of one for each two tiles."""
    rows = pa.concat_tables(
        [pq.read_table(path, columns=["patch_id", "split"]) for path in published.glob("*.parquet")]
    )
    listed = rows.to_pandas()
    listed["tile"] = listed["patch_id"].str.slice(0, 44)
    tiles = []
    for tile, own in listed.groupby("tile"):
        name = ProductName.parse(f"{tile}_20180101T000000.SAFE")
        places = PatchGrid(str(tile), tile_square(name)).table().merge(own, on="patch_id", validate="one_to_one")
        tiles.append(places.assign(season=alignment.season(name.sensing_time)))
    patches = pd.concat(tiles, ignore_index=True)
    assert len(patches) == 65_716
    found = leakage.overlaps(patches)
    assert found.counts == {"overlaps_within_a_season": 9_777, "leaks": 0, "leaks_within_a_season": 0}

    shapes = np.empty(len(patches), dtype=object)
    for epsg, zone in patches.groupby("epsg"):
        squares = shapely.box(zone["left_m"], zone["bottom_m"], zone["right_m"], zone["top_m"])
        to = Transformer.from_crs(f"EPSG:{epsg}", "EPSG:3035", always_xy=True)
        shapes[zone.index] = shapely.transform(squares, lambda points: np.column_stack(to.transform(*points.T)))  # noqa: B023
    first, second = shapely.STRtree(shapes).query(shapes)
    season, split = patches["season"].to_numpy(), patches["split"].to_numpy()
    near = (first < second) & ((season[first] == season[second]) | (split[first] != split[second]))
    common = shapely.area(shapely.intersection(shapes[first[near]], shapes[second[near]]))
    area = shapely.area(shapes)
    assert int((common > 0.01 * np.minimum(area[first[near]], area[second[near]])).sum()) == 9_777
