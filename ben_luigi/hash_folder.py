"""`scripts/hash-folder FOLDER [LIST]`: the sha256 of all TIFFs below a folder, in the form of the published lists."""

from __future__ import annotations

import sys
from pathlib import Path

from ben_luigi import command, terminal
from ben_luigi.domain import machine
from ben_luigi.domain.errors import PipelineError
from ben_luigi.domain.formats import hashes


def main() -> int:
    """Write the list, and print how long it is and its sha256."""
    parser = command.parser("hash-folder", __doc__, {0: "written", command.CANNOT: "it cannot be made, and why"})
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of TIFFs, at any depth")
    parser.add_argument(
        "list", type=Path, nargs="?", metavar="LIST", help="CSV file to write; by default FOLDER.csv beside it"
    )
    cores = max(1, int(machine.cores()))
    parser.add_argument(
        "--processes", type=int, default=cores, metavar="N", help="that hash at once; by default one a core"
    )
    options = parser.parse_args()
    folder = options.folder.absolute()
    path = options.list or folder.with_name(f"{folder.name}.csv")
    try:
        rows = hashes.of_folder(folder, max(1, options.processes))
        sha256 = hashes.write_list(rows, path)
    except (PipelineError, OSError) as error:
        return command.refuse(parser, error)
    print(f"{path}: {len(rows)} files; sha256 of the list {sha256}")
    return 0


if __name__ == "__main__":
    terminal.outlive_readers()
    sys.exit(main())
