"""`ben-luigi unpack FOLDER`: unpack the archives of a finished dataset, ours or downloaded, into folders of TIFFs.

Before it begins, it says how many files and bytes that makes, and whether the disk has room for them. The archives are
unpacked side by side, and what is there in the end is counted against the metadata: a file too few, or one that is not
the archive's, is an error. Run it again after it was stopped or killed: it compares what is there, and goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from ben_luigi import config
from ben_luigi.commands import command
from ben_luigi.commands.arguments import unpack as parser
from ben_luigi.commands.damage import whole
from ben_luigi.commands.setting_up import configure
from ben_luigi.domain.dataset import unpacking
from ben_luigi.domain.dataset.form import FORM_V2, Rules
from ben_luigi.domain.dataset.verify_archives import Contents
from ben_luigi.domain.errors import BadArgument, PipelineError
from ben_luigi.exit_codes import ExitCode
from ben_luigi.terminal import bar_format


def main(arguments: Sequence[str]) -> int:
    """Unpack, and print what is there."""
    used = parser()
    given = used.parse_args(arguments)
    own = _own()
    dataset = given.source or own
    try:
        if given.folder.resolve().is_relative_to(own.resolve()):
            expected, remedy = "a folder outside of the finished dataset", "name another folder"
            raise BadArgument(given.folder, expected=expected, found="one in it", remedy=remedy)
        remedy = "name the folder of a dataset by --from, or make one by ben-luigi run"
        command.require_folder(dataset, "the folder of a dataset", remedy, is_given=bool(given.source))
        with whole(dataset):
            done = _unpack(dataset, given)
    except (PipelineError, OSError) as error:
        return command.refuse(used, error, command.code_of(error))
    for one in done:
        kept = f" ({one.kept:,} of them were there before)" if one.kept else ""
        print(f"{one.archive}: {one.patches:,} patches{kept}, {one.files:,} files, as the metadata says")
    return ExitCode.DONE


def _unpack(dataset: Path, given: argparse.Namespace) -> list[unpacking.Unpacked]:
    rules = Rules.within(dataset, config.TRACKED_ARTIFACTS)
    form = (rules.form if rules else FORM_V2).with_layers_in(dataset)
    archives = unpacking.archives_of(dataset, form, given.only)
    room = unpacking.room_for(dataset, archives, given.folder)
    if not room.size_bytes:
        print(f"each patch is in {given.folder} already; they are compared with the archives")
        return _moved(dataset, archives, given.folder)
    print(f"{room.inodes:,} files and folders of {room.size_bytes:,} bytes are to be written to {given.folder}")
    unpacking.check_room(given.folder, room)
    return _moved(dataset, archives, given.folder)


def _moved(dataset: Path, archives: Sequence[Contents], folder: Path) -> list[unpacking.Unpacked]:
    with tqdm(total=100, desc="unpacking", unit="%", disable=None, bar_format=bar_format("%")) as bar:
        return unpacking.unpack(dataset, archives, folder, lambda at, total: _move(bar, at, total))


def _own() -> Path:
    configure(writes=False)
    return config.data_dir() / config.result_folder()


def _move(bar: tqdm[NoReturn], at: int, total: int | None) -> None:
    bar.update(100 * at // (total or 1) - bar.n)
