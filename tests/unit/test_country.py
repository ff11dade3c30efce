from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from pyproj import Transformer

from ben_luigi.domain.cdse.resolve import read_tile_ids
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.placement.country import COUNTRIES, check_tile, countries, read_borders
from ben_luigi.domain.placement.grid import PatchGrid, Square, tile_square
from ben_luigi.sample.countries import write_countries

GRID = PatchGrid("T", Square(500_000, 5_400_000, 12_180, 32633))


def _write(path: Path, polygons: dict[str, shapely.Polygon], key: str = "NAME_LONG") -> Path:
    """Borders given in the zone, as longitude and latitude; countries not given lie far away."""
    to_degrees = Transformer.from_crs(32633, 4326, always_xy=True)
    far = shapely.box(400_000, 5_000_000, 401_000, 5_001_000)
    features = []
    for name in COUNTRIES:
        shape = shapely.transform(
            polygons.get(name, far), lambda points: np.column_stack(to_degrees.transform(points[:, 0], points[:, 1]))
        )
        features.append({"type": "Feature", "properties": {key: name}, "geometry": shapely.geometry.mapping(shape)})
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


@pytest.mark.parametrize("key", ["NAME_LONG", "name_long"])
def test_the_nearest_country_by_the_patch_not_by_its_centre(tmp_path: Path, key: str) -> None:
    """The border leaves the column x = 5 with its centre nearer to Serbia, and its edge in Austria."""
    border = 500_000 + 5 * 1200 + 100
    austria = shapely.box(490_000, 5_380_000, border, 5_410_000)
    serbia = shapely.box(border + 300, 5_380_000, 520_000, 5_410_000)
    path = _write(tmp_path / f"{key}.geojson", {"Austria": austria, "Serbia": serbia}, key)
    found = countries(GRID, path).reshape(10, 10)
    assert set(found[:5].flat) == {"Austria"}
    assert set(found[6:].flat) == {"Serbia"}
    # The patches of column 5 touch both, their centres lie in Serbia: the larger country wins.
    assert set(found[5].flat) == {"Austria"}


def test_brute_force_agrees(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    centres = rng.uniform([480_000, 5_370_000], [530_000, 5_420_000], (10, 2))
    shapes = {
        name: shapely.Point(c).buffer(3000 + 500 * i)
        for i, (name, c) in enumerate(zip(COUNTRIES, centres, strict=True))
    }
    path = _write(tmp_path / "borders.geojson", shapes)
    to_zone = Transformer.from_crs(4326, 32633, always_xy=True)
    borders = {
        name: shapely.transform(shape, lambda p: np.column_stack(to_zone.transform(p[:, 0], p[:, 1])))
        for name, shape in read_borders(path).items()
    }
    for x, y, country in zip(GRID.x, GRID.y, countries(GRID, path), strict=True):
        patch = shapely.box(500_000 + x * 1200, 5_400_000 - (y + 1) * 1200, 501_200 + x * 1200, 5_400_000 - y * 1200)
        best = min(COUNTRIES, key=lambda name: (patch.distance(borders[name]), -borders[name].area))
        assert country == best


def test_a_country_far_off_the_tile_is_the_nearest_of_its_patches_beside_it(tmp_path: Path) -> None:
    """All lie off the tile: one near its northwest corner, one as far east as the tile is wide."""
    austria = shapely.box(480_000, 5_401_000, 499_000, 5_410_000)
    serbia = shapely.box(516_000, 5_380_000, 530_000, 5_410_000)
    found = countries(GRID, _write(tmp_path / "borders.geojson", {"Austria": austria, "Serbia": serbia})).reshape(
        10, 10
    )
    assert found[0, 0] == "Austria"
    assert set(found[9]) == {"Serbia"}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("", "Expecting value"),
        ("[]", "no list of features"),
        ('{"features": 7}', "no list of features"),
        ('{"features": []}', "none for Austria"),
        ('{"features": [{"properties": {"ADMIN": "Austria"}}, {"properties": null}, 7]}', "no name_long among admin"),
        ("[" * 1_000_000, "nested too deep"),
        ('{"features": [' + '{"a":' * 1_000_000, "nested too deep"),
        ("\xff\xfe nonsense", "byte 0"),
    ],
)
def test_borders_that_are_none_are_refused(tmp_path: Path, content: str, found: str) -> None:
    path = tmp_path / "borders.geojson"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(BadInput, match=r"borders\.geojson.*next: .*\[inputs\] countries_geojson") as error:
        read_borders(path)
    assert found in str(error.value)


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="a folder, not a file"):
        read_borders(tmp_path)
    with pytest.raises(BadInput, match="No such file"):
        read_borders(tmp_path / "none.geojson")
    with (tmp_path / "huge.geojson").open("wb") as file:
        file.truncate(40_000_000_000)
    with pytest.raises(BadInput, match="40,000,000,000 bytes"):
        read_borders(tmp_path / "huge.geojson")


def _changed(folder: Path, change: Callable[[list[dict[str, Any]]], object], **more: object) -> Path:
    """The sample's borders, of which some have been changed."""
    path = folder / "borders.geojson"
    write_countries(path)
    collection = json.loads(path.read_text())
    change(collection["features"])
    path.write_text(json.dumps({**collection, **more}))
    return path


def _of(features: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (feature,) = [feature for feature in features if feature["properties"]["NAME_LONG"] == name]
    return feature


def _each_point(features: list[dict[str, Any]], move: Callable[[float, float], tuple[float, float]]) -> None:
    for feature in features:
        rings = feature["geometry"]["coordinates"]
        feature["geometry"]["coordinates"] = [[move(*point) for point in ring] for ring in rings]


NAN = float("nan")
BOW_TIE = [[[10, 47], [16, 49], [16, 47], [10, 49], [10, 47]]]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda all_: all_.remove(_of(all_, "Kosovo")), "none for Kosovo"),
        (lambda all_: all_.append(_of(all_, "Austria")), "more than one for Austria"),
        (lambda all_: [one["properties"].pop("NAME_LONG") for one in all_], "no name_long among"),
        (lambda all_: _of(all_, "Austria").update(geometry=None), "Austria; .* no geometry"),
        (lambda all_: _of(all_, "Austria").pop("geometry"), "Austria; .* no geometry"),
        (lambda all_: _of(all_, "Austria")["geometry"].update(type="Nonsense"), "Austria; .* no geometry"),
        (lambda all_: _of(all_, "Austria")["geometry"].update(coordinates=[]), "Austria; .*an empty one"),
        (lambda all_: _of(all_, "Austria")["geometry"].update(coordinates=[[[9, 47]]]), "Austria; .* no geometry"),
        (lambda all_: _of(all_, "Austria")["geometry"].update(coordinates=[[["a", 7]] * 4]), "Austria; .* no geometry"),
        (lambda all_: _of(all_, "Austria")["geometry"].update(coordinates=BOW_TIE), "Austria; .*Self-inter"),
        (lambda all_: _of(all_, "Austria")["geometry"]["coordinates"][0].insert(1, [NAN, 47]), "Invalid Coord"),
        (lambda all_: _of(all_, "Austria").update(geometry={"type": "Point", "coordinates": [14, 48]}), "a Point"),
        (lambda all_: _each_point(all_, lambda x, y: (y, x)), "Austria; .*latitude before longitude"),
        (lambda all_: _each_point(all_, lambda x, y: (x * 1e5, y * 1e5)), "Austria; .* in degrees"),
        (lambda all_: _each_point(all_, lambda x, y: (x - 100, y)), "Austria; .* in degrees"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_country_is_named(
    tmp_path: Path, change: Callable[[list[dict[str, Any]]], object], found: str
) -> None:
    with pytest.raises(BadInput, match=rf"borders\.geojson.*{found}.*next: "):
        read_borders(_changed(tmp_path, change))


@pytest.mark.parametrize("crs", ["urn:ogc:def:crs:EPSG::3035", "EPSG:25833", "urn:ogc:def:crs:EPSG::43260"])
def test_another_crs_is_refused_by_name(tmp_path: Path, crs: str) -> None:
    path = _changed(tmp_path, len, crs={"type": "name", "properties": {"name": crs}})
    with pytest.raises(BadInput, match=rf"{crs}.*-t_srs EPSG:4326"):
        read_borders(path)


@pytest.mark.parametrize("crs", ["urn:ogc:def:crs:OGC:1.3:CRS84", "urn:ogc:def:crs:EPSG::4326", "EPSG:4326"])
def test_degrees_may_be_said_in_words_of_before_the_standard(tmp_path: Path, crs: str) -> None:
    path = _changed(tmp_path, len, crs={"type": "name", "properties": {"name": crs}})
    assert tuple(read_borders(path)) == COUNTRIES


def test_what_has_changed_in_place_is_read_again(tmp_path: Path) -> None:
    path = _changed(tmp_path, len)
    before = read_borders(path)
    _changed(tmp_path, lambda all_: _of(all_, "Austria")["geometry"]["coordinates"][0][0].reverse())
    with pytest.raises(BadInput, match="Austria"):
        read_borders(path)
    _changed(tmp_path, lambda all_: _each_point(all_, lambda x, y: (x + 0.25, y)))
    assert read_borders(path)["Austria"].bounds[0] == before["Austria"].bounds[0] + 0.25


def _tile(mgrs: str) -> tuple[str, Square]:
    name = ProductName.parse(f"S2A_MSIL1C_20170613T101031_N0205_R022_T{mgrs}_20170613T101608.SAFE")
    return name.tile_key, tile_square(name)


@pytest.mark.parametrize(
    "mgrs",
    [
        "32TQM",  # Rimini
        "33TTG",  # Rome
        "33UUU",  # Berlin
        "30TVK",  # Madrid
        "31UDQ",  # Paris
        "30UXC",  # London
        "33VXF",  # Stockholm
        "34TGL",  # Thessaloniki
        "18TWL",  # New York
    ],
)
def test_a_tile_of_another_country_is_refused(published: Path, mgrs: str) -> None:
    """Its patches would count as Switzerland's, or whatever country is the nearest."""
    tile, square = _tile(mgrs)
    borders = published / "ne_110m_admin_0_countries.geojson"
    with pytest.raises(BadInput, match=rf"tile {tile}; .* km to [A-Z].*\[dataset\] tiles"):
        check_tile(tile, square, borders)
    with pytest.raises(BadInput, match=tile):
        countries(PatchGrid(tile, square), borders)


def test_every_published_tile_lies_in_one_of_the_ten_or_off_its_coast(published: Path) -> None:
    borders = published / "ne_110m_admin_0_countries.geojson"
    names = [ProductName.parse(name) for name in read_tile_ids(published / "bigearthnet_s2_tile_ids.csv")]
    assert len(names) == 125
    for name in names:
        check_tile(name.tile_key, tile_square(name), borders)


@pytest.mark.parametrize("east_km", [0, 40, 49, 51, 400])
def test_the_distance_is_that_of_the_square_to_the_nearest_country(tmp_path: Path, east_km: int) -> None:
    """So a tile of water off the coast passes, and no tile beyond."""
    austria = shapely.box(480_000, 5_380_000, 500_000, 5_410_000)
    path = _write(tmp_path / "borders.geojson", {"Austria": austria})
    square = Square(500_000 + 1000 * east_km, 5_400_000, 12_180, 32633)
    if east_km < 50:
        assert set(countries(PatchGrid("T", square), path)) == {"Austria"}
    else:
        with pytest.raises(BadInput, match=f"tile T; .*found: {east_km} km to Austria"):
            countries(PatchGrid("T", square), path)
