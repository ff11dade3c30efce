"""Export the finished dataset in the forms of `[forms]`, for the programs that people train with."""

from __future__ import annotations

from typing import Any

import luigi

from ben_luigi import config
from ben_luigi.domain import files
from ben_luigi.domain.forms import export
from ben_luigi.domain.forms.form import Options
from ben_luigi.domain.forms.source import Source, without_layers
from ben_luigi.domain.recipe.model import FROM_FOLDER, FROM_RASTERS
from ben_luigi.domain.vocabulary import FORMS
from ben_luigi.stages.archives import archiving
from ben_luigi.stages.land_source import names
from ben_luigi.stages.metadata import WriteMetadata
from ben_luigi.stages.open_metadata import FORM, WriteReadme, form
from ben_luigi.stages.progress import Progress
from ben_luigi.stages.provenance import WriteProvenance, noted_offset
from ben_luigi.stages.resolve import PRIORITY
from ben_luigi.stages.task import Digests, PipelineTask
from ben_luigi.state.cache import whole
from ben_luigi.state.targets import MadeFolder


class ExportForm(PipelineTask):
    """The finished dataset in another form, such as WebDataset shards, in `forms/<form>/`."""

    form_name: str = luigi.ChoiceParameter(choices=list(FORMS), description="which form")
    priority = PRIORITY["archive"] - 2
    recipe = ("name", "version", "license", *FORM)

    def requires(self) -> Any:
        """Return the tasks of all that is read of the dataset, here and to verify and view it and the form.

        A form without its library is refused before anything is made.
        """
        export.FORMS[self.form_name].require_libraries()
        return [*self.made_of(), WriteReadme(), WriteProvenance()]

    def made_of(self) -> list[PipelineTask]:
        """Return the tasks of metadata and archives: of what the others say, `settings` has what goes into the form."""
        return [WriteMetadata(), *archiving()]

    def settings(self) -> dict[str, Any]:
        """Return what makes a difference to this form: options of `[forms]`, tiles with an offset, all classes.

        And whether names of S1 may be those of S2: such a form had the pixels of S1 alone, and is made again.
        """
        wanted = export.FORMS[self.form_name]
        made_with = {f"forms.{name}": value for name, value in wanted.made_with(options()).items()}
        classes = {"classes": files.text_hash("\n".join(sorted(names().classes)))} if wanted.tells_classes else {}
        may_share = config.recipe().sentinel1.source in (FROM_FOLDER, FROM_RASTERS)
        shared = {"names": "shared by S1 and S2"} if wanted.is_by_name and may_share else {}
        return {**made_with, **(noted_offset() if wanted.tells_offset else {}), **classes, **shared}

    def output(self) -> MadeFolder:
        """Return the folder."""
        return self.folder(f"{config.forms_folder()}/{self.form_name}")

    def make(self) -> Digests:
        """Read the archives once, and write the form."""
        folder, target = config.data_dir() / config.result_folder(), self.output().file
        progress = Progress(self, f"exporting {self.form_name}")
        with whole(folder):
            source = Source.open(folder, form(), names().classes)
            export.export(export.FORMS[self.form_name], source, target, options(), progress, is_own=True)
        # The same archives and options give the same bytes, so their digests identify them without reading them again.
        made_from = [task.digest() for task in self.made_of()]
        said = str({**config.recipe_part(self.recipe), **self.settings()})
        return {"": files.text_hash("\n".join([self.form_name, said, *made_from]))}

    def result_lines(self) -> list[str]:
        """Return the folder, and which layers of the dataset are not in it."""
        return [*super().result_lines(), *without_layers(form())]


def options() -> Options:
    """Return how forms are written, as `[forms]` says."""
    given = config.forms()
    return Options(int(given.seed), int(given.file_mb), str(given.pixels))


def forms_wanted() -> list[ExportForm]:
    """Return the tasks of the forms that are made with the dataset."""
    return [ExportForm(form_name=name) for name in config.wanted_forms()]
