"""`ben-luigi export --tile TILE`: unpack the patches of a tile as folders of TIFFs (the task `ExportPatches`)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ben_luigi.commands import run

TASK = "ExportPatches"
PROG = "ben-luigi export"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the help, which is that of the task."""
    used = run.parser([TASK])
    used.prog = PROG
    return used


def main(arguments: Sequence[str]) -> int:
    """Run the task."""
    return run.main([TASK, *arguments], PROG)
