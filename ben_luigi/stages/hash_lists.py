"""List the hashes of all patches, reference maps and S1 patches, in the published format, beside the archives."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ben_luigi import config
from ben_luigi.domain.dataset import members, sentinel1
from ben_luigi.domain.dataset.form import HASH_LISTS, hash_list
from ben_luigi.domain.errors import DamagedFile
from ben_luigi.domain.formats import hashes, shards
from ben_luigi.stages.archive_parts import S1, archive_names, is_by_tile, kept, shard_parts
from ben_luigi.stages.archive_shards import shard_files, shard_task
from ben_luigi.stages.archives import ArchiveS1
from ben_luigi.stages.metadata import WriteMetadata
from ben_luigi.stages.progress import Progress
from ben_luigi.stages.resolve import PRIORITY, known_tiles, tiles
from ben_luigi.stages.task import PipelineTask
from ben_luigi.stages.tiles import ProcessTiles
from ben_luigi.state import database
from ben_luigi.state.cache import at_hand
from ben_luigi.state.targets import MadeFile


def _of_shards() -> dict[str, str]:
    """Return the archives whose lists come from shards, by the names of the lists."""
    return {hash_list(name): name for name in archive_names() if is_by_tile(name)}


class ListHashes(PipelineTask):
    """`patch_hashes.csv`, `reference_map_hashes.csv` and so on: every file of the shards, hashed when it was written.

    Those of a subset list only its own files.
    """

    priority = PRIORITY["archive"]
    code = (hashes,)

    def requires(self) -> Any:
        """Return all tiles; for a subset, the metadata, which says what is kept."""
        return WriteMetadata() if config.selection() else ProcessTiles()

    def made_of(self) -> list[PipelineTask]:
        """Return the shards; for a subset, also the metadata."""
        kept = [WriteMetadata()] if config.selection() else []
        return [*kept, *(shard_task(name, tile) for tile in known_tiles() for name in _of_shards().values())]

    def output(self) -> dict[str, MadeFile]:
        """Return the lists, by their names."""
        return {name: self.file(f"{config.result_folder()}/{name}") for name in _of_shards()}

    def make(self) -> None:
        """Copy them from the indexes of the shards."""
        for name, target in self.output().items():
            hashes.write_list(_rows(_of_shards()[name]), target.file)


def _rows(archive: str) -> Iterator[tuple[str, str]]:
    """Yield name and sha256 of every file in the shards, in the order of tile names; for a subset, of kept patches."""
    if config.selection():
        for tile, keep in shard_parts():
            yield from shards.hash_rows(
                shards.kept_rows(shards.read_index(shard_files(archive, tile)[1], alone=True), keep)
            )
        return
    rows = database.query("SELECT tile, l2a_name FROM product WHERE tile = ANY(%(tiles)s)", tiles=list(tiles()))
    for tile in rows.sort_values("l2a_name")["tile"]:
        yield from shards.hash_rows(shards.read_index(shard_files(archive, tile)[1], alone=True))


class ListS1Hashes(PipelineTask):
    """`s1_hashes.csv`: every file of the S1 archive."""

    priority = PRIORITY["archive"]
    code = (hashes, members)

    def requires(self) -> Any:
        """Return the archive."""
        return ArchiveS1()

    def output(self) -> MadeFile:
        """Return the list."""
        return self.file(f"{config.result_folder()}/{HASH_LISTS[S1]}")

    def make(self) -> None:
        """Read the archive once."""
        total = len(sentinel1.BANDS) * len({*kept().values()})
        progress, rows = Progress(self, "hashing the patches of Sentinel-1", "files", total), []
        path = ArchiveS1().archive().file
        with at_hand(path):
            for row in _hashed(path):
                rows.append(row)
                progress.at(len(rows), total)
        rows.sort()
        hashes.write_list(rows, self.output().file)


def listing() -> list[PipelineTask]:
    """Return the tasks that make the hash lists of the dataset's archives."""
    return [ListHashes(), *([ListS1Hashes()] if S1 in archive_names() and not is_by_tile(S1) else [])]


def _hashed(path: Path) -> Iterator[tuple[str, str]]:
    """Yield name and sha256 of every member of an archive. Raise DamagedFile where it is damaged."""
    for found in members.read(path):
        if isinstance(found, members.Damage):
            raise DamagedFile(path, expected="a whole archive", found=found.what)
        yield Path(found.name).stem, hashlib.sha256(found.data).hexdigest()
