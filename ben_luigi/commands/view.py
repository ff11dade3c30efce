"""`ben-luigi view [FOLDER]`: make a page to look at patches, of exported WebDataset shards or of a finished dataset.

The page pages through patches by label, country, split and flag, in any combination of bands, with Sentinel-1 and
reference maps. It is opened as a file, without a network and without a server, and it lists the files of FOLDER with
length, sha256 and md5.

FOLDER has the shards of `ben-luigi export webdataset`, all or some of them, beside their index; or a dataset, ours or
downloaded, with its archives or what tar unpacked from them. An archive in which single patches cannot be found, such
as one of a single frame, is read as a stream once. The report of a dataset has such a page already.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

import ben_luigi
from ben_luigi import config
from ben_luigi.commands import command
from ben_luigi.commands.arguments import view as parser
from ben_luigi.commands.damage import whole
from ben_luigi.commands.setting_up import configure
from ben_luigi.domain import leftovers
from ben_luigi.domain.errors import BadArgument, BadInput, PipelineError, some
from ben_luigi.domain.files import atomic_write
from ben_luigi.domain.forms.form import NOTE, read_note
from ben_luigi.domain.given import listed
from ben_luigi.domain.report import viewer, viewer_folders
from ben_luigi.domain.report.rendering import colours_of, read_colours
from ben_luigi.domain.report.report_words import File
from ben_luigi.exit_codes import ExitCode
from ben_luigi.stages.finalize import rules_in, rules_of_default
from ben_luigi.stages.render import COLOURS
from ben_luigi.terminal import bar_format

_SHOWN = 3


def main(arguments: Sequence[str]) -> int:
    """Make the page, and print where it is."""
    used = parser()
    given = used.parse_args(arguments)
    configure(writes=False)
    folder = given.folder or config.data_dir() / config.result_folder()
    try:
        remedy = "name the folder of WebDataset shards or of a dataset"
        command.require_folder(folder, "the folder of shards or of a dataset", remedy, is_given=bool(given.folder))
        target = command.target(given.to, folder, "-viewer")
        _check(target)
        with whole(folder), leftovers.alone_at(target):
            count = _view(folder, target, given)
    except (PipelineError, OSError) as error:
        return command.refuse(used, error, command.code_of(error))
    print(f"{count:,} patches of {folder}: open {target / viewer.PAGE}")
    return ExitCode.DONE


def _check(target: Path) -> None:
    """Raise BadInput if something else than a viewer is in its place."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    there = {path.name for path in listed(target)} if target.is_dir() else set()
    more = some(sorted(there - {viewer.PAGE, viewer.FOLDER, viewer.STYLES}), _SHOWN)
    found = more if {viewer.PAGE, viewer.STYLES} <= there else "something else"
    if found:
        raise BadInput(
            target,
            expected="a viewer made before, which is replaced, or nothing",
            found=f"{found}, which is kept",
            remedy="name another folder by --to, or move away what is there",
        )


def _view(folder: Path, target: Path, given: argparse.Namespace) -> int:
    with tqdm(total=100, desc="viewer", unit="%", disable=None, bar_format=bar_format("%")) as bar:
        files = [] if given.without_hashes else viewer_folders.hashed(folder, lambda at, of: _move(bar, at / (of or 1)))
        bar.reset()
        viewed = _read(folder, given.patches, files)
        with atomic_write(target) as work:
            count = viewer.write_viewer(
                work, viewed.about, viewed.patches, lambda part: _move(bar, part), max(1, viewed.count)
            )
    return count


def _read(folder: Path, most: int, files: list[File]) -> viewer_folders.Folder:
    colours = read_colours(COLOURS)
    if viewer_folders.is_webdataset(folder):
        names, words = rules_of_default().nomenclature, _words("WebDataset", is_v2=False)
        return viewer_folders.of_webdataset(folder, most, viewer_folders.Given(names, colours, words, files))
    if (folder / NOTE).is_file():
        name, remedy = read_note(folder).form, "name the dataset, or export it as webdataset"
        found = f"the form {name}" if name != "webdataset" else "shards without their index.parquet"
        raise BadArgument(folder, expected="WebDataset shards, or a dataset", found=found, remedy=remedy)
    rules = rules_in(folder)
    rules.form.require_in(folder)
    is_v2, names = rules.form.about.is_v2, rules.nomenclature
    words = _words("BigEarthNet v2" if is_v2 else rules.form.about.name, is_v2=is_v2)
    given = viewer_folders.Given(names, colours if is_v2 else colours_of(names), words, files)
    return viewer_folders.of_dataset(folder, rules.form, most, given)


def _words(title: str, *, is_v2: bool) -> dict[str, Any]:
    """Return what head and foot of the page say."""
    version = ben_luigi.__version__
    return {"title": title, "is_v2": is_v2, "sample": False, "root": "", "alone": True, "version": version}


def _move(bar: tqdm[NoReturn], fraction: float) -> None:
    bar.update(round(100 * fraction) - bar.n)
