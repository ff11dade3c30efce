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

from ben_luigi import signals as signals  # first, for Ctrl-C while all the rest is loaded

# isort: split
from ben_luigi import config
from ben_luigi.stages import finalize as finalize
from ben_luigi.stages import outcomes as outcomes

config.set_defaults()
