"""Write the report on the finished dataset."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from ben_luigi import config
from ben_luigi.domain import files
from ben_luigi.domain.dataset import comparison
from ben_luigi.domain.formats.tables import read_own
from ben_luigi.domain.placement.grid import SPLITS, Square
from ben_luigi.domain.recipe.words import described
from ben_luigi.domain.report import report
from ben_luigi.domain.report.report_tiles import IN_SPLIT, Tile
from ben_luigi.domain.report.report_times import read_times
from ben_luigi.domain.report.report_words import File, Sources
from ben_luigi.domain.tiles.nomenclature import read_nomenclature
from ben_luigi.stages.archive_parts import MAPS, S1, S2, archive_names
from ben_luigi.stages.archives import archive_task, archiving
from ben_luigi.stages.comparison import FIGURES, compared
from ben_luigi.stages.hash_lists import ListHashes, listing
from ben_luigi.stages.leakage import FindSplitLeakage
from ben_luigi.stages.metadata import MapV1Names, WriteMetadata
from ben_luigi.stages.open_metadata import WriteCroissant, WritePatches, WriteReadme, form, title
from ben_luigi.stages.prerequisites import input_path, input_task, needed
from ben_luigi.stages.progress import Progress
from ben_luigi.stages.provenance import WriteProvenance
from ben_luigi.stages.render import COLOURS, RenderTile, colours
from ben_luigi.stages.resolve import PRIORITY, OverTiles, tiles
from ben_luigi.stages.stac import WriteStac
from ben_luigi.stages.statistics import WriteStatistics
from ben_luigi.stages.task import PipelineTask
from ben_luigi.stages.twin import twins
from ben_luigi.state import database, timing
from ben_luigi.state.cache import at_hand
from ben_luigi.state.targets import MadeFile, MadeFolder

_ASIDE = {"RenderPatches", "ExportPatches"}
"""Tasks that users run beside the dataset; their paths stay out of it."""

# One text per tile: the states of its patches, as in `report_tiles.STATES`, in the order of x, then y.
_STATES = """
SELECT tile, epsg, left_m, top_m, side_m, (
    SELECT string_agg(
        CASE WHEN a.patch_id IS NULL THEN '.'
             WHEN p.valid IS NOT TRUE THEN '0'
             WHEN NOT EXISTS (SELECT FROM clc_count c WHERE c.patch_id = p.patch_id) THEN 'm'
             WHEN NOT EXISTS (SELECT FROM label l WHERE l.patch_id = p.patch_id) THEN 'u'
             ELSE substr(%(in_split)s, array_position(%(splits)s, s.split), 1) END,
        '' ORDER BY p.x, p.y)
    FROM patch p LEFT JOIN alignment a USING (patch_id) LEFT JOIN split s USING (patch_id)
    WHERE p.tile = product.tile) AS states
FROM product WHERE tile = ANY(%(tiles)s) ORDER BY tile
"""
_COVER = """
SELECT tile, code, sum(pixels) AS pixels FROM clc_count JOIN patch USING (patch_id)
WHERE tile = ANY(%(tiles)s) GROUP BY tile, code ORDER BY tile, code
"""


class WriteReport(OverTiles):
    """`dataset/report/index.html`: a report on the finished dataset. It covers the whole dataset; a subset has none."""

    priority = PRIORITY["archive"]
    code = (Path(report.__file__).parent, Path(__file__), COLOURS, FIGURES)

    def tile_tasks(self) -> list[PipelineTask]:
        """Return the pictures of the tiles."""
        return [RenderTile(tile=tile) for tile in tiles()]

    def requires(self) -> Any:
        """Return what it describes; the tiles are drawn once that exists."""
        return [*self._told(), *_borders()]

    def made_of(self) -> list[PipelineTask]:
        """Return what it describes. The pictures are made from the same shards, and may be removed."""
        return [*self._told(), *_borders()]

    def _told(self) -> list[PipelineTask]:
        archives = [*archiving()]
        made = [
            WriteMetadata(),
            WritePatches(),
            WriteProvenance(),
            *compared(),
            FindSplitLeakage(),
            *twins(),
            WriteStatistics(),
        ]
        listed = [*listing(), WriteStac(), WriteCroissant(), WriteReadme()]
        return [*archives, *made, *listed, *([MapV1Names()] if config.recipe().is_aligned else [])]

    def settings(self) -> dict[str, Any]:
        """Return the classes; and for another recipe than the default one its title and what it says."""
        own = {} if config.recipe().is_default else {"title": title(), "recipe": _recipe()}
        return {"nomenclature": files.file_hash(config.nomenclature()), **own}

    def output(self) -> MadeFolder:
        """Return the folder, which is written as a whole."""
        return self.folder("dataset/report")

    def make(self) -> None:
        """Write it."""
        folder = self.output().file
        sources = _sources({tile: RenderTile(tile=tile).output() for tile in tiles()})
        archives = [task.archive().file for task in archiving() if task.name == S1]  # of which pictures are drawn
        with at_hand(*archives), files.atomic_write(folder) as work:
            report.write_report(work, sources, Progress(self, "report", "tiles", len(sources.tiles)))


def _sources(drawn: dict[str, dict[str, MadeFile]]) -> Sources:
    folder = config.data_dir() / "dataset"
    provenance = WriteProvenance().output().read_json()
    is_default = config.recipe().is_default
    return Sources(
        tiles=_tiles(drawn, provenance["tiles"]),
        rows=pa.concat_tables([read_own(folder / name) for name in form().tables]),
        nomenclature=read_nomenclature(config.nomenclature()),
        colours=colours(),
        countries_geojson=input_path("countries_geojson") if _borders() else None,
        published=comparison.read_published(FIGURES) if is_default else None,
        comparison=next((task.output().read_json() for task in compared()), None),
        provenance=provenance,
        files=_files(folder),
        findings=_findings(),
        leakage=FindSplitLeakage().output()["list"].file,
        twin=next((read_own(task.output()["parquet"].check()) for task in twins()), None),
        statistics=WriteStatistics().output().read_json(),
        times=[one for one in read_times(timing.folder()) if one.family not in _ASIDE],
        world="sample" if config.is_sample() else "real",
        title=title(),
        recipe=_recipe(),
        form=form(),
        dataset=folder,
        unlabeled_limit=config.unlabeled_limit(),
    )


def _recipe() -> dict[str, str]:
    """Return what another recipe than the default one says, in words."""
    recipe = config.recipe()
    if recipe.is_default:
        return {}
    return {"name": recipe.name, "version": recipe.version, "licence": recipe.license, **described(recipe)}


def _borders() -> list[PipelineTask]:
    """Return the input with the borders of countries, if the recipe takes it."""
    return [input_task("countries_geojson")] if "countries_geojson" in needed() else []


def _tiles(drawn: dict[str, dict[str, MadeFile]], facts: dict[str, Any]) -> list[Tile]:
    cover: dict[str, dict[int, int]] = {}
    for tile, code, pixels in database.query(_COVER, tiles=list(drawn)).itertuples(index=False, name=None):
        cover.setdefault(str(tile), {})[int(code)] = int(pixels)
    rows = database.query(_STATES, tiles=list(drawn), in_split=IN_SPLIT, splits=list(SPLITS))
    return [
        Tile(
            key=tile,
            square=Square(left_m, top_m, side_m, epsg),
            states=states,
            facts=facts[tile],
            cover=cover.get(tile, {}),
            patches=config.data_dir() / "patches" / f"{tile}.tar",
            maps=config.data_dir() / "reference_maps" / f"{tile}.tar",
            rgb=drawn[tile]["rgb"].file,
            reference_map=drawn[tile]["reference_map"].file,
            patch_m=config.recipe().patches.side_m,
            at_hand=at_hand,
        )
        for tile, epsg, left_m, top_m, side_m, states in rows.itertuples(index=False, name=None)
    ]


def _files(folder: Path) -> list[File]:
    """Return all files of the dataset but this report; the archives were hashed when they were made."""
    found = []
    names = archive_names()
    for name in (*(name for name in (S2, S1, MAPS) if name in names), *sorted({*names} - {S2, S1, MAPS})):
        recorded = archive_task(name).output().read_json()
        for file, hashes in ((f"{name}.tar.zst", recorded["compressed"]), (f"{name}.tar", recorded["tar"])):
            found.append(File(file, hashes["size_bytes"], hashes["sha256"], hashes["md5"]))
    made = [*WriteMetadata().output().values(), WritePatches().output(), *ListHashes().output().values()]
    made += WriteReadme().output().values()
    single = [*listing()[1:], WriteCroissant(), WriteProvenance(), *compared()]
    made += [target for task in single for target in task.targets().values() if isinstance(target, MadeFile)]
    for path in (*(target.file for target in made), *sorted(WriteStac().output().file.rglob("*.json"))):
        hashes = (files.file_hash(path, algorithm) for algorithm in ("sha256", "md5"))
        found.append(File(path.relative_to(folder).as_posix(), path.stat().st_size, *hashes))
    return found


def _findings() -> dict[str, int]:
    """Count what is unusual about v1 patches; nothing, where none are taken."""
    if not config.recipe().is_aligned:
        return {}
    with MapV1Names().output()["findings"].check().open(encoding="utf-8", newline="") as file:
        return dict(sorted(Counter(row["finding"] for row in csv.DictReader(file)).items()))
