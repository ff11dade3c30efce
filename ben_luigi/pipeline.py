"""Load the whole pipeline: check the configuration and pass it to Luigi, then import every task."""

import gc

gc.disable()  # nothing of what is imported is garbage: to look for some takes a seventh of the start of every command

from ben_luigi.domain import deferred  # noqa: E402

deferred.defer("requests", "ben_luigi.domain.network", "ben_luigi.domain.web")  # before Luigi, which imports the first

from ben_luigi import config  # noqa: E402  # checks it, before everything that takes seconds to load
from ben_luigi.configuration import loading  # noqa: E402

deferred.defer(*deferred.LIBRARIES, "ben_luigi.state.schema")  # and SQLAlchemy with it: the tables are mostly there

from ben_luigi.stages import export as export  # noqa: E402
from ben_luigi.stages import finalize as finalize  # noqa: E402
from ben_luigi.stages import outcomes as outcomes  # noqa: E402

config.set_defaults()
if loading.is_luigi():
    from ben_luigi.commands import plain_luigi

    plain_luigi.install()
gc.freeze()  # processes forked from this one neither look through it nor copy it
gc.enable()
