"""The three archives: each compressed part by part, by any worker, and joined in order."""

from __future__ import annotations

import json
from collections.abc import Sequence
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
from ben_luigi.domain.errors import BadArchive, BadInput
from ben_luigi.domain.formats import shards
from ben_luigi.domain.names import PatchId
from ben_luigi.domain.placement.grid import PATCH_M, Square
from ben_luigi.domain.tiles import patches, reference_maps
from ben_luigi.stages.derived import Derived
from ben_luigi.stages.metadata import WriteMetadata, metadata_digests
from ben_luigi.stages.prerequisites import PINNED, input_origin, input_path, input_task
from ben_luigi.stages.progress import Progress, report_bytes
from ben_luigi.stages.resolve import PRIORITY, known_tiles
from ben_luigi.state import database
from ben_luigi.state.targets import MadeFile

S1 = sentinel1.ARCHIVE
S2 = patches.ARCHIVE
MAPS = reference_maps.ARCHIVE
_HASHES_FORM = 2
"""Raised by one when the hashes of an archive are written in another form; they are then put together again."""
_PART_FORM = 2
"""Raised by one when parts are cut into frames in another way; what was not yet joined is then compressed again."""
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


class CollectS1(Derived):
    """The kept patches of Sentinel-1 in shards, one a part, where [inputs] s1_dir names the published `.tar.gz`."""

    priority = PRIORITY["archive"]

    def requires(self) -> Any:
        """Which patches are kept, and the `.tar.gz`."""
        return [WriteMetadata(), input_task("s1_dir")]

    def output(self) -> MadeFile:
        """The list of the shards."""
        return MadeFile(f"{shard_folder(S1)}/collected.json", {"metadata": metadata_digests(), **_s1_origin()})

    def is_there(self) -> bool:
        """Whether it was all collected, and no shard has gone since."""
        target = self.output()
        return target.exists() and all(
            shard_files(S1, part)[0].exists() for part in json.loads(target.file.read_text(encoding="utf-8"))
        )

    def make(self) -> None:
        """Read the `.tar.gz` once."""
        target, parts = self.output(), s1_parts()
        collect(
            input_path("s1_dir"),
            parts,
            target.file.parent,
            md5=_s1_md5(),
            squares=squares,
            progress=Progress(self, "patches of Sentinel-1", "patches", sum(len(names) for _, names in parts)),
        )
        files.write_text(target.file, json.dumps([part for part, _ in parts], indent=1) + "\n")
        target.record(_s1_md5())


def _s1_md5() -> str:
    """What the `.tar.gz` must have."""
    return str(config.inputs().s1_md5) or inputs.read_pinned(PINNED)["s1_dir"][0].md5_of_archive


def _s1_origin() -> dict[str, str]:
    """What is recorded of where the S1 patches come from."""
    return {"s1_dir": input_origin("s1_dir"), **({} if from_folder(S1) else {"md5": _s1_md5()})}


def from_folder(name: str) -> bool:
    """Whether an archive is made straight from the extracted BigEarthNet-S1, and not from shards."""
    return name == S1 and not input_path("s1_dir").is_file()


class CompressPart(luigi.Task):
    """One part of an archive as zstd frames: a tile's, or an S1 acquisition's over one MGRS square.

    It does not ask for the metadata, since its archive has, and the answer takes a look at every tile.
    """

    archive_name = luigi.ChoiceParameter(choices=list(_SHARDS), description="which archive")
    part = luigi.Parameter(description="tile key; of Sentinel-1 the acquisition and MGRS square, as in archives/")
    priority = PRIORITY["archive"]

    def requires(self) -> Any:
        """For S1 its source; the other shards are there."""
        return _s1_source(str(self.archive_name))

    def output(self) -> MadeFile:
        """Its frames."""
        made_from: dict[str, Any] = {
            "metadata": metadata_digests(),
            "level": config.archive().level,
            "form": _PART_FORM,
        }
        if self.archive_name == S1:
            made_from |= _s1_origin()
        else:
            made_from["shard"] = MadeFile(f"{shard_folder(str(self.archive_name))}/{self.part}.tar").digest()
        return MadeFile(f"{config.parts_folder()}/{self.archive_name}/{self.part}.tar.zst", made_from)

    def run(self) -> None:
        """Compress it."""
        target = self.output()
        level = int(config.archive().level)
        names = _s1_names(str(self.part)) if self.archive_name == S1 else list(kept())
        progress = Progress(self, f"compressing {self.part} of {self.archive_name}", "B")
        if from_folder(str(self.archive_name)):
            s1_dir = input_path("s1_dir")
            part = sentinel1.write_folder_part(
                s1_dir, names, target.file, level, expected=squares(names), progress=progress.at
            )
        else:
            shard, index = shard_files(str(self.archive_name), str(self.part))
            keep = set(shards.read_index(index)["patch_id"].to_pylist()) & set(names)
            part = archive.write_shard_part(shard, index, keep, target.file, level, progress.at)
        target.record(part.checksum)


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


def _s1_source(name: str) -> list[luigi.Task]:
    if name != S1:
        return []
    return [input_task("s1_dir") if from_folder(S1) else CollectS1()]


def shard_files(name: str, tile: str) -> tuple[Path, Path]:
    """The shard of a tile that an archive is made from, and its index."""
    shard = config.data_dir() / shard_folder(name) / f"{tile}.tar"
    return shard, shard.with_suffix(".parquet")


def shard_parts() -> list[tuple[str, list[str]]]:
    """The tiles with patches that are kept, in the order of their names, and those patches."""
    by_name: dict[str, list[str]] = {}
    for patch in kept():
        by_name.setdefault(PatchId.parse(patch).tile_name, []).append(patch)
    rows = database.query("SELECT tile, l2a_name FROM product WHERE tile = ANY(%(tiles)s)", tiles=list(known_tiles()))
    keys = {str(name).rpartition("_")[0]: str(tile) for tile, name in zip(rows["tile"], rows["l2a_name"], strict=True)}
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


def _part_tasks(name: str) -> list[luigi.Task]:
    return [CompressPart(archive_name=name, part=part) for part, _ in parts_of(name)]


def _made_from(name: str) -> dict[str, Any]:
    """What tells the content of an archive."""
    folder = shard_folder(name)
    contents: Any = _s1_origin()
    if name != S1:
        contents = {tile: MadeFile(f"{folder}/{tile}.tar").digest() for tile in known_tiles()}
    return {"metadata": metadata_digests(), "keep_tar": config.archive().keep_tar, "contents": contents}


class HashTar(luigi.Task):
    """Length, md5 and sha256 of an archive's tar, from end to end; and the tar itself, if it is to be kept.

    It reads the shards: with many workers while the others compress them, with few after that, beside the joining. The
    extracted BigEarthNet-S1, which is many small files, is not read again: then the tar comes from the parts.
    """

    archive_name = luigi.ChoiceParameter(choices=list(_SHARDS), description="which archive")

    @property
    def priority(self) -> int:  # type: ignore[override]  # Luigi takes both
        """First where so many compress that it would be waited for; else last, when joining leaves half a core idle."""
        return PRIORITY["archive"] + (1 if config.workers() > _FEW_WORKERS else -1)

    def requires(self) -> Any:
        """Which patches are kept, and for S1 its source."""
        return [WriteMetadata(), *_s1_source(str(self.archive_name))]

    def output(self) -> MadeFile:
        """The hashes, and the length of each part before compression."""
        return MadeFile(f"{config.parts_folder()}/{self.archive_name}.tar.json", _made_from(str(self.archive_name)))

    def run(self) -> Any:
        """Hash it."""
        name = str(self.archive_name)
        if from_folder(name):
            tasks = _part_tasks(name)
            yield tasks
            packed = [task.output().file for task in tasks]
            parts = [archive.part_members(path) for path in packed]
            total = sum(archive.part_bytes(path) for path in packed)
        else:
            wanted = [(*shard_files(name, part), keep) for part, keep in parts_of(name)]
            parts = [archive.shard_members(*source) for source in wanted]
            total = sum(archive.shard_bytes(index, keep) for _, index, keep in wanted)
        tar = config.data_dir() / config.parts_folder() / f"{name}.tar" if config.archive().keep_tar else None
        hashes, part_bytes = archive.hash_tar(parts, tar, total, Progress(self, f"hashing {name}.tar", "B").at)
        target = self.output()
        _write_json(target.file, {**asdict(hashes), "part_bytes": part_bytes})
        target.record(hashes.sha256)


class JoinParts(luigi.Task):
    """The parts of an archive in one file, once they are there; it does not wait for the hashes of the tar."""

    archive_name = luigi.ChoiceParameter(choices=list(_SHARDS), description="which archive")
    priority = PRIORITY["archive"] + 1

    def requires(self) -> Any:
        """Which patches are kept."""
        return WriteMetadata()

    def output(self) -> dict[str, MadeFile]:
        """The archive, and its hashes, with the length of each part before compression."""
        name = str(self.archive_name)
        made_from = {**_made_from(name), "level": config.archive().level}
        return {
            "archive": MadeFile(f"{config.result_folder()}/{name}.tar.zst", made_from),
            "hashes": MadeFile(f"{config.parts_folder()}/{name}.tar.zst.json", made_from),
        }

    def run(self) -> Any:
        """Have the parts compressed, and join them."""
        tasks, target = _part_tasks(str(self.archive_name)), self.output()
        yield tasks
        progress = Progress(self, f"joining {self.archive_name}.tar.zst", "B")
        parts = [task.output().file for task in tasks]
        hashes, part_bytes = archive.join(parts, target["archive"].file, progress.at)
        _write_json(target["hashes"].file, {**asdict(hashes), "part_bytes": part_bytes})
        for made in target.values():
            made.record(hashes.sha256)
        report_bytes(self, hashes.size_bytes)


def _write_json(path: Path, content: object) -> None:
    files.write_text(path, json.dumps(content, indent=1, sort_keys=True) + "\n")


class _Archive(Derived):
    """An archive of the dataset, with the hashes of its tar and of itself beside its parts."""

    priority = PRIORITY["archive"]
    name = ""

    def requires(self) -> Any:
        """Which patches are kept."""
        return WriteMetadata()

    def output(self) -> dict[str, MadeFile]:
        """The archive, and its hashes."""
        joined = JoinParts(archive_name=self.name).output()["archive"]
        made_from = {**_made_from(self.name), "level": config.archive().level}
        hashes = MadeFile(f"{config.parts_folder()}/{self.name}.json", {**made_from, "form": _HASHES_FORM})
        return {"archive": joined, "hashes": hashes}

    def make(self) -> Any:
        """Have the tar hashed, and the parts compressed and joined, side by side; and hold the two together."""
        tasks = HashTar(archive_name=self.name), JoinParts(archive_name=self.name)
        yield tasks
        outputs = tasks[0].output(), tasks[1].output()["hashes"]
        tar, packed = (json.loads(made.file.read_text(encoding="utf-8")) for made in outputs)
        parts = [task.output().file for task in _part_tasks(self.name)]
        try:
            archive.check_sizes(parts, packed.pop("part_bytes"), tar.pop("part_bytes"))
        except BadArchive:
            files.remove(tasks[1].output()["archive"].file)
            raise
        target = self.output()["hashes"]
        _write_json(target.file, {"tar": tar, "compressed": packed})
        target.record(packed["sha256"])


class ArchiveS2(_Archive):
    """`BigEarthNet-S2.tar.zst`."""

    name = S2


class ArchiveReferenceMaps(_Archive):
    """`Reference_Maps.tar.zst`."""

    name = MAPS


class ArchiveS1(_Archive):
    """`BigEarthNet-S1.tar.zst`."""

    name = S1


def archive_digests() -> list[str]:
    """What tells the content of the three archives."""
    return [task.output()["archive"].digest() for task in (ArchiveS1(), ArchiveS2(), ArchiveReferenceMaps())]
