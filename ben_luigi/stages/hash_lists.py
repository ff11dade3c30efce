"""The hashes of all patches and reference maps, in the published form, beside the archives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ben_luigi import config
from ben_luigi.domain import hashes, shards
from ben_luigi.domain.verify import HASH_LISTS
from ben_luigi.stages.derived import Derived
from ben_luigi.stages.resolve import PRIORITY, known_tiles, tiles
from ben_luigi.stages.tiles import ProcessTiles
from ben_luigi.state import database
from ben_luigi.state.targets import MadeFile

_FOLDERS = dict(zip(HASH_LISTS.values(), ("patches", "reference_maps"), strict=True))


class ListHashes(Derived):
    """`patch_hashes.csv` and `reference_map_hashes.csv`: every file of the shards, taken as they were written."""

    priority = PRIORITY["archive"]

    def requires(self) -> Any:
        """All tiles."""
        return ProcessTiles()

    def output(self) -> dict[str, MadeFile]:
        """The two lists, by their names."""

        def shards_of(folder: str) -> dict[str, str]:
            return {tile: MadeFile(f"{folder}/{tile}.tar").digest() for tile in known_tiles()}

        place = config.result_folder()
        return {name: MadeFile(f"{place}/{name}", shards_of(folder)) for name, folder in _FOLDERS.items()}

    def make(self) -> None:
        """Copy them from the indexes of the shards."""
        for name, target in self.output().items():
            target.record(hashes.write_list(_rows(_FOLDERS[name]), target.file))


def _rows(folder: str) -> Iterator[tuple[str, str]]:
    """Name and sha256 of every file in the shards, in the order of the tiles' names."""
    rows = database.query("SELECT tile, l2a_name FROM product WHERE tile = ANY(%(tiles)s)", tiles=list(tiles()))
    for tile in rows.sort_values("l2a_name")["tile"]:
        yield from shards.hash_rows(shards.read_index(config.data_dir() / folder / f"{tile}.parquet"))
