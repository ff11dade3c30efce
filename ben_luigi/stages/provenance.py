"""Record where each tile comes from, and what it was made with."""

from __future__ import annotations

import csv
from contextlib import suppress
from pathlib import Path
from typing import Any

from luigi.task import flatten

from ben_luigi import config
from ben_luigi.domain import files
from ben_luigi.domain.errors import DamagedFile, PipelineError
from ben_luigi.domain.forms.source import offset_tiles
from ben_luigi.domain.recipe.model import BLOCKS
from ben_luigi.domain.remembered import remembered
from ben_luigi.stages.archive_parts import dataset_tiles, lacking_layers
from ben_luigi.stages.atmosphere import ConvertToL2A, FetchL2A, l2a_task
from ben_luigi.stages.download import l1c_task
from ben_luigi.stages.land_cover import from_service, service_facts
from ben_luigi.stages.metadata import WriteMetadata, noted_selection, selected
from ben_luigi.stages.places import listed_grids
from ben_luigi.stages.prerequisites import HashInput, input_facts, input_task, needed
from ben_luigi.stages.rasters import facts as raster_facts
from ben_luigi.stages.rasters import of_product
from ben_luigi.stages.resolve import (
    AskCatalogue,
    CheckProducts,
    is_fetched_l1c,
    is_from_l1c,
    is_listed_by_us,
    is_searched,
    missing_tiles,
    product_of,
    source,
    tiles,
)
from ben_luigi.stages.task import PipelineTask
from ben_luigi.stages.tiles import ProcessTiles, kept, of_all_tiles
from ben_luigi.state import code, database
from ben_luigi.state.snapshot import snapshot
from ben_luigi.state.targets import MadeFile

_KEPT = ("id", "name", "sha256", "source", "sources", "proven_by", "trace", "repaired", "verified_by", "not_verified")
"""Keys of a report on a product about where the product came from, and how it was proven."""
_ROWS = """
SELECT tile, l2a_name, baseline, start_time::text AS start_time, boa_offset, left_m, top_m, side_m,
       general_quality, geometric_quality, radiometric_quality, sensor_quality,
       (SELECT count(*) FROM patch p WHERE p.tile = product.tile AND valid) AS patches,
       (SELECT count(DISTINCT patch_id) FROM clc_count JOIN patch p USING (patch_id) WHERE p.tile = product.tile)
           AS reference_maps,
       (SELECT count(DISTINCT patch_id) FROM label JOIN patch p USING (patch_id) WHERE p.tile = product.tile)
           AS labelled
FROM product WHERE tile = ANY(%(tiles)s) ORDER BY tile
"""


class WriteProvenance(PipelineTask):
    """`provenance.json`: for each tile its products, hashes, counts and software; and all inputs."""

    code = (Path(__file__),)
    options = ("cdse.accept_superseded", "tile.accept_offset")

    def requires(self) -> Any:
        """Return all tiles, the catalogue's answers, and the inputs; for a subset, also the metadata."""
        return [ProcessTiles(), *([AskCatalogue()] if is_fetched_l1c() else []), *used_inputs(), *_chosen()]

    def made_of(self) -> list[PipelineTask]:
        """Return what was made of each tile, and the inputs; for a subset, also the metadata."""
        return [*of_all_tiles(*kept()), *used_inputs(), *from_service(), *_chosen()]

    def settings(self) -> dict[str, Any]:
        """Return what was recorded of products and software; and the subset, if there is one."""
        noted = []
        for tile in tiles():
            with suppress(DamagedFile):  # which `make()` says
                noted.append(f"{tile} {_noted(tile)}")
        missing = {"missing": found} if (found := missing_tiles()) else {}
        return {"noted": files.text_hash("\n".join(noted)), "subset": selected(), **missing, **_recipe()}

    def output(self) -> MadeFile:
        """Return the file."""
        return self.file(f"{config.result_folder()}/provenance.json")

    def make(self) -> None:
        """Collect what was recorded."""
        rows = database.query(_ROWS, tiles=dataset_tiles()).to_dict("records")
        by_tile = {str(row["tile"]): {**row, **_of_tile(str(row["tile"]))} for row in rows}
        land_cover = service_facts()
        content = {
            **_recipe(),
            "software": code.versions(),
            "settings": {
                "source": source(),
                "accept_superseded": bool(config.cdse().accept_superseded),
                "accept_offset": config.tile().accept_offset,
                "subset": noted_selection(),
                **of_product(),
            },
            "inputs": {
                **input_facts([task.option for task in used_inputs()]),
                **({"tile_names_csv": CheckProducts().facts()} if is_listed_by_us() else {}),
                **({"land_cover_service": land_cover} if land_cover else {}),
            },
            **({"missing": missing} if (missing := missing_tiles()) else {}),
            "tiles": by_tile,
        }
        files.write_json(self.output().file, content)


def noted_offset() -> dict[str, str]:
    """Return the hash of the names of the tiles whose pixels carry BOA_ADD_OFFSET; nothing if those of none do."""
    with suppress(PipelineError):  # damage, which is told before anything is made from it
        if tiles := offset_tiles(config.data_dir() / config.result_folder()):
            return {"boa_offset": files.text_hash("\n".join(sorted(tiles)))}
    return {}


def _recipe() -> dict[str, Any]:
    """Return what another recipe than the default one is called, and the hashes that prove it.

    Splits by blocks depend on all tiles of the list, those without patches in the dataset included.
    """
    recipe = config.recipe()
    if recipe.is_default:
        return {}
    hashes = {"sha256": _text_hash(recipe.path), "nomenclature_sha256": _text_hash(config.nomenclature())}
    grids = sorted((grid for grid, _ in listed_grids().values()), key=lambda grid: grid.tile_name)
    listed = {grid.tile_name: [grid.square.left, grid.square.top, grid.square.side_m] for grid in grids}
    return {
        "recipe": {
            "name": recipe.name,
            "title": recipe.title,
            "version": recipe.version,
            **hashes,
            **({"listed": listed} if recipe.split.rule == BLOCKS else {}),
        }
    }


def _text_hash(path: Path) -> str:
    """Return the hash of a text as it lies in the dataset."""
    return files.text_hash(path.read_text(encoding="utf-8-sig"))


def _chosen() -> list[PipelineTask]:
    """Return the tasks that say which tiles a subset has patches of."""
    return [WriteMetadata()] if config.selection() else []


def used_inputs() -> list[HashInput]:
    """Return the inputs that every run uses, wherever it starts."""
    start = [source()] if source() == "tile_names_csv" and not (is_listed_by_us() or is_searched()) else []
    return [input_task(option) for option in (*start, *needed())]


def _noted(tile: str) -> dict[str, Any]:
    """Return what was recorded while a tile was made."""
    with snapshot():
        return {**products(tile), **_made_with(tile)}


def _of_tile(tile: str) -> dict[str, Any]:
    """Return what is recorded of a tile; with what layers and Sentinel-1 were cut from, and layers that it lacks."""
    rasters, lacking = raster_facts(tile), lacking_layers(tile)
    return {
        **_noted(tile),
        **({"rasters": rasters} if rasters else {}),
        **({"lacks": lacking} if lacking else {}),
    }


def _recorded(task: PipelineTask) -> dict[str, Any]:
    """Return the versions of software and code that made the results of a task."""
    found = [target.recorded().get("made_with", {}) for target in flatten(task.output())]
    return next((made_with for made_with in found if made_with), {})


def _made_with(tile: str) -> dict[str, Any]:
    """Return what made a tile, for each step; as indexes of a list, since most steps share one entry."""
    by_version: dict[str, dict[str, Any]] = {}
    tasks: list[PipelineTask] = [task(tile=tile) for task in kept()]
    tasks += [l2a_task(tile), *([l1c_task(tile)] if is_from_l1c() else [])]
    for task in tasks:
        made_with = _recorded(task)
        known = by_version.setdefault(str(made_with), {"software": made_with, "steps": []})
        known["steps"] = sorted([*known["steps"], task.task_family])
    return {"made_with": list(by_version.values())}


def products(tile: str) -> dict[str, Any]:
    """Return what was recorded of a tile's products, if they exist; nothing if the user's L2A products were used."""
    if isinstance(fetch := l2a_task(tile), FetchL2A):
        note = fetch.output().read_object() if fetch.output().file.exists() else {}
        known = {name: note[name] for name in _KEPT if note.get(name)}
        return {"l2a": known} if known else {}
    convert, find = ConvertToL2A(tile=tile), l1c_task(tile) if is_from_l1c() else None
    if find is None or not (convert.output().file.exists() and find.output()["report"].file.exists()):
        return {}
    note, report = convert.output().read_object(), find.report()
    known = {name: report[name] for name in _KEPT if name in report}
    return {"l1c": {**known, **_state(str(product_of(tile)))}, "sen2cor": note["sen2cor"]}


def _state(name: str) -> dict[str, str]:
    """Return the answer of CDSE's catalogue about the product."""
    path = AskCatalogue().output()["states"].file
    if not (is_fetched_l1c() and path.exists()):
        return {}
    return _states(path).get(name, {})


@remembered()
def _states(path: Path) -> dict[str, dict[str, str]]:
    """Return the answers in the table for people, by product: read once, not for each tile of each check."""
    with path.open(encoding="utf-8", newline="") as file:
        return {row["tile"]: {key: row[key] for key in ("state", "note")} for row in csv.DictReader(file)}
