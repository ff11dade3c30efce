"""`ben-luigi verify [FOLDER]`: check that a finished dataset, ours or downloaded, is complete and consistent.

The archives may be unpacked there by tar: BigEarthNet-S2/ and so on, beside the metadata.

The verdict is noted in `publishing/` of the data folder, which is made if it is missing: `ben-luigi publish` sends only
what was verified without findings.

In the pipeline's own dataset, which is checked without FOLDER, everything must exist; its exported forms are
checked too. In another one, such as the published dataset, what is missing is not checked, and this is reported. A
dataset is verified by the recipe that lies in it as `recipe.toml`; without one, as BigEarthNet v2. Its rows are
compared with the inputs that the options name. Damaged files of the pipeline's own dataset are made again by the next
run; elsewhere nothing is changed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from ben_luigi import config
from ben_luigi.commands import command, damage
from ben_luigi.commands.arguments import verify as parser
from ben_luigi.commands.setting_up import configure
from ben_luigi.domain.dataset.form import Rules
from ben_luigi.domain.dataset.verify import Verdict, verify_dataset
from ben_luigi.domain.dataset.verify_rules import References
from ben_luigi.domain.errors import BadArgument, BadInput, DamagedFile, PipelineError
from ben_luigi.domain.forms import export
from ben_luigi.domain.forms.form import NOTE
from ben_luigi.domain.forms.source import Source
from ben_luigi.domain.placement.grid import TILE_SIDE_M
from ben_luigi.domain.publishing.verdicts import Noted, State, note, state_of, state_of_form
from ben_luigi.exit_codes import ExitCode
from ben_luigi.stages.finalize import (
    REFERENCES,
    changed_files,
    finished_archives,
    rules_of_default,
    rules_of_recipe,
    withdrawn_files,
)
from ben_luigi.stages.prerequisites import input_path, needed
from ben_luigi.stages.sample_world import side_m
from ben_luigi.state import records, stored
from ben_luigi.state.cache import whole
from ben_luigi.terminal import bar_format

_NOTED = "run again: damaged files are made again, and the whole dataset is verified; files that are surplus you remove"
_FORM = "export each form that is named there again, into the same folder: ben-luigi export --help"
_DOWNLOADED = "remove what is named there, and run again; or fetch it again, if the dataset was downloaded"


def main(arguments: Sequence[str]) -> int:
    """Print the findings, one per line, and what was not checked."""
    used = parser()
    given = used.parse_args(arguments)
    configure(writes=False)
    own = config.data_dir() / config.result_folder()
    folder = given.folder or own
    remedy = "name the folder of a dataset" if given.folder else "make it first, by ben-luigi run, or name another"
    try:
        command.require_folder(folder, "the folder of a dataset", remedy, is_given=bool(given.folder))
        _check_forms(given.form or ())
        return _fetched_and_verified(folder, given)
    except (PipelineError, OSError) as error:
        return command.refuse(used, error, command.code_of(error))


def _check_forms(forms: Sequence[Path]) -> None:
    """Raise BadArgument about a folder that is no form, before the whole dataset is read; in a store it may be one."""
    for form in forms:
        if form.exists() and not (form / NOTE).is_file():
            expected, found = f"the folder of an exported form, with {NOTE}", "something else"
        elif not form.exists() and not form.resolve().is_relative_to(config.data_dir()):
            expected, found = "the folder of an exported form", "no folder"
        else:
            continue
        raise BadArgument(form, expected=expected, found=found, remedy="name one that ben-luigi export has made")


def _fetched_and_verified(folder: Path, given: argparse.Namespace) -> ExitCode:
    """Verify a folder with what the store has of it; what is damaged there is a finding, and noted for the next run."""
    lost: list[str] = []
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(whole(folder))
            except DamagedFile as error:
                lost.append(_of_store(error))
                if not damage.note([error]):
                    rest = ["all else: nothing of the dataset is fetched before that"]
                    return _tell(folder, given, Verdict(lost, rest, {}), damage.NOT_NOTED)
            else:
                return _verify(folder, given, lost)


def _verify(folder: Path, given: argparse.Namespace, lost: Sequence[str]) -> ExitCode:
    own = config.data_dir() / config.result_folder()
    is_own = own.is_dir() and folder.samefile(own)
    expected = _rules(folder, is_own).form
    if not is_own:
        expected.require_in(folder)
    state = _state(partial(state_of, folder, expected.archives))
    recorded = _recorded() if is_own else {}
    verdict = _verdict(folder, given, is_own, recorded)
    damaged = changed_files(recorded, verdict.sha256) if is_own else []
    wrong = [*lost, *verdict.wrong, *(_of_files(damaged) if is_own else ())]
    in_dataset = bool(wrong)
    _note_verdict(folder, wrong, state)
    for form in given.form or (_own_forms() if is_own else []):
        state, found = _form_verified(folder, form, is_own, verdict.not_looked_at)
        _note_verdict(form, [*wrong, *found] if in_dataset else found, state)
        wrong += found
    is_noted = is_own and in_dataset and damage.note(damaged)
    following = _NOTED if is_noted else damage.NOT_NOTED if is_own else _DOWNLOADED
    return _tell(folder, given, replace(verdict, wrong=wrong), following if in_dataset else _FORM, is_noted)


def _form_verified(
    folder: Path, form: Path, is_own: bool, not_looked_at: list[str]
) -> tuple[State | None, Sequence[str]]:
    """Return the state of a form before it was read, and what is wrong with it; if the store has it damaged, that."""
    with ExitStack() as stack:
        try:
            stack.enter_context(whole(form))
        except DamagedFile as error:
            damage.note([error])
            return None, [_of_store(error)]
        state = _state(partial(state_of_form, form))
        return state, [f"{form}: {finding}" for finding in _of_form(folder, form, is_own, not_looked_at)]


def _tell(
    folder: Path, given: argparse.Namespace, verdict: Verdict, following: str, is_noted: bool = False
) -> ExitCode:
    if given.json:
        told = {"version": 1, "folder": str(folder), "is_whole": not verdict.wrong, "findings": verdict.wrong}
        print(json.dumps({**told, "not_looked_at": verdict.not_looked_at, "is_noted": is_noted}, indent=1))
    else:
        print("\n".join(_words(folder, verdict.wrong, verdict.not_looked_at, following)))
    return ExitCode.FINDINGS if verdict.wrong else ExitCode.DONE


def _words(folder: Path, wrong: Sequence[str], not_looked_at: Sequence[str], following: str) -> Iterator[str]:
    for what in not_looked_at:
        yield f"not looked at: {what}"
    yield from wrong
    if wrong:
        yield f"next: {following}"
    number = f"{len(wrong)} finding{'s' * (len(wrong) > 1)}"
    yield f"{folder}: {number if wrong else 'whole, and all of it fits together'}"


def _verdict(folder: Path, given: argparse.Namespace, is_own: bool, recorded: Mapping[str, str]) -> Verdict:
    rules = _rules(folder, is_own)
    with tqdm(total=100, desc="verifying", unit="%", disable=None, bar_format=bar_format("%")) as bar:
        return verify_dataset(
            folder,
            rules.labels_of,
            lambda fraction: _move(bar, fraction),
            side_m=side_m() if is_own else TILE_SIDE_M,
            form=rules.form,
            references=References(*(getattr(given, option) or _at_hand(option, is_own) for option in REFERENCES)),
            require_all=is_own,
            recorded=recorded,
        )


def _own_forms() -> list[Path]:
    """Return the folders of the pipeline's own forms."""
    folder = config.data_dir() / config.forms_folder()
    here = {note.parent for note in folder.glob(f"*/{NOTE}")}
    in_store = {config.data_dir() / name for name in records.all_of() if stored.is_in_store(name)}
    return sorted(here | {form for form in in_store if form.parent == folder})


def _of_form(folder: Path, form: Path, is_own: bool, not_looked_at: list[str]) -> list[str]:
    """Return what is wrong with an exported form of a dataset; `not_looked_at` receives what cannot be checked."""
    rules = _rules(folder, is_own)
    source = Source.open(folder, rules.form, rules.nomenclature.classes)
    with tqdm(total=100, desc=f"verifying {form.name}", unit="%", disable=None, bar_format=bar_format("%")) as bar:
        return export.verify(source, form, lambda fraction: _move(bar, fraction), not_looked_at.append)


def _state(look: Callable[[], State]) -> State | None:
    """Return length and time of the files of a dataset or form; None if there is one that could not be published."""
    try:
        return look()
    except (PipelineError, OSError):
        return None


def _note_verdict(folder: Path, wrong: Sequence[str], state: State | None) -> None:
    """Note the verdict for `ben-luigi publish`, as it was before the files were read."""
    if state is None:
        return
    notes = config.data_dir() / config.PUBLISHING
    try:
        note(notes, folder, Noted(wrong, state))
    except (PipelineError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        print(f"not noted in {notes}, so that ben-luigi publish will ask for it again: {why}", file=sys.stderr)


def _rules(folder: Path, is_own: bool) -> Rules:
    """Return by what a dataset is verified: the recipe that lies in it, not that of the caller's configuration.

    BigEarthNet v2 has none in it. Where the pipeline's own dataset should have one, its lack is a finding.
    """
    try:
        within = Rules.within(folder, config.TRACKED_ARTIFACTS)
    except BadInput:
        if not is_own:
            raise
        within = None  # it was written by the pipeline, so it is found among the files that have changed
    rules = within or (rules_of_recipe() if is_own else rules_of_default())
    return rules.with_layers_in(folder)


def _recorded() -> dict[str, str]:
    """Return the sha256 in the records of the archives, by file name."""
    digests = {name: made.digest() for name, made in finished_archives().items()}
    return {name: digest for name, digest in digests.items() if digest}


def _of_store(error: DamagedFile) -> str:
    """Return the finding about a result that the store has damaged, or has no more."""
    return f"{error.file}: expected {error.expected}; found {error.found}"


def _of_files(damaged: Sequence[DamagedFile]) -> Iterator[str]:
    """Yield a finding for each file and folder whose content has changed since it was made.

    One that was found damaged before counts until it is made again, though its record is gone.
    """
    own = config.data_dir() / config.result_folder()
    for error in damaged:
        if error.file.suffixes[-2:] != [".tar", ".zst"]:  # verify_dataset names archives that differ from their record
            yield f"{error.file.relative_to(own)}: expected {error.expected}; found {error.found}"
    for file in withdrawn_files():
        yield f"{file.relative_to(own)}: found damaged before, and not made again since"


def _at_hand(option: str, is_own: bool) -> Path | None:
    """Return the input that the pipeline's own dataset was made from, if it still exists."""
    path = input_path(option) if is_own and option in needed() else None
    return path if path is not None and path.is_file() else None


def _move(bar: tqdm[NoReturn], fraction: float) -> None:
    bar.update(round(100 * fraction) - bar.n)
