"""Write the dataset's descriptions in open formats, GeoParquet and Croissant; and its README and LICENSE."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ben_luigi import config
from ben_luigi.domain import files
from ben_luigi.domain.dataset import croissant, geoparquet, metadata, readme, rights, time_series
from ben_luigi.domain.dataset.form import NOMENCLATURE, RECIPE, Form
from ben_luigi.domain.errors import DamagedFile
from ben_luigi.domain.formats import shards
from ben_luigi.domain.formats.tables import read_own
from ben_luigi.domain.names import ProductName, TileName, tile_name_of
from ben_luigi.domain.placement.footprints import EDGES
from ben_luigi.domain.products.product import BOA_ADD_OFFSET
from ben_luigi.domain.tiles.reference_maps import PIXEL_M
from ben_luigi.domain.vocabulary import SCENE_CLASSES
from ben_luigi.stages.archive_parts import MAPS, S2, dataset_tiles, lacking_layers
from ben_luigi.stages.archive_shards import shard_files
from ben_luigi.stages.archives import archiving
from ben_luigi.stages.atmosphere import ReadProduct
from ben_luigi.stages.land_source import names
from ben_luigi.stages.metadata import WriteMetadata
from ben_luigi.stages.patches import CutPatches
from ben_luigi.stages.placement import ClassifyPatches, GridPatches
from ben_luigi.stages.provenance import products
from ben_luigi.stages.rasters import of_product
from ben_luigi.stages.reference_maps import MakeReferenceMaps
from ben_luigi.stages.resolve import PRIORITY, missing_tiles, product_of, tiles
from ben_luigi.stages.task import PipelineTask
from ben_luigi.stages.tiles import of_all_tiles
from ben_luigi.state import database
from ben_luigi.state.targets import MadeFile

ABOUT = ("name", "version", "license", "citation")
"""What of the recipe the dataset's descriptions say, besides its title."""

FORM = ("patches.side_m", "sentinel1.source", "layers")
"""What else of it they say."""

DESCRIPTION = (
    "Pairs of Sentinel-1 and Sentinel-2 patches, 1200 m a side, with reference maps of CORINE Land Cover 2018 and "
    "labels of 19 classes, rebuilt from their sources."
)


def form() -> Form:
    """Return what the dataset consists of, by its recipe."""
    return Form.of(config.recipe(), names()).with_layers(config.product_layers())


def has_report() -> bool:
    """Return whether the dataset has a report: a subset has none."""
    return not config.selection()


def description() -> str:
    """Return what the dataset is, in one sentence."""
    if config.recipe().is_default:
        return DESCRIPTION
    of = "Pairs of Sentinel-1 and Sentinel-2 patches" if form().has_sentinel1 else "Patches of Sentinel-2"
    classes, side_m = len(names().classes), config.recipe().patches.side_m
    return f"{of}, {side_m} m a side, with reference maps of land cover and labels of {classes} classes."


class WritePatches(PipelineTask):
    """`patches.parquet`: one row per patch of the dataset, with its place, time, product, land cover and hashes."""

    priority = PRIORITY["metadata"]
    code = (geoparquet,)

    def requires(self) -> Any:
        """Return the metadata; everything else about its patches has been made by then."""
        return WriteMetadata()

    def made_of(self) -> list[PipelineTask]:
        """Return the metadata, and everything else that goes into a row."""
        of_tiles = of_all_tiles(ReadProduct, GridPatches, CutPatches, MakeReferenceMaps, ClassifyPatches)
        return [WriteMetadata(), *of_tiles]

    def settings(self) -> dict[str, Any]:
        """Return the ids of the products, which may differ between sources; and the codes that have a column each."""
        found = []
        for tile in tiles():
            with suppress(DamagedFile):  # which `make()` says
                found.append(f"{tile} {_fetched(tile)}")
        codes = form().codes
        return {"l1c": files.text_hash("\n".join(found)), **({"codes": codes} if codes != geoparquet.CODES else {})}

    def output(self) -> MadeFile:
        """Return the file."""
        return self.file(f"{config.result_folder()}/{geoparquet.PATCHES}")

    def make(self) -> None:
        """Write the rows tile by tile."""
        geoparquet.write(_tile_rows(), self.output().file, form().patches_schema)


def _tile_rows() -> Iterator[pa.Table]:
    """Yield the rows of each tile that has patches in the dataset, in the order of tile names."""
    written = [read_own(target.check()) for target in WriteMetadata().output().values()]
    rows = pa.concat_tables(written).sort_by("patch_id").combine_chunks()
    ids = rows["patch_id"].combine_chunks()
    found = database.query(
        "SELECT tile, l2a_name, start_time, boa_offset FROM product WHERE tile = ANY(%(tiles)s)", tiles=list(tiles())
    )
    pixels = (config.recipe().patches.side_m // PIXEL_M) ** 2
    for tile, l2a_name, start_time, has_offset in found.sort_values("l2a_name").itertuples(index=False, name=None):
        name = ProductName.parse(l2a_name).tile_name
        of_tile = rows.filter(pc.starts_with(ids, name))
        if len(of_tile):
            s2, maps = (shards.read_index(shard_files(archive, tile)[1], alone=True) for archive in (S2, MAPS))
            source = _source(tile, name, start_time, has_offset=has_offset)
            known = source, _places(tile), _counts(tile), s2, maps
            yield geoparquet.tile_rows(of_tile, *known, scene=_scene(tile), pixels=pixels, codes=form().codes)


def _source(tile: str, name: str, start_time: datetime, *, has_offset: bool) -> geoparquet.TileSource:
    product = product_of(tile)
    source = geoparquet.TileSource(name, product.mgrs, *_fetched(tile), start_time)
    if config.recipe().is_default:
        return source
    return replace(source, baseline=product.processing_baseline, boa_offset=BOA_ADD_OFFSET if has_offset else 0)


def _fetched(tile: str) -> tuple[str, str | None]:
    """Return name and id of a tile's L1C product, or of the L2A product that was fetched."""
    made_from = products(tile)
    found = made_from.get("l1c", made_from.get("l2a", {}))
    return found.get("name", str(product_of(tile))), found.get("id")


def _places(tile: str) -> pd.DataFrame:
    columns = ", ".join(EDGES)
    where = "tile = %(tile)s AND valid"
    return database.query(f"SELECT patch_id, epsg, season, {columns} FROM patch WHERE {where}", tile=tile)


def _counts(tile: str) -> pd.DataFrame:
    return database.query(
        "SELECT patch_id, code, pixels FROM clc_count JOIN patch USING (patch_id) WHERE tile = %(tile)s", tile=tile
    )


def _scene(tile: str) -> pd.DataFrame:
    columns = ", ".join(["pixels", *SCENE_CLASSES])
    select = f"SELECT patch_id, {columns} FROM scene_class JOIN patch USING (patch_id)"
    return database.query(f"{select} WHERE tile = %(tile)s", tile=tile)


class WriteTimeSeries(PipelineTask):
    """`time_series.parquet`: the patches of each square in the order of time; not for the default recipe."""

    priority = PRIORITY["metadata"]
    code = (time_series,)

    def requires(self) -> Any:
        """Return the patches of the dataset."""
        return WritePatches()

    def output(self) -> MadeFile:
        """Return the file."""
        return self.file(f"{config.result_folder()}/{time_series.TIME_SERIES}")

    def make(self) -> None:
        """Group the patches."""
        patches = read_own(WritePatches().output().check(), list(time_series.COLUMNS))
        time_series.write(patches, self.output().file)


def time_series_task() -> list[WriteTimeSeries]:
    """Return the task of the time series; none for the default recipe, whose dataset is as it was published."""
    return [] if config.recipe().is_default else [WriteTimeSeries()]


def described() -> list[MadeFile]:
    """Return the tables and archives of the dataset."""
    archives = [task.archive() for task in archiving()]
    return [*WriteMetadata().output().values(), WritePatches().output(), *archives]


def facts(made: Iterable[MadeFile]) -> dict[str, tuple[int, str]]:
    """Return length in bytes and sha256 of files, by name."""
    return {target.file.name: (target.size_bytes(), target.digest()) for target in made}


def title() -> str:
    """Return the title of the dataset."""
    recipe = config.recipe()
    what = "Sample world of ben_luigi" if config.is_sample() and recipe.is_default else recipe.title
    return f"{what}, subset {config.subset().name}" if config.selection() else what


class WriteCroissant(PipelineTask):
    """`croissant.json`: the dataset as MLCommons' Croissant describes it."""

    recipe = (*ABOUT, *FORM)
    code = (croissant,)

    def requires(self) -> Any:
        """Return the tables and archives that are described."""
        return [WriteMetadata(), WritePatches(), *archiving(), *time_series_task()]

    def settings(self) -> dict[str, Any]:
        """Return its title, the layers that are taken from each product, and the codes of another land cover."""
        own = {} if config.recipe().is_default else {"nomenclature": files.file_hash(config.nomenclature())}
        return {"title": title(), **of_product(), **own}

    def output(self) -> MadeFile:
        """Return the file."""
        return self.file(f"{config.result_folder()}/{croissant.CROISSANT}")

    def make(self) -> None:
        """Write it."""
        found = facts([*described(), *(task.output() for task in time_series_task())])
        croissant.write(croissant.describe(found, title(), description(), form()), self.output().file)


class WriteReadme(PipelineTask):
    """`README.md` and `LICENSE` of the dataset; and citation, recipe and nomenclature, if it is another recipe."""

    priority = PRIORITY["metadata"]
    code = (readme, rights)

    def requires(self) -> Any:
        """Return the patches that it counts."""
        return WriteMetadata()

    def settings(self) -> dict[str, Any]:
        """Return its title, whether there is a report, and another recipe than the default one as a whole."""
        recipe = config.recipe()
        own = (
            {}
            if recipe.is_default
            else {
                "recipe_sha256": files.file_hash(recipe.path),
                "nomenclature_sha256": files.file_hash(config.nomenclature()),
            }
        )
        missing: dict[str, Any] = {"missing": missing_tiles(), "lacking": _lacking()}
        missing = {name: found for name, found in missing.items() if found}
        return {"title": title(), "has_report": has_report(), **missing, **own, **of_product()}

    def output(self) -> dict[str, MadeFile]:
        """Return them, and for another recipe than the default one what verifies the dataset."""
        own = () if config.recipe().is_default else (readme.CITATION, RECIPE, NOMENCLATURE)
        names = (readme.README, readme.LICENSE, *own)
        return {name: self.file(f"{config.result_folder()}/{name}") for name in names}

    def make(self) -> None:
        """Count the patches, and write the texts."""
        recipe = config.recipe()
        rows = {path.file.name: pq.read_metadata(path.check()).num_rows for path in WriteMetadata().output().values()}
        if recipe.is_default:
            flagged = rows[metadata.FLAGGED]
            texts = readme.describe(title(), sum(rows.values()), flagged, form(), has_report=has_report())
        else:
            texts = readme.describe_own(title(), sum(rows.values()), form(), _years(), has_report=has_report())
            texts |= {RECIPE: _text(recipe.path), NOMENCLATURE: _text(config.nomenclature())}
        texts[readme.README] = readme.with_missing(texts[readme.README], missing_tiles(), _lacking())
        readme.write(texts, config.data_dir() / config.result_folder())


def _lacking() -> dict[str, list[str]]:
    """Return the layers that the products of tiles of the dataset lack, by tile."""
    return {tile: found for tile in dataset_tiles() if (found := lacking_layers(tile))}


def _years() -> list[int]:
    """Return the years in which the tiles of the dataset were sensed."""
    patches = [read_own(target.check(), ["patch_id"]) for target in WriteMetadata().output().values()]
    names = {tile_name_of(patch) for table in patches for patch in table["patch_id"].to_pylist()}
    return sorted({TileName.parse(name).sensing_time.year for name in names})


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig")
