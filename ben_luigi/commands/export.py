"""`ben-luigi export FORM [FOLDER]`: export a finished dataset, ours or downloaded, in a form that people train from.

Without FOLDER it is the pipeline's own dataset, which is made first as far as it is missing (the task `ExportForm`),
and the form is in `forms/FORM/` of the data folder. Options of `ben-luigi run`, such as --workers N, may follow.
--splits and the like select patches, as in `[subset]` of the configuration: the archives of that subset are made then,
in `subsets/NAME/`, and the form is in `forms/subsets/NAME/FORM/`.

With FOLDER, the folder of a dataset, the archives may be unpacked there, and a selection makes no archives.
`ben-luigi verify FOLDER --form DIR` checks that the pixels are those of the dataset.

`ben-luigi export --tile TILE` unpacks the patches of one tile as folders of TIFFs (the task `ExportPatches`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from ben_luigi import config
from ben_luigi.commands import command, run
from ben_luigi.commands.damage import whole
from ben_luigi.commands.setting_up import configure
from ben_luigi.commands.task_arguments import FORM_TASK, FORMS_OPTIONS, PATCHES_TASK, check_value, names_a_tile
from ben_luigi.commands.task_arguments import export as parser
from ben_luigi.configuration import luigi_options
from ben_luigi.domain import leftovers
from ben_luigi.domain.errors import BadArgument, BadInput, PipelineError
from ben_luigi.domain.forms.export import FORMS, export
from ben_luigi.domain.forms.form import Options
from ben_luigi.domain.forms.selecting import selected
from ben_luigi.domain.forms.source import S1, Source, without_layers
from ben_luigi.exit_codes import ExitCode
from ben_luigi.stages.finalize import rules_in
from ben_luigi.terminal import bar_format

PROG = "ben-luigi export"


def main(arguments: Sequence[str]) -> int:
    """Export a form, or run the task of a tile."""
    used = parser()
    if names_a_tile(arguments):
        return run.main([PATCHES_TASK, *arguments], PROG)
    given, others = used.parse_known_intermixed_args(arguments)
    _check_values(used, given)
    for option in FORMS_OPTIONS:
        if getattr(given, option) is not None and option not in FORMS[given.form].options:
            counts = ", ".join(name for name, form in FORMS.items() if option in form.options)
            flag = f"--{option.replace('_', '-')}"
            used.error(f"{flag} makes no difference to {given.form}; leave it out: it counts for {counts}")
    if given.folder is None and given.to is None:
        if given.without_s1:
            used.error(
                "--without-s1 is for the dataset in a FOLDER, or for a form that goes to another place (--to DIR)"
            )
        return _of_pipeline(given, others)
    if others:
        used.error(f"unrecognized arguments: {' '.join(others)}")
    try:
        folder, source = _export(given)
    except (PipelineError, OSError) as error:
        return command.refuse(used, error, command.code_of(error))
    told = [f"{len(source.rows):,} patches of {given.folder or 'our dataset'} are in {folder}"]
    print(*told, *without_layers(source.form), sep="\n")
    return ExitCode.DONE


def _check_values(used: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    """Exit with a message if an option has a value that it does not accept."""
    for section in (config.forms, config.subset):
        for option, parameter in config.options_of(section).items():
            if (text := getattr(given, option, None)) is not None:
                check_value(used, option, parameter.parse, luigi_options.allowed(parameter), text)


def _of_pipeline(given: argparse.Namespace, others: Sequence[str]) -> int:
    """Run the task, with the options as those of the configuration."""
    options = [
        f"--{section.__name__}-{option.replace('_', '-')}={value}"
        for section in (config.forms, config.subset)
        for option in config.options_of(section)
        if (value := getattr(given, option, None)) is not None
    ]
    return run.main([FORM_TASK, "--form-name", given.form, *options, *others], PROG)


def _export(given: argparse.Namespace) -> tuple[Path, Source]:
    """Export the dataset in a folder; return where, and what was exported."""
    configure(writes=False)
    FORMS[given.form].require_libraries()
    folder = given.folder or config.data_dir() / config.result_folder()
    remedy = "name the folder of a dataset" if given.folder else "make it first, by ben-luigi run, or name another"
    command.require_folder(folder, "the folder of a dataset", remedy, is_given=bool(given.folder))
    target = command.target(given.to, folder, f"-{given.form}")
    conditions = {option: text for option in config.options_of(config.subset) if (text := getattr(given, option, None))}
    with whole(folder), leftovers.alone_at(target):
        return target, _written(given, folder, target, conditions)


def _written(given: argparse.Namespace, folder: Path, target: Path, conditions: dict[str, str]) -> Source:
    rules = rules_in(folder)
    if given.folder:
        rules.form.require_in(folder)
    opened = Source.open(folder, rules.form, rules.nomenclature.classes)
    source = replace(_selected(opened, conditions), left_out=(S1,) if given.without_s1 else ())
    with tqdm(total=100, desc=f"exporting {given.form}", unit="%", disable=None, bar_format=bar_format("%")) as bar:
        export(FORMS[given.form], source, target, _options(given), lambda fraction: _move(bar, fraction))
    return source


def _selected(source: Source, conditions: dict[str, str]) -> Source:
    """Return the patches that meet the options; errors name these, and not the section of the configuration."""
    try:
        return selected(source, conditions)
    except BadInput as error:
        section, _, option = error.subject.partition(" ")
        if section != f"[{config.subset.__name__}]":
            raise
        typed = [option.replace(" = ", " ", 1)] if option else [f"{name} {text}" for name, text in conditions.items()]
        subject = " ".join(f"--{one}" for one in typed)
        raise BadArgument(subject, expected=error.expected, found=error.found, remedy=error.remedy) from error


def _options(given: argparse.Namespace) -> Options:
    """Return how the form is written: by the options given, else by `[forms]`."""
    parameters = config.options_of(config.forms)
    seed, file_mb, pixels = (
        getattr(config.forms(), option) if (text := getattr(given, option)) is None else parameters[option].parse(text)
        for option in FORMS_OPTIONS
    )
    return Options(int(seed), int(file_mb), str(pixels))


def _move(bar: tqdm[NoReturn], fraction: float) -> None:
    bar.update(round(100 * fraction) - bar.n)
