"""`ben-luigi verify [FOLDER]`: check that a finished dataset, ours or downloaded, is complete and consistent.

The archives may be unpacked there by tar: BigEarthNet-S2/ and so on, beside the metadata.

In the pipeline's own dataset, which is checked without FOLDER, everything must exist. In another one, such as the
published dataset, what is missing is not checked, and this is reported. Its rows are compared with the inputs that the
options name.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from ben_luigi import config
from ben_luigi.commands import command
from ben_luigi.commands.run import configure
from ben_luigi.domain.dataset.verify import Verdict, verify_dataset
from ben_luigi.domain.dataset.verify_rules import References
from ben_luigi.domain.errors import BadInput, DamagedFile, PipelineError
from ben_luigi.domain.placement.grid import TILE_SIDE_M
from ben_luigi.domain.tiles.nomenclature import read_nomenclature
from ben_luigi.exit_codes import ExitCode
from ben_luigi.stages.finalize import REFERENCES, finished_archives, finished_files
from ben_luigi.stages.prerequisites import input_path, side_m
from ben_luigi.terminal import bar_format

_WORDS = {
    "countries_geojson": "Natural Earth's borders, for the nearest country",
    "s1s2_mapping_csv": "pairs of v1 and S1 patch",
    "snow_csv": "list of v1 patches with seasonal snow",
    "cloud_csv": "list of v1 patches with cloud or shadow",
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    used = command.parser("ben-luigi verify", __doc__)
    help_text = "folder of the dataset; by default the one that the pipeline makes"
    used.add_argument("folder", type=Path, nargs="?", metavar="FOLDER", help=help_text)
    for option in REFERENCES:
        used.add_argument(f"--{option.replace('_', '-')}", type=Path, metavar="FILE", help=_WORDS[option])
    used.add_argument("--json", action="store_true", help="print the verdict as JSON, as docs/json.md says")
    return used


def main(arguments: Sequence[str]) -> int:
    """Print the findings, one per line, and what was not checked."""
    used = parser()
    given = used.parse_args(arguments)
    configure(writes=False)
    own = config.data_dir() / config.result_folder()
    folder = given.folder or own
    if not folder.is_dir():
        remedy = "name the folder of a dataset" if given.folder else "make it first, by ben-luigi run, or name another"
        nothing = BadInput(folder, expected="the folder of a dataset", found="no folder", remedy=remedy)
        return command.refuse(used, nothing, ExitCode.WRONG_ARGUMENTS if given.folder else ExitCode.WAITS_FOR_PERSON)
    try:
        is_own = folder.absolute() == own
        verdict = _verdict(folder, given, is_own)
        wrong = [*verdict.wrong, *(_changed(folder) if is_own else ())]
    except (PipelineError, OSError) as error:
        return command.refuse(used, error)
    if given.json:
        told = {"version": 1, "folder": str(folder), "is_whole": not wrong}
        print(json.dumps({**told, "findings": wrong, "not_looked_at": verdict.not_looked_at}, indent=1))
        return ExitCode.FINDINGS if wrong else ExitCode.DONE
    for what in verdict.not_looked_at:
        print(f"not looked at: {what}")
    for finding in wrong:
        print(finding)
    if wrong:
        print("next: remove what is named there, and run again; or fetch it again, if the dataset was downloaded")
    print(f"{folder}: {f'{len(wrong)} findings' if wrong else 'whole, and all of it fits together'}")
    return ExitCode.FINDINGS if wrong else ExitCode.DONE


def _verdict(folder: Path, given: argparse.Namespace, is_own: bool) -> Verdict:
    options = config.metadata()
    digests = {name: made.digest() for name, made in finished_archives().items()} if is_own else {}
    labels_of = read_nomenclature(Path(str(options.nomenclature))).labels_of
    with tqdm(total=100, desc="verifying", unit="%", disable=None, bar_format=bar_format("%")) as bar:
        return verify_dataset(
            folder,
            partial(labels_of, unlabeled_limit=float(options.unlabeled_limit)),
            lambda fraction: _move(bar, fraction),
            side_m=side_m() if is_own else TILE_SIDE_M,
            references=References(*(getattr(given, option) or _at_hand(option, is_own) for option in REFERENCES)),
            require_all=is_own,
            recorded={name: digest for name, digest in digests.items() if digest},
        )


def _changed(folder: Path) -> Iterator[str]:
    """Yield the files and folders of the pipeline's own dataset whose content has changed since they were made."""
    for made in finished_files():
        try:
            made.check()
        except DamagedFile as error:
            if made.file.exists():
                yield f"{made.file.relative_to(folder.absolute())}: expected {error.expected}; found {error.found}"


def _at_hand(option: str, is_own: bool) -> Path | None:
    """Return the input that the pipeline's own dataset was made from, if it still exists."""
    path = input_path(option) if is_own else None
    return path if path is not None and path.is_file() else None


def _move(bar: tqdm[NoReturn], fraction: float) -> None:
    bar.update(round(100 * fraction) - bar.n)
