"""Find the raster of a tile and a day by a pattern of the recipe, as `dem_{tile}.tif` or `s1/{date}/{tile}.tif`.

`{tile}` is the MGRS square, as 33UUP, `{date}` a day as 20170613, `{polarisation}` VV or VH. Of several days the
nearest to that of the product's sensing is taken, the earlier of two, if it is near enough.
"""

from __future__ import annotations

import glob
import re
from datetime import date, datetime
from pathlib import Path

from ben_luigi.domain import given
from ben_luigi.domain.errors import BadInput, some
from ben_luigi.domain.names import TileName

_DATE = "{date}"
_DAY = "%Y%m%d"


def nearest(pattern: str, name: TileName, max_days: int, *, where: str, polarisation: str = "") -> Path:
    """Return the raster of a product of this name, which exists and is at most `max_days` from its sensing day.

    `where` is the section of the recipe. Raise BadInput that names the rasters of other days, if there are any.
    """
    path = _filled(pattern, name, polarisation)
    sensed = name.sensing_time.date()
    of_day = _of_days(path)
    near = [day for day in of_day if abs((day - sensed).days) <= max_days]
    if near:
        return of_day[min(near, key=lambda day: (abs((day - sensed).days), day))]
    whole = Path(path.replace(_DATE, f"{sensed:{_DAY}}"))
    if _DATE not in path and given.kind(whole) == given.FILE:
        return whole
    about = f"within {max_days} days of {sensed}" if max_days else f"of {sensed}"
    others = f"only of {some(str(day) for day in sorted(of_day))}" if of_day else f"{given.kind(whole)} at {whole}"
    raise BadInput(
        f"tile {name.tile_key}: {pattern}",
        expected=f"a raster of the tile{f' {about}' if _DATE in path else ''}",
        found=others,
        remedy=f"give that raster, correct {where} of the recipe, or take the product out",
    )


def supposed(pattern: str, name: TileName, max_days: int, *, polarisation: str = "") -> Path:
    """Return the same path; and if there is none, the one that would be taken first."""
    try:
        return nearest(pattern, name, max_days, where="", polarisation=polarisation)
    except BadInput:
        return Path(_filled(pattern, name, polarisation).replace(_DATE, f"{name.sensing_time:{_DAY}}"))


def _filled(pattern: str, name: TileName, polarisation: str) -> str:
    return pattern.replace("{tile}", name.mgrs).replace("{polarisation}", polarisation)


def _of_days(path: str) -> dict[date, Path]:
    """Return the files by day; none if the path has no day."""
    if _DATE not in path:
        return {}
    parts = path.split(_DATE)
    form = re.compile(r"(\d{8})".join(map(re.escape, parts)))
    found = {}
    anchor = Path(path).anchor
    wanted = f"{'[0-9]' * 8}".join(map(glob.escape, parts)).removeprefix(anchor)
    for file in sorted(Path(anchor).glob(wanted)):
        match = form.fullmatch(str(file))
        days = set(match.groups()) if match else set()
        if len(days) == 1 and given.kind(file) == given.FILE:
            try:
                found[datetime.strptime(days.pop(), _DAY).date()] = file
            except ValueError:
                continue  # eight digits that are no day
    return found
