"""`ben-luigi subset`: make a dataset of selected patches, in `subsets/<name>/` of the data folder.

Each option overrides the one of the same name in `[subset]` of the configuration; the other options are those of
`ben-luigi run FinalizeDataset`, such as --workers N.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ben_luigi import config
from ben_luigi.commands import command, run
from ben_luigi.configuration import luigi_options


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options that select patches; others are left to Luigi."""
    used = command.parser("ben-luigi subset", __doc__)
    for option, parameter in config.options_of(config.subset).items():
        text = f"{parameter.description}: {luigi_options.allowed(parameter)}".replace("%", "%%")
        used.add_argument(f"--{option}", metavar=option.upper(), help=text)
    return used


def main(arguments: Sequence[str]) -> int:
    """Run the whole pipeline with this selection; refuse if there is no selection."""
    used = parser()
    given, others = used.parse_known_args(arguments)
    selection = {option: text for option, text in vars(given).items() if text is not None}
    if not (selection.keys() - {"name"} or config.selection()):
        used.error("at least one of the options that select patches is needed, such as --countries Finland")
    options = [f"--subset-{option}={text}" for option, text in selection.items()]
    return run.main(["FinalizeDataset", *options, *others], used.prog)
