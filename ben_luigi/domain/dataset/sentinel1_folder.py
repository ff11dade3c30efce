"""Find the Sentinel-1 patches of a tile in a folder of the user's, and check them.

A patch is a folder `<name>` with `<name>_VV.tif` and `<name>_VH.tif`, directly in the user's folder or one folder down.
`<name>` is the id of the Sentinel-2 patch, or a name as BigEarthNet-S1 has it, which ends with the MGRS square, column
and row of the Sentinel-2 patch. Of several such names the nearest in time is taken, the earlier of two.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np

from ben_luigi.domain import given
from ben_luigi.domain.dataset.sentinel1 import BANDS, check_place
from ben_luigi.domain.errors import BadInput, BadName
from ben_luigi.domain.formats.tiffheader import read_header, read_pixels
from ben_luigi.domain.names import TileName, is_patch_id, s1_place, s1_sensing_time, s1_tile
from ben_luigi.domain.placement.grid import PatchGrid, Square
from ben_luigi.domain.vocabulary import MOST_PATCH_FILE_BYTES

_REMEDY = "correct it, or [sentinel1] folder of the recipe"
_DTYPE = "float32"


@dataclass(frozen=True)
class Listed:
    """The patches in a folder: the folder of each by name; and the names that BigEarthNet-S1 has, by place, in time."""

    folders: Mapping[str, Path]
    by_place: Mapping[tuple[str, int, int], list[tuple[datetime, str]]]

    def folder_of(self, name: str) -> Path:
        """Return the folder of a patch. Raise BadInput if there is none of this name."""
        if name not in self.folders:
            raise BadInput(
                f"S1 patch {name}", expected="its folder, as when it was found", found="nothing", remedy="run again"
            )
        return self.folders[name]

    def names(self, grid: PatchGrid, max_days: int) -> dict[int, str]:
        """Return the name of the S1 patch of each patch that has one, by its position in the grid's arrays."""
        tile = TileName.parse(grid.tile_name)
        sensed, found = tile.sensing_time, {}
        for at, patch in enumerate(grid.ids().to_pylist()):
            x, y = divmod(at, grid.patches_a_side)
            near = [
                (abs(time - sensed), time, name)
                for time, name in self.by_place.get((tile.mgrs, x, y), ())
                if abs(time - sensed) <= timedelta(days=max_days)
            ]
            if patch in self.folders:
                found[at] = patch
            elif near:
                found[at] = min(near)[2]
        return found


def listed(folder: Path) -> Listed:
    """Return the patches in a folder. Raise BadInput if it cannot be read."""
    try:
        return _listed(folder, folder.stat().st_mtime_ns)
    except OSError as error:
        raise BadInput(folder, expected="a folder of Sentinel-1 patches", found=str(error), remedy=_REMEDY) from error


@lru_cache(maxsize=2)
def _listed(folder: Path, changed_ns: int) -> Listed:
    folders: dict[str, Path] = {}
    by_place: dict[tuple[str, int, int], list[tuple[datetime, str]]] = {}
    for name, path in [(name, path) for top in _folders(folder) for name, path in _patches(*top)]:
        if name in folders:
            raise BadInput(folder, expected=f"one folder {name}", found=f"{folders[name]}, {path}", remedy=_REMEDY)
        place = s1_place(name)
        if place is not None:
            try:
                by_place.setdefault(place, []).append((s1_sensing_time(s1_tile(name)), name))
            except BadName:
                continue  # the time in it is none
        folders[name] = path
    return Listed(folders, by_place)


def _patches(name: str, path: Path) -> list[tuple[str, Path]]:
    """Return the patch that a folder is, or else those in it."""
    if _is_patch(name):
        return [(name, path)]
    return [(below, at) for below, at in _folders(path) if _is_patch(below)]


def _is_patch(name: str) -> bool:
    return is_patch_id(name) or s1_place(name) is not None


def _folders(folder: Path) -> list[tuple[str, Path]]:
    with os.scandir(folder) as entries:
        return sorted(
            (entry.name, folder / entry.name) for entry in entries if entry.is_dir() and not given.is_hidden(entry.name)
        )


def check(folder: Path, grid: PatchGrid, max_days: int) -> None:
    """Raise BadInput if there is no patch of a tile, or if the first one cannot be used."""
    at = listed(folder)
    found = at.names(grid, max_days)
    if not found:
        raise BadInput(
            f"tile {grid.tile_name}: {folder}",
            expected=f"Sentinel-1 patches of the tile, within {max_days} days of the product",
            found=f"none, of {len(at.folders)} patches of other places and days",
            remedy="give these patches, correct [sentinel1] of the recipe, or take the product out",
        )
    position, name = min(found.items())
    x, y = divmod(position, grid.patches_a_side)
    has_data(at.folder_of(name), grid.patch(x, y))


def with_data(folder: Path, grid: PatchGrid, max_days: int) -> dict[int, str]:
    """Return the names of the S1 patches of a tile that have data on all pixels, by position in the grid's arrays.

    Raise BadInput as `has_data` does.
    """
    at = listed(folder)
    names = at.names(grid, max_days)
    squares = {position: grid.patch(*divmod(position, grid.patches_a_side)) for position in names}
    return {position: name for position, name in names.items() if has_data(at.folder_of(name), squares[position])}


def has_data(folder: Path, square: Square) -> bool:
    """Return whether a patch has data on all of its pixels: numbers, and not the files' value for no data.

    Raise BadInput if a file of the patch is missing or unreadable, is not float32, or does not cover `square`, that of
    its Sentinel-2 patch.
    """
    return all(_has_data(folder / f"{folder.name}_{band}.tif", square) for band in BANDS)


def _has_data(path: Path, square: Square) -> bool:
    try:
        data = given.read_bytes(path, MOST_PATCH_FILE_BYTES)
    except (OSError, ValueError) as error:
        raise BadInput(f"S1 patch {path.stem}: {path}", expected="a file", found=str(error), remedy=_REMEDY) from error
    check_place(data, path, square, _REMEDY)
    header, pixels = read_header(data, path), read_pixels(data, path)
    if header.dtype != _DTYPE or header.width != square.side_m // 10:
        found = f"{header.dtype}, {header.pixel_m:g} m"
        subject = f"S1 patch {path.stem}: {path}"
        raise BadInput(subject, expected=f"pixels of 10 m, {_DTYPE}", found=found, remedy=_REMEDY)
    return bool(np.isfinite(pixels).all() and (header.nodata is None or not (pixels == header.nodata).any()))
