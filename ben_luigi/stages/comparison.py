"""Compare the result with the published run."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from ben_luigi import config
from ben_luigi.domain.cdse.resolve import read_tile_ids
from ben_luigi.domain.dataset import comparison, differences, metadata, subset, twin
from ben_luigi.domain.dataset.comparison import Line
from ben_luigi.domain.dataset.form import HASH_LISTS
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.files import file_hash, text_hash
from ben_luigi.domain.formats.tables import read_own
from ben_luigi.domain.names import ProductName, patch_id_of, tile_name_of
from ben_luigi.domain.products.l1c import read_hashes
from ben_luigi.stages.archive_parts import MAPS, S1, S2, dataset_tiles, kept
from ben_luigi.stages.archives import ArchiveReferenceMaps, ArchiveS1, ArchiveS2
from ben_luigi.stages.download import HashL1C, l1c_task
from ben_luigi.stages.hash_lists import ListHashes, ListS1Hashes
from ben_luigi.stages.leakage import FindSplitLeakage, leakage_counts
from ben_luigi.stages.metadata import WriteMetadata, noted_selection, selected
from ben_luigi.stages.prerequisites import TryInput, optional_path
from ben_luigi.stages.resolve import ResolveTileIds, is_fetched_l1c, is_from_l1c, known_tiles, source, tiles
from ben_luigi.stages.task import PipelineTask
from ben_luigi.state import contents, database
from ben_luigi.state.targets import MadeFile

FIGURES = config.TRACKED_ARTIFACTS / "published.toml"
_METADATA = {metadata.METADATA, metadata.FLAGGED}
_LISTS = {HASH_LISTS[S2], HASH_LISTS[MAPS]}


class CompareWithPublished(PipelineTask):
    """`comparison.json`: ids, hashes, metadata and archives compared with those of the published run."""

    code = (comparison, differences, FIGURES)
    options = ("metadata.writer", "cdse.accept_superseded")

    def requires(self) -> Any:
        """Return everything that is compared, and the published lists, as far as they are available."""
        return {
            "metadata": WriteMetadata(),
            "S1": ArchiveS1(),
            "S2": ArchiveS2(),
            "maps": ArchiveReferenceMaps(),
            "lists": ListHashes(),
            "S1 list": ListS1Hashes(),
            **{option: TryInput(option=option) for option in ("published_tile_ids_csv", "published_l1c_hashes_csv")},
            **({} if config.selection() else {"leakage": FindSplitLeakage()}),
            **({"hashes": HashL1C()} if is_from_l1c() else {}),
            **({"ids": ResolveTileIds()} if is_fetched_l1c() else {}),
        }

    def settings(self) -> dict[str, Any]:
        """Return what the comparison depends on otherwise."""
        others = {path.name: contents.signature(path) for path in _others()}
        of = {"tiles": list(known_tiles()), "subset": selected()}
        return {"compared_with": others, "sample": config.is_sample(), **of}

    def output(self) -> MadeFile:
        """Return the comparison."""
        return self.file(f"{config.result_folder()}/comparison.json")

    def make(self) -> None:
        """Compare."""
        figures = comparison.read_published(FIGURES)
        reason = _reason(figures.counts["products"])
        unflagged, flagged = (read_own(target.check()) for target in WriteMetadata().output().values())
        lines = [
            *self._sources(reason),
            *self._lists(figures, reason),
            *self._files(figures, reason),
            *_row_by_row(),
            *comparison.compare_counts(unflagged, flagged, figures, reason),
        ]
        comparison.write(
            self.output().file,
            lines,
            world="sample" if config.is_sample() else "real",
            tiles=dataset_tiles(),
            accept_superseded=bool(config.cdse().accept_superseded),
            subset=noted_selection(),
            overlaps={} if config.selection() else leakage_counts(),
            counts=comparison.counted(pa.concat_tables([unflagged, flagged])),
        )

    def _sources(self, reason: str) -> Iterator[Line]:
        """Compare tile ids and hashes of L1C products, tile by tile if the published lists are available."""
        if is_fetched_l1c():
            path = ResolveTileIds().output().file
            yield _mapping("tile ids", read_tile_ids(path), optional_path("published_tile_ids_csv"), reason)
        else:
            yield Line("tile ids", comparison.NOT_COMPARABLE, "", "", f"products come from [inputs] {source()}")
        if is_from_l1c():
            yield _l1c_hashes(reason)
        else:
            yield Line("L1C hashes", comparison.NOT_COMPARABLE, "", "", "products come from [inputs] l2a_dir")

    def _lists(self, figures: comparison.Published, reason: str) -> Iterator[Line]:
        """Compare the hash lists of all written patches and reference maps."""
        lists = {**ListHashes().output(), "s1_hashes.csv": ListS1Hashes().output()}
        for name, target in lists.items():
            what = name.removesuffix(".csv")
            yield comparison.compare(what, target.digest(), figures.sha256.get(what, ""), reason=reason)

    def _files(self, figures: comparison.Published, reason: str) -> Iterator[Line]:
        """Compare the metadata files, and the archives before and after compression."""
        bytes_differ = reason or ("" if config.metadata().writer == "published" else "another writer, other bytes")
        for name in (metadata.METADATA, metadata.FLAGGED):
            path = config.data_dir() / config.result_folder() / name
            yield comparison.compare(name, file_hash(path, "md5"), figures.md5[name], reason=bytes_differ)
        for name, task in ((S1, ArchiveS1()), (S2, ArchiveS2()), (MAPS, ArchiveReferenceMaps())):
            hashes = task.output().read_json()
            tar, packed = f"{name}.tar", f"{name}.tar.zst"
            yield comparison.compare(tar, hashes["tar"]["md5"], figures.md5[tar], reason=reason)
            other = reason or "other zstd frames, other bytes: the .tar counts"
            yield comparison.compare(packed, hashes["compressed"]["md5"], figures.md5[packed], reason=other)


def compared() -> list[CompareWithPublished]:
    """Return the comparison, if the dataset is one that was published: that of the default recipe."""
    return [CompareWithPublished()] if config.recipe().is_default else []


def _row_by_row() -> Iterator[Line]:
    """Compare metadata and hash lists with another run, if its folder is given, for this run's tiles."""
    names = [path.name for path in _others()]
    if not names:
        return
    folders = config.data_dir() / config.result_folder(), config.given_input("compare_with_dir") or Path()
    rows = database.query("SELECT l2a_name FROM product WHERE tile = ANY(%(tiles)s)", tiles=list(known_tiles()))
    tile_names = {ProductName.parse(name).tile_name for name in rows["l2a_name"]}

    def of_ours(name: str) -> bool:
        return tile_name_of(name) in tile_names

    chosen = kept() if config.selection() else {}

    def of_subset(name: str) -> bool:
        return name in chosen or patch_id_of(name) in chosen

    keep = of_subset if chosen else of_ours
    if {*names} & _METADATA:
        both = (differences.metadata_rows(folder, keep) for folder in folders)
        yield comparison.compare_rows("metadata, row by row", differences.differences(differences.COLUMNS, *both))
    for name in names:
        if name not in _METADATA:
            both = (differences.hash_rows(folder / name, keep) for folder in folders)
            yield comparison.compare_rows(f"{name}, row by row", differences.differences(["sha256"], *both))


def _others() -> list[Path]:
    """Return the files of another run to compare with."""
    folder = config.given_input("compare_with_dir")
    if folder is None:
        return []
    found = [folder / name for name in sorted(_METADATA | _LISTS) if (folder / name).is_file()]
    if not found and twin.pixels_in(folder) is None:
        raise BadInput(
            folder,
            expected=f"one of {', '.join(sorted(_METADATA | _LISTS))}, or the patches of a dataset",
            found="none of them" if folder.is_dir() else "no folder there",
            remedy="correct [inputs] compare_with_dir, or leave it out",
        )
    return found


def beside_published() -> str:
    """Return the comparison of the finished dataset as a table; for another recipe than the default one, nothing."""
    return "\n".join(
        f"Beside the published run:\n{comparison.table(task.output().read_json()['compared'])}" for task in compared()
    )


def _reason(products: int) -> str:
    """Return why nothing of this run, made from `products` products, can equal the published one; empty if it can."""
    if config.selection():
        return f"only a subset was selected: {subset.in_words(noted_selection())}"
    if config.is_sample():
        return "the sample world is not the published one"
    return f"made of {len(tiles())} of {products} products" if len(tiles()) < products else ""


def _l1c_hashes(reason: str) -> Line:
    """Compare the hashes of L1C zips. A product that came as a folder has none: its files are proven one by one."""
    hashes = read_hashes(HashL1C().output()["hashes"].check())
    deviation = HashL1C().output()["drift"].read_json()
    note = "; ".join(f"{tile}: {how}" for tile, how in deviation.items() if how != "same")
    folders = [tile for tile in deviation if not l1c_task(tile).report()["sha256"]]
    if folders and not hashes:
        return Line("L1C hashes", comparison.NOT_COMPARABLE, "", "", f"there is no zip; {note}")
    without = {l1c_task(tile).report()["id"] for tile in folders}
    return _mapping("L1C hashes", hashes, optional_path("published_l1c_hashes_csv"), reason, note, without)


def _mapping(
    what: str,
    ours: dict[str, str],
    published: Path | None,
    reason: str,
    note: str = "",
    without: Collection[str] = (),
) -> Line:
    """Compare two mappings, without the keys in `without`."""
    if published is None:
        return Line(what, comparison.NOT_COMPARABLE, "", "", reason or "the published list is not available")
    known = read_tile_ids(published) if what == "tile ids" else read_hashes(published)
    known = {key: value for key, value in known.items() if key not in without}
    changed = comparison.changed_rows(ours, known)
    said = "; ".join(text for text in (changed, note) if text)
    digests = (text_hash(str(sorted(rows.items()))) for rows in (ours, known))
    return comparison.compare(what, *digests, reason=reason, note=said)
