"""Select patches of a finished dataset by the conditions of a subset, also where it has no `patches.parquet`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ben_luigi.domain.dataset import subset
from ben_luigi.domain.dataset.geoparquet import PATCHES
from ben_luigi.domain.errors import BadInput, reason, some
from ben_luigi.domain.formats.tables import opened
from ben_luigi.domain.forms.source import Source
from ben_luigi.domain.names import TileName, split_position, tile_keys
from ben_luigi.domain.placement.alignment import season
from ben_luigi.domain.placement.footprints import EDGES
from ben_luigi.domain.placement.grid import TILE_SIDE_M, PatchGrid, tile_square
from ben_luigi.domain.recipe.model import Countries

_COLUMNS = ("patch_id", "season", "epsg", *EDGES)


def selected(source: Source, options: Mapping[str, str]) -> Source:
    """Return the patches of a dataset that meet the options of `[subset]`, which are given by name.

    Countries are those of its recipe; where that takes all of a file, those that patches have. Of several datatakes of
    a tile and day, each has the key with its sensing time; that of any other tile may have it, too.

    Raise BadInput for a word that the dataset does not know, BadOption if no patch meets all of them.
    """
    if not options:
        return source
    keys = _keys(source)
    places = _places(source, keys)
    timed = {TileName.parse(name).timed_key: key for name, key in keys.items()}
    typed = options.get("tiles", "").replace(",", " ").split()
    known = sorted({*timed.values(), *(timed.keys() & typed)})
    selection = subset.parse(options, known, source.classes, _countries(source))
    wanted = replace(selection, tiles=tuple(timed.get(word, word) for word in selection.tiles))
    noted = subset.as_noted(options, selection.area)
    return replace(source, rows=subset.select(source.rows, places, wanted), selection=noted)


def _countries(source: Source) -> Countries:
    """Return the countries of the dataset, with their names."""
    countries = source.form.countries
    if countries.names is not None or "country" not in source.rows.column_names:
        return countries
    found = pc.unique(source.rows["country"]).drop_null().to_pylist()
    return replace(countries, names=tuple(sorted(found)))


def _keys(source: Source) -> dict[str, str]:
    """Return the key of each tile by its name."""
    names = {split_position(name)[0] for name in source.rows["patch_id"].to_pylist()}
    return tile_keys(TileName.parse(name) for name in sorted(names))


def _places(source: Source, keys: Mapping[str, str]) -> pd.DataFrame:
    """Return tile key, season and square of each patch: as `patches.parquet` says, or by their names."""
    tiles = [keys[split_position(name)[0]] for name in source.rows["patch_id"].to_pylist()]
    path = source.folder / PATCHES
    found = _by_file(path) if path.is_file() else pd.concat(_by_names(source))
    ids = source.rows["patch_id"].to_pandas()
    lacking = ids[~ids.isin(found["patch_id"])]
    if len(lacking):
        raise _bad(path, f"none of {some(lacking, 3)}")
    made: pd.DataFrame = found.set_index("patch_id").reindex(ids).reset_index().assign(tile=tiles)
    return made


def _by_file(path: Path) -> pd.DataFrame:
    """Return the places that `patches.parquet` tells. Raise BadInput if it cannot be read, or has gaps."""
    try:
        with opened(path) as parquet:
            found: pd.DataFrame = parquet.read(columns=list(_COLUMNS)).to_pandas()
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise _bad(path, reason(error)) from error
    gaps = [name for name in _COLUMNS if name not in found or found[name].isna().any()]
    if gaps:
        raise _bad(path, f"rows without a value of {some(gaps)}")
    twice = found["patch_id"][found["patch_id"].duplicated()]
    if len(twice):
        raise _bad(path, f"more than one row of {some(twice.unique(), 3)}")
    return found


def _bad(path: Path, found: str) -> BadInput:
    remedy = "make or fetch the file again, or take it away: then places follow from the names"
    return BadInput(path, expected="the place of each patch, once, as Parquet", found=found, remedy=remedy)


def _by_names(source: Source) -> Iterator[pd.DataFrame]:
    """Yield the places of all patches of each tile."""
    for name in sorted({split_position(patch)[0] for patch in source.rows["patch_id"].to_pylist()}):
        tile = TileName.parse(name)
        grid = PatchGrid(name, tile_square(tile, TILE_SIDE_M), source.form.patch_m)
        yield grid.table().assign(season=season(tile.sensing_time, source.form.season_rule))[list(_COLUMNS)]
