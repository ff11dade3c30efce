"""`ben-luigi subset`: make a dataset of selected patches, in `subsets/<name>/` of the data folder.

Each option overrides the one of the same name in `[subset]` of the configuration; the other options are those of
`ben-luigi run FinalizeDataset`, such as --workers N.
"""

from __future__ import annotations

from collections.abc import Sequence

from ben_luigi import config
from ben_luigi.commands import run
from ben_luigi.commands.task_arguments import selection_options
from ben_luigi.commands.task_arguments import subset as parser


def main(arguments: Sequence[str]) -> int:
    """Run the whole pipeline with this selection; refuse if there is no selection."""
    used = parser()
    given, others = used.parse_known_args(arguments)
    selected = {option for option, text in vars(given).items() if text is not None}
    if not (selected - {"name"} or config.selection()):
        used.error("at least one of the options that select patches is needed, such as --countries Finland")
    return run.main(["FinalizeDataset", *selection_options(given), *others], used.prog)
