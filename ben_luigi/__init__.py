"""Rebuild BigEarthNet v2 from its sources: `luigi --module ben_luigi FinalizeDataset`.

`docs/architecture.md` lists all tasks, and shows how the data of a tile flow through them.
"""

import sys

__version__ = "0.1.0"

from ben_luigi.domain import surroundings

surroundings.shut_out()  # before anything loads a C library

from ben_luigi import signals  # noqa: E402  # for Ctrl-C while all the rest is loaded


def _is_wanted_itself() -> bool:
    """Return whether the package is imported, as Luigi does, and not a module in it such as `ben_luigi.domain.names`.

    A module in it may be of `domain`, which needs no Luigi; `stages` loads the pipeline by itself.
    """
    frame = sys._getframe()
    while frame := frame.f_back:  # type: ignore[assignment]
        if frame.f_code.co_name == "_find_and_load" and str(frame.f_locals.get("name")).startswith(f"{__name__}."):
            return False
    return True


if not signals.STARTS_PROGRAM and _is_wanted_itself():  # the program loads it when a command needs it
    from ben_luigi import pipeline as pipeline
