"""`scripts/verify [FOLDER]`: whether a finished dataset, ours or downloaded, is whole and fits together."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from ben_luigi import command, config, terminal
from ben_luigi.domain.dataset.verify import verify_dataset
from ben_luigi.domain.errors import PipelineError
from ben_luigi.domain.tiles.nomenclature import read_nomenclature
from ben_luigi.run import configure
from ben_luigi.terminal import bar_format


def main() -> int:
    """Print what is wrong, a line each."""
    codes = {0: "all is well", 1: "something is wrong, by name", command.CANNOT: "it cannot be told, and why"}
    parser = command.parser("verify", __doc__, codes)
    help_text = "folder of the dataset; by default the one that the pipeline makes"
    parser.add_argument("folder", type=Path, nargs="?", metavar="FOLDER", help=help_text)
    folder = parser.parse_args().folder
    configure()
    folder = folder or config.data_dir() / config.result_folder()
    try:
        options = config.metadata()
        labels_of = read_nomenclature(Path(str(options.nomenclature))).labels_of
        limited = partial(labels_of, unlabeled_limit=float(options.unlabeled_limit))
        with tqdm(total=100, desc="verifying", unit="%", disable=None, bar_format=bar_format("%")) as bar:
            findings = verify_dataset(folder, limited, lambda part: _move(bar, part))
    except (PipelineError, OSError) as error:
        return command.refuse(parser, error)
    for finding in findings:
        print(finding)
    print(f"{folder}: {f'{len(findings)} findings' if findings else 'whole, and all of it fits together'}")
    return 1 if findings else 0


def _move(bar: tqdm[NoReturn], part: float) -> None:
    bar.update(round(100 * part) - bar.n)


if __name__ == "__main__":
    terminal.outlive_readers()
    sys.exit(main())
