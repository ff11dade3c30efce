"""`ben-luigi render`: make pictures of patches, even before a run is complete (the task `RenderPatches`)."""

from __future__ import annotations

from collections.abc import Sequence

from ben_luigi.commands import run
from ben_luigi.commands.task_arguments import PICTURES_TASK
from ben_luigi.commands.task_arguments import render as parser


def main(arguments: Sequence[str]) -> int:
    """Run the task."""
    return run.main([PICTURES_TASK, *arguments], parser().prog)
