"""`ben-luigi render`: pictures of patches, to look at before the end: the task `RenderPatches`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ben_luigi.commands import run

TASK = "RenderPatches"
PROG = "ben-luigi render"


def parser() -> argparse.ArgumentParser:
    """The parser of its help: that of the task."""
    used = run.parser([TASK])
    used.prog = PROG
    return used


def main(arguments: Sequence[str]) -> int:
    """Run the task."""
    return run.main([TASK, *arguments], PROG)
