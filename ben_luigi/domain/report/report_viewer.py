"""Read the patches that the report's viewer shows, from the shards of their tiles and the archive of Sentinel-1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from ben_luigi.domain.dataset.archived import ArchivedPatches
from ben_luigi.domain.names import MAP_SUFFIX
from ben_luigi.domain.report.report_tiles import Tile
from ben_luigi.domain.report.viewer import MAP, ViewedPatch
from ben_luigi.domain.vocabulary import RESOLUTION_M


def patches(
    tiles: Sequence[Tile], sample: Sequence[Mapping[str, Any]], radar: ArchivedPatches | None
) -> Iterator[ViewedPatch]:
    """Yield the patches of a sample, which `report_words.example` describes, tile by tile."""
    by_key = {tile.key: tile for tile in tiles}
    for key, of_tile in groupby(sample, key=lambda patch: str(patch["tile"])):
        tile, chosen = by_key[key], list(of_tile)
        names = [patch["s1_name"] for patch in chosen if patch["has_radar"]]
        read = radar.read(names) if radar is not None else {}
        with tile.shards() as (shard, maps):
            for patch in chosen:
                tiffs = {band: shard.read(f"{patch['patch_id']}_{band}") for band in RESOLUTION_M}
                tiffs |= {MAP: maps.read(f"{patch['patch_id']}{MAP_SUFFIX}")} if patch["has_map"] else {}
                tiffs |= read[patch["s1_name"]] if patch["has_radar"] else {}
                page = f"tiles/{key}.html#patch-{patch['place']}"
                yield ViewedPatch.of_tiffs(patch, tiffs, boa_offset=bool(tile.facts["boa_offset"]), page=page)
