"""Select patches of a finished dataset by the conditions of a subset, also where it has no `patches.parquet`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ben_luigi.domain.dataset import subset
from ben_luigi.domain.dataset.geoparquet import PATCHES
from ben_luigi.domain.errors import BadInput, reason, some
from ben_luigi.domain.formats.tables import opened
from ben_luigi.domain.forms.rows_by_name import RowsByName
from ben_luigi.domain.forms.source import S2, Source
from ben_luigi.domain.names import TILE_NAME_CHARACTERS, TileName, tile_keys
from ben_luigi.domain.placement.alignment import season
from ben_luigi.domain.placement.footprints import EDGES
from ben_luigi.domain.placement.grid import TILE_SIDE_M, PatchGrid, tile_square
from ben_luigi.domain.recipe.model import Countries

_PLACE = pa.schema(
    [
        ("patch_id", pa.string()),
        ("season", pa.string()),
        ("epsg", pa.int64()),
        *((edge, pa.float64()) for edge in EDGES),
    ]
)


def selected(source: Source, options: Mapping[str, str]) -> Source:
    """Return the patches of a dataset that meet the options of `[subset]`, which are given by name.

    Countries are those of its recipe; where that takes all of a file, those that patches have. Of several datatakes of
    a tile and day, each has the key with its sensing time; that of any other tile may have it, too.

    Raise BadInput for a word that the dataset does not know, BadOption if no patch meets all of them.
    """
    if not options:
        return source
    patch_ids = source.names(S2)
    tile_names = pc.utf8_slice_codeunits(patch_ids, 0, TILE_NAME_CHARACTERS).dictionary_encode()
    tiles = [TileName.parse(name) for name in tile_names.dictionary.to_pylist()]
    keys = tile_keys(tiles)
    timed = {tile.timed_key: keys[tile.tile_name] for tile in tiles}
    typed = options.get("tiles", "").replace(",", " ").split()
    known = sorted({*timed.values(), *(timed.keys() & typed)})
    selection = subset.parse(options, known, source.classes, _countries(source))
    wanted = replace(selection, tiles=tuple(timed.get(word, word) for word in selection.tiles))
    path = source.folder / PATCHES
    places = _by_file(path, patch_ids) if path.is_file() else _by_names(source, patch_ids, tile_names)
    places["tile"] = _per_row([keys[tile.tile_name] for tile in tiles], tile_names)
    noted = subset.as_noted(options, selection.area)
    return replace(source, rows=subset.select(source.rows, places, wanted), selection=noted)


def _countries(source: Source) -> Countries:
    """Return the countries of the dataset, with their names."""
    countries = source.form.countries
    if countries.names is not None or "country" not in source.rows.column_names:
        return countries
    found = pc.unique(source.rows["country"]).drop_null().to_pylist()
    return replace(countries, names=tuple(sorted(found)))


def _per_row(values: Sequence[str], coded: pa.DictionaryArray) -> pd.Series:
    """Return the value of each row, given those of the words of its dictionary."""
    kinds = sorted({*values})
    numbers = np.array([kinds.index(value) for value in values], dtype="int32")
    return pd.Series(pa.DictionaryArray.from_arrays(numbers[coded.indices.to_numpy()], kinds).to_pandas())


def _by_file(path: Path, patch_ids: pa.Array) -> pd.DataFrame:
    """Return the places that `patches.parquet` tells, one per row. Raise BadInput if it cannot be read, or has gaps."""
    try:
        with opened(path) as parquet:
            found = parquet.read(columns=_PLACE.names, use_threads=False)
        if gaps := [name for name in _PLACE.names if name not in found.column_names or _has_gaps(found[name])]:
            raise ValueError(f"rows without a value of {some(gaps)}")
        found = found.select(_PLACE.names).cast(_PLACE)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise _bad(path, reason(error)) from error
    of_name = RowsByName(found["patch_id"].combine_chunks())
    at, found_in = np.zeros(len(patch_ids), dtype="int32"), np.zeros(len(patch_ids), dtype="int32")
    for row, patch_id in enumerate(patch_ids):
        rows = of_name.of(patch_id.as_py())
        at[row], found_in[row] = rows[0] if rows else 0, len(rows)
    for wrong, said in ((found_in == 0, "none"), (found_in > 1, "more than one row")):
        if wrong.any():
            raise _bad(path, f"{said} of {some(patch_ids.filter(pa.array(wrong)).to_pylist(), 3)}")
    taken = found.drop_columns(["patch_id"]).take(pa.array(at))
    season = taken["season"].combine_chunks().dictionary_encode()
    return pd.DataFrame(
        {"season": _per_row(season.dictionary.to_pylist(), season)}
        | {name: taken[name].to_numpy() for name in taken.column_names if name != "season"}
    )


def _has_gaps(column: pa.ChunkedArray) -> bool:
    """Whether a value lacks: null, or a number that is none or has no end."""
    if column.null_count:
        return True
    return bool(pa.types.is_floating(column.type) and not pc.all(pc.is_finite(column), min_count=0).as_py())


def _by_names(source: Source, patch_ids: pa.Array, tile_names: pa.DictionaryArray) -> pd.DataFrame:
    """Return the place of each row that its name tells. Raise BadInput if its tile has no such patch."""
    numbers, names = tile_names.indices.to_numpy(), tile_names.dictionary.to_pylist()
    lacking: list[str] = []
    epsg, edges, seasons = np.zeros(len(numbers), dtype="int32"), np.zeros((len(numbers), 4)), []
    for number, name in enumerate(names):
        tile, of_tile = TileName.parse(name), np.flatnonzero(numbers == number)
        grid = PatchGrid(name, tile_square(tile, TILE_SIDE_M), source.form.patch_m)
        ids = patch_ids.take(pa.array(of_tile)).to_pylist()
        at = pd.Index(grid.ids()).get_indexer(ids)
        lacking += [patch_id for patch_id, position in zip(ids, at.tolist(), strict=True) if position < 0]
        epsg[of_tile], edges[of_tile] = grid.square.epsg, grid.edges[at]
        seasons.append(season(tile.sensing_time, source.form.season_rule))
    if lacking:
        raise _bad(source.folder / PATCHES, f"none of {some(lacking, 3)}")
    return pd.DataFrame(
        {"season": _per_row(seasons, tile_names), "epsg": epsg, **dict(zip(EDGES, edges.T, strict=True))}
    )


def _bad(path: Path, found: str) -> BadInput:
    remedy = "make or fetch the file again, or take it away: then places follow from the names"
    return BadInput(path, expected="the place of each patch, once, as Parquet", found=found, remedy=remedy)
