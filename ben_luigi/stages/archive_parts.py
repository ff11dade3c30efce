"""Determine which patches the dataset keeps, and in which parts of the archives they are."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from itertools import repeat
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ben_luigi import config
from ben_luigi.domain.dataset import sentinel1
from ben_luigi.domain.dataset.metadata import FLAGGED, METADATA
from ben_luigi.domain.dataset.statistics_parts import FLAGGED as FLAGGED_PART
from ben_luigi.domain.errors import BadInput, BadName, some
from ben_luigi.domain.formats.tables import read_own
from ben_luigi.domain.names import PatchId, s1_part
from ben_luigi.domain.placement.grid import Square
from ben_luigi.domain.recipe.model import NO_SENTINEL1
from ben_luigi.domain.tiles import patches, reference_maps
from ben_luigi.domain.tiles.layers import archive_of
from ben_luigi.stages.rasters import cuts_sentinel1
from ben_luigi.stages.resolve import known_tiles
from ben_luigi.state import database

S1 = sentinel1.ARCHIVE
S2 = patches.ARCHIVE
MAPS = reference_maps.ARCHIVE


def archive_names() -> tuple[str, ...]:
    """Return the names of the archives of the dataset."""
    recipe = config.recipe()
    radar = (S1,) if recipe.sentinel1.source != NO_SENTINEL1 else ()
    return (S2, MAPS, *radar, *(archive_of(layer.name) for layer in config.all_layers()))


def is_by_tile(name: str) -> bool:
    """Return whether the parts of an archive are tiles, whose shards have what is cut or made of them."""
    return name != S1 or cuts_sentinel1()


def kept() -> dict[str, str]:
    """Return the S1 name, or nothing, of each patch of the metadata, by patch id, ascending."""
    return _kept(*_metadata_files())


def s1_parts() -> list[tuple[str, list[str]]]:
    """Return the parts of the S1 archive, in order, and the S1 names in each."""
    return _s1_parts(*_metadata_files())


def shard_parts() -> list[tuple[str, list[str]]]:
    """Return the tiles with kept patches, in the order of their names, and those patches."""
    return _shard_parts(*_metadata_files())


def dataset_tiles() -> list[str]:
    """Return the tiles of the dataset, ascending: all, or for a subset those with patches in it."""
    return sorted(dict(shard_parts())) if config.selection() else sorted(known_tiles())


def parts_of(name: str) -> list[tuple[str, list[str]]]:
    """Return the parts of an archive in order, and the patches in each."""
    if not is_by_tile(name):
        return s1_parts()
    return [(tile, keep) for tile, keep in shard_parts() if name not in map(archive_of, lacking_layers(tile))]


def lacking_layers(tile: str) -> list[str]:
    """Return the layers that the product of a tile lacks: of which its shard is empty, although patches are cut."""
    wanted = [layer.name for layer in config.product_layers()] if config.skips_missing_layers() else []
    if not wanted or _files_in("patches", tile) == 0:
        return []
    return [layer for layer in wanted if _files_in(f"layers/{layer}", tile) == 0]


def _files_in(folder: str, tile: str) -> int | None:
    """Return the number of files in a tile's shard; None if it does not exist yet."""
    try:
        return int(pq.read_metadata(config.data_dir() / folder / f"{tile}.parquet").num_rows)
    except (OSError, pa.ArrowException):
        return None


def names_in(name: str, part: str) -> list[str]:
    """Return the kept patches of a part; for Sentinel-1 by their S1 names."""
    return dict(shard_parts()).get(part, []) if is_by_tile(name) else _s1_names(part)


def splits_in(name: str, part: str) -> list[tuple[str, str]]:
    """Return the kept patches of a part, and the split of each; FLAGGED_PART for those of the second file of metadata.

    A patch of Sentinel-1 comes once per patch of Sentinel-2 whose partner it is.
    """
    names, splits = _splits(*_metadata_files(), by_tile=is_by_tile(name)).get(part, ([], []))
    return list(zip(names, splits, strict=True))


def _s1_names(part: str) -> list[str]:
    parts = dict(s1_parts())
    if part not in parts:
        raise BadName(
            f"part {part} of {S1}",
            expected=f"one of {len(parts)}, an acquisition and MGRS square as {next(iter(parts), 'none')}",
            found="none of this name with patches that are kept",
            remedy="correct it, or run ArchiveS1, which makes them all",
        )
    return parts[part]


def squares(s1_names: Sequence[str]) -> dict[str, Square]:
    """Return the square that each S1 patch must cover: that of its S2 patch."""
    wanted = set(s1_names)
    by_patch = {patch: name for patch, name in kept().items() if name in wanted}
    rows = database.query(
        "SELECT patch_id, left_m, top_m, epsg FROM patch WHERE patch_id = ANY(%(ids)s)", ids=list(by_patch)
    )
    places = rows[["patch_id", "left_m", "top_m", "epsg"]].itertuples(index=False, name=None)
    return {
        by_patch[patch]: Square(left, top, config.recipe().patches.side_m, epsg) for patch, left, top, epsg in places
    }


def _metadata_files() -> tuple[tuple[Path, ...], tuple[int, ...]]:
    paths = tuple(
        config.data_dir() / config.result_folder() / name
        for name in ((METADATA, FLAGGED) if config.recipe().is_aligned else (METADATA,))
    )
    try:
        return paths, tuple(path.stat().st_mtime_ns for path in paths)
    except FileNotFoundError as error:
        raise BadInput(
            error.filename,
            expected="the metadata of the patches that are kept",
            found="no file",
            remedy="run WriteMetadata first; the task of the whole archive does so by itself",
        ) from error


@lru_cache(maxsize=2)
def _kept(paths: tuple[Path, ...], changed_ns: tuple[int, ...]) -> dict[str, str]:
    pairs: list[tuple[str, str]] = []
    wanted = ["patch_id", *(["s1_name"] if S1 in archive_names() else [])]
    for table in (read_own(path, wanted) for path in paths):
        s1_names = table["s1_name"].to_pylist() if "s1_name" in table.column_names else [""] * len(table)
        pairs += zip(table["patch_id"].to_pylist(), s1_names, strict=True)
    return dict(sorted(pairs))


@lru_cache(maxsize=2)
def _splits(
    paths: tuple[Path, ...], changed_ns: tuple[int, ...], *, by_tile: bool
) -> dict[str, tuple[list[str], list[str]]]:
    """Return the patches of each part, and the split of each of them."""
    splits: dict[str, str] = {}
    for path in paths:
        table = read_own(path, ["patch_id", "split"])
        of = table["split"].to_pylist() if path.name == METADATA else repeat(FLAGGED_PART, len(table))
        splits.update(zip(table["patch_id"].to_pylist(), map(sys.intern, of), strict=True))
    if by_tile:
        return {
            part: (patches, [splits[patch] for patch in patches]) for part, patches in _shard_parts(paths, changed_ns)
        }
    found: dict[str, tuple[list[str], list[str]]] = {}
    for patch, name in _kept(paths, changed_ns).items():
        if name:
            names, of_names = found.setdefault(s1_part(name), ([], []))
            names.append(name)
            of_names.append(splits[patch])
    return found


@lru_cache(maxsize=2)
def _s1_parts(paths: tuple[Path, ...], changed_ns: tuple[int, ...]) -> list[tuple[str, list[str]]]:
    return sentinel1.parts_of({name for name in _kept(paths, changed_ns).values() if name})


@lru_cache(maxsize=2)
def _shard_parts(paths: tuple[Path, ...], changed_ns: tuple[int, ...]) -> list[tuple[str, list[str]]]:
    by_name: dict[str, list[str]] = {}
    for patch in _kept(paths, changed_ns):
        by_name.setdefault(PatchId.parse(patch).tile_name, []).append(patch)
    keys = {name.converted().tile_name: key for key, name in known_tiles().items()}
    if unknown := sorted(by_name.keys() - keys):
        raise BadInput(
            paths[0],
            expected="patches of the tiles that count, by [dataset] tiles and the list of products",
            found=f"patches of {some(unknown)} as well",
            remedy="run WriteMetadata first, or name those tiles again; the task of the archive does so by itself",
        )
    return [(keys[name], by_name[name]) for name in sorted(by_name)]
