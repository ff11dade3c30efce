"""Make the four mapping tables, and join them into the two Parquet files of metadata."""

from __future__ import annotations

import logging
import os
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from ben_luigi import config
from ben_luigi.domain import files
from ben_luigi.domain.dataset import metadata, subset
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.formats.tables import counts_own
from ben_luigi.domain.placement import alignment
from ben_luigi.domain.recipe.model import Countries
from ben_luigi.domain.tiles.nomenclature import read_nomenclature
from ben_luigi.stages import left_out
from ben_luigi.stages.placement import AlignPatches, AssignCountries, AssignSplits, FindSentinel1
from ben_luigi.stages.places import named_countries
from ben_luigi.stages.prerequisites import input_path, input_task, needed
from ben_luigi.stages.rasters import has_own_sentinel1
from ben_luigi.stages.reference_maps import LabelPatches
from ben_luigi.stages.resolve import PRIORITY, known_tiles, tiles
from ben_luigi.stages.task import PipelineTask, TileTask
from ben_luigi.stages.tiles import ProcessTiles, of_all_tiles
from ben_luigi.state import database
from ben_luigi.state.code import code_version
from ben_luigi.state.targets import MadeFile

_log = logging.getLogger(__name__)
_VALUES = {"labels": "label", "s2v1": "s2v1_name", "split": "split", "country": "country", "s1": "s1_name"}
_INPUTS = ("s1s2_mapping_csv", "snow_csv", "cloud_csv")


class _Mapping(PipelineTask):
    """A table of patch ids and one value each, as sorted CSV."""

    priority = PRIORITY["metadata"]
    name = ""
    maker: type[TileTask] = TileTask
    query = ""

    def requires(self) -> Any:
        """Return all tiles."""
        return ProcessTiles()

    def made_of(self) -> list[PipelineTask]:
        """Return the rows."""
        return of_all_tiles(self.maker)

    def settings(self) -> dict[str, Any]:
        """Return the query."""
        return {"query": self.query}

    def output(self) -> dict[str, MadeFile]:
        """Return the CSV: header, LF, sorted by byte order."""
        return {"mapping": self.file(f"metadata/{self.name}.csv")}

    def make(self) -> None:
        """Copy the rows out of the database."""
        database.copy_out(self.query, self.output()["mapping"].file, tiles=list(tiles()))


class MapLabels(_Mapping):
    """Patch and label, one row per label."""

    name = "patch_id_label_mapping"
    maker = LabelPatches
    query = (
        'SELECT patch_id COLLATE "C" AS patch_id, label FROM label JOIN patch USING (patch_id) '
        'WHERE tile = ANY(%(tiles)s) ORDER BY 1, label COLLATE "C"'
    )

    def make(self) -> None:
        """Copy the rows out of the database. Raise BadInput, with the reasons of each tile, if there are none."""
        left_out.require_patches()
        super().make()


class MapV1Names(_Mapping):
    """Patch and its v1 name; and `alignment_findings.csv`, with what is unusual about the v1 names."""

    name = "patch_id_s2v1_mapping"
    maker = AlignPatches
    code = (alignment,)
    query = (
        'SELECT patch_id COLLATE "C" AS patch_id, v1_name AS s2v1_name FROM alignment JOIN patch USING (patch_id) '
        "WHERE tile = ANY(%(tiles)s) ORDER BY 1"
    )

    def requires(self) -> Any:
        """Return all tiles, and v1."""
        return [ProcessTiles(), input_task("v1_spatial_dir")]

    def made_of(self) -> list[PipelineTask]:
        """Return the rows, and v1."""
        return [*super().made_of(), input_task("v1_spatial_dir")]

    def output(self) -> dict[str, MadeFile]:
        """Return the mapping, and the findings."""
        return {**super().output(), "findings": self.file("metadata/alignment_findings.csv")}

    def make(self) -> None:
        """Copy the rows out of the database, and check the v1 names of their zones. Raise the same as MapLabels."""
        left_out.require_patches()
        super().make()
        target = self.output()
        aligned = metadata.read_csv(target["mapping"].file, ["patch_id", "s2v1_name"], header=True)["s2v1_name"]
        zones = {name.epsg for name in tiles().values()}
        spatial = alignment.spatial_files(input_path("v1_spatial_dir"))
        v1 = pd.concat([alignment.read_v1(path) for epsg, path in spatial.items() if epsg in zones])
        found = alignment.findings(v1, aligned.to_pylist())
        files.write_text(target["findings"].file, found.to_csv(index=False))
        for finding, names in found.groupby("finding")["v1_name"]:
            _log.info("%s: %d, listed in metadata/alignment_findings.csv", finding, len(names))


class MapSplits(_Mapping):
    """Patch and split."""

    name = "patch_id_split_mapping"
    maker = AssignSplits
    query = (
        'SELECT patch_id COLLATE "C" AS patch_id, split FROM split JOIN patch USING (patch_id) '
        "WHERE tile = ANY(%(tiles)s) ORDER BY 1"
    )


class MapCountries(_Mapping):
    """Patch and country."""

    name = "patch_id_country_mapping"
    maker = AssignCountries
    query = (
        'SELECT patch_id COLLATE "C" AS patch_id, country FROM country JOIN patch USING (patch_id) '
        "WHERE tile = ANY(%(tiles)s) ORDER BY 1"
    )


class MapS1Names(_Mapping):
    """Patch and S1 name, where Sentinel-1 is not that of v1."""

    name = "patch_id_s1_mapping"
    maker = FindSentinel1
    query = (
        'SELECT patch_id COLLATE "C" AS patch_id, s1_name FROM sentinel1 JOIN patch USING (patch_id) '
        "WHERE tile = ANY(%(tiles)s) ORDER BY 1"
    )


def metadata_names() -> tuple[str, ...]:
    """Return the names of the files of metadata: patches are flagged by what is known of v1."""
    return (metadata.METADATA, metadata.FLAGGED) if config.recipe().is_aligned else (metadata.METADATA,)


class WriteMetadata(PipelineTask):
    """`metadata.parquet`, and the file of the patches with snow, cloud or shadow."""

    priority = PRIORITY["metadata"]
    options = ("metadata.writer",)
    code = (metadata,)

    def requires(self) -> Any:
        """Return the mappings and the lists."""
        recipe = config.recipe()
        mappings: dict[str, Any] = {"labels": MapLabels(), "split": MapSplits()}
        if recipe.is_aligned:
            mappings |= {
                "s2v1": MapV1Names(),
                **{option: input_task(option) for option in _INPUTS if option in needed()},
            }
        mappings |= {"s1": MapS1Names()} if has_own_sentinel1() else {}
        return mappings | ({} if recipe.countries.file is None else {"country": MapCountries()})

    def settings(self) -> dict[str, Any]:
        """Return the subset, if there is one."""
        return {"subset": selected(), **({"subset code": code_version(subset)} if config.selection() else {})}

    def output(self) -> dict[str, MadeFile]:
        """Return the two files."""
        folder = config.result_folder()
        return {name: self.file(f"{folder}/{name}") for name in metadata_names()}

    def make(self) -> None:
        """Join the tables, and divide the rows."""

        required = self.requires()

        def mapping(name: str) -> Any:
            if name not in required:
                return None
            path = required[name].output()["mapping"].check()
            # Where Sentinel-1 is not that of v1, its patches may have other names, which `FindSentinel1` has found.
            forms = {} if name == "s1" else metadata.FORMS
            return metadata.open_csv(path, ["patch_id", _VALUES[name]], header=True, forms=forms)

        def given(option: str, *columns: str) -> Any:
            return metadata.read_csv(input_path(option), columns, header=False) if option in required else None

        v1 = mapping("s2v1")

        blocks = metadata.join(
            metadata.Mappings(
                labels=mapping("labels"),
                s2v1=v1 and v1.read_all(),
                split=mapping("split"),
                country=mapping("country"),
                s1s2=given("s1s2_mapping_csv", "s2v1_name", "s1_name"),
                snow=given("snow_csv", "s2v1_name"),
                cloud=given("cloud_csv", "s2v1_name"),
                s1=mapping("s1"),
                everywhere=config.recipe().countries.names is not None,
            )
        )
        if config.selection():
            rows = pa.concat_tables(blocks)
            chosen = subset.select(rows, subset.placed(rows, _places()), selection())
            if short := shortage(len(chosen)):
                _log.warning("%s", short)
            blocks = iter([chosen])
        folder = config.data_dir() / config.result_folder()
        metadata.write(blocks, folder, str(config.metadata().writer))


def split_counts() -> dict[str, int]:
    """Return the number of patches of the dataset in each split."""
    written = (counts_own(target.file, "split") for target in WriteMetadata().output().values())
    return dict(sorted(sum(written, Counter()).items()))


def shortage(patches: int) -> str:
    """Return why a subset of this many patches has fewer than `[subset] sample`; empty if it has enough."""
    asked = int(config.subset().sample)
    rest = ", ".join(name for name in config.selection() if name != "sample")
    of = f"that meet {rest}" if rest else "in all"
    return (
        f"[subset] sample = {asked:,} was asked for: there are only {patches:,} patches {of}" if patches < asked else ""
    )


def noted_selection() -> dict[str, str]:
    """Return the values of `[subset]` as the dataset tells them: with the area that a file has, and not its path.

    Raise BadInput if the area cannot be read.
    """
    options = config.selection()
    path = os.path.expanduser(subset.area_file(options.get("area", "")))  # noqa: PTH111 - of any text
    try:
        found = Path(path).stat() if path else None
    except (OSError, ValueError):  # which is said when it is read
        found = None
    state = (found.st_size, found.st_ino, found.st_mtime_ns) if found else ()
    return dict(_noted(tuple(options.items()), state))


@lru_cache(maxsize=2)
def _noted(options: tuple[tuple[str, str], ...], state: tuple[int, ...]) -> dict[str, str]:
    """Return the options with the area itself; `state` is that of its file."""
    return subset.noted(dict(options))


def selected() -> dict[str, str]:
    """Return the values of `[subset]` for records of what is made from them: an area that a file has by its hash."""
    options = config.selection()
    try:
        noted = noted_selection()
    except BadInput:  # which `selection` says
        return options
    return options if noted == options else {**noted, "area": files.text_hash(noted["area"])}


def selection() -> subset.Selection:
    """Return the selection of `[subset]`.

    Raise BadInput for unknown words; tiles are not checked until they are known.
    """
    subset.check_name(str(config.subset().name))
    options = noted_selection()
    known = tuple(known_tiles()) or tuple(options.get("tiles", "").replace(",", " ").split())
    countries = named_countries() if options.get("countries") else config.recipe().countries
    return _parsed(tuple(options.items()), known, config.nomenclature(), countries)


@lru_cache(maxsize=2)
def _parsed(
    options: tuple[tuple[str, str], ...], tiles: tuple[str, ...], nomenclature: Path, countries: Countries
) -> subset.Selection:
    return subset.parse(dict(options), tiles, read_nomenclature(nomenclature).classes, countries)


def _places() -> pd.DataFrame:
    """Return place and time of the patches that may be in the dataset."""
    return database.query(
        "SELECT patch_id, tile, season, epsg, left_m, bottom_m, right_m, top_m FROM patch "
        "WHERE tile = ANY(%(tiles)s) AND valid",
        tiles=list(tiles()),
    )
