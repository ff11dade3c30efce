"""Selections and samples, held against the same asked row by row."""

from __future__ import annotations

import json
import re
import sys
from contextlib import suppress
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from ben_luigi.config import TRACKED_ARTIFACTS
from ben_luigi.configuration import check, loading
from ben_luigi.configuration.files import read
from ben_luigi.domain.dataset import metadata, subset
from ben_luigi.domain.dataset.subset import Selection
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.placement import alignment
from ben_luigi.domain.placement.alignment import SEASONS
from ben_luigi.domain.placement.country import COUNTRIES
from ben_luigi.domain.placement.grid import SPLITS, PatchGrid, tile_square
from ben_luigi.domain.recipe import template
from ben_luigi.domain.recipe.model import Countries

TILES = ("33UUP_20170613", "34VEM_20180204")
CLASSES = ("Arable land", "Inland waters", "Pastures", "Transitional woodland, shrub", "Urban fabric")


def _world(number: int = 40, seed: int = 0) -> tuple[pa.Table, pd.DataFrame]:
    """Rows of the metadata and places of patches of two tiles, with all else drawn by lot."""
    draw = np.random.default_rng(seed)
    rows, places = [], []
    for name in ("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP", "S2B_MSIL2A_20180204T094159_N9999_R036_T34VEM"):
        product = ProductName.parse(f"{name}_20180101T000000.SAFE")
        table = PatchGrid(name, tile_square(product)).table().iloc[np.sort(draw.choice(8281, number, replace=False))]
        season = alignment.season(product.sensing_time)
        places.append(table.assign(tile=product.tile_key, season=season))
        rows += [
            {
                "patch_id": patch,
                "labels": sorted(draw.choice(CLASSES, draw.integers(1, 4), replace=False).tolist()),
                "split": str(draw.choice(SPLITS)),
                "country": str(draw.choice(COUNTRIES)),
                "s1_name": f"S1{patch}",
                "s2v1_name": f"v1{patch}",
                **{flag: bool(draw.random() < 0.2) for flag in metadata.FLAGS},
            }
            for patch in table["patch_id"]
        ]
    return pa.Table.from_pylist(rows, schema=metadata.SCHEMA), pd.concat(places, ignore_index=True)


_to_degrees = lru_cache(lambda epsg: Transformer.from_crs(f"EPSG:{epsg}", "OGC:CRS84"))


def _some(values: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), unique=True).map(tuple)


def _area(box: tuple[float, float]) -> shapely.Geometry:
    return shapely.box(box[0], 40, box[0] + box[1], 70)


@settings(max_examples=100)
@given(
    st.builds(
        Selection,
        tiles=_some(TILES),
        countries=_some(COUNTRIES),
        seasons=_some(SEASONS),
        splits=_some(SPLITS),
        labels=_some(CLASSES),
        area=st.none() | st.tuples(st.floats(10, 25), st.floats(0.1, 5)).map(_area),
    )
)
def test_the_rows_are_those_that_meet_all_of_it(selection: Selection) -> None:
    rows, places = _world()
    place_of = {place.patch_id: place for place in places.itertuples()}

    def meets(row: dict[str, Any]) -> bool:
        place: Any = place_of[row["patch_id"]]
        asked = [
            (selection.tiles, place.tile),
            (selection.seasons, place.season),
            (selection.countries, row["country"]),
            (selection.splits, row["split"]),
        ]
        to = _to_degrees(place.epsg)
        corners = [(x, y) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]
        edges = ((place.left_m, place.right_m), (place.bottom_m, place.top_m))
        return (
            all(value in values for values, value in asked if values)
            and (not selection.labels or bool(set(row["labels"]) & set(selection.labels)))
            and (
                selection.area is None
                or selection.area.intersects(
                    shapely.Polygon([to.transform(edges[0][x], edges[1][y]) for x, y in corners])
                )
            )
        )

    expected = [row for row in rows.to_pylist() if meets(row)]
    if expected:
        in_order = subset.placed(rows, places.sample(frac=1, random_state=1))
        assert subset.select(rows, in_order, selection).to_pylist() == expected
    else:
        with pytest.raises(BadInput, match="found: none"):
            subset.select(rows, places, selection)


@pytest.mark.parametrize(
    ("selection", "to_change"),
    [
        (Selection(tiles=TILES[:1], seasons=("winter",), splits=("train",)), "tiles or seasons"),
        (Selection(seasons=("fall",), splits=("train",), labels=CLASSES[:1]), "seasons"),
        (Selection(seasons=("fall",), area=shapely.box(0, 0, 1, 1)), "more than one of seasons, area"),
    ],
)
def test_where_nothing_is_left_the_options_are_named_without_which_there_is_something(
    selection: Selection, to_change: str
) -> None:
    """Or it is said that one change is not enough. Each is left out here, and the selection asked once more."""
    rows, places = _world()
    with pytest.raises(BadInput, match=f"next: change {to_change} there") as caught:
        subset.select(rows, places, selection)
    assert "none of 80: " in caught.value.found
    given = [field.name for field in fields(Selection) if getattr(selection, field.name)]
    enough = []
    for name in given:
        with suppress(BadInput):
            assert len(subset.select(rows, places, replace(selection, **{name: getattr(Selection(), name)})))
            enough.append(name)
    assert to_change == (" or ".join(enough) or f"more than one of {', '.join(given)}")


@settings(max_examples=60)
@given(st.integers(0, 1000), st.integers(1, 90))
def test_a_sample_has_its_size_and_every_class(seed: int, size: int) -> None:
    rows, places = _world(seed=seed)
    try:
        found = subset.select(rows, places, Selection(sample=size))
    except BadInput as error:
        least = int(error.remedy.split()[-3])
        assert size < least <= len(CLASSES)
        found = subset.select(rows, places, Selection(sample=least))
        size = least
    assert found.num_rows == min(size, rows.num_rows)
    everything, chosen = rows.to_pylist(), found.to_pylist()
    assert [row for row in everything if row in chosen] == chosen
    assert {label for row in chosen for label in row["labels"]} == {
        label for row in everything for label in row["labels"]
    }
    if size >= 35:  # as many as there can be pairs of class and split, countries, seasons and flags
        for key in ("split", "country", *metadata.FLAGS):
            assert {row[key] for row in chosen} == {row[key] for row in everything}
        assert {(row["split"], label) for row in chosen for label in row["labels"]} == {
            (row["split"], label) for row in everything for label in row["labels"]
        }


def test_a_sample_is_the_same_whatever_the_order_and_keeps_what_a_smaller_one_needs() -> None:
    rows, places = _world(number=400)
    order = np.random.default_rng(1).permutation(len(rows))
    sample = subset.select(rows, places, Selection(sample=60))
    again = subset.select(rows.take(pa.array(order)), places.iloc[order], Selection(sample=60)).sort_by("patch_id")
    assert again.equals(sample.sort_by("patch_id"))
    assert len(set(sample["patch_id"].to_pylist())) == 60


def test_words_are_read_as_they_are_written(tmp_path: Path) -> None:
    area = {"type": "Feature", "properties": {}, "geometry": json.loads(shapely.to_geojson(shapely.box(1, 2, 3, 4)))}
    path = tmp_path / "area.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [area]}))
    options = {
        "tiles": TILES[0],
        "countries": "Austria, Serbia",
        "seasons": "spring summer",
        "splits": "test",
        "labels": "Transitional woodland, shrub; Pastures",
        "area": str(path),
        "sample": "12",
    }
    found = subset.parse(options, TILES, CLASSES)
    assert found.area is not None and found.area.equals(shapely.box(1, 2, 3, 4))
    assert subset.parse({"area": "1, 2, 3, 4.0"}, TILES, CLASSES).area == shapely.box(1, 2, 3, 4)
    assert (found.tiles, found.countries, found.seasons, found.splits, found.labels, found.sample) == (
        TILES[:1],
        ("Austria", "Serbia"),
        ("spring", "summer"),
        ("test",),
        ("Transitional woodland, shrub", "Pastures"),
        12,
    )


@pytest.mark.parametrize(
    ("option", "text", "found"),
    [
        ("tiles", "33UUP", "found: 33UUP"),
        ("countries", "Austria, Germany", "found: Germany"),
        ("seasons", "autumn", "expected: some of spring, summer, fall, winter; found: autumn"),
        ("splits", "testing", "found: testing"),
        ("labels", "Pastures; shrub", "found: shrub"),
        ("area", "3, 2, 1, 4", "found: an area with bounds"),
        ("area", "0, 0, 0, 0", "found: an area with bounds"),
        ("area", "300000, 5390000, 310000, 5400000", "found: an area with bounds"),
        ("area", "nowhere.geojson", "No such file"),
        ("sample", "-1", "expected: a number of patches"),
    ],
)
def test_what_is_not_known_is_named(option: str, text: str, found: str) -> None:
    with pytest.raises(BadInput, match=found) as caught:
        subset.parse({option: text}, TILES, CLASSES)
    assert f"[subset] {option}" in caught.value.subject


def test_classes_may_have_semicolons_and_outer_blanks_in_their_names() -> None:
    """So can each be chosen that the nomenclature may have; the longest is meant where one begins as another."""
    classes = ("Shrub; heath", "Shrub", " Water ", "a;;b", "a")
    found = subset.parse({"labels": "Shrub;heath; Water;a ;; b;Shrub;"}, TILES, classes)
    assert found.labels == ("Shrub; heath", " Water ", "a;;b", "Shrub")
    for name in classes:
        assert subset.parse({"labels": name}, TILES, classes).labels == (name,)


@pytest.mark.parametrize(("text", "wrong"), [("Lakes; Shrub;heath", []), ("Shrub; heaht; Lakes", ["'Shrub', 'heaht'"])])
def test_the_configuration_is_checked_by_classes_with_semicolons(text: str, wrong: list[str], tmp_path: Path) -> None:
    codes = "".join(
        f'[[class]]\nname = "{name}"\ncodes = [{code}]\n' for code, name in ((1, "Lakes"), (2, "Shrub; heath"))
    )
    (tmp_path / "own.toml").write_text(f'{codes}[clc]\n1 = "a"\n2 = "b"\n')
    (tmp_path / "own.cfg").write_text(f"[metadata]\nnomenclature = {tmp_path}/own.toml\n[subset]\nlabels = {text}\n")
    assert [one.found for one in check.findings([read(tmp_path / "own.cfg", "own.cfg")])] == wrong


@pytest.mark.parametrize("name", ["", ".", "..", "../dataset", "a/b", "a b"])
def test_a_name_that_no_folder_can_have_is_refused(name: str) -> None:
    subset.check_name("small_2018-v1.0")
    with pytest.raises(BadInput, match="name"):
        subset.check_name(name)


@pytest.mark.parametrize("content", ["{", '{"type": "Point", "coordinates": [1, 2]}', "[]"])
def test_a_file_that_gives_no_area_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "area.geojson").write_text(content)
    with pytest.raises(BadInput, match=r"area\.geojson"):
        subset.parse({"area": str(tmp_path / "area.geojson")}, TILES, CLASSES)


def test_a_dataset_without_countries_and_flags_has_subsets_too() -> None:
    """Another recipe's rows have no more than patch_id, labels and split; regions may be missing for some."""
    rows, places = _world()
    bare = rows.select(["patch_id", "labels", "split"])
    chosen = subset.select(bare, places, Selection(splits=("train",), sample=20))
    assert len(chosen) == 20 and set(chosen["split"].to_pylist()) == {"train"}
    with pytest.raises(BadInput, match="0 meet countries"):
        subset.select(bare, places, Selection(countries=("Austria",)))
    partly = bare.append_column("country", pa.array([None, "Italy"] * (len(rows) // 2), pa.string()))
    assert set(subset.select(partly, places, Selection(sample=20))["country"].to_pylist()) == {None, "Italy"}
    assert len(subset.select(partly, places, Selection(countries=("Italy",)))) == len(rows) // 2


@pytest.mark.parametrize(
    ("names", "text", "found"),
    [
        (("Peru", "Chile"), "Chile Peru", ("Chile", "Peru")),
        (("Peru", "United Kingdom"), "United  Kingdom,Peru", ("United Kingdom", "Peru")),
        (("Peru", "Île de Ré"), "Île de Ré", ("Île de Ré",)),
        (("Peru", "United Kingdom"), "Peru\nUnited Kingdom", ("Peru", "United Kingdom")),
        (("Peru", "Korea,  Republic of"), "Peru, Korea, Republic of", ("Peru", "Korea,  Republic of")),
    ],
)
def test_countries_are_those_of_the_recipe(names: tuple[str, ...], text: str, found: tuple[str, ...]) -> None:
    """Names of several words, too; those of the default recipe are unknown to it."""
    of_recipe = Countries(Path("own.gpkg"), names=names)
    assert subset.parse({"countries": text}, TILES, CLASSES, of_recipe).countries == found
    with pytest.raises(BadInput, match=f"expected: some of {names[0]}, .*found: Austria"):
        subset.parse({"countries": f"{text}, Austria"}, TILES, CLASSES, of_recipe)


def test_the_configuration_is_checked_by_the_countries_of_its_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe that a file names, or the command line."""
    own = template.text("own", TRACKED_ARTIFACTS, "collection1_twin")
    own = re.sub(r"names = \[.*\]", 'names = ["United Kingdom", "Peru"]', own)
    (tmp_path / "own.toml").write_text(own, encoding="utf-8")
    text = "[subset]\ncountries = Peru, United Kingdm\n"
    said = "[subset] countries: found 'United Kingdm'; allowed: United Kingdom, Peru; did you mean United Kingdom?"
    (tmp_path / "named.cfg").write_text(f"[dataset]\nrecipe = {tmp_path}/own.toml\n{text}")
    assert [str(one).split(": ", 1)[1] for one in check.findings([read(tmp_path / "named.cfg", "own.cfg")])] == [said]
    (tmp_path / "plain.cfg").write_text(text.replace("Kingdm", "Kingdom"))
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(tmp_path / "plain.cfg"))
    monkeypatch.setattr(loading, "give", lambda files: None)
    monkeypatch.setattr(sys, "argv", ["ben-luigi", "run", "--recipe", str(tmp_path / "own.toml")])
    loading.load()
    monkeypatch.setattr(sys, "argv", ["ben-luigi", "run"])
    with pytest.raises(SystemExit):
        loading.load()
