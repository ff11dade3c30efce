"""What a dataset of a recipe consists of: its columns, archives and tables, and the rules that its rows follow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ben_luigi.domain.bounded import read_json
from ben_luigi.domain.dataset import metadata
from ben_luigi.domain.dataset.about import V2, About
from ben_luigi.domain.dataset.geoparquet import CODES, schema_of
from ben_luigi.domain.dataset.provenance import PROVENANCE
from ben_luigi.domain.errors import BadArgument, BadName, some
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.placement.country import TEN
from ben_luigi.domain.placement.grid import PATCH_M
from ben_luigi.domain.recipe.declared import LAND_COVER_OPTION
from ben_luigi.domain.recipe.model import (
    FROM_FOLDER,
    FROM_RASTERS,
    FROM_V1,
    NO_SENTINEL1,
    OF_PRODUCT,
    PUBLISHED,
    Countries,
    Layer,
    Recipe,
    Sentinel1,
    Split,
)
from ben_luigi.domain.recipe.reading import read_enclosed
from ben_luigi.domain.tiles.clc import CORINE
from ben_luigi.domain.tiles.layers import archive_of
from ben_luigi.domain.tiles.nomenclature import Nomenclature, read_nomenclature
from ben_luigi.domain.vocabulary import MAPS_ARCHIVE, S1_ARCHIVE, S2_ARCHIVE

RECIPE, NOMENCLATURE = "recipe.toml", "nomenclature.toml"
"""The recipe and its nomenclature as they were used, in the dataset of another recipe than the default one."""

HASH_LISTS = {
    S2_ARCHIVE: "patch_hashes.csv",
    MAPS_ARCHIVE: "reference_map_hashes.csv",
    S1_ARCHIVE: "s1_hashes.csv",
}
"""The lists of sha256 beside the archives, by archive; they may list more files than the archive holds."""


_PROVENANCE_BYTES = 2**28


def hash_list(archive: str) -> str:
    """Return the name of an archive's list; that of a layer is named after it."""
    return HASH_LISTS.get(archive) or f"{archive.lower()}_hashes.csv"


@dataclass(frozen=True)
class Form:
    """The form of a dataset; by default that of BigEarthNet v2.

    `patch_m` is the side of a patch in metres, `columns` are those of the metadata; `codes` have a column each in
    `patches.parquet`, `code_names` are their names. `attributions` are those of its sources besides Sentinel-2, one
    sentence each. `lacking` has by archive of a layer the names of the tiles that it lacks. The others are as in
    the recipe.
    """

    about: About = V2
    patch_m: int = PATCH_M
    columns: tuple[str, ...] = tuple(metadata.SCHEMA.names)
    codes: tuple[int, ...] = CODES
    code_names: Mapping[int, str] = field(default_factory=dict)
    split: Split = field(default_factory=Split)
    season_rule: str = PUBLISHED
    countries: Countries = TEN
    attributions: tuple[str, ...] = ()
    sentinel1: Sentinel1 = field(default_factory=lambda: Sentinel1(FROM_V1))
    layers: tuple[Layer, ...] = ()
    lacking: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, recipe: Recipe, nomenclature: Nomenclature) -> Form:
        """Return the form of a recipe's dataset."""
        if recipe.is_default:
            return FORM_V2
        left_out = set() if recipe.is_aligned else {"s2v1_name", *metadata.FLAGS}
        left_out |= {"s1_name"} if recipe.sentinel1.source == NO_SENTINEL1 else set()
        left_out |= {"country"} if recipe.countries.file is None else set()
        return cls(
            about=About.of(recipe),
            patch_m=recipe.patches.side_m,
            columns=tuple(name for name in metadata.SCHEMA.names if name not in left_out),
            codes=nomenclature.codes,
            code_names=nomenclature.clc,
            split=recipe.split,
            season_rule=recipe.seasons.rule,
            countries=recipe.countries,
            attributions=tuple(_attributions(recipe)),
            sentinel1=recipe.sentinel1,
            layers=recipe.layers,
        )

    def with_layers(self, layers: Iterable[Layer]) -> Form:
        """Return the same with further layers, but for names that it has already."""
        known = {layer.name for layer in self.layers}
        return replace(self, layers=(*self.layers, *(layer for layer in layers if layer.name not in known)))

    def require_in(self, folder: Path) -> None:
        """Raise BadArgument about a folder in which there is nothing of such a dataset."""
        parts = [*self.tables, *(f"{archive}.tar.zst" for archive in self.archives)]
        if not any((folder / name).exists() for name in (*parts, *self.archives)):
            remedy = "name the folder of a dataset"
            raise BadArgument(folder, expected="the folder of a dataset", found=f"none of {some(parts)}", remedy=remedy)

    def with_layers_in(self, folder: Path) -> Form:
        """Return the same with the layers of each product that the folder of a dataset has.

        They are those that its README names; without a README, those of which it has archive, folder or hash list.
        """
        try:
            said: str | None = (folder / "README.md").read_text(encoding="utf-8", errors="replace")
        except OSError:
            said = None

        def is_there(layer: str) -> bool:
            archive = archive_of(layer)
            if said is not None:
                return f"`{archive}.tar.zst`" in said
            return any((folder / name).exists() for name in (f"{archive}.tar.zst", archive, hash_list(archive)))

        return self.with_layers(layer for name, layer in OF_PRODUCT.items() if is_there(name))

    def with_lacking(self, tiles: Mapping[str, Mapping[str, Any]]) -> Form:
        """Return the same with the layers that tiles lack, by the entries on tiles in `provenance.json`."""
        found: dict[str, set[str]] = {}
        for facts in tiles.values():
            layers = facts.get("lacks")
            for layer in layers if isinstance(layers, list) else ():
                tile = ProductName.parse(str(facts["l2a_name"])).tile_name
                found.setdefault(archive_of(str(layer)), set()).add(tile)
        return replace(self, lacking={archive: frozenset(names) for archive, names in found.items()})

    def with_lacking_in(self, folder: Path) -> Form:
        """Return the same by the provenance in the folder of a dataset; if it cannot be read, no tile lacks any."""
        if not self.layers:
            return self
        try:
            return self.with_lacking(read_json(folder / PROVENANCE, _PROVENANCE_BYTES)["tiles"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, BadName):
            return self

    @property
    def has_sentinel1(self) -> bool:
        """Whether there is a Sentinel-1 patch of each patch."""
        return self.sentinel1.source != NO_SENTINEL1

    @property
    def cuts_sentinel1(self) -> bool:
        """Whether Sentinel-1 patches are cut from rasters, so that each has the name of its Sentinel-2 patch."""
        return self.sentinel1.source == FROM_RASTERS

    @property
    def shares_sentinel1(self) -> bool:
        """Whether a Sentinel-1 patch may be the partner of several patches, of other days."""
        return self.sentinel1.source == FROM_FOLDER

    @property
    def tables(self) -> tuple[str, ...]:
        """The files of metadata; only patches that v1 has, too, are flagged."""
        return (metadata.METADATA, metadata.FLAGGED) if self.has_flags else (metadata.METADATA,)

    @property
    def has_flags(self) -> bool:
        """Whether it says which patches have snow, cloud or shadow."""
        return metadata.FLAGS[0] in self.columns

    @property
    def patches_schema(self) -> pa.Schema:
        """The columns of `patches.parquet`; those of other recipes say how each product was made."""
        return schema_of(self.columns, self.codes, with_origin=not self.about.is_v2)

    @property
    def archives(self) -> tuple[str, ...]:
        """The names of the archives without suffix, in the order in which they are verified."""
        radar = (S1_ARCHIVE,) if self.has_sentinel1 else ()
        return (S2_ARCHIVE, MAPS_ARCHIVE, *radar, *(archive_of(layer.name) for layer in self.layers))

    @property
    def may_lack_country(self) -> bool:
        """Whether a patch may lie in none of the countries."""
        return not self.about.is_v2 and self.countries.names is None


def _attributions(recipe: Recipe) -> Iterator[str]:
    """Yield what has to be said of the sources of a recipe's dataset, as far as they are known."""
    if recipe.land_cover.file == LAND_COVER_OPTION and recipe.land_cover.code.lower() == CORINE.code.lower():
        yield (
            "Reference maps and labels are made from CORINE Land Cover: European Union, Copernicus Land Monitoring "
            "Service, European Environment Agency (EEA), https://land.copernicus.eu/en/products/corine-land-cover"
        )
    else:
        yield f"Reference maps and labels are made from the land cover that {RECIPE} names, whose own terms hold."
    if recipe.sentinel1.source == FROM_V1:
        yield "Sentinel-1 patches: BigEarthNet-S1 v1.0, https://bigearth.net"
    elif recipe.sentinel1.source != NO_SENTINEL1:
        yield f"Sentinel-1 patches: the {recipe.sentinel1.source} that {RECIPE} names, whose own terms hold."
    if recipe.layers:
        names = ", ".join(layer.name for layer in recipe.layers)
        yield f"Further layers ({names}): the sources that {RECIPE} names, whose own terms hold."


@dataclass(frozen=True)
class Rules:
    """By what a dataset is verified: its form and nomenclature, and the limit of patches without labels."""

    form: Form
    nomenclature: Nomenclature
    unlabeled_limit: float

    def labels_of(self, codes: np.ndarray) -> list[str]:
        """Return the labels of a reference map's codes (row, col)."""
        return self.nomenclature.labels_of(codes, self.unlabeled_limit)

    @classmethod
    def of(cls, recipe: Recipe, nomenclature: Nomenclature, unlabeled_limit: float) -> Rules:
        """Return those of a recipe's dataset."""
        return cls(Form.of(recipe, nomenclature), nomenclature, unlabeled_limit)

    def with_layers_in(self, folder: Path) -> Rules:
        """Return the same with the layers of each product that are in the folder."""
        return replace(self, form=self.form.with_layers_in(folder))

    @classmethod
    def within(cls, folder: Path, artifacts: Path) -> Rules | None:
        """Return those of the recipe that lies in a dataset; None if there is none, as in BigEarthNet v2.

        `artifacts` is the folder of what is packaged. Raise BadInput if recipe or nomenclature cannot be used.
        """
        if not (folder / RECIPE).is_file():
            return None
        nomenclature = read_nomenclature(folder / NOMENCLATURE)
        recipe = read_enclosed(folder / RECIPE, folder / NOMENCLATURE, artifacts)
        return cls.of(recipe, nomenclature, recipe.land_cover.unlabeled_limit)


FORM_V2 = Form()
"""The form of BigEarthNet v2."""
