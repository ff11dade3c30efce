"""The three archives: each compressed part by part, by any worker, and joined in order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import luigi
import pyarrow.parquet as pq

from ben_luigi import config
from ben_luigi.domain import archive, files, patches, reference_maps, shards
from ben_luigi.domain.grid import PATCH_M, Square
from ben_luigi.domain.names import PatchId
from ben_luigi.stages.derived import Derived
from ben_luigi.stages.metadata import WriteMetadata, metadata_digests
from ben_luigi.stages.prerequisites import input_origin, input_path, input_task
from ben_luigi.stages.resolve import PRIORITY, known_tiles
from ben_luigi.state import database
from ben_luigi.state.targets import MadeFile

S1 = "BigEarthNet-S1"
S2 = patches.ARCHIVE
MAPS = reference_maps.ARCHIVE
_SHARDS = {S2: "patches", MAPS: "reference_maps"}


def kept() -> dict[str, str]:
    """S1 name of each patch of both metadata files, by patch id, ascending."""
    paths = tuple(target.file for target in WriteMetadata().output().values())
    return _kept(paths, tuple(path.stat().st_mtime_ns for path in paths))


@lru_cache(maxsize=2)
def _kept(paths: tuple[Path, ...], changed_ns: tuple[int, ...]) -> dict[str, str]:
    rows = [pq.read_table(path, columns=["patch_id", "s1_name"]) for path in paths]
    pairs = [pair for table in rows for pair in zip(*(column.to_pylist() for column in table.columns), strict=True)]
    return dict(sorted(pairs))


class CompressPart(luigi.Task):
    """One part of an archive as a zstd frame: a tile's, or an S1 acquisition's over one MGRS square."""

    archive = luigi.Parameter()
    part = luigi.Parameter()
    priority = PRIORITY["archive"]

    def requires(self) -> Any:
        """Which patches are kept."""
        return [WriteMetadata(), *([input_task("s1_dir")] if self.archive == S1 else [])]

    def output(self) -> MadeFile:
        """The frame."""
        made_from: dict[str, Any] = {"metadata": metadata_digests(), "level": config.archive().level}
        if self.archive == S1:
            made_from["s1_dir"] = input_origin("s1_dir")
        else:
            made_from["shard"] = MadeFile(f"{_SHARDS[str(self.archive)]}/{self.part}.tar").digest()
        return MadeFile(f"{config.parts_folder()}/{self.archive}/{self.part}.tar.zst", made_from)

    def run(self) -> None:
        """Compress it."""
        target = self.output()
        level = int(config.archive().level)
        if self.archive == S1:
            names = dict(s1_parts())[str(self.part)]
            archive.write_s1_part(input_path("s1_dir"), names, target.file, level, expected=squares(names))
        else:
            shard, index = shard_files(str(self.archive), str(self.part))
            keep = set(shards.read_index(index)["patch_id"].to_pylist()) & set(kept())
            archive.write_shard_part(shard, index, keep, target.file, level)
        target.record(files.file_hash(target.file))


def shard_files(name: str, tile: str) -> tuple[Path, Path]:
    """The shard of a tile that an archive is made from, and its index."""
    shard = config.data_dir() / _SHARDS[name] / f"{tile}.tar"
    return shard, shard.with_suffix(".parquet")


def s1_parts() -> list[tuple[str, list[str]]]:
    """The parts of the S1 archive, in order, and the S1 names in each."""
    return archive.parts_of_s1(list(kept().values()))


def shard_parts() -> list[tuple[str, list[str]]]:
    """The tiles with patches that are kept, in the order of their names, and those patches."""
    by_name: dict[str, list[str]] = {}
    for patch in kept():
        by_name.setdefault(PatchId.parse(patch).tile_name, []).append(patch)
    rows = database.query("SELECT tile, l2a_name FROM product WHERE tile = ANY(%(tiles)s)", tiles=list(known_tiles()))
    keys = {str(name).rpartition("_")[0]: str(tile) for tile, name in zip(rows["tile"], rows["l2a_name"], strict=True)}
    return [(keys[name], by_name[name]) for name in sorted(by_name)]


def squares(s1_names: list[str]) -> dict[str, Square]:
    """The square that each S1 patch must cover: that of its S2 patch."""
    wanted = set(s1_names)
    by_patch = {patch: name for patch, name in kept().items() if name in wanted}
    rows = database.query(
        "SELECT patch_id, left_m, top_m, epsg FROM patch WHERE patch_id = ANY(%(ids)s)", ids=list(by_patch)
    )
    places = rows[["patch_id", "left_m", "top_m", "epsg"]].itertuples(index=False, name=None)
    return {by_patch[patch]: Square(left, top, PATCH_M, epsg) for patch, left, top, epsg in places}


class _Archive(Derived):
    """An archive of the dataset, with the hashes of its tar and of itself beside its parts."""

    priority = PRIORITY["archive"]
    name = ""

    def requires(self) -> Any:
        """Which patches are kept."""
        return WriteMetadata()

    def output(self) -> dict[str, MadeFile]:
        """The archive, and its hashes."""
        made_from = {
            "metadata": metadata_digests(),
            "level": config.archive().level,
            "keep_tar": config.archive().keep_tar,
            "contents": self.contents(),
        }
        return {
            "archive": MadeFile(f"{config.result_folder()}/{self.name}.tar.zst", made_from),
            "hashes": MadeFile(f"{config.parts_folder()}/{self.name}.json", made_from),
        }

    def contents(self) -> Any:
        """What tells the content of the archive apart from the metadata."""
        folder = _SHARDS[self.name]
        return {tile: MadeFile(f"{folder}/{tile}.tar").digest() for tile in known_tiles()}

    def parts(self) -> list[tuple[str, list[str]]]:
        """The parts in order."""
        return shard_parts()

    def members(self, parts: list[tuple[str, list[str]]]) -> list[Iterator[bytes]] | None:
        """The tar's bytes of each part from the shards, which is quicker than from the frames; or None."""
        return [archive.shard_members(*shard_files(self.name, tile), kept) for tile, kept in parts]

    def make(self) -> Any:
        """Have the parts compressed, and join them."""
        parts = self.parts()
        tasks = [CompressPart(archive=self.name, part=part) for part, _ in parts]
        yield tasks
        target = self.output()
        folder = config.data_dir() / config.parts_folder()
        tar = folder / f"{self.name}.tar" if config.archive().keep_tar else None
        frames = [task.output().file for task in tasks]
        hashes = archive.join(frames, target["archive"].file, keep_tar=tar, members=self.members(parts))
        text = json.dumps(asdict(hashes), indent=1, sort_keys=True) + "\n"
        files.write_text(target["hashes"].file, text)
        for made in target.values():
            made.record(hashes.compressed_sha256)


class ArchiveS2(_Archive):
    """`BigEarthNet-S2.tar.zst`."""

    name = S2


class ArchiveReferenceMaps(_Archive):
    """`Reference_Maps.tar.zst`."""

    name = MAPS


class ArchiveS1(_Archive):
    """`BigEarthNet-S1.tar.zst`."""

    name = S1

    def contents(self) -> Any:
        """Where the S1 patches are."""
        return input_origin("s1_dir")

    def parts(self) -> list[tuple[str, list[str]]]:
        """The parts in order."""
        return s1_parts()

    def members(self, parts: list[tuple[str, list[str]]]) -> None:
        """From the frames: the S1 patches are many small files."""
        return
