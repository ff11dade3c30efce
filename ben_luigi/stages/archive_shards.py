"""Provide the shards that archives are made from, and the patches of BigEarthNet-S1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ben_luigi import config
from ben_luigi.domain import files, inputs
from ben_luigi.domain.dataset.sentinel1_stream import collect
from ben_luigi.domain.errors import DamagedFile
from ben_luigi.stages.archive_parts import MAPS, S1, S2, s1_parts, squares
from ben_luigi.stages.metadata import WriteMetadata
from ben_luigi.stages.patches import CutPatches
from ben_luigi.stages.prerequisites import PINNED, input_path, input_source, input_task, is_fetched
from ben_luigi.stages.progress import Progress
from ben_luigi.stages.reference_maps import MakeReferenceMaps
from ben_luigi.stages.resolve import PRIORITY
from ben_luigi.stages.task import PipelineTask
from ben_luigi.state import records
from ben_luigi.state.targets import MadeFile

SHARDS = {S2: "patches", MAPS: "reference_maps", S1: "s1"}
"""The folder of the shards of each archive."""


def shard_folder(name: str) -> str:
    """Return the folder of an archive's shards, relative to the data folder. Those of S1 hold only the kept patches."""
    return f"s1/{config.result_folder()}" if name == S1 and config.selection() else SHARDS[name]


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
            return super().is_there() and all(_shard(S1, part).is_file() for part in self.output().read_json())
        except DamagedFile:
            return False

    def make(self) -> None:
        """Read the `.tar.gz` once."""
        target, parts = self.output(), s1_parts()
        for part, _ in parts:
            for path in (_shard(S1, part), _shard(S1, part).with_suffix(".parquet")):
                records.make_way(path)
        collect(
            input_path("s1_dir"),
            parts,
            target.file.parent,
            md5=_s1_md5(),
            squares=squares,
            progress=Progress(self, "patches of Sentinel-1", "patches", sum(len(names) for _, names in parts)),
        )
        indexes = {part: files.file_hash(_shard(S1, part).with_suffix(".parquet")) for part, _ in parts}
        files.write_json(target.file, indexes)


def _s1_md5() -> str:
    """Return the md5 that the `.tar.gz` must have."""
    return str(config.inputs().s1_md5) or inputs.read_pinned(PINNED)["s1_dir"][0].md5_of_archive


def s1_origin() -> dict[str, str]:
    """Return what identifies the S1 patches: the md5 of the `.tar.gz`, or the signature of the folder."""
    return {"md5": _s1_md5()} if not from_folder(S1) else {"folder": input_task("s1_dir").digest()}


def from_folder(name: str) -> bool:
    """Return whether an archive is made directly from the extracted BigEarthNet-S1 instead of shards."""
    return name == S1 and not (is_fetched("s1_dir") or input_path("s1_dir").is_file())


def s1_source(name: str) -> list[PipelineTask]:
    """Return the task that provides the patches of Sentinel-1, if the archive is theirs."""
    if name != S1:
        return []
    return [input_task("s1_dir") if from_folder(S1) else CollectS1()]


def shard_task(name: str, tile: str) -> CutPatches | MakeReferenceMaps:
    """Return the task that makes a tile's shard for an archive other than that of Sentinel-1."""
    return CutPatches(tile=tile) if name == S2 else MakeReferenceMaps(tile=tile)


def shard_files(name: str, part: str) -> tuple[Path, Path]:
    """Return the shard of a part and its index. Raise DamagedFile if the index has changed."""
    shard = _shard(name, part)
    index = shard.with_suffix(".parquet")
    if name == S1:
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
def collected_again(name: str) -> Iterator[None]:
    """Surround the reading of shards: a damaged one of S1, which has no record of its own, withdraws that of all.

    Only shards that are missing are collected again.
    """
    try:
        yield
    except DamagedFile as error:
        if name != S1 or from_folder(S1):
            raise
        records.make_way(error.file.with_suffix(".tar"))
        files.remove(error.file.with_suffix(".tar"))
        note = CollectS1().output().file
        raise DamagedFile(note, expected=f"{error.file.name} beside it: {error.expected}", found=error.found) from error


def _shard(name: str, part: str) -> Path:
    return config.data_dir() / shard_folder(name) / f"{part}.tar"
