"""`ben-luigi link-patches LIST FOLDER`: link the patches in a list into a folder, in the layout of the dataset."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ben_luigi import config
from ben_luigi.commands import command
from ben_luigi.commands.run import configure
from ben_luigi.domain.dataset import links
from ben_luigi.domain.errors import PipelineError


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    used = command.parser("ben-luigi link-patches", __doc__)
    used.add_argument(
        "list",
        type=Path,
        metavar="LIST",
        help="file of patch ids, one per line, or Parquet file with a column patch_id",
    )
    used.add_argument("folder", type=Path, metavar="FOLDER", help="where the links go")
    used.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="DIR",
        help="folder with BigEarthNet-S2/; by default what ExportPatches made",
    )
    return used


def main(arguments: Sequence[str]) -> int:
    """Link the patches, and print their number."""
    used = parser()
    options = used.parse_args(arguments)
    source = options.source or _exported()
    try:
        number = links.link(links.read_list(options.list), source, options.folder)
    except (PipelineError, OSError) as error:
        return command.refuse(used, error)
    print(f"{number} patches of {source} are linked in {options.folder}")
    return 0


def _exported() -> Path:
    configure(writes=False)
    return config.data_dir() / "export"
