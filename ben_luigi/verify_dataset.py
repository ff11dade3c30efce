"""`scripts/verify [FOLDER]`: whether a finished dataset, ours or downloaded, is whole and fits together.

The archives may be unpacked there, as tar does it: BigEarthNet-S2/ and so on, beside the metadata.
Of the dataset that the pipeline makes, which is looked at without FOLDER, everything must be there. Of another one, as
the published dataset, what is not there is not looked at, and this is said. Its rows are held against the inputs that
the options name.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from ben_luigi import command, config, terminal
from ben_luigi.domain.dataset.verify import Verdict, verify_dataset
from ben_luigi.domain.dataset.verify_rules import References
from ben_luigi.domain.errors import DamagedFile, PipelineError
from ben_luigi.domain.placement.grid import TILE_SIDE_M
from ben_luigi.domain.tiles.nomenclature import read_nomenclature
from ben_luigi.run import configure
from ben_luigi.stages.finalize import REFERENCES, finished_archives, finished_files
from ben_luigi.stages.prerequisites import input_path, side_m
from ben_luigi.terminal import bar_format

_WORDS = {
    "countries_geojson": "Natural Earth's borders, for the nearest country",
    "s1s2_mapping_csv": "pairs of v1 and S1 patch",
    "snow_csv": "list of v1 patches with seasonal snow",
    "cloud_csv": "list of v1 patches with cloud or shadow",
}


def main() -> int:
    """Print what is wrong, a line each, and what was not looked at."""
    codes = {
        0: "all that is there is well",
        1: "something is wrong, by name",
        command.CANNOT: "it cannot be told, and why",
    }
    parser = command.parser("verify", __doc__, codes)
    help_text = "folder of the dataset; by default the one that the pipeline makes"
    parser.add_argument("folder", type=Path, nargs="?", metavar="FOLDER", help=help_text)
    for option in REFERENCES:
        parser.add_argument(f"--{option.replace('_', '-')}", type=Path, metavar="FILE", help=_WORDS[option])
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON, as docs/json.md says")
    given = parser.parse_args()
    configure(writes=False)
    own = config.data_dir() / config.result_folder()
    folder = given.folder or own
    try:
        is_own = folder.absolute() == own
        verdict = _verdict(folder, given, is_own)
        wrong = [*verdict.wrong, *(_changed(folder) if is_own else ())]
    except (PipelineError, OSError) as error:
        return command.refuse(parser, error)
    if given.json:
        told = {"version": 1, "folder": str(folder), "is_whole": not wrong}
        print(json.dumps({**told, "findings": wrong, "not_looked_at": verdict.not_looked_at}, indent=1))
        return 1 if wrong else 0
    for what in verdict.not_looked_at:
        print(f"not looked at: {what}")
    for finding in wrong:
        print(finding)
    if wrong:
        print("next: remove what is named there, and run again; or fetch it again, if the dataset was downloaded")
    print(f"{folder}: {f'{len(wrong)} findings' if wrong else 'whole, and all of it fits together'}")
    return 1 if wrong else 0


def _verdict(folder: Path, given: argparse.Namespace, is_own: bool) -> Verdict:
    options = config.metadata()
    digests = {name: made.digest() for name, made in finished_archives().items()} if is_own else {}
    labels_of = read_nomenclature(Path(str(options.nomenclature))).labels_of
    with tqdm(total=100, desc="verifying", unit="%", disable=None, bar_format=bar_format("%")) as bar:
        return verify_dataset(
            folder,
            partial(labels_of, unlabeled_limit=float(options.unlabeled_limit)),
            lambda part: _move(bar, part),
            side_m=side_m() if is_own else TILE_SIDE_M,
            references=References(*(getattr(given, option) or _at_hand(option, is_own) for option in REFERENCES)),
            require_all=is_own,
            recorded={name: digest for name, digest in digests.items() if digest},
        )


def _changed(folder: Path) -> Iterator[str]:
    """The files and folders of the pipeline's own dataset that have another content than when they were made."""
    for made in finished_files():
        try:
            made.check()
        except DamagedFile as error:
            if made.file.exists():
                yield f"{made.file.relative_to(folder.absolute())}: expected {error.expected}; found {error.found}"


def _at_hand(option: str, is_own: bool) -> Path | None:
    """The input that the pipeline's own dataset was made from, if it is there still."""
    path = input_path(option) if is_own else None
    return path if path is not None and path.is_file() else None


def _move(bar: tqdm[NoReturn], part: float) -> None:
    bar.update(round(100 * part) - bar.n)


if __name__ == "__main__":
    terminal.outlive_readers()
    sys.exit(main())
