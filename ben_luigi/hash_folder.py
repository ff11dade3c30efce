"""`scripts/hash-folder FOLDER`: the hash list of all TIFFs below a folder, in the form of the published lists."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ben_luigi.domain.errors import PipelineError
from ben_luigi.domain.formats import hashes


def main() -> int:
    """Write the list, and print how long it is and its sha256; exit code 2 if it cannot be made."""
    parser = argparse.ArgumentParser(prog="scripts/hash-folder", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("folder", type=Path, help="folder of TIFFs, at any depth")
    parser.add_argument("list", type=Path, nargs="?", help="CSV file to write; by default <folder>.csv beside it")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), help="that hash at once")
    options = parser.parse_args()
    folder = options.folder.absolute()
    path = options.list or folder.with_name(f"{folder.name}.csv")
    try:
        rows = hashes.of_folder(folder, max(1, options.processes))
        sha256 = hashes.write_list(rows, path)
    except (PipelineError, OSError) as error:
        print(f"hash-folder: {error}", file=sys.stderr)
        return 2
    print(f"{path}: {len(rows)} files; sha256 of the list {sha256}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
