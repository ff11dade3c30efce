"""Provide the shards that archives are made from, and the patches of BigEarthNet-S1."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ben_luigi import config
from ben_luigi.domain import files, inputs
from ben_luigi.domain.dataset.sentinel1_folder import listed
from ben_luigi.domain.dataset.sentinel1_stream import collect
from ben_luigi.domain.errors import DamagedFile
from ben_luigi.domain.tiles.layers import archive_of
from ben_luigi.stages.archive_parts import MAPS, S1, S2, is_by_tile, s1_parts, squares
from ben_luigi.stages.layers import CutLayer, CutSentinel1
from ben_luigi.stages.metadata import WriteMetadata
from ben_luigi.stages.patches import CutPatches
from ben_luigi.stages.prerequisites import PINNED, input_path, input_source, input_task, is_fetched
from ben_luigi.stages.progress import Progress
from ben_luigi.stages.rasters import HashGiven, sentinel1_folder
from ben_luigi.stages.reference_maps import MakeReferenceMaps
from ben_luigi.stages.resolve import PRIORITY
from ben_luigi.stages.task import PipelineTask
from ben_luigi.state import records
from ben_luigi.state.cache import at_hand
from ben_luigi.state.targets import MadeFile

SHARDS = {S2: "patches", MAPS: "reference_maps", S1: "s1"}
"""The folder of the shards of each archive but those of layers."""


def layer_of(name: str) -> str | None:
    """Return the layer whose archive this is."""
    return next((layer.name for layer in config.all_layers() if archive_of(layer.name) == name), None)


def shard_folder(name: str) -> str:
    """Return the folder of an archive's shards, relative to the data folder.

    Those of S1 that are collected hold only the kept patches.
    """
    if not is_by_tile(name) and config.selection():
        return f"s1/{config.result_folder()}"
    return SHARDS.get(name) or f"layers/{layer_of(name)}"


class CollectS1(PipelineTask):
    """The kept patches of Sentinel-1 in shards, one per part, if [inputs] s1_dir names the published `.tar.gz`."""

    priority = PRIORITY["archive"]

    def requires(self) -> Any:
        """Return the tasks of the metadata, which says what is kept, and of the `.tar.gz`."""
        return [WriteMetadata(), input_source("s1_dir")]

    def settings(self) -> dict[str, Any]:
        """Return the md5 of the `.tar.gz`, which is read only once."""
        return s1_origin()

    def output(self) -> MadeFile:
        """Return the list of the sha256 of each shard's index."""
        return self.file(f"{shard_folder(S1)}/collected.json")

    def is_there(self) -> bool:
        """Return whether everything was collected, and all shards still exist."""
        try:
            return super().is_there() and all(shard_path(S1, part).is_file() for part in self.output().read_json())
        except DamagedFile:
            return False

    def make(self) -> None:
        """Read the `.tar.gz` once."""
        target, parts = self.output(), s1_parts()
        for part, _ in parts:
            for path in (shard_path(S1, part), shard_path(S1, part).with_suffix(".parquet")):
                records.make_way(path)
        collect(
            input_path("s1_dir"),
            parts,
            target.file.parent,
            md5=_s1_md5(),
            squares=squares,
            progress=Progress(self, "patches of Sentinel-1", "patches", sum(len(names) for _, names in parts)),
        )
        indexes = {part: files.file_hash(shard_path(S1, part).with_suffix(".parquet")) for part, _ in parts}
        files.write_json(target.file, indexes)


def _s1_md5() -> str:
    """Return the md5 that the `.tar.gz` must have."""
    return str(config.inputs().s1_md5) or inputs.read_pinned(PINNED)["s1_dir"][0].md5_of_archive


def s1_origin() -> dict[str, str]:
    """Return what identifies S1 patches that are not cut: the md5 of the `.tar.gz`, or what stands for the folder."""
    if is_by_tile(S1):
        return {}
    return {"md5": _s1_md5()} if not from_folder(S1) else {"folder": s1_source(S1)[0].digest()}


def from_folder(name: str) -> bool:
    """Return whether an archive is made directly from the extracted BigEarthNet-S1, or another folder, not shards."""
    if is_by_tile(name):
        return False
    return sentinel1_folder() is not None or not (is_fetched("s1_dir") or input_path("s1_dir").is_file())


def s1_place() -> tuple[Path, Callable[[str], Path]]:
    """Return the folder from which S1 patches are taken, and the folder in it of each S1 name."""
    if own := sentinel1_folder():
        return own, listed(own).folder_of
    path = input_path("s1_dir")
    return path, path.joinpath


def s1_source(name: str) -> list[PipelineTask]:
    """Return the task that provides the patches of Sentinel-1, if the archive is theirs and they are not cut."""
    if is_by_tile(name):
        return []
    if own := sentinel1_folder():
        return [HashGiven(path=str(own))]
    return [input_task("s1_dir") if from_folder(S1) else CollectS1()]


def shard_task(name: str, tile: str) -> CutPatches | MakeReferenceMaps | CutSentinel1 | CutLayer:
    """Return the task that makes a tile's shard for an archive whose parts are tiles."""
    if layer := layer_of(name):
        return CutLayer(tile=tile, layer=layer)
    if name == S1:
        return CutSentinel1(tile=tile)
    return CutPatches(tile=tile) if name == S2 else MakeReferenceMaps(tile=tile)


def shard_files(name: str, part: str) -> tuple[Path, Path]:
    """Return the paths of a part's shard and of its index. Raise DamagedFile if the index has changed."""
    shard = shard_path(name, part)
    index = shard.with_suffix(".parquet")
    if not is_by_tile(name):
        expected = CollectS1().output().read_json()[part]
        try:
            found = files.file_hash(index)
        except OSError as error:
            found = str(error)
        if found != expected:
            raise DamagedFile(index, expected=f"sha256 {expected}, as when it was made", found=found)
    else:
        shard_task(name, part).output()["index"].check()
    return shard, index


@contextmanager
def reading_shard(name: str, part: str) -> Iterator[tuple[Path, Path]]:
    """Yield the same, with the shard at its place while it is read, wherever it lives."""
    shard, index = shard_files(name, part)
    with at_hand(shard):
        yield shard, index


@contextmanager
def collected_again(name: str) -> Iterator[None]:
    """Surround the reading of shards: a damaged one of S1, which has no record of its own, withdraws that of all.

    Only shards that are missing are collected again.
    """
    try:
        yield
    except DamagedFile as error:
        if is_by_tile(name) or from_folder(S1):
            raise
        records.make_way(error.file.with_suffix(".tar"))
        files.withdraw(error.file.with_suffix(".tar"))
        note = CollectS1().output().file
        raise DamagedFile(note, expected=f"{error.file.name} beside it: {error.expected}", found=error.found) from error


def shard_path(name: str, part: str) -> Path:
    """Return the path of a part's shard."""
    return config.data_dir() / shard_folder(name) / f"{part}.tar"
