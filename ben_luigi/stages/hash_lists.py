"""The hashes of all patches, reference maps and S1 patches, in the published form, beside the archives."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ben_luigi import config
from ben_luigi.domain.dataset import members, sentinel1
from ben_luigi.domain.dataset.verify import HASH_LISTS
from ben_luigi.domain.errors import BadArchive
from ben_luigi.domain.formats import hashes, shards
from ben_luigi.stages.archives import MAPS, S1, S2, ArchiveS1, kept
from ben_luigi.stages.derived import Derived
from ben_luigi.stages.progress import Progress
from ben_luigi.stages.resolve import PRIORITY, known_tiles, tiles
from ben_luigi.stages.tiles import ProcessTiles
from ben_luigi.state import database
from ben_luigi.state.targets import MadeFile

_FOLDERS = {HASH_LISTS[S2]: "patches", HASH_LISTS[MAPS]: "reference_maps"}


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


class ListS1Hashes(Derived):
    """`s1_hashes.csv`: every file of the S1 archive."""

    priority = PRIORITY["archive"]

    def requires(self) -> Any:
        """The archive."""
        return ArchiveS1()

    def output(self) -> MadeFile:
        """The list."""
        return MadeFile(
            f"{config.result_folder()}/{HASH_LISTS[S1]}", {"archive": ArchiveS1().output()["archive"].digest()}
        )

    def make(self) -> None:
        """Read the archive once."""
        total = len(sentinel1.BANDS) * len(kept())
        progress, rows = Progress(self, "hashing the patches of Sentinel-1", "files", total), []
        for row in _hashed(ArchiveS1().output()["archive"].file):
            rows.append(row)
            progress.at(len(rows), total)
        rows.sort()
        self.output().record(hashes.write_list(rows, self.output().file))


def _hashed(path: Path) -> Iterator[tuple[str, str]]:
    """Name and sha256 of every member of an archive; BadArchive where it is damaged."""
    for found in members.read(path):
        if isinstance(found, members.Damage):
            raise BadArchive(path, expected="a whole archive", found=found.what, remedy="remove it and run again")
        yield Path(found.name).stem, hashlib.sha256(found.data).hexdigest()
