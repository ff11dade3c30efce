"""Load the whole pipeline: check the configuration and pass it to Luigi, then import every task."""

from ben_luigi import config  # checks it, before everything that takes seconds to load
from ben_luigi.domain.surroundings import without

with without("boto3"):  # both load it for S3 where it is installed: a fifth of the start of every command
    import fiona as fiona
    import rasterio as rasterio

from ben_luigi.stages import export as export
from ben_luigi.stages import finalize as finalize
from ben_luigi.stages import outcomes as outcomes

config.set_defaults()
