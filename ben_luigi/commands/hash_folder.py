"""`ben-luigi hash-folder FOLDER [LIST]`: list the sha256 of all TIFFs below a folder, as in the published lists."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ben_luigi.commands import command
from ben_luigi.domain import machine
from ben_luigi.domain.errors import PipelineError
from ben_luigi.domain.formats import hashes


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    used = command.parser("ben-luigi hash-folder", __doc__)
    used.add_argument("folder", type=Path, metavar="FOLDER", help="folder of TIFFs, at any depth")
    used.add_argument(
        "list", type=Path, nargs="?", metavar="LIST", help="CSV file to write; by default FOLDER.csv beside it"
    )
    cores = max(1, int(machine.cores()))
    used.add_argument(
        "--processes",
        type=command.whole(1),
        default=cores,
        metavar="N",
        help="number of processes; by default one per core",
    )
    return used


def main(arguments: Sequence[str]) -> int:
    """Write the list, and print its length and its sha256."""
    used = parser()
    options = used.parse_args(arguments)
    folder = options.folder.absolute()
    path = options.list or folder.with_name(f"{folder.name}.csv")
    try:
        rows = hashes.of_folder(folder, options.processes)
        sha256 = hashes.write_list(rows, path)
    except (PipelineError, OSError) as error:
        return command.refuse(used, error)
    print(f"{path}: {len(rows)} files; sha256 of the list {sha256}")
    return 0
