"""Measure the finished dataset: the pixels of each band and split, and the classes."""

from __future__ import annotations

from typing import Any

from ben_luigi import config
from ben_luigi.domain.forms import statistics
from ben_luigi.domain.forms.source import Source
from ben_luigi.stages.archives import archiving
from ben_luigi.stages.metadata import WriteMetadata
from ben_luigi.stages.open_metadata import ABOUT, FORM, form
from ben_luigi.stages.progress import Progress
from ben_luigi.stages.provenance import WriteProvenance, noted_offset
from ben_luigi.stages.resolve import PRIORITY
from ben_luigi.stages.task import PipelineTask
from ben_luigi.state.cache import whole
from ben_luigi.state.targets import MadeFile


class WriteStatistics(PipelineTask):
    """`statistics.json`: mean, standard deviation and percentiles of each band by split, and the weights of classes.

    The archives are read once, that of Sentinel-1 twice.
    """

    priority = PRIORITY["archive"] - 1
    recipe = (*ABOUT, *FORM)

    def requires(self) -> Any:
        """Return the tasks of metadata and archives, and of what says which pixels carry BOA_ADD_OFFSET."""
        return [*self.made_of(), WriteProvenance()]

    def made_of(self) -> list[PipelineTask]:
        """Return the tasks of metadata and archives: of the provenance, `settings` has what goes into the file."""
        return [WriteMetadata(), *archiving()]

    def settings(self) -> dict[str, Any]:
        """Return which tiles have an offset."""
        return noted_offset()

    def output(self) -> MadeFile:
        """Return the file."""
        return self.file(f"{config.parts_folder()}/{statistics.STATISTICS}")

    def make(self) -> None:
        """Read all pixels."""
        folder = config.data_dir() / config.result_folder()
        with whole(folder):
            statistics.write(Source.open(folder, form()), self.output().file, Progress(self, "counting pixels"))

    def result_lines(self) -> list[str]:
        """Return the file, and mean and standard deviation of each band over all splits."""
        found = self.output().read_json()["bands"]
        return [str(self.output().file), *statistics.lines(found)]
