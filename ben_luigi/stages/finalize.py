"""Finish and verify the dataset."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ben_luigi import config, terminal
from ben_luigi.domain import files
from ben_luigi.domain.dataset.form import FORM_V2, Rules
from ben_luigi.domain.dataset.verify import Verdict, verify_dataset
from ben_luigi.domain.dataset.verify_rules import References
from ben_luigi.domain.errors import BadArchive, DamagedFile, some
from ben_luigi.domain.publishing import verdicts
from ben_luigi.domain.tiles.nomenclature import read_nomenclature
from ben_luigi.stages.archives import archiving
from ben_luigi.stages.comparison import beside_published, compared
from ben_luigi.stages.forms import forms_wanted
from ben_luigi.stages.hash_lists import listing
from ben_luigi.stages.leakage import FindSplitLeakage
from ben_luigi.stages.metadata import WriteMetadata, selection
from ben_luigi.stages.open_metadata import (
    WriteCroissant,
    WritePatches,
    WriteReadme,
    has_report,
    time_series_task,
)
from ben_luigi.stages.prerequisites import input_path, input_task, needed
from ben_luigi.stages.progress import Progress
from ben_luigi.stages.provenance import WriteProvenance
from ben_luigi.stages.report import WriteReport
from ben_luigi.stages.resolve import source_task
from ben_luigi.stages.sample_world import side_m
from ben_luigi.stages.stac import WriteStac
from ben_luigi.stages.statistics import WriteStatistics
from ben_luigi.stages.task import PipelineTask
from ben_luigi.stages.tiles import ProcessTiles
from ben_luigi.stages.twin import twins
from ben_luigi.stages.version1 import CompareV1Labels
from ben_luigi.state import records, stored
from ben_luigi.state.cache import dropped, whole
from ben_luigi.state.targets import MadeFile, withdraw_damaged

_log = logging.getLogger(__name__)
REFERENCES = ("countries_geojson", "s1s2_mapping_csv", "snow_csv", "cloud_csv")
"""The inputs that rows of the metadata are compared with, in the order of `References`."""
_SHOWN = 300


def in_dataset() -> list[PipelineTask]:
    """Return the tasks whose results are the finished dataset, in the order in which they are listed."""
    described = [WritePatches(), *time_series_task(), WriteStac(), WriteCroissant(), WriteReadme(), WriteProvenance()]
    return [WriteMetadata(), *archiving(), *listing(), *described, *compared()]


def dataset_tasks() -> list[PipelineTask]:
    """Return the tasks that make the finished dataset; the whole dataset has a list of leakage, and a report."""
    whole: list[PipelineTask] = [] if config.selection() else [FindSplitLeakage(), *twins(), WriteStatistics()]
    return [*in_dataset(), *whole, *([WriteReport()] if has_report() else [])]


def references() -> References:
    """Return the inputs that rows of the metadata are compared with, as far as the recipe takes them."""
    return References(*(input_path(option) if option in needed() else None for option in REFERENCES))


def finished_files() -> list[MadeFile]:
    """Return the files in the folder of the finished dataset, except for the archives."""
    folder = config.data_dir() / config.result_folder()
    made = [target for task in dataset_tasks() for target in task.targets().values() if isinstance(target, MadeFile)]
    return [target for target in made if target.file.parent == folder]


def finished_archives() -> dict[str, MadeFile]:
    """Return the archives of the finished dataset, by file name."""
    return {task.archive().file.name: task.archive() for task in archiving()}


def file_sizes() -> dict[str, int]:
    """Return the lengths in bytes of the files of the finished dataset, by name; archives may be in the store alone."""
    folder = config.data_dir() / config.result_folder()
    here = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
    return dict(sorted({**here, **{name: made.size_bytes() for name, made in finished_archives().items()}}.items()))


def discard_former() -> None:
    """Remove results from the folder of the finished dataset that are not part of it any more.

    Such is the archive of a layer that has been taken out of the configuration since it was made.
    """
    folder = Path(config.result_folder())
    made = [*finished_archives().values(), *(one for task in dataset_tasks() for one in task.targets().values())]
    kept = {one.relative for one in made if isinstance(one, MadeFile)}
    for former in sorted({*records.all_of()} - kept):
        if Path(former).parent == folder:
            _log.info("%s is not part of the dataset any more, and is removed", former)
            stored.remove(former)
            MadeFile(former).discard()


def changed_files(recorded: Mapping[str, str], sha256: Mapping[str, str]) -> list[DamagedFile]:
    """Return which files of the finished dataset have changed since they were made, one error each.

    Archives take long to read, so they are compared by file name: `recorded` has the sha256 of their records, and
    `sha256` that of their content.
    """
    archives = finished_archives()
    changed = (name for name, digest in sha256.items() if recorded.get(name, digest) != digest)
    found = [_changed(archives[name], recorded[name], sha256[name]) for name in changed]
    for made in finished_files():
        try:
            made.check()
        except DamagedFile as error:
            if made.file.exists():
                found.append(error)
    return found


def withdrawn_files() -> list[Path]:
    """Return the files of the finished dataset that were found damaged, and have not been made again since."""
    return [made.file for made in [*finished_archives().values(), *finished_files()] if made.is_withdrawn()]


def withdraw(damaged: Sequence[DamagedFile]) -> None:
    """Have the next run make damaged files again, and verify the dataset anew; without damaged ones, too.

    That it is verified is withdrawn first, so that no run says "complete" if this is interrupted. Forms are no part of
    that: exporting one again makes it again.
    """
    if not damaged or not all(is_of_form(error.file) for error in damaged):
        VerifyDataset().output().withdraw()
    for error in damaged:
        if not dropped(error.file):  # a copy of what lives in the store
            withdraw_damaged(error)


def is_of_form(file: Path) -> bool:
    """Return whether a result of the pipeline is an exported form."""
    return file.is_relative_to(config.data_dir() / stored.FORMS)


def _changed(made: MadeFile, recorded: str, found: str) -> DamagedFile:
    return DamagedFile(made.file, expected=f"sha256 {recorded}, as when it was made", found=found)


class VerifyDataset(PipelineTask):
    """A check that the finished dataset is complete and consistent, with each file correct and in its place."""

    options = ("metadata.unlabeled_limit",)
    revision = 2

    def requires(self) -> Any:
        """Return what is verified, and what it is compared with."""
        return [*dataset_tasks(), *(input_task(option) for option in REFERENCES if option in needed())]

    def settings(self) -> dict[str, Any]:
        """Return the classes."""
        return {"nomenclature": files.file_hash(config.nomenclature())}

    def output(self) -> MadeFile:
        """Return a note that everything is correct."""
        return self.file(f"{config.parts_folder()}/verified.json")

    def make(self) -> None:
        """Read everything once. Raise BadArchive naming what is wrong."""
        with whole(config.data_dir() / config.result_folder()):
            self._read()

    def _read(self) -> None:
        discard_former()
        folder = config.data_dir() / config.result_folder()
        state = verdicts.state_of(folder, rules_of_recipe().form.archives)
        for made in finished_files():
            made.check()
        archives = finished_archives()
        verdict = self._verdict({name: made.digest() for name, made in archives.items()})
        for name, made in archives.items():
            if verdict.sha256.get(name, made.digest()) != made.digest():
                raise _changed(made, made.digest(), verdict.sha256[name])
        if verdict.wrong:
            raise BadArchive(
                folder,
                expected="a dataset that is complete and consistent",
                found=some((_short(finding) for finding in verdict.wrong), 3),
                remedy="remove the files that are named from there, and run again; ben-luigi verify names all",
            )
        files.write_json(self.output().file, {"findings": verdict.wrong})
        verdicts.note(config.data_dir() / config.PUBLISHING, folder, verdicts.Noted([], state))

    def _verdict(self, recorded: dict[str, str]) -> Verdict:
        rules = rules_of_recipe()
        return verify_dataset(
            config.data_dir() / config.result_folder(),
            rules.labels_of,
            Progress(self, "verifying the dataset"),
            side_m=side_m(),
            form=rules.form,
            references=references(),
            require_all=True,
            recorded=recorded,
        )


def rules_of_default() -> Rules:
    """Return by what a dataset without a recipe is verified: BigEarthNet v2."""
    options = config.metadata()
    nomenclature = read_nomenclature(Path(str(options.nomenclature)))
    return Rules(FORM_V2, nomenclature, float(options.unlabeled_limit))


def rules_of_recipe() -> Rules:
    """Return by what the dataset of the recipe that is followed is verified."""
    rules = Rules.of(config.recipe(), read_nomenclature(config.nomenclature()), config.unlabeled_limit())
    return replace(rules, form=rules.form.with_layers(config.product_layers()))


def rules_in(folder: Path) -> Rules:
    """Return by what the dataset in a folder is read: the recipe that lies in it; without one, as BigEarthNet v2.

    Raise BadInput if that recipe cannot be used.
    """
    return (Rules.within(folder, config.TRACKED_ARTIFACTS) or rules_of_default()).with_layers_in(folder)


def _short(finding: str) -> str:
    return finding if len(finding) <= _SHOWN else f"{finding[:_SHOWN]}..."


class FinalizeDataset(PipelineTask):
    """The finished dataset in `dataset/`."""

    def requires(self) -> Any:
        """Return everything; an impossible subset is refused here, before anything is made."""
        selection()
        own_v1 = [] if config.given_input("v1_s2_dir") is None else [CompareV1Labels()]
        published = [task for comparison in compared() for task in comparison.deps()]
        return [source_task(), ProcessTiles(), VerifyDataset(), *dataset_tasks(), *published, *own_v1, *forms_wanted()]

    def make(self) -> None:
        """Report that the dataset is complete; there is nothing left to do."""
        folder = config.data_dir() / config.result_folder()
        _log.info("the dataset is complete in %s", folder)
        if not terminal.summary_follows:
            print(f"\nThe dataset is complete: {folder}\n{beside_published()}".rstrip())
