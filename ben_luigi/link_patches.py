"""`scripts/link-patches LIST FOLDER`: link the patches in a list into a folder, in the layout of the dataset."""

from __future__ import annotations

import sys
from pathlib import Path

from ben_luigi import command, config, terminal
from ben_luigi.domain.dataset import links
from ben_luigi.domain.errors import PipelineError
from ben_luigi.run import configure


def main() -> int:
    """Link them, and say how many there are."""
    codes = {0: "all are linked", command.CANNOT: "none is linked, and why"}
    parser = command.parser("link-patches", __doc__, codes)
    parser.add_argument("list", type=Path, metavar="LIST", help="patch ids, one a line, or parquet with patch_id")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the links go")
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="DIR",
        help="folder with BigEarthNet-S2/; by default what ExportPatches made",
    )
    options = parser.parse_args()
    source = options.source or _exported()
    try:
        number = links.link(links.read_list(options.list), source, options.folder)
    except (PipelineError, OSError) as error:
        return command.refuse(parser, error)
    print(f"{number} patches of {source} are linked in {options.folder}")
    return 0


def _exported() -> Path:
    configure(writes=False)
    return config.data_dir() / "export"


if __name__ == "__main__":
    terminal.outlive_readers()
    sys.exit(main())
