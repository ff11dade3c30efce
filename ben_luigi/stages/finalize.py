"""The end: the result beside the published run, and the finished dataset."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import luigi
import pyarrow as pa
import pyarrow.parquet as pq

from ben_luigi import config
from ben_luigi.domain import comparison, metadata, shards
from ben_luigi.domain.cdse.resolve import read_tile_ids
from ben_luigi.domain.comparison import Line
from ben_luigi.domain.errors import BadArchive, some
from ben_luigi.domain.files import file_hash, write_text
from ben_luigi.domain.l1c import read_hashes
from ben_luigi.domain.nomenclature import read_nomenclature
from ben_luigi.domain.verify import verify_dataset
from ben_luigi.stages.archives import MAPS, S1, S2, ArchiveReferenceMaps, ArchiveS1, ArchiveS2
from ben_luigi.stages.derived import Derived
from ben_luigi.stages.download import HashL1C
from ben_luigi.stages.leakage import FindSplitLeakage, leakage_counts
from ben_luigi.stages.metadata import WriteMetadata, metadata_digests, selection
from ben_luigi.stages.open_metadata import WriteCroissant, WriteStac
from ben_luigi.stages.patches import CutPatches
from ben_luigi.stages.prerequisites import input_task, optional_input
from ben_luigi.stages.provenance import WriteProvenance
from ben_luigi.stages.reference_maps import MakeReferenceMaps
from ben_luigi.stages.resolve import ResolveTileIds, known_tiles, source, tiles
from ben_luigi.stages.tiles import ProcessTiles
from ben_luigi.stages.version1 import CompareV1Labels
from ben_luigi.state import database
from ben_luigi.state.targets import MadeFile

_log = logging.getLogger(__name__)
_FIGURES = config.TRACKED_ARTIFACTS / "published.toml"


class ExportPatches(luigi.Task):
    """A tile's patches and reference maps as folders of TIFFs, in `export/`."""

    tile = luigi.Parameter()

    def requires(self) -> Any:
        """The shards."""
        return [CutPatches(tile=self.tile), MakeReferenceMaps(tile=self.tile)]

    def output(self) -> MadeFile:
        """The list of what was exported."""
        digests = [MadeFile(f"{folder}/{self.tile}.tar").digest() for folder in ("patches", "reference_maps")]
        return MadeFile(f"export/{self.tile}.json", {"shards": digests})

    def run(self) -> None:
        """Unpack the shards."""
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
        return [WriteMetadata(), ArchiveS1(), ArchiveS2(), ArchiveReferenceMaps()]

    def output(self) -> MadeFile:
        """A note that all is well."""
        return MadeFile(f"{config.parts_folder()}/verified.json", _digests())

    def make(self) -> None:
        """Read all of it once; what is wrong is an error that names it."""
        options = config.metadata()
        labels_of = read_nomenclature(Path(str(options.nomenclature))).labels_of
        folder = config.data_dir() / config.result_folder()
        found = verify_dataset(folder, partial(labels_of, unlabeled_limit=float(options.unlabeled_limit)))
        if found:
            raise BadArchive(folder, expected="a dataset that is whole and fits together", found=some(found))
        write_text(self.output().file, json.dumps({"findings": found}) + "\n")
        self.output().record("")


def _digests() -> dict[str, list[str]]:
    """Of the dataset's files: other labels may leave the archives as they are."""
    archives = [task.output()["archive"].digest() for task in (ArchiveS1(), ArchiveS2(), ArchiveReferenceMaps())]
    return {"archives": archives, "metadata": metadata_digests()}


class CompareWithPublished(Derived):
    """`comparison.json`: ids, hashes, metadata and archives beside those of the published run."""

    def requires(self) -> Any:
        """All that is compared."""
        return {
            "metadata": WriteMetadata(),
            "S1": ArchiveS1(),
            "S2": ArchiveS2(),
            "maps": ArchiveReferenceMaps(),
            **({} if config.selection() else {"leakage": FindSplitLeakage()}),
            **({"hashes": HashL1C()} if source() != "l2a_dir" else {}),
            **({"ids": ResolveTileIds()} if source() == "tile_names_csv" else {}),
        }

    def output(self) -> MadeFile:
        """The comparison."""
        made_from = {**_digests(), "tiles": list(known_tiles())}
        return MadeFile(f"{config.result_folder()}/comparison.json", made_from)

    def make(self) -> None:
        """Compare."""
        figures = comparison.read_published(_FIGURES)
        excuse = _excuse()
        rows = pa.concat_tables([pq.read_table(target.path) for target in self.input()["metadata"].values()])
        lines = [
            *self._sources(excuse),
            *self._lists(figures, excuse),
            *self._files(figures, excuse),
            *_counts(rows, figures, excuse),
        ]
        comparison.write(
            self.output().file,
            lines,
            world="sample" if config.is_sample() else "real",
            tiles=sorted(tiles()),
            accept_superseded=bool(config.cdse().accept_superseded),
            subset=config.selection(),
            overlaps={} if config.selection() else leakage_counts(),
            counts=comparison.counted(rows),
        )
        self.output().record("")

    def _sources(self, excuse: str) -> Iterator[Line]:
        """Tile ids and hashes of L1C products, tile by tile where the published lists are at hand."""
        if source() == "tile_names_csv":
            path = ResolveTileIds().output().file
            yield _mapping("tile ids", read_tile_ids(path), optional_input("published_tile_ids_csv"), excuse)
        else:
            yield Line("tile ids", comparison.NOT_COMPARABLE, "", "", f"products come from [inputs] {source()}")
        if source() != "l2a_dir":
            path = self.input()["hashes"]["hashes"].file
            drift = json.loads(self.input()["hashes"]["drift"].file.read_text(encoding="utf-8"))
            published = optional_input("published_l1c_hashes_csv")
            note = "; ".join(f"{tile}: {how}" for tile, how in drift.items() if how != "same")
            yield _mapping("L1C hashes", read_hashes(path), published, excuse, note)
        else:
            yield Line("L1C hashes", comparison.NOT_COMPARABLE, "", "", "products come from [inputs] l2a_dir")

    def _lists(self, figures: comparison.Published, excuse: str) -> Iterator[Line]:
        """Hash lists of all patches and reference maps that were written."""
        for what, folder in (("patch_hashes", "patches"), ("reference_map_hashes", "reference_maps")):
            ours = comparison.hash_list(_hashes(folder), config.data_dir() / "tiles" / f"{what}.csv")
            yield comparison.compare(what, ours, figures.sha256[what], excuse=excuse)

    def _files(self, figures: comparison.Published, excuse: str) -> Iterator[Line]:
        """The metadata files, and the archives before and after compression."""
        bytes_differ = excuse or ("" if config.metadata().writer == "published" else "another writer, other bytes")
        for name in (metadata.METADATA, metadata.FLAGGED):
            path = config.data_dir() / config.result_folder() / name
            yield comparison.compare(name, file_hash(path, "md5"), figures.md5[name], excuse=bytes_differ)
        for name, task in ((S1, "S1"), (S2, "S2"), (MAPS, "maps")):
            hashes = json.loads(self.input()[task]["hashes"].file.read_text(encoding="utf-8"))
            tar, packed = f"{name}.tar", f"{name}.tar.zst"
            yield comparison.compare(tar, hashes["tar_md5"], figures.md5[tar], excuse=excuse)
            other = excuse or "other zstd frames, other bytes: the .tar counts"
            yield comparison.compare(packed, hashes["compressed_md5"], figures.md5[packed], excuse=other)


def _excuse() -> str:
    """Why nothing of this run can be equal to the published one, if so."""
    if config.selection():
        said = "; ".join(f"{name} = {text}" for name, text in config.selection().items())
        return f"only a subset was selected: {said}"
    if config.is_sample():
        return "the sample world is not the published one"
    return f"only {len(tiles())} tiles were selected" if config.selected_tiles() else ""


def _mapping(what: str, ours: dict[str, str], published: Path | None, excuse: str, note: str = "") -> Line:
    if published is None:
        return Line(what, comparison.NOT_COMPARABLE, "", "", excuse or "the published list cannot be had")
    known = read_tile_ids(published) if what == "tile ids" else read_hashes(published)
    changed = comparison.changed_rows(ours, known)
    said = "; ".join(text for text in (changed, note) if text)
    return comparison.compare(what, str(sorted(ours.items())), str(sorted(known.items())), excuse=excuse, note=said)


def _hashes(folder: str) -> Iterator[tuple[str, str]]:
    """Stem and sha256 of every file in the shards, in the order of the tiles' names."""
    rows = database.query("SELECT tile, l2a_name FROM product WHERE tile = ANY(%(tiles)s)", tiles=list(tiles()))
    for tile in rows.sort_values("l2a_name")["tile"]:
        yield from shards.hash_rows(shards.read_index(config.data_dir() / folder / f"{tile}.parquet"))


def _counts(rows: pa.Table, figures: comparison.Published, excuse: str) -> Iterator[Line]:
    flagged = {flag: sum(rows[flag].to_pylist()) for flag in metadata.FLAGS}
    for what, ours in {"patches": rows.num_rows, **flagged}.items():
        yield comparison.compare(what, str(ours), str(figures.counts[what]), excuse=excuse)


class FinalizeDataset(Derived):
    """The finished dataset in `dataset/`."""

    def requires(self) -> Any:
        """Everything; a subset that cannot be had is refused here, before anything is made."""
        selection()
        compared = CompareWithPublished()
        described: list[luigi.Task] = [WriteStac(), WriteCroissant()]
        if config.given_input("v1_s2_dir") is not None:
            described.append(CompareV1Labels())
        first = [input_task(source()), ProcessTiles(), WriteProvenance(), VerifyDataset()]
        return [*first, *described, compared, *compared.deps()]

    def make(self) -> None:
        """Nothing is left to do when all of it is there."""
        _log.info("the dataset is complete in %s", config.data_dir() / config.result_folder())
