"""Rebuild BigEarthNet v2 from its sources: `luigi --module ben_luigi FinalizeDataset`.

AskCatalogue > ResolveTileIds, DownloadL1C > HashL1C
DownloadL1C > ConvertToL2A > ReadProduct > GridPatches > AssignSplits, AssignCountries, AlignPatches
AlignPatches > CutPatches > MakeReferenceMaps > LabelPatches
all of a tile > ProcessTiles > MapLabels, MapV1Names, MapSplits, MapCountries > WriteMetadata
WriteMetadata > CompressPart > JoinParts, HashTar > ArchiveS1, ArchiveS2, ArchiveReferenceMaps > CompareWithPublished
WriteMetadata > WritePatches > FindSplitLeakage, WriteStac, WriteCroissant
CompareWithPublished, RenderTile > WriteReport > FinalizeDataset
"""

__version__ = "0.1.0"

from ben_luigi.domain import surroundings

surroundings.shut_out()  # before anything loads a C library

from ben_luigi import signals as signals  # noqa: E402  # for Ctrl-C while all the rest is loaded
from ben_luigi.configuration import loading  # noqa: E402

loading.load()  # before all that takes seconds to load

from ben_luigi import config  # noqa: E402
from ben_luigi.stages import export as export  # noqa: E402
from ben_luigi.stages import finalize as finalize  # noqa: E402
from ben_luigi.stages import outcomes as outcomes  # noqa: E402

config.set_defaults()
