"""Rebuild BigEarthNet v2 from its sources: `luigi --module ben_luigi FinalizeDataset`.

`docs/architecture.md` lists all tasks, and shows how the data of a tile flow through them.
"""

__version__ = "0.1.0"

from ben_luigi.domain import surroundings

surroundings.shut_out()  # before anything loads a C library

from ben_luigi import signals as signals  # noqa: E402  # for Ctrl-C while all the rest is loaded
from ben_luigi.configuration import loading  # noqa: E402

loading.load()  # before all that takes seconds to load

from ben_luigi import config  # noqa: E402
from ben_luigi.stages import finalize as finalize  # noqa: E402
from ben_luigi.stages import outcomes as outcomes  # noqa: E402

config.set_defaults()
