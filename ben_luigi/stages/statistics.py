"""Measure the dataset: the pixels of each band and split, and the classes."""

from __future__ import annotations

from typing import Any

import luigi
import pyarrow as pa

from ben_luigi import config
from ben_luigi.domain import files
from ben_luigi.domain.dataset import members
from ben_luigi.domain.errors import BadName
from ben_luigi.domain.forms import statistics
from ben_luigi.domain.forms.pixel_counts import PixelCounts
from ben_luigi.domain.forms.pixels import pixels_of
from ben_luigi.domain.forms.source import Source, patches_of
from ben_luigi.stages.archive_parts import S1, S2, archive_names, parts_of, splits_in
from ben_luigi.stages.archive_shards import collected_again, from_folder, s1_origin
from ben_luigi.stages.archives import CompressPart, PartTask, archive_task, archiving, part_content, part_source
from ben_luigi.stages.metadata import WriteMetadata
from ben_luigi.stages.open_metadata import ABOUT, FORM, form
from ben_luigi.stages.progress import Progress
from ben_luigi.stages.provenance import WriteProvenance, noted_offset
from ben_luigi.stages.resolve import PRIORITY
from ben_luigi.stages.task import PipelineTask
from ben_luigi.state.cache import at_hand
from ben_luigi.state.targets import MadeFile


def _counted() -> list[str]:
    """Return the archives whose pixels are counted: those of bands."""
    return [name for name in (S2, S1) if name in archive_names()]


class CountPixels(PartTask):
    """How often each value is in a part of an archive, by band and split.

    It is made beside the compressed part, from the same shard, so that no archive has to be unpacked for it.
    """

    priority = PRIORITY["archive"] - 1

    def check_arguments(self) -> None:
        """Raise BadName unless the pixels of such an archive are counted, and it has such a part."""
        if self.archive_name not in _counted():
            raise BadName(
                f"archive {self.archive_name}",
                expected=f"one of bands of the dataset: {' or '.join(_counted())}",
                found="another, of which no pixels are counted",
                remedy="name one of these",
            )
        super().check_arguments()

    def requires(self) -> Any:
        """Return the source for S1, unless it is counted from the compressed part, whose task asks for it."""
        return [] if from_folder(self.archive_name) else super().requires()

    def settings(self) -> dict[str, Any]:
        """Return which patches are kept, the split of each, and the source of S1."""
        splits = (f"{name} {split}" for name, split in splits_in(self.archive_name, self.part))
        return {"splits": files.text_hash("\n".join(splits)), **(s1_origin() if self.archive_name == S1 else {})}

    def needs(self) -> list[luigi.Task]:
        """Return the task of the compressed part, if it is counted from that."""
        return [CompressPart(**self.param_kwargs)] if from_folder(self.archive_name) else []

    def output(self) -> MadeFile:
        """Return the counts."""
        return self.file(f"{config.parts_folder()}/counts/{self.archive_name}/{self.part}.parquet")

    def make(self) -> None:
        """Count them."""
        name = self.archive_name
        of_rows = splits_in(name, self.part)
        names = pa.array([patch for patch, _ in of_rows], pa.string())
        counts, side_m = PixelCounts(), config.recipe().patches.side_m
        progress = Progress(self, f"counting pixels of {self.part} of {name}", "patches")
        with collected_again(name):
            found = members.read_part(part_content(name, self.part))
            for done, patch in enumerate(patches_of(part_source(name, self.part), found, names, name), start=1):
                patch_name, split = of_rows[patch.row]
                counts.add(split, pixels_of(patch.files, side_m, patch_name))
                progress.at(done, len(of_rows))
        counts.write(self.output().file)


class WriteStatistics(PipelineTask):
    """`statistics.json`: mean, standard deviation and percentiles of each band by split, and the weights of classes.

    Pixels are counted part by part, by any worker; then the archive of Sentinel-1 is read once, for its percentiles.
    """

    priority = PRIORITY["archive"] - 1
    recipe = (*ABOUT, *FORM)

    def requires(self) -> Any:
        """Return the tasks of metadata, and of what says which pixels carry BOA_ADD_OFFSET."""
        return [WriteMetadata(), WriteProvenance()]

    def made_of(self) -> list[PipelineTask]:
        """Return the tasks of metadata and archives: of the provenance, `settings` has what goes into the file."""
        return [WriteMetadata(), *archiving()]

    def needs(self) -> list[luigi.Task]:
        """Return the tasks of the archives, and those that count the pixels of their parts beside."""
        return [*archiving(), *self._counting()]

    @staticmethod
    def _counting() -> list[CountPixels]:
        return [CountPixels(archive_name=name, part=part) for name in _counted() for part, _ in parts_of(name)]

    def settings(self) -> dict[str, Any]:
        """Return which tiles have an offset."""
        return noted_offset()

    def output(self) -> MadeFile:
        """Return the file."""
        return self.file(f"{config.parts_folder()}/{statistics.STATISTICS}")

    def make(self) -> None:
        """Add up what was counted."""
        counts = PixelCounts.read(task.output().file for task in self._counting())
        source = Source.open(config.data_dir() / config.result_folder(), form())
        radar = [archive_task(S1).archive().file] if S1 in archive_names() else []
        with at_hand(*radar):
            statistics.write(source, counts, self.output().file, Progress(self, "counting pixels of Sentinel-1"))

    def result_lines(self) -> list[str]:
        """Return the file, and mean and standard deviation of each band over all splits."""
        found = self.output().read_json()["bands"]
        return [str(self.output().file), *statistics.lines(found)]
