"""Verify that `provenance.json` fits the dataset (tiles, counts, products), and read the tiles' squares from it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ben_luigi.domain.dataset.provenance import PROVENANCE
from ben_luigi.domain.dataset.verify_findings import Findings
from ben_luigi.domain.dataset.verify_json import entry, read_json
from ben_luigi.domain.dataset.verify_rows import Rows, rule_square, tile_named
from ben_luigi.domain.errors import BadName
from ben_luigi.domain.names import ProductName, TileName
from ben_luigi.domain.placement.grid import PATCH_M, TILE_SIDE_M, PatchGrid, Square

_COUNTS = ("patches", "reference_maps", "labelled")
"""Each counts a subset of the one before it."""

_FARTHEST_M = 20_000_000
"""No coordinate in a UTM zone is farther from its origin."""

_QUALITY = ("general_quality", "geometric_quality", "radiometric_quality", "sensor_quality")


@dataclass(frozen=True)
class Provenance:
    """The content of the file: facts of each tile by its name, the tiles' keys, and whether the dataset is a subset.

    `recipe` is the entry on another recipe than the default one; where it divides blocks of ground, that states all
    tiles among which it does. `missing` has product and finding of each tile that was left out, by its key.
    """

    tiles: Mapping[str, Mapping[str, Any]]
    keys: list[str]
    is_subset: bool
    recipe: Any = None
    missing: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def listed(self, patch_m: int) -> list[PatchGrid]:
        """Return the grid of each tile of the list, each date for itself; none if they are not stated."""
        of_name = entry(self.recipe, "listed")
        edges = of_name.items() if isinstance(of_name, dict) else ()
        squares = ((name, _stated_square(name, values, patch_m)) for name, values in edges if _is_tile(name))
        return [PatchGrid(name, square, patch_m) for name, square in squares if square is not None]

    def count(self, what: str, without: Collection[str] = ()) -> int:
        """Return the sum over all tiles but those `without` of `patches`, `reference_maps` or `labelled`."""
        return sum(max(_count(facts, what), 0) for name, facts in self.tiles.items() if name not in without)

    @property
    def lacking(self) -> dict[str, list[str]]:
        """The layers that the product of a tile lacks, by tile key."""
        found = {str(facts.get("tile")): facts.get("lacks") for facts in self.tiles.values()}
        return {tile: [str(layer) for layer in layers] for tile, layers in found.items() if isinstance(layers, list)}


def read_provenance(folder: Path, findings: Findings) -> Provenance | None:
    """Read the file, and check the facts of each tile. Add findings and return None if it cannot be used."""
    document = read_json(folder, PROVENANCE, findings)
    if document is None:
        return None
    of_key = document.get("tiles")
    wrong = {name for name in ("software", "settings", "tiles") if not isinstance(document.get(name), dict)}
    if wrong or not of_key:
        findings.add(PROVENANCE, f"without {', '.join(sorted(wrong)) or 'tiles'}")
        return None
    tiles = {}
    for key, facts in of_key.items():
        for what, expected, found in _wrong(key, facts):
            findings.differ(PROVENANCE, what, key, expected, found)
        if (product := _product(entry(facts, "l2a_name"))) is not None:
            tiles[product.tile_name] = facts
    is_subset = bool(entry(document, "settings", "subset"))
    return Provenance(tiles, sorted(of_key), is_subset, document.get("recipe"), _missing(document.get("missing")))


def _missing(noted: Any) -> dict[str, dict[str, str]]:
    """Return product and finding of each tile that was left out, as far as they are stated."""
    facts = noted.items() if isinstance(noted, dict) else ()
    return {key: {name: str(entry(one, name)) for name in ("product", "found")} for key, one in facts}


def _wrong(key: str, facts: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield what is wrong in the facts of a tile."""
    product = _product(entry(facts, "l2a_name"))
    if product is None:
        yield "l2a_name: none of a product", "the name of an L2A product", entry(facts, "l2a_name")
        return
    if not (key == entry(facts, "tile") and key in (product.tile_key, product.timed_key)):
        yield "tile: not the key of its product", product.tile_key, entry(facts, "tile")
    start = start_time(facts)
    if start is None or start.date() != product.sensing_time.date():
        yield "start_time: not of its product's day", product.sensing_time.date(), entry(facts, "start_time")
    counts = [_count(facts, what) for what in _COUNTS]
    if counts != sorted(counts, reverse=True) or counts[-1] < 0:
        yield "counts: more of a part than of the whole", " >= ".join(_COUNTS), counts
    elif counts[-1] and any(entry(facts, check) != "PASSED" for check in _QUALITY):
        yield "labelled: of a product that has not passed", 0, counts[-1]
    lacks = entry(facts, "lacks")
    if lacks is not None and not isinstance(lacks, list):
        yield "lacks: no list of layers", "a list of layers", lacks
    fetched = entry(facts, "l2a", "name")
    if fetched is not None and fetched != str(product):
        yield "l2a: not the tile's product", str(product), fetched
    l1c = entry(facts, "l1c", "name")
    if l1c is not None and not is_of(product, l1c):
        yield "l1c: not what the tile's product was made of", f"a product of {product.tile_name}", l1c


def _count(facts: Any, what: str) -> int:
    """Return a count of a tile; -1 if it is not a number."""
    count = entry(facts, what)
    return count if type(count) is int else -1


def start_time(facts: Any) -> datetime | None:
    """Return the start of sensing of a tile, UTC, without tzinfo; None if its facts do not have it."""
    try:
        return datetime.fromisoformat(str(entry(facts, "start_time"))).replace(tzinfo=None)
    except ValueError:
        return None


def is_of(tile: TileName, name: Any) -> bool:
    """Return whether a name is that of the tile's product, before or after Sen2Cor."""
    other = _product(name)
    return other is not None and other.converted().tile_name == tile.tile_name


def _is_tile(name: str) -> bool:
    try:
        tile_named(name)
    except BadName:
        return False
    return True


def _product(name: Any) -> ProductName | None:
    try:
        return ProductName.parse(str(name))
    except BadName:
        return None


def squares_of(rows: Rows, provenance: Provenance | None, side_m: int, patch_m: int = PATCH_M) -> dict[str, Square]:
    """Return the square of each tile.

    It is the one that the provenance states, if it is at least a patch with a side of `patch_m` metres, else that of
    the tile's MGRS name with a side of `side_m`.
    """
    return {tile: _square(tile, provenance, side_m, patch_m) for tile in rows.tiles}


def listed_grids(provenance: Provenance | None, side_m: int, patch_m: int) -> list[PatchGrid]:
    """Return the patch grids of all tiles that a whole dataset was made from, with or without rows; none if not known.

    A subset does not say which other tiles there were.
    """
    if provenance is None or provenance.is_subset:
        return []
    return [PatchGrid(tile, _square(tile, provenance, side_m, patch_m), patch_m) for tile in sorted(provenance.tiles)]


def _square(tile: str, provenance: Provenance | None, side_m: int, patch_m: int) -> Square:
    facts = provenance.tiles.get(tile) if provenance else None
    edges = [entry(facts, name) for name in ("left_m", "top_m", "side_m")]
    return _stated_square(tile, edges, patch_m) or rule_square(tile, side_m)


def _stated_square(tile: str, edges: Any, patch_m: int) -> Square | None:
    """Return the square with west and north edge and side, in metres; None if these are no such numbers."""
    match edges:
        case [float() | int() as left, float() | int() as top, float() | int() as side]:
            near = max(abs(left), abs(top)) < _FARTHEST_M and patch_m <= side <= TILE_SIDE_M
            return Square(float(left), float(top), float(side), tile_named(tile).epsg) if near else None
    return None


def check_provenance(rows: Rows, provenance: Provenance, findings: Findings) -> None:
    """Add findings about tiles for which provenance and rows disagree."""
    for tile in rows.tiles.keys() - provenance.tiles.keys():
        findings.add(PROVENANCE, "tiles: without one of the metadata", tile)
    if not rows.complete:
        return
    for tile, facts in provenance.tiles.items():
        of_tile = rows.tiles.get(tile, slice(0, 0))
        count = of_tile.stop - of_tile.start
        said = _count(facts, "labelled")
        if count > said or (count < said and not provenance.is_subset):
            findings.differ(PROVENANCE, "labelled: not the rows of the tile in the metadata", tile, count, said)
