"""The three archives: each compressed part by part, by any worker, and joined in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import luigi
import pyarrow.parquet as pq

from ben_luigi import config
from ben_luigi.domain import files, inputs
from ben_luigi.domain.dataset import archive, sentinel1
from ben_luigi.domain.dataset.metadata import FLAGGED, METADATA
from ben_luigi.domain.dataset.sentinel1_stream import collect
from ben_luigi.domain.errors import BadInput, DamagedFile
from ben_luigi.domain.names import PatchId
from ben_luigi.domain.placement.grid import PATCH_M, Square
from ben_luigi.domain.tiles import patches, reference_maps
from ben_luigi.stages.metadata import WriteMetadata
from ben_luigi.stages.patches import CutPatches
from ben_luigi.stages.prerequisites import PINNED, input_path, input_source, input_task
from ben_luigi.stages.progress import Progress, report_bytes
from ben_luigi.stages.reference_maps import MakeReferenceMaps
from ben_luigi.stages.resolve import PRIORITY, known_tiles
from ben_luigi.stages.task import Digests, PipelineTask
from ben_luigi.state import database, records
from ben_luigi.state.targets import MadeFile, snapshot

S1 = sentinel1.ARCHIVE
S2 = patches.ARCHIVE
MAPS = reference_maps.ARCHIVE
_FEW_WORKERS = 3
"""They compress no faster than one core hashes md5."""
_SHARDS = {S2: "patches", MAPS: "reference_maps", S1: "s1"}


def shard_folder(name: str) -> str:
    """Where the shards of an archive are, relative to the data folder. Those of S1 hold just what is kept."""
    return f"s1/{config.result_folder()}" if name == S1 and config.selection() else _SHARDS[name]


def kept() -> dict[str, str]:
    """S1 name of each patch of both metadata files, by patch id, ascending."""
    return _kept(*_metadata_files())


def s1_parts() -> list[tuple[str, list[str]]]:
    """The parts of the S1 archive, in order, and the S1 names in each."""
    return _s1_parts(*_metadata_files())


def _metadata_files() -> tuple[tuple[Path, ...], tuple[int, ...]]:
    paths = tuple(config.data_dir() / config.result_folder() / name for name in (METADATA, FLAGGED))
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
    rows = [pq.read_table(path, columns=["patch_id", "s1_name"]) for path in paths]
    pairs = [pair for table in rows for pair in zip(*(column.to_pylist() for column in table.columns), strict=True)]
    return dict(sorted(pairs))


@lru_cache(maxsize=2)
def _s1_parts(paths: tuple[Path, ...], changed_ns: tuple[int, ...]) -> list[tuple[str, list[str]]]:
    return sentinel1.parts_of(list(_kept(paths, changed_ns).values()))


class CollectS1(PipelineTask):
    """The kept patches of Sentinel-1 in shards, one a part, where [inputs] s1_dir names the published `.tar.gz`."""

    priority = PRIORITY["archive"]

    def requires(self) -> Any:
        """Which patches are kept, and the `.tar.gz`."""
        return [WriteMetadata(), input_source("s1_dir")]

    def settings(self) -> dict[str, Any]:
        """What proves the `.tar.gz`, which is read once only."""
        return _s1_origin()

    def output(self) -> MadeFile:
        """The sha256 of the index of each shard."""
        return self.file(f"{shard_folder(S1)}/collected.json")

    def is_there(self) -> bool:
        """Whether it was all collected, and no shard has gone since."""
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
    """What the `.tar.gz` must have."""
    return str(config.inputs().s1_md5) or inputs.read_pinned(PINNED)["s1_dir"][0].md5_of_archive


def _s1_origin() -> dict[str, str]:
    """What tells the S1 patches: the md5 of the `.tar.gz`, or the files of the folder as the file system tells."""
    return {"md5": _s1_md5()} if not from_folder(S1) else {"folder": input_task("s1_dir").digest()}


def from_folder(name: str) -> bool:
    """Whether an archive is made straight from the extracted BigEarthNet-S1, and not from shards."""
    return name == S1 and not input_path("s1_dir").is_file()


class CompressPart(PipelineTask):
    """One part of an archive as zstd frames: a tile's, or an S1 acquisition's over one MGRS square.

    It does not ask for the metadata, since its archive has, and the answer takes a look at every tile.
    """

    archive_name: str = luigi.ChoiceParameter(choices=list(_SHARDS), description="which archive")
    part: str = luigi.Parameter(description="tile key; of Sentinel-1 the acquisition and MGRS square, as in archives/")
    priority = PRIORITY["archive"]
    options = ("archive.level",)
    revision = 3

    def requires(self) -> Any:
        """For S1 its source; the other shards are there."""
        return _s1_source(self.archive_name)

    def made_of(self) -> list[PipelineTask]:
        """Its shard."""
        return [] if self.archive_name == S1 else [_shard_task(self.archive_name, self.part)]

    def settings(self) -> dict[str, Any]:
        """Which patches are kept, and the source of S1."""
        kept = files.text_hash("\n".join(_names_in(self.archive_name, self.part)))
        return {"kept": kept, **(_s1_origin() if self.archive_name == S1 else {})}

    def is_true(self) -> bool:
        """Whether it was made from the shard that is there: what that is made of is its own business."""
        with snapshot():
            return self.is_there()

    def output(self) -> MadeFile:
        """Its frames."""
        return self.file(f"{config.parts_folder()}/{self.archive_name}/{self.part}.tar.zst")

    def make(self) -> Digests:
        """Compress it."""
        target = self.output()
        level, names = int(config.archive().level), _names_in(self.archive_name, self.part)
        progress = Progress(self, f"compressing {self.part} of {self.archive_name}", "B")
        if from_folder(self.archive_name):
            s1_dir = input_path("s1_dir")
            made = sentinel1.write_folder_part(
                s1_dir, names, target.file, level, expected=squares(names), progress=progress.at
            )
        else:
            with _collected_again(self.archive_name):
                shard, index = shard_files(self.archive_name, self.part)
                made = archive.write_shard_part(shard, index, set(names), target.file, level, progress.at)
        return {"": made.crc32}


def _names_in(name: str, part: str) -> list[str]:
    """The patches that are kept of a part; of Sentinel-1 by their S1 names."""
    return _s1_names(part) if name == S1 else dict(shard_parts()).get(part, [])


def _shard_task(name: str, tile: str) -> CutPatches | MakeReferenceMaps:
    return CutPatches(tile=tile) if name == S2 else MakeReferenceMaps(tile=tile)


def _s1_names(part: str) -> list[str]:
    parts = dict(s1_parts())
    if part not in parts:
        raise BadInput(
            f"part {part} of {S1}",
            expected=f"one of {len(parts)}, an acquisition and MGRS square as {next(iter(parts), 'none')}",
            found="none of this name with patches that are kept",
            remedy="correct it, or run ArchiveS1, which makes them all",
        )
    return parts[part]


def _s1_source(name: str) -> list[PipelineTask]:
    if name != S1:
        return []
    return [input_task("s1_dir") if from_folder(S1) else CollectS1()]


def shard_files(name: str, part: str) -> tuple[Path, Path]:
    """The shard that a part of an archive is made from, and its index; DamagedFile if that is not what it was."""
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
        _shard_task(name, part).output()["index"].check()
    return shard, index


@contextmanager
def _collected_again(name: str) -> Iterator[None]:
    """Around what reads shards: a damaged one of S1, which has no record of its own, is withdrawn with all of them.

    What is collected again is only what is not there.
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


def shard_parts() -> list[tuple[str, list[str]]]:
    """The tiles with patches that are kept, in the order of their names, and those patches."""
    return _shard_parts(*_metadata_files())


def dataset_tiles() -> list[str]:
    """The tiles that the dataset is made of: all, or of a subset those with patches in it; ascending."""
    return sorted(dict(shard_parts())) if config.selection() else sorted(known_tiles())


@lru_cache(maxsize=2)
def _shard_parts(paths: tuple[Path, ...], changed_ns: tuple[int, ...]) -> list[tuple[str, list[str]]]:
    by_name: dict[str, list[str]] = {}
    for patch in _kept(paths, changed_ns):
        by_name.setdefault(PatchId.parse(patch).tile_name, []).append(patch)
    keys = {name.converted().tile_name: key for key, name in known_tiles().items()}
    return [(keys[name], by_name[name]) for name in sorted(by_name)]


def squares(s1_names: Sequence[str]) -> dict[str, Square]:
    """The square that each S1 patch must cover: that of its S2 patch."""
    wanted = set(s1_names)
    by_patch = {patch: name for patch, name in kept().items() if name in wanted}
    rows = database.query(
        "SELECT patch_id, left_m, top_m, epsg FROM patch WHERE patch_id = ANY(%(ids)s)", ids=list(by_patch)
    )
    places = rows[["patch_id", "left_m", "top_m", "epsg"]].itertuples(index=False, name=None)
    return {by_patch[patch]: Square(left, top, PATCH_M, epsg) for patch, left, top, epsg in places}


def parts_of(name: str) -> list[tuple[str, list[str]]]:
    """The parts of an archive in order, and the patches in each."""
    return s1_parts() if name == S1 else shard_parts()


def _part_tasks(name: str) -> list[CompressPart]:
    return [CompressPart(archive_name=name, part=part) for part, _ in parts_of(name)]


class _OfParts(PipelineTask):
    """A task over all parts of an archive."""

    def requires(self) -> Any:
        """Which patches are kept, and for S1 its source."""
        return [WriteMetadata(), *_s1_source(self.which())]

    def made_of(self) -> list[PipelineTask]:
        """Which patches are kept, and the shards."""
        tiles = [] if self.which() == S1 else known_tiles()
        return [WriteMetadata(), *(_shard_task(self.which(), tile) for tile in tiles)]

    def settings(self) -> dict[str, Any]:
        """The source of S1."""
        return _s1_origin() if self.which() == S1 else {}

    def which(self) -> str:
        """The archive."""
        raise NotImplementedError


class HashTar(_OfParts):
    """Length, md5 and sha256 of an archive's tar, from end to end; and the tar itself, if it is to be kept.

    It reads the shards: with many workers while the others compress them, with few after that, beside the joining. The
    extracted BigEarthNet-S1, which is many small files, is not read again: then the tar comes from the parts.
    """

    archive_name: str = luigi.ChoiceParameter(choices=list(_SHARDS), description="which archive")
    options = ("archive.keep_tar",)

    def which(self) -> str:
        """The archive."""
        return self.archive_name

    @property
    def priority(self) -> int:  # type: ignore[override]  # Luigi takes both
        """First where so many compress that it would be waited for; else last, when joining leaves half a core idle."""
        return PRIORITY["archive"] + (1 if config.workers() > _FEW_WORKERS else -1)

    def needs(self) -> list[luigi.Task]:
        """The parts, where the tar comes from them."""
        return [*_part_tasks(self.archive_name)] if from_folder(self.archive_name) else []

    def output(self) -> MadeFile:
        """The hashes, and the length of each part before compression."""
        return self.file(f"{config.parts_folder()}/{self.archive_name}.tar.json")

    def make(self) -> None:
        """Hash it."""
        with _collected_again(self.archive_name):
            self._hash()

    def _hash(self) -> None:
        name = self.archive_name
        if from_folder(name):
            packed = [task.output().file for task in _part_tasks(name)]
            parts = [archive.part_members(path) for path in packed]
            total = sum(archive.part_bytes(path) for path in packed)
        else:
            wanted = [(*shard_files(name, part), keep) for part, keep in parts_of(name)]
            parts = [archive.shard_members(*source) for source in wanted]
            total = sum(archive.shard_bytes(index, keep) for _, index, keep in wanted)
        tar = config.data_dir() / config.parts_folder() / f"{name}.tar" if config.archive().keep_tar else None
        hashes, part_bytes = archive.hash_tar(parts, tar, total, Progress(self, f"hashing {name}.tar", "B").at)
        files.write_json(self.output().file, {**asdict(hashes), "part_bytes": part_bytes})


class JoinParts(_OfParts):
    """The parts of an archive in one file, once they are there; it does not wait for the hashes of the tar."""

    archive_name: str = luigi.ChoiceParameter(choices=list(_SHARDS), description="which archive")
    priority = PRIORITY["archive"] + 1
    options = ("archive.level",)

    def which(self) -> str:
        """The archive."""
        return self.archive_name

    def needs(self) -> list[luigi.Task]:
        """The parts."""
        return [*_part_tasks(self.archive_name)]

    def output(self) -> dict[str, MadeFile]:
        """The archive, and its hashes, with the length of each part before compression."""
        name = self.archive_name
        return {
            "archive": self.file(f"{config.result_folder()}/{name}.tar.zst"),
            "hashes": self.file(f"{config.parts_folder()}/{name}.tar.zst.json"),
        }

    def make(self) -> Digests:
        """Join them."""
        target = self.output()
        progress = Progress(self, f"joining {self.archive_name}.tar.zst", "B")
        parts = [(made.file, made.digest()) for made in (task.output() for task in _part_tasks(self.archive_name))]
        hashes, part_bytes = archive.join(parts, target["archive"].file, progress.at)
        files.write_json(target["hashes"].file, {**asdict(hashes), "part_bytes": part_bytes})
        report_bytes(self, hashes.size_bytes)
        return {"archive": hashes.sha256}


class _Archive(_OfParts):
    """An archive of the dataset, with the hashes of its tar and of itself beside its parts."""

    priority = PRIORITY["archive"]
    options = ("archive.level",)
    name = ""

    def which(self) -> str:
        """The archive."""
        return self.name

    def requires(self) -> Any:
        """Which patches are kept."""
        return WriteMetadata()

    def needs(self) -> list[luigi.Task]:
        """The hashes of the tar, and the parts joined, side by side."""
        return [HashTar(archive_name=self.name), self.joined()]

    def joined(self) -> JoinParts:
        """The task that leaves the archive itself."""
        return JoinParts(archive_name=self.name)

    def archive(self) -> MadeFile:
        """The archive itself."""
        return self.joined().output()["archive"]

    def output(self) -> MadeFile:
        """The hashes of both."""
        return self.file(f"{config.parts_folder()}/{self.name}.json")

    def content(self) -> str:
        """What tells the archive."""
        return self.archive().digest()

    def is_true(self) -> bool:
        """Whether the archive is there, too."""
        with snapshot():
            return super().is_true() and self.archive().exists()

    def is_there(self) -> bool:
        """Whether both are there."""
        return super().is_there() and self.archive().exists()

    def make(self) -> None:
        """Hold the two together."""
        outputs = HashTar(archive_name=self.name).output(), self.joined().output()["hashes"]
        tar, packed = (made.read_json() for made in outputs)
        parts = [task.output().file for task in _part_tasks(self.name)]
        try:
            archive.check_sizes(parts, packed.pop("part_bytes"), tar.pop("part_bytes"))
        except DamagedFile:
            files.remove(self.archive().file)  # it was joined of that
            raise
        files.write_json(self.output().file, {"tar": tar, "compressed": packed})


class ArchiveS2(_Archive):
    """`BigEarthNet-S2.tar.zst`."""

    name = S2


class ArchiveReferenceMaps(_Archive):
    """`Reference_Maps.tar.zst`."""

    name = MAPS


class ArchiveS1(_Archive):
    """`BigEarthNet-S1.tar.zst`."""

    name = S1


ARCHIVES = {S2: ArchiveS2, S1: ArchiveS1, MAPS: ArchiveReferenceMaps}
"""The task that makes each archive."""
