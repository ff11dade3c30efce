"""Describe the dataset as a STAC collection, which lists every other file of it."""

from __future__ import annotations

from typing import Any

import pyarrow.parquet as pq

from ben_luigi import config
from ben_luigi.domain.dataset import stac
from ben_luigi.stages.comparison import CompareWithPublished
from ben_luigi.stages.hash_lists import ListHashes, ListS1Hashes
from ben_luigi.stages.open_metadata import (
    ABOUT,
    DESCRIPTION,
    WriteCroissant,
    WritePatches,
    WriteReadme,
    about,
    described,
    facts,
    title,
)
from ben_luigi.stages.provenance import WriteProvenance
from ben_luigi.stages.task import PipelineTask
from ben_luigi.state.targets import MadeFile, MadeFolder


class WriteStac(PipelineTask):
    """`stac/`: a STAC collection with one item a tile."""

    recipe = ABOUT
    code = (stac,)

    def requires(self) -> Any:
        """Return the files that it lists: the whole dataset but the report."""
        listed = [ListHashes(), ListS1Hashes(), WriteProvenance(), CompareWithPublished(), WriteReadme()]
        return [WriteCroissant(), *WriteCroissant().requires(), *listed]

    def settings(self) -> dict[str, Any]:
        """Return its title, and whether there is a report, whose pictures it names."""
        return {"title": title(), "has_report": not config.selection()}

    def output(self) -> MadeFolder:
        """Return the folder."""
        return self.folder(f"{config.result_folder()}/stac")

    def make(self) -> None:
        """Write all of it in one rename."""
        patches = pq.read_table(WritePatches().output().check(), columns=list(stac.COLUMNS))
        listed = facts([*described(), *_others()])
        documents = stac.describe(patches, listed, title(), DESCRIPTION, about(), has_report=not config.selection())
        stac.write(documents, self.output().file)


def _others() -> list[MadeFile]:
    """Return the files beside tables and archives."""
    single = [task.output() for task in (ListS1Hashes(), WriteCroissant(), WriteProvenance(), CompareWithPublished())]
    return [*single, *ListHashes().output().values(), *WriteReadme().output().values()]
