"""Load the whole pipeline: check the configuration and pass it to Luigi, then import every task."""

from ben_luigi.configuration import loading

loading.load()  # before everything that takes seconds to load

from ben_luigi import config  # noqa: E402
from ben_luigi.stages import export as export  # noqa: E402
from ben_luigi.stages import finalize as finalize  # noqa: E402
from ben_luigi.stages import outcomes as outcomes  # noqa: E402

config.set_defaults()
