"""Countries of another recipe: any polygon file, CRS and column; all of them, or those that are named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import fiona
import numpy as np
import pytest
import shapely
from pyproj import Transformer
from shapely.affinity import translate

from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.placement.country import COUNTRIES, NO_COUNTRY, TEN, countries, read_borders
from ben_luigi.domain.placement.grid import PatchGrid, Square
from ben_luigi.domain.recipe.model import Countries
from ben_luigi.domain.report import report_map

GRID = PatchGrid("T", Square(500_000, 5_400_000, 12_000, 32633))
FORMS = [("a.geojson", "GeoJSON", 4326), ("a.gpkg", "GPKG", 32633), ("a.shp", "ESRI Shapefile", 3035)]
WEST, EAST = shapely.box(499_000, 5_380_000, 503_500, 5_402_000), shapely.box(506_100, 5_390_900, 530_000, 5_402_000)
ISLAND = shapely.box(504_700, 5_389_000, 504_900, 5_389_100)


def _write(
    path: Path, driver: str, epsg: int, shapes: list[tuple[str, shapely.Geometry]], zone: int = 32633, layer: str = "a"
) -> Path:
    to = Transformer.from_crs(zone, epsg, always_xy=True)
    schema = {"geometry": "Polygon", "properties": {"Region": "str"}}
    layers = {"layer": layer} if driver == "GPKG" else {}
    with fiona.open(path, "w", driver=driver, crs=f"EPSG:{epsg}", schema=schema, **layers) as file:
        for name, shape in shapes:
            moved = shapely.transform(shapely.segmentize(shape, 500), lambda at: np.column_stack(to.transform(*at.T)))
            file.write({"geometry": shapely.geometry.mapping(moved), "properties": {"Region": name}})
    return path


def _touched(shapes: list[tuple[str, shapely.Geometry]]) -> list[str]:
    """The same patch by patch: the first that the patch touches."""
    patches = [shapely.box(*edges) for edges in GRID.edges]
    return [next((name for name, shape in shapes if shape.intersects(patch)), NO_COUNTRY) for patch in patches]


@pytest.mark.parametrize(("name", "driver", "epsg"), FORMS)
def test_all_regions_of_any_file_and_none_outside(name: str, driver: str, epsg: int, tmp_path: Path) -> None:
    """The larger of two comes first; features of one name are one region."""
    shapes = [("East", EAST), ("West", WEST), ("West", ISLAND)]
    path = _write(tmp_path / name, driver, epsg, shapes)
    found = countries(GRID, path, Countries(column="region", names=None))
    assert found.tolist() == _touched(shapes)
    assert {NO_COUNTRY, "East", "West"} == set(found)


@pytest.mark.parametrize(("name", "driver", "epsg"), FORMS)
def test_named_regions_are_the_nearest(name: str, driver: str, epsg: int, tmp_path: Path) -> None:
    path = _write(tmp_path / name, driver, epsg, [("East", EAST), ("West", WEST), ("Island", ISLAND)])
    found = countries(GRID, path, Countries(column="Region", names=("West", "East")))
    patches = shapely.box(*GRID.edges.T)
    to_west, to_east = shapely.distance(patches, WEST), shapely.distance(patches, EAST)
    clear = np.abs(to_west - to_east) > 1
    assert clear.sum() > 90
    assert (found == np.where(to_west < to_east, "West", "East"))[clear].all()


def test_regions_on_both_sides_of_the_180th_meridian_and_in_the_south(tmp_path: Path) -> None:
    grid = PatchGrid("T", Square(160_020, 8_000_040, 24_000, 32701))
    middle, half = shapely.box(175_000, 7_980_000, 183_700, 7_996_000), 180.0
    to = Transformer.from_crs(32701, 4326, always_xy=True)
    shape = shapely.transform(middle, lambda at: np.column_stack(to.transform(*at.T)) % [360, 360] - [0, 360])
    parts = [shape.intersection(shapely.box(0, -90, half, 0)), shape.intersection(shapely.box(half, -90, 360, 0))]
    parts[1] = shapely.transform(parts[1], lambda at: at - [360, 0])
    assert not any(part.is_empty for part in parts)
    path = _write(tmp_path / "a.gpkg", "GPKG", 4326, [("Here", part) for part in parts], zone=4326)
    found = countries(grid, path, Countries(column="Region", names=None))
    inside = shapely.distance(shapely.box(*grid.edges.T), middle) == 0
    assert 0 < inside.sum() < len(inside) and ((found == "Here") == inside).all()


def test_no_region_around_a_tile(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.gpkg", "GPKG", 4326, [("Far", shapely.box(-70, -20, -60, -10))], zone=4326)
    assert set(countries(GRID, path, Countries(column="Region", names=None))) == {NO_COUNTRY}
    with pytest.raises(BadInput, match=r"tile T; .*more than 300 km"):
        countries(GRID, path, Countries(column="Region", names=("Far",)))


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.gpkg", "GPKG", 32633, [("East", EAST)])
    for wanted, said in (
        (Countries(column="Region", names=("East", "North")), "none for North; the file has East"),
        (Countries(column="name_long", names=None), r"by their column name_long; found: layers: a \(Region\)"),
    ):
        with pytest.raises(BadInput, match=said):
            read_borders(path, wanted)
    _write(path, "GPKG", 32633, [("East", EAST)], layer="b")
    with pytest.raises(BadInput, match=r"2 layers that fit: a \(Region\); b \(Region\)"):
        read_borders(path, Countries(column="Region", names=None))
    kml = '<kml xmlns="http://www.opengis.net/kml/2.2"><Placemark><Point><coordinates>1,1</coordinates></Point></Placemark></kml>'
    for name, text in (("none.gpkg", "nothing of the kind"), ("regions.kml", kml), ("regions.zip", "PK")):
        (tmp_path / name).write_text(text)
        with pytest.raises(BadInput, match=r"no file of polygons: .*; read are GeoPackage, GeoJSON, .* ogr2ogr"):
            read_borders(tmp_path / name, Countries(column="Region", names=None))


@pytest.mark.parametrize(("name", "driver", "epsg"), FORMS)
@pytest.mark.parametrize("names", [None, ("West",)])
def test_the_map_of_the_report_shows_regions_of_any_file(
    names: tuple[str, ...] | None, name: str, driver: str, epsg: int, tmp_path: Path
) -> None:
    """The map has kilometres of EPSG:3035, and shows what else the file has."""
    path = _write(tmp_path / name, driver, epsg, [("East", EAST), ("West", WEST)])
    drawn = report_map.outlines(path, ["West"], Countries(column="region", names=names))
    assert [(outline.name, outline.occurs) for outline in drawn] == [("East", False), ("West", True)]
    west, south = Transformer.from_crs(32633, 3035, always_xy=True).transform(499_000, 5_380_000)
    points = np.array([point.split() for point in drawn[1].path.strip("MZ").split("L")], dtype=float)
    corner = np.array([west / 1000 - 2500, 5450 - south / 1000])
    assert np.hypot(*(points - corner).T).min() < 1.5


def test_the_map_shows_the_named_regions_where_others_are_unusable(tmp_path: Path) -> None:
    shapes = [("West", WEST), ("nowhere", shapely.box(500_000, 9_000_000, 510_000, 19_000_000))]
    path = _write(tmp_path / "a.gpkg", "GPKG", 32633, shapes)
    drawn = report_map.outlines(path, ["West"], Countries(column="Region", names=("West",)))
    assert "West" in [outline.name for outline in drawn]


def test_the_ten_countries_may_come_from_another_file_than_natural_earth_s(tmp_path: Path) -> None:
    """Not from each file that ends so: a text is taken for Natural Earth's, which the remedy names."""
    wanted, squares = replace(TEN, column="Region"), [translate(EAST, 0, 40_000 * n) for n in range(len(COUNTRIES))]
    for name, driver in (("a.gpkg", "GPKG"), ("a.shp", "ESRI Shapefile")):
        path = _write(tmp_path / name, driver, 32633, [*zip(COUNTRIES, squares, strict=True), ("Another", WEST)])
        assert set(read_borders(path, wanted)) == set(COUNTRIES)
        assert set(countries(GRID, path, wanted)) == {COUNTRIES[0]}
        assert {outline.name for outline in report_map.outlines(path, list(COUNTRIES), wanted)} == {
            *COUNTRIES,
            "Another",
        }
    page = tmp_path / "page.gpkg"
    page.write_text("<html>not found</html>")
    with pytest.raises(BadInput, match="Natural Earth"):
        read_borders(page, wanted)
