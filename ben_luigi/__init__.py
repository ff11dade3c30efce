"""Rebuild BigEarthNet v2 from its sources: `luigi --module ben_luigi FinalizeDataset`.

`docs/architecture.md` lists all tasks, and shows how the data of a tile flow through them.
"""

import sys

__version__ = "0.1.0"

from ben_luigi.domain import surroundings

surroundings.shut_out()  # before anything loads a C library

from ben_luigi import signals  # noqa: E402  # for Ctrl-C while all the rest is loaded

if "luigi" in sys.modules and not signals.STARTS_PROGRAM:  # Luigi wants all tasks; others import what they need
    from ben_luigi import pipeline as pipeline
