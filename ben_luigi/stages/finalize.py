"""The end: the finished dataset, verified; and a tile's patches as files."""

from __future__ import annotations

import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

import luigi

from ben_luigi import config, terminal
from ben_luigi.domain.dataset.verify import verify_dataset
from ben_luigi.domain.errors import BadArchive, some
from ben_luigi.domain.files import write_text
from ben_luigi.domain.formats import shards
from ben_luigi.domain.tiles.nomenclature import read_nomenclature
from ben_luigi.stages.archives import ArchiveReferenceMaps, ArchiveS1, ArchiveS2
from ben_luigi.stages.comparison import CompareWithPublished, beside_published, digests_made
from ben_luigi.stages.derived import Derived
from ben_luigi.stages.hash_lists import ListHashes, ListS1Hashes
from ben_luigi.stages.metadata import WriteMetadata, selection
from ben_luigi.stages.open_metadata import WriteCroissant, WriteStac
from ben_luigi.stages.patches import CutPatches
from ben_luigi.stages.prerequisites import input_task
from ben_luigi.stages.progress import Progress
from ben_luigi.stages.provenance import WriteProvenance
from ben_luigi.stages.reference_maps import MakeReferenceMaps
from ben_luigi.stages.report import WriteReport
from ben_luigi.stages.resolve import TILE, OverTiles, source
from ben_luigi.stages.tiles import ProcessTiles
from ben_luigi.stages.version1 import CompareV1Labels
from ben_luigi.state.targets import MadeFile

_log = logging.getLogger(__name__)


class ExportPatches(OverTiles):
    """A tile's patches and reference maps as folders of TIFFs, in `export/`."""

    tile = luigi.Parameter(description=TILE)

    def tile_tasks(self) -> list[luigi.Task]:
        """The shards."""
        return [CutPatches(tile=self.tile), MakeReferenceMaps(tile=self.tile)]

    def output(self) -> MadeFile:
        """The list of what was exported."""
        digests = [MadeFile(f"{folder}/{self.tile}.tar").digest() for folder in ("patches", "reference_maps")]
        return MadeFile(f"export/{self.tile}.json", {"shards": digests})

    def run(self) -> Any:
        """Have the shards made, and unpack them."""
        yield self.tile_tasks()
        folder = config.data_dir() / "export"
        written = {}
        for kind in ("patches", "reference_maps"):
            shard = config.data_dir() / kind / f"{self.tile}.tar"
            written[kind] = shards.export(shard, shard.with_suffix(".parquet"), folder)
        write_text(self.output().file, json.dumps(written) + "\n")
        self.output().record("")


class VerifyDataset(Derived):
    """That the archives hold exactly the patches of the metadata, each file in its place and as it must be."""

    def requires(self) -> Any:
        """What is verified."""
        return [WriteMetadata(), ListHashes(), ListS1Hashes(), ArchiveS1(), ArchiveS2(), ArchiveReferenceMaps()]

    def output(self) -> MadeFile:
        """A note that all is well."""
        return MadeFile(f"{config.parts_folder()}/verified.json", {"made": digests_made()})

    def make(self) -> None:
        """Read all of it once; what is wrong is an error that names it."""
        options = config.metadata()
        labels_of = read_nomenclature(Path(str(options.nomenclature))).labels_of
        folder = config.data_dir() / config.result_folder()
        progress = Progress(self, "verifying the dataset")
        found = verify_dataset(folder, partial(labels_of, unlabeled_limit=float(options.unlabeled_limit)), progress)
        if found:
            raise BadArchive(
                folder,
                expected="a dataset that is whole and fits together",
                found=some(found),
                remedy="remove the files that are named from there, and run again",
            )
        write_text(self.output().file, json.dumps({"findings": found}) + "\n")
        self.output().record("")


class FinalizeDataset(Derived):
    """The finished dataset in `dataset/`."""

    def requires(self) -> Any:
        """Everything; a subset that cannot be had is refused here, before anything is made."""
        selection()
        compared = CompareWithPublished()
        made = [ProcessTiles(), WriteProvenance(), VerifyDataset(), compared, *compared.deps()]
        described: list[luigi.Task] = [WriteStac(), WriteCroissant()]
        if not config.selection():
            described.append(WriteReport())
        if config.given_input("v1_s2_dir") is not None:
            described.append(CompareV1Labels())
        return [input_task(source()), *made, *described]

    def make(self) -> None:
        """Nothing is left to do when all of it is there."""
        folder = config.data_dir() / config.result_folder()
        _log.info("the dataset is complete in %s", folder)
        if not terminal.summary_follows:
            print(f"\nThe dataset is complete: {folder}\n{beside_published(folder)}")
