"""Describe the dataset as a STAC collection, which lists every other file of it."""

from __future__ import annotations

from typing import Any

from ben_luigi import config
from ben_luigi.domain.dataset import stac
from ben_luigi.domain.formats.tables import read_own
from ben_luigi.stages.comparison import compared
from ben_luigi.stages.hash_lists import listing
from ben_luigi.stages.open_metadata import (
    ABOUT,
    FORM,
    WriteCroissant,
    WritePatches,
    WriteReadme,
    described,
    description,
    facts,
    form,
    has_report,
    time_series_task,
    title,
)
from ben_luigi.stages.provenance import WriteProvenance
from ben_luigi.stages.rasters import of_product
from ben_luigi.stages.task import PipelineTask
from ben_luigi.state.targets import MadeFile, MadeFolder


class WriteStac(PipelineTask):
    """`stac/`: a STAC collection with one item a tile."""

    recipe = (*ABOUT, *FORM)
    code = (stac,)

    def requires(self) -> Any:
        """Return the files that it lists: the whole dataset but the report."""
        listed = [*listing(), WriteProvenance(), *compared(), WriteReadme()]
        return [WriteCroissant(), *WriteCroissant().requires(), *listed]

    def settings(self) -> dict[str, Any]:
        """Return its title, and whether there is a report, whose pictures it names."""
        return {"title": title(), "has_report": has_report(), **of_product()}

    def output(self) -> MadeFolder:
        """Return the folder."""
        return self.folder(f"{config.result_folder()}/stac")

    def make(self) -> None:
        """Write all of it in one rename."""
        patches = read_own(WritePatches().output().check(), stac.columns(form()))
        listed = facts([*described(), *_others()])
        keys = stac.keys_of(WriteProvenance().output().read_json()["tiles"].values())
        documents = stac.describe(patches, listed, title(), description(), form(), has_report=has_report(), keys=keys)
        stac.write(documents, self.output().file)


def _others() -> list[MadeFile]:
    """Return the files beside tables and archives."""
    tasks = [*listing(), WriteCroissant(), WriteProvenance(), *compared(), WriteReadme(), *time_series_task()]
    return [target for task in tasks for target in task.targets().values() if isinstance(target, MadeFile)]
