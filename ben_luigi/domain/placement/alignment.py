"""Pair each patch with the BigEarthNet v1 patch that shows the same square in the same season.

v1 geometries are GeoParquet files `bigearthnet_v1_spatial_<epsg>.parquet` (patch_name, sensing_time, geom), one per UTM
zone. In the published data each pair covers the same square, one to one (590,326 pairs); anything else is an error.
What is unusual but not an error is a finding (`FINDINGS`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ben_luigi.domain import given
from ben_luigi.domain.errors import BadAlignment, BadInput, BadName, PipelineError, some
from ben_luigi.domain.placement import v1_geometry
from ben_luigi.domain.placement.grid import PatchGrid, Square
from ben_luigi.domain.recipe.model import PUBLISHED
from ben_luigi.domain.remembered import remembered
from ben_luigi.domain.vocabulary import SEASONS as SEASONS

NO_TILE = "v1 name in no tile"
LATE_HOUR = "v1 name with an hour of 13 or more"
QUIRK = "v1 name whose season only the quirk explains"
FINDINGS = (NO_TILE, LATE_HOUR, QUIRK)
"""What `findings` looks for. Sentinel-2 passes Europe before noon; the quirk is that of `seasons`."""

SAME_TIME = np.timedelta64(60, "s")
"""Times in v1 names and product names differ by up to 8 s; the next orbit follows after 100 minutes."""

Tiles = Mapping[str, tuple[PatchGrid, datetime]]
"""Patch grid and sensing time (UTC) of products, by tile key."""

_CELL_M, _CELLS = 10_000, 1024
"""Side of the cells by which v1 patches are found, metres, and more of them than a zone is long."""

_LAST_SECOND = 86_399
"""The last second of a day, counted from 0."""

_SPATIAL = re.compile(r"bigearthnet_v1_spatial_(326\d\d)\.parquet")
_V1_NAME = r"^S2[AB]_MSIL2A_(?P<date>\d{8})T(?P<hour>\d{1,2})(?P<minute>[0-5]\d)(?P<second>\d\d)_\d+_\d+$"


def seasons(times: np.ndarray, rule: str = PUBLISHED) -> np.ndarray:
    """Return the season of each UTC time (datetime64): one of SEASONS.

    By the rule CALENDAR, spring is March to May, summer June to August, fall September to November, whole days. By the
    rule PUBLISHED, spring is from 1 March 00:00 to 31 May 00:00, summer from 1 June to 31 August 00:00, fall from 1
    September to 30 November 00:00, both ends included; the rest is winter. So the last day of spring, summer and fall
    counts as winter after its midnight: a quirk of the published data, which is kept.
    """
    times = times.astype("datetime64[s]")
    years = times.astype("datetime64[Y]")
    # Seconds, not days: on 31 May, 31 August and 30 November the season changes within the day.
    into_year = (times - years.astype("datetime64[s]")).astype("int64")
    leap = (years + 1).astype("datetime64[D]") - years.astype("datetime64[D]") == np.timedelta64(366, "D")
    conditions = []
    for first, last in (((3, 1), (5, 31)), ((6, 1), (8, 31)), ((9, 1), (11, 30))):
        start, end = _second_of_year(*first, leap), _second_of_year(*last, leap)
        conditions.append((into_year >= start) & (into_year <= end + (0 if rule == PUBLISHED else _LAST_SECOND)))
    return np.select(conditions, SEASONS[:3], "winter")


def _second_of_year(month: int, day: int, leap: np.ndarray) -> np.ndarray:
    common = (datetime(2017, month, day) - datetime(2017, 1, 1)).days
    return (common + leap.astype("int64")) * 86_400


def season(time: datetime, rule: str = PUBLISHED) -> str:
    """Return the season of one UTC time; see `seasons`."""
    return str(seasons(np.array([time], dtype="datetime64[s]"), rule)[0])


def v1_sensing_times(names: pa.ChunkedArray | pa.Array, source: str) -> np.ndarray:
    """Return the sensing times (UTC, datetime64[s]) of v1 patch names, as `names.v1_sensing_time` reads a single one.

    Raise BadName, naming `source`, if a name is malformed.
    """
    parts = pc.extract_regex(names, _V1_NAME)
    if isinstance(parts, pa.ChunkedArray):
        parts = parts.combine_chunks()
    bad = parts.is_null()
    if pc.any(bad).as_py():
        wrong = pc.filter(names, bad).to_pylist()
        raise BadName(
            source,
            expected="v1 patch names S2x_MSIL2A_<date>T<h>mmss_<x>_<y>",
            found=some(wrong),
            remedy="correct the file, or fetch it again",
        )
    field = {name: pc.struct_field(parts, name) for name in ("date", "hour", "minute", "second")}
    days = pc.strptime(field["date"], "%Y%m%d", "s", error_is_null=True)
    number = {name: pc.cast(field[name], pa.int64()).to_numpy() for name in ("hour", "minute", "second")}
    no_time = pc.or_(days.is_null(), pa.array(number["hour"] > 23))
    if pc.any(no_time).as_py():
        raise BadName(
            source,
            expected="v1 patch names with a day of the calendar and an hour below 24",
            found=some(pc.filter(names, no_time).to_pylist()),
            remedy="correct the file, or fetch it again",
        )
    # A quirk of v1: some names have 60 seconds or more, which count as 59.
    seconds = number["hour"] * 3600 + number["minute"] * 60 + np.minimum(number["second"], 59)
    return np.asarray(days.to_numpy(zero_copy_only=False) + seconds.astype("timedelta64[s]"))


def spatial_files(folder: Path) -> dict[int, Path]:
    """Return the v1 geometry files in a folder, by EPSG code. Raise BadInput if there are none."""
    found = {int(match[1]): path for path in given.entries(folder) if (match := _SPATIAL.fullmatch(path.name))}
    if not found:
        raise BadInput(
            folder,
            expected="files bigearthnet_v1_spatial_<epsg>.parquet",
            found="none",
            remedy="point [inputs] v1_spatial_dir at the folder that holds them",
        )
    return found


def zone_file(folder: Path, epsg: int, tile: str) -> Path:
    """Return the v1 geometry file of a tile's UTM zone. Raise BadInput if there is none."""
    found = spatial_files(folder)
    if epsg not in found:
        raise BadInput(
            f"{tile}: {folder}",
            expected=f"bigearthnet_v1_spatial_{epsg}.parquet, v1 patches in the tile's UTM zone",
            found=f"files for EPSG codes {sorted(found)}",
            remedy="add the file of that zone to [inputs] v1_spatial_dir",
        )
    return found[epsg]


def read_v1(path: Path) -> pd.DataFrame:
    """Read a v1 geometry file: v1_name, sensed (UTC), season, left_m, bottom_m, right_m, top_m.

    The edges are in metres of its UTM zone. The rows ascend by cell, so that V1Patches need not sort them. Raise
    BadAlignment if the geometries lie in another zone than the file's name says; BadInput or BadName if the file is
    malformed otherwise.
    """
    named = _SPATIAL.fullmatch(path.name)
    patches, boxes = v1_geometry.read(path, int(named[1]) if named else None)
    times = v1_sensing_times(patches, str(path))
    order = np.argsort(_cells(boxes[:, 0], boxes[:, 3]), kind="stable")
    edges = zip(("left_m", "bottom_m", "right_m", "top_m"), boxes[order].T.copy(), strict=True)
    names = patches.take(pa.array(order)).to_pandas()
    return pd.DataFrame({"v1_name": names, "sensed": times[order], "season": seasons(times[order]), **dict(edges)})


class V1Patches:
    """The v1 patches of a UTM zone, in which those of a tile are found without a look at all the others.

    They are sorted by cell of 10 km: comparing all of them at each tile would grow with the square of the tiles.
    `table` has the columns of `read_v1`, `edges` its left_m, bottom_m, right_m and top_m, in the same order.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        cells = _cells(table["left_m"].to_numpy(), table["top_m"].to_numpy())
        if np.any(cells[1:] < cells[:-1]):
            order = np.argsort(cells, kind="stable")
            table, cells = table.iloc[order], cells[order]
        self.table = table
        self.edges = [table[f"{edge}_m"].to_numpy() for edge in ("left", "bottom", "right", "top")]
        self._cells = cells

    def inside(self, square: Square) -> np.ndarray:
        """Return the positions in `table` of the patches that lie in a square, int64."""
        west, south, east, north = _cell(np.array(square.bounds))
        columns = np.arange(west, east + 1) * _CELLS
        first = np.searchsorted(self._cells, columns + south)
        end = np.searchsorted(self._cells, columns + north, side="right")
        near = np.concatenate([np.arange(a, b) for a, b in zip(first, end, strict=True)])
        left, bottom, right, top = (edge[near] for edge in self.edges)
        within = (left >= square.left) & (bottom >= square.bottom) & (right <= square.right) & (top <= square.top)
        return np.asarray(near[within])


def _cells(left: np.ndarray, top: np.ndarray) -> np.ndarray:
    """Return the cell that each upper-left corner lies in, int64; cells ascend to the north, then to the east."""
    return np.asarray(_cell(left) * _CELLS + _cell(top))


def _cell(metres: np.ndarray) -> np.ndarray:
    # What lies outside of all cells counts as in the outermost: `inside` compares the edges themselves.
    return np.asarray(np.clip(metres // _CELL_M, 0, _CELLS - 1).astype("int64"))


@remembered()
def check_v1(folder: Path) -> None:
    """Raise BadInput, BadName or BadAlignment unless every v1 geometry file is valid and no patch is in two of them."""
    zone_of: dict[str, int] = {}
    for epsg, path in spatial_files(folder).items():
        names = read_v1(path)["v1_name"].tolist()
        duplicates = [name for name in names if name in zone_of]
        if duplicates:
            raise BadInput(
                path,
                expected="v1 patches that no file of another zone has",
                found=f"{some(duplicates, 3)}: in that of EPSG:{zone_of[duplicates[0]]} too",
                remedy="fetch both files again, or leave [inputs] v1_spatial_dir empty: they are fetched",
            )
        zone_of.update(dict.fromkeys(names, epsg))


def align(grid: PatchGrid, sensed: datetime, v1: V1Patches) -> pd.DataFrame:
    """Pair the patches of a tile with the v1 patches of the same season whose square they cover.

    `v1` holds the v1 patches of the tile's UTM zone. Return patch_id and v1_name, ascending by patch_id.
    Raise BadAlignment if a patch or a v1 name has two candidates, if the tile lies in another zone than its name says,
    or if v1 has imagery of another time there.
    """
    zone = f"_T{grid.square.epsg % 100:02d}"
    if zone not in grid.tile_name:
        raise BadAlignment(
            grid.tile_name,
            expected="a square in the UTM zone that the name says",
            found=f"EPSG:{grid.square.epsg}",
            remedy="look at the product's metadata; if its name is right, fetch it again",
        )
    near, index = _covered(grid, sensed, v1)
    _check_times(grid.tile_name, sensed, near)
    pairs = pd.DataFrame(
        {
            "patch_id": pd.array(grid.ids().take(pa.array(index)), dtype="str"),
            "v1_name": near["v1_name"].to_numpy(),
        }
    )
    check_pairs(pairs, grid.tile_name)
    return pairs


def _covered(grid: PatchGrid, sensed: datetime, v1: V1Patches) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the v1 patches of the season that a patch covers, and the positions of these patches in the grid.

    The positions ascend.
    """
    inside = v1.inside(grid.square)
    # Without the season a patch would have up to four partners, since v1 shows most squares at several times.
    inside = inside[(v1.table["season"].array.take(inside) == season(sensed)).astype(bool)]
    left, bottom, right, top = (edge[inside] for edge in v1.edges)
    x, y = grid.place(left, top)
    _, south, east, _ = grid.patch_edges(x, y).T
    covered = np.flatnonzero((np.maximum(x, y) < grid.patches_a_side) & (right <= east) & (bottom >= south))
    positions = grid.positions(x, y)[covered]
    order = np.argsort(positions, kind="stable")
    return v1.table.iloc[inside[covered[order]]], positions[order]


def _check_times(tile_name: str, sensed: datetime, v1: pd.DataFrame) -> None:
    """Raise BadAlignment if a v1 patch shows another time.

    Flags and Sentinel-1 scenes depend on the time, not the season.
    """
    apart = np.abs(v1["sensed"].to_numpy().astype("datetime64[s]") - np.datetime64(sensed, "s"))
    off = v1[apart > SAME_TIME]
    if not off.empty:
        first = off.iloc[0]
        raise BadAlignment(
            f"tile {tile_name}",
            expected=f"imagery of the time of its v1 patches, as {first['v1_name']}: {first['sensed']} UTC",
            found=f"sensed {sensed} UTC; {len(off)} of {len(v1)} v1 patches of the season are of another time",
            remedy="give the product of the v1 patches' day, as in the list of products, or take this one out",
        )


def check_any_partner(tiles: Tiles, folder: Path) -> None:
    """Raise BadAlignment if no patch of any tile has a v1 patch of its square and season in the folder's files."""
    spatial = spatial_files(folder)
    for epsg, of_zone in _by_zone(tiles):
        if epsg in spatial:
            v1 = V1Patches(read_v1(spatial[epsg]))
            if any(len(_covered(grid, sensed, v1)[1]) for grid, sensed in of_zone.values()):
                return
    raise BadAlignment(
        folder,
        expected=f"v1 patches of square and season of some patch of the tiles {some(tiles)}",
        found="none for any of them: the dataset would be empty",
        remedy="take products of BigEarthNet's list, or point [inputs] v1_spatial_dir at the v1 geometries of these",
    )


def problems(tiles: Tiles, folder: Path) -> list[PipelineError]:
    """Return what would stop the alignment of tiles: a zone without its file, other times than v1's, no pair at all."""
    found: list[PipelineError] = []
    for epsg, of_zone in _by_zone(tiles):
        try:
            v1 = V1Patches(read_v1(zone_file(folder, epsg, some(of_zone))))
        except PipelineError as error:
            found.append(error)
            continue
        for grid, sensed in of_zone.values():
            try:
                _check_times(grid.tile_name, sensed, _covered(grid, sensed, v1)[0])
            except BadAlignment as error:
                found.append(error)
    try:
        if not found:
            check_any_partner(tiles, folder)
    except BadAlignment as error:
        found.append(error)
    return found


def _by_zone(tiles: Tiles) -> Iterator[tuple[int, Tiles]]:
    for epsg in sorted({grid.square.epsg for grid, _ in tiles.values()}):
        yield epsg, {tile: (grid, sensed) for tile, (grid, sensed) in tiles.items() if grid.square.epsg == epsg}


def check_pairs(pairs: pd.DataFrame, source: str) -> None:
    """Raise BadAlignment unless every patch and every v1 name occurs once in `pairs` (patch_id, v1_name)."""
    for column, other in (("patch_id", "v1_name"), ("v1_name", "patch_id")):
        if pairs[column].is_unique:
            continue
        duplicates = pairs[pairs.duplicated(column, keep=False)].sort_values([column, other])
        found = some(f"{a} = {b}" for a, b in zip(duplicates[column], duplicates[other], strict=True))
        raise BadAlignment(
            source,
            expected=f"one {other} per {column}",
            found=found,
            remedy="look for duplicate rows in the v1 geometry files, or tiles of one season that are listed twice",
        )


def findings(v1: pd.DataFrame, aligned: Iterable[str]) -> pd.DataFrame:
    """Return what is unusual about v1 patches (`read_v1`), given all paired v1 names: finding, v1_name, sorted."""
    sensed = v1["sensed"].to_numpy().astype("datetime64[s]")
    day = sensed.astype("datetime64[D]")
    noticed = {
        NO_TILE: ~v1["v1_name"].isin(list(aligned)).to_numpy(),
        LATE_HOUR: sensed - day >= np.timedelta64(13, "h"),
        QUIRK: (seasons(sensed) != seasons(day)) & (sensed != day),
    }
    found = [pd.DataFrame({"finding": name, "v1_name": v1.loc[where, "v1_name"]}) for name, where in noticed.items()]
    return pd.concat(found).sort_values(["finding", "v1_name"], ignore_index=True)
