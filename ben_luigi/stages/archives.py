"""Make the three archives: each is compressed part by part, by any worker, and joined in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import luigi

from ben_luigi import config
from ben_luigi.domain import files
from ben_luigi.domain.dataset import archive, sentinel1
from ben_luigi.domain.errors import BadName, DamagedFile, some
from ben_luigi.domain.tiles.layers import archive_of
from ben_luigi.stages.archive_parts import MAPS, S1, S2, archive_names, is_by_tile, names_in, parts_of, squares
from ben_luigi.stages.archive_shards import (
    SHARDS,
    collected_again,
    from_folder,
    layer_of,
    reading_shard,
    s1_origin,
    s1_place,
    s1_source,
    shard_files,
    shard_path,
    shard_task,
)
from ben_luigi.stages.layers import require_layer
from ben_luigi.stages.metadata import WriteMetadata
from ben_luigi.stages.progress import Progress, report_bytes
from ben_luigi.stages.resolve import PRIORITY, check_tile, known_tiles
from ben_luigi.stages.task import Digests, PipelineTask
from ben_luigi.state import stored
from ben_luigi.state.cache import at_hand
from ben_luigi.state.snapshot import snapshot
from ben_luigi.state.targets import MadeFile

_FEW_WORKERS = 3
"""This many workers compress no faster than one core computes md5."""


class ArchiveName(luigi.Parameter):
    """The name of an archive of the dataset, which the recipe may add."""

    def normalize(self, x: str) -> str:
        """Return the name. Raise ValueError if the dataset has no archive of this name."""
        if x not in SHARDS and layer_of(x) is None:
            raise ValueError(f"{x} is not one of the archives: {', '.join([*SHARDS, *archive_names()[len(SHARDS) :]])}")
        return x


def _check_archive(name: str) -> None:
    """Raise BadName unless the dataset has an archive of this name: a recipe without Sentinel-1 has none of it."""
    known = archive_names()
    if name not in known:
        raise BadName(f"archive {name}", expected=f"one of {some(known, 20)}", found="another", remedy="name another")


class PartTask(PipelineTask):
    """A task of one part of an archive: of a tile, or of an S1 acquisition over one MGRS square.

    It does not require the metadata, since its archive does, and checking it would look at every tile.
    """

    archive_name: str = ArchiveName(description="which archive")
    part: str = luigi.Parameter(description="tile key; of Sentinel-1 the acquisition and MGRS square, as in archives/")

    def check_arguments(self) -> None:
        """Raise BadName unless the archive has such a part, as far as the list of products and the metadata tell it."""
        _check_archive(self.archive_name)
        if is_by_tile(self.archive_name):
            check_tile(self.part)
        else:
            names_in(self.archive_name, self.part)

    def requires(self) -> Any:
        """Return the source for S1; the shards of the others exist already."""
        return s1_source(self.archive_name)

    def made_of(self) -> list[PipelineTask]:
        """Return the task of its shard."""
        return [shard_task(self.archive_name, self.part)] if is_by_tile(self.archive_name) else []

    def is_true(self) -> bool:
        """Return whether it was made from the existing shard; the shard's own sources do not matter."""
        with snapshot():
            return self.is_there()


class CompressPart(PartTask):
    """One part of an archive as zstd frames: of a tile, or of an S1 acquisition over one MGRS square."""

    priority = PRIORITY["archive"]
    options = ("archive.level",)
    revision = 3

    def settings(self) -> dict[str, Any]:
        """Return which patches are kept, and the source of S1."""
        kept = files.text_hash("\n".join(names_in(self.archive_name, self.part)))
        return {"kept": kept, **(s1_origin() if self.archive_name == S1 else {})}

    def output(self) -> MadeFile:
        """Return its frames."""
        return self.file(f"{config.parts_folder()}/{self.archive_name}/{self.part}.tar.zst")

    def make(self) -> Digests:
        """Compress the part."""
        target = self.output()
        level, names = int(config.archive().level), names_in(self.archive_name, self.part)
        progress = Progress(self, f"compressing {self.part} of {self.archive_name}", "B")
        if from_folder(self.archive_name):
            s1_dir, folder_of = s1_place()
            made = sentinel1.write_folder_part(
                s1_dir, names, target.file, level, expected=squares(names), folder_of=folder_of, progress=progress.at
            )
        else:
            with collected_again(self.archive_name), reading_shard(self.archive_name, self.part) as (shard, index):
                made = archive.write_shard_part(shard, index, set(names), target.file, level, progress.at)
        return {"": made.crc32}


def _part_tasks(name: str) -> list[CompressPart]:
    return [CompressPart(archive_name=name, part=part) for part, _ in parts_of(name)]


class _OfParts(PipelineTask):
    """A task over all parts of an archive."""

    def check_arguments(self) -> None:
        """Raise BadName unless the dataset has this archive."""
        _check_archive(self.which())

    def requires(self) -> Any:
        """Return the task of the metadata, which says what is kept, and for S1 its source."""
        return [WriteMetadata(), *s1_source(self.which())]

    def made_of(self) -> list[PipelineTask]:
        """Return the task of the metadata, and those of the shards."""
        tiles = known_tiles() if is_by_tile(self.which()) else {}
        return [WriteMetadata(), *(shard_task(self.which(), tile) for tile in tiles)]

    def settings(self) -> dict[str, Any]:
        """Return the source of S1."""
        return s1_origin() if self.which() == S1 else {}

    def which(self) -> str:
        """Return the name of the archive."""
        raise NotImplementedError


class HashTar(_OfParts):
    """Length, md5 and sha256 of the whole tar of an archive; and the tar itself, if it is to be kept.

    It reads the shards: with many workers while the others compress them, with few workers afterwards, beside the
    joining. The many small files of an extracted BigEarthNet-S1 are not read again: then the tar comes from the parts.
    """

    archive_name: str = ArchiveName(description="which archive")
    options = ("archive.keep_tar",)

    def which(self) -> str:
        """Return the name of the archive."""
        return self.archive_name

    @property
    def priority(self) -> int:  # type: ignore[override]  # Luigi takes both
        """Return a high priority if enough workers compress that hashing would be the last to finish; else a low one.

        With few workers it runs last, while joining leaves half a core idle.
        """
        return PRIORITY["archive"] + (1 if config.workers() > _FEW_WORKERS else -1)

    def needs(self) -> list[luigi.Task]:
        """Return the tasks of the parts, if the tar comes from them."""
        return [*_part_tasks(self.archive_name)] if from_folder(self.archive_name) else []

    def output(self) -> MadeFile:
        """Return the hashes, and the uncompressed length of each part."""
        return self.file(f"{config.parts_folder()}/{self.archive_name}.tar.json")

    def is_there(self) -> bool:
        """Return whether the hashes exist, and the tar itself, if it is to be kept."""
        return super().is_there() and self.has_wanted_tar()

    def has_wanted_tar(self) -> bool:
        """Return whether the tar exists with the length that was hashed, or is not to be kept."""
        if not config.archive().keep_tar:
            return True
        try:
            expected = self.output().read_object()["size_bytes"]
        except DamagedFile:
            return False
        return self._tar.is_file() and self._tar.stat().st_size == expected

    @property
    def _tar(self) -> Path:
        return config.data_dir() / config.parts_folder() / f"{self.archive_name}.tar"

    def make(self) -> None:
        """Hash the tar."""
        with collected_again(self.archive_name):
            self._hash()

    def _hash(self) -> None:
        name = self.archive_name
        wanted = parts_of(name)
        parts = [part_content(name, part) for part, _ in wanted]
        if from_folder(name):
            packed = [task.output().file for task in _part_tasks(name)]
            # Parts in the store are not fetched twice.
            total = None if stored.is_configured() else sum(archive.part_bytes(path) for path in packed)
        else:
            total = sum(archive.shard_bytes(shard_files(name, part)[1], keep) for part, keep in wanted)
        files.withdraw(self._tar)  # of what was hashed before, it would be taken for that of what is hashed now
        tar = self._tar if config.archive().keep_tar else None
        hashes, part_bytes = archive.hash_tar(parts, tar, total, Progress(self, f"hashing {name}.tar", "B").at)
        files.write_json(self.output().file, {**asdict(hashes), "part_bytes": part_bytes})


class JoinParts(_OfParts):
    """The parts of an archive joined in one file; it does not wait for the hashes of the tar."""

    archive_name: str = ArchiveName(description="which archive")
    priority = PRIORITY["archive"] + 1
    options = ("archive.level",)

    def which(self) -> str:
        """Return the name of the archive."""
        return self.archive_name

    def needs(self) -> list[luigi.Task]:
        """Return the tasks of the parts."""
        return [*_part_tasks(self.archive_name)]

    def output(self) -> dict[str, MadeFile]:
        """Return the archive, and its hashes with the uncompressed length of each part."""
        name = self.archive_name
        return {
            "archive": self.file(f"{config.result_folder()}/{name}.tar.zst"),
            "hashes": self.file(f"{config.parts_folder()}/{name}.tar.zst.json"),
        }

    def make(self) -> Digests:
        """Join the parts."""
        target = self.output()
        progress = Progress(self, f"joining {self.archive_name}.tar.zst", "B")
        parts = [task.output() for task in _part_tasks(self.archive_name)]
        total = sum(int(made.recorded().get("bytes") or 0) for made in parts)
        hashes, part_bytes = archive.join(_at_hand(parts), target["archive"].file, total, progress.at)
        files.write_json(target["hashes"].file, {**asdict(hashes), "part_bytes": part_bytes})
        report_bytes(self, hashes.size_bytes)
        return {"archive": hashes.sha256}


def _at_hand(parts: Iterable[MadeFile]) -> Iterator[tuple[Path, str]]:
    """Yield the path and the CRC-32 of each part, which is there until the next one is asked for."""
    for made in parts:
        with at_hand(made.file):
            yield made.file, made.digest()


def part_source(name: str, part: str) -> Path:
    """Return the file that has what a part has of the tar of its archive: its shard, or the compressed part.

    That is where the source is a folder of many small files, which are read once, by CompressPart.
    """
    if from_folder(name):
        return CompressPart(archive_name=name, part=part).output().file
    return shard_path(name, part)


def part_content(name: str, part: str) -> Iterator[bytes]:
    """Yield what a part has of the tar of its archive, in chunks."""
    if from_folder(name):
        packed = part_source(name, part)
        with at_hand(packed):
            yield from archive.part_members(packed)
    else:
        with reading_shard(name, part) as (shard, index):
            yield from archive.shard_members(shard, index, names_in(name, part))


class _Archive(_OfParts):
    """An archive of the dataset, with the hashes of its tar and of itself in the folder of its parts."""

    priority = PRIORITY["archive"]
    options = ("archive.level",)
    name = ""

    def which(self) -> str:
        """Return the name of the archive."""
        return self.name

    def requires(self) -> Any:
        """Return the task of the metadata, which says what is kept."""
        return WriteMetadata()

    def needs(self) -> list[luigi.Task]:
        """Return the tasks that hash the tar and join the parts, which may run side by side."""
        return [HashTar(archive_name=self.name), self.joined()]

    def joined(self) -> JoinParts:
        """Return the task that makes the archive itself."""
        return JoinParts(archive_name=self.name)

    def archive(self) -> MadeFile:
        """Return the archive itself."""
        return self.joined().output()["archive"]

    def output(self) -> MadeFile:
        """Return the hashes of both."""
        return self.file(f"{config.parts_folder()}/{self.name}.json")

    def content(self) -> str:
        """Return what identifies the archive's content."""
        return self.archive().digest()

    def is_true(self) -> bool:
        """Return whether it is up to date, and the archive exists, with the tar, if that is to be kept."""
        with snapshot():
            return super().is_true() and self._has_files()

    def is_there(self) -> bool:
        """Return whether both files exist, and the tar, if it is to be kept."""
        return super().is_there() and self._has_files()

    def _has_files(self) -> bool:
        return self.archive().exists() and HashTar(archive_name=self.name).has_wanted_tar()

    def make(self) -> None:
        """Check that the joined parts match the hashed tar, and write the hashes of both."""
        outputs = HashTar(archive_name=self.name).output(), self.joined().output()["hashes"]
        tar, packed = (made.read_json() for made in outputs)
        parts = [task.output().file for task in _part_tasks(self.name)]
        try:
            archive.check_sizes(parts, packed.pop("part_bytes"), tar.pop("part_bytes"))
        except DamagedFile:
            self.archive().discard()  # it was joined from the damaged part
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


class ArchiveLayer(_Archive):
    """`Layer_<layer>.tar.zst`, of a further layer."""

    layer: str = luigi.Parameter(description="name of the layer")

    def check_arguments(self) -> None:
        """Raise BadName if the dataset has no such layer."""
        require_layer(self.layer)

    @property
    def name(self) -> str:  # type: ignore[override]
        """The name of the archive."""
        return archive_of(self.layer)


Archive: TypeAlias = ArchiveS2 | ArchiveReferenceMaps | ArchiveS1 | ArchiveLayer
"""A task that makes an archive."""


def archive_task(name: str) -> Archive:
    """Return the task that makes an archive of the dataset."""
    if layer := layer_of(name):
        return ArchiveLayer(layer=layer)
    by_name: dict[str, type[ArchiveS2 | ArchiveReferenceMaps | ArchiveS1]] = {
        S2: ArchiveS2,
        S1: ArchiveS1,
        MAPS: ArchiveReferenceMaps,
    }
    return by_name[name]()


def archiving() -> tuple[Archive, ...]:
    """Return the tasks that make the archives of the dataset: those of the layers and of Sentinel-1 by its recipe."""
    return tuple(map(archive_task, archive_names()))
