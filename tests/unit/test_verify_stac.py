"""STAC and Croissant are held against their dataset: each thing that is changed alone is named, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ben_luigi.domain.dataset.croissant import CROISSANT
from ben_luigi.domain.dataset.geoparquet import PATCHES
from ben_luigi.domain.dataset.metadata import METADATA
from ben_luigi.domain.dataset.provenance import PROVENANCE
from ben_luigi.domain.dataset.readme import README
from ben_luigi.domain.dataset.verify_documents import STAC
from ben_luigi.domain.dataset.verify_rules import References
from tests.unit.small_dataset import (
    ITEM,
    KEY,
    NOT_FOLLOWING,
    PRODUCTS,
    S2,
    TILE,
    TILES,
    TITLE,
    change_json,
    compare,
    describe,
    look,
    said,
)


def test_a_thumbnail_is_that_of_the_key_of_the_tile_whichever_products_have_patches(
    folder: Path, references: References
) -> None:
    """The key has the time where another datatake of the day is in the list, of which no patch may be left."""
    timed = PRODUCTS[0].timed_key

    def rename(document: Any) -> None:
        document["tiles"][timed] = {**document["tiles"].pop(KEY), "tile": timed}

    change_json(folder / PROVENANCE, rename)
    compare(folder)
    describe(folder)
    href = json.loads((folder / ITEM).read_text())["assets"]["thumbnail"]["href"]
    assert href == f"../../report/tiles/{timed}/rgb.webp"
    assert not [line for line in look(folder, references).wrong if line.startswith("stac")]


def stac_checksum(collection: Any) -> list[str]:
    asset = collection["assets"][METADATA]
    good = asset["file:checksum"]
    asset["file:checksum"] = good[:-1] + ("0" if good[-1] != "0" else "1")
    return [said(STAC, "another sha256 than the file has", METADATA, good[4:], asset["file:checksum"][4:])]


def stac_size(collection: Any) -> list[str]:
    asset = collection["assets"][f"{S2}.tar.zst"]
    asset["file:size"] += 1
    good = asset["file:size"] - 1
    return [said(STAC, "another size than the file has", f"{S2}.tar.zst", good, good + 1)]


def stac_hash_function(collection: Any) -> list[str]:
    """1220 is the code of sha256."""
    asset = collection["assets"][METADATA]
    good = asset["file:checksum"]
    asset["file:checksum"] = f"1320{good[4:]}"
    return [said(STAC, NOT_FOLLOWING, f"assets.{METADATA}.file:checksum", good, f"1320{good[4:]}")]


def stac_asset(collection: Any) -> list[str]:
    asset = collection["assets"].pop(METADATA)
    expected = {**asset, "file:checksum": "1220", "file:size": None}
    return [said(STAC, NOT_FOLLOWING, f"assets.{METADATA}", expected, "nothing")]


def stac_link(collection: Any) -> list[str]:
    link = next(link for link in collection["links"] if link["rel"] == "item")
    good, link["href"] = link["href"], "./elsewhere.json"
    return [said(STAC, NOT_FOLLOWING, "links[2].href", good, "./elsewhere.json")]


def stac_extent(collection: Any) -> list[str]:
    box = collection["extent"]["spatial"]["bbox"][0]
    good, box[0] = box[0], 0.5
    return [said(STAC, NOT_FOLLOWING, "extent.spatial.bbox[0][0]", good, 0.5)]


def stac_title(collection: Any) -> list[str]:
    collection["title"] = "Another"
    other = f"another title than in {STAC}", "title", "Another", TITLE
    return [said(CROISSANT, *other), said(README, *other)]


@pytest.mark.parametrize(
    "change",
    [stac_checksum, stac_size, stac_hash_function, stac_asset, stac_link, stac_extent, stac_title],
    ids=lambda change: change.__name__,
)
def test_a_collection_that_is_not_of_this_dataset_is_named(
    folder: Path, references: References, change: Callable[[Any], list[str]]
) -> None:
    expected: list[str] = []
    change_json(folder / STAC, lambda it: expected.extend(change(it)))
    assert look(folder, references).wrong == expected


def item_box(item: Any) -> tuple[str, object, object]:
    good, item["bbox"][2] = item["bbox"][2], 17.5
    return "bbox[2]", good, 17.5


def item_geometry(item: Any) -> tuple[str, object, object]:
    corner = item["geometry"]["coordinates"][0][1]
    good = corner[0]
    corner[0] += 1e-6
    return "geometry.coordinates[0][1][0]", good, corner[0]


def item_count(item: Any) -> tuple[str, object, object]:
    item["properties"]["bigearthnet:patches"] = 4
    return "properties.bigearthnet:patches", 3, 4


def item_time(item: Any) -> tuple[str, object, object]:
    good, item["properties"]["datetime"] = item["properties"]["datetime"], "2023-06-13T10:10:31.026Z"
    return "properties.datetime", good, "2023-06-13T10:10:31.026Z"


def item_link(item: Any) -> tuple[str, object, object]:
    item["links"][1]["href"] = "../../collection.json"
    return "links[1].href", "../collection.json", "../../collection.json"


def item_asset(item: Any) -> tuple[str, object, object]:
    item["assets"][S2]["href"] = f"../{S2}.tar.zst"
    return f"assets.{S2}.href", f"../../{S2}.tar.zst", f"../{S2}.tar.zst"


def item_of_more(item: Any) -> tuple[str, object, object]:
    item["properties"]["cloud"] = True
    return "properties.cloud", "nothing", True


@pytest.mark.parametrize(
    "change",
    [item_box, item_geometry, item_count, item_time, item_link, item_asset, item_of_more],
    ids=lambda change: change.__name__,
)
def test_an_item_that_is_not_of_its_tile_is_named(
    folder: Path, references: References, change: Callable[[Any], tuple[str, object, object]]
) -> None:
    expected: list[str] = []
    change_json(folder / ITEM, lambda it: expected.append(said(ITEM, NOT_FOLLOWING, *change(it))))
    assert look(folder, references).wrong == expected


def test_items_that_are_missing_surplus_or_written_otherwise_are_named(folder: Path, references: References) -> None:
    other = list(TILES)[1]
    (folder / ITEM).rename(folder / "stac" / "more.json")
    change_json(folder / "stac" / other / f"{other}.json", lambda it: None, separators=(",", ": "), sort_keys=False)
    path = folder / "stac" / other / f"{other}.json"
    path.write_text(path.read_text().replace(": ", ":  ", 1))
    assert look(folder, references).wrong == [
        "stac: surplus: more.json",
        f"stac: missing: {TILE}/{TILE}.json",
        f"stac/{other}/{other}.json: other white space, or another order, than it is written with",
    ]


def croissant_size(document: Any) -> list[str]:
    part = document["distribution"][0]
    good, part["contentSize"] = part["contentSize"].removesuffix(" B"), "7 B"
    return [said(CROISSANT, "another size than the file has", part["name"], good, 7)]


def croissant_sha256(document: Any) -> list[str]:
    part = document["distribution"][5]
    good, part["sha256"] = part["sha256"], "0" * 64
    return [said(CROISSANT, "another sha256 than the file has", PATCHES, good, "0" * 64)]


def croissant_column(document: Any) -> list[str]:
    document["recordSet"][0]["field"][0]["source"]["extract"]["column"] = "no_column"
    at = "recordSet[0].field[0].source.extract.column"
    return [said(CROISSANT, NOT_FOLLOWING, at, "patch_id", "no_column")]


def croissant_description(document: Any) -> list[str]:
    document["description"] = "Of three."
    return [said(CROISSANT, f"another description than in {STAC}", "description", "Of two tiles.", "Of three.")]


@pytest.mark.parametrize(
    "change",
    [croissant_size, croissant_sha256, croissant_column, croissant_description],
    ids=lambda change: change.__name__,
)
def test_a_croissant_that_is_not_of_this_dataset_is_named(
    folder: Path, references: References, change: Callable[[Any], list[str]]
) -> None:
    expected: list[str] = []
    change_json(folder / CROISSANT, lambda it: expected.extend(change(it)), sort_keys=False)
    assert look(folder, references).wrong == expected
