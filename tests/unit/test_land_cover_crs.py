"""Land cover in a CRS that has no EPSG code, or in none: used by what the file says of it, or refused in the check."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from pyproj import CRS, Transformer
from rasterio.transform import from_origin

from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.tiles import land_raster
from tests.unit.geopackages import change
from tests.unit.test_land_cover_far_away import INLAND, codes, read, write

OWN = CRS.from_user_input("+proj=laea +lat_0=47 +lon_0=13 +ellps=WGS84 +units=m").to_wkt()
SITE = 'LOCAL_CS["site",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]'


def _half(path: Path, crs: str) -> Path:
    """The western half of the tile has the code 10."""
    square = INLAND.square
    west = shapely.segmentize(shapely.box(square.left, square.bottom, square.left + 1830, square.top), 100)
    to = Transformer.from_crs(square.epsg, crs, always_xy=True)
    return write(path, [(10, shapely.transform(west, lambda at: np.column_stack(to.transform(*at.T))))], crs)


def _is_half(path: Path) -> bool:
    expected = np.where(np.arange(360) < 183, 10, 7)
    return bool((codes(path, INLAND) == expected).mean() > 0.99)


@pytest.mark.parametrize("suffix", ["gpkg", "fgb"])
@pytest.mark.parametrize("crs", ["ESRI:54009", OWN], ids=["ESRI", "own"])
def test_a_crs_without_an_epsg_code(suffix: str, crs: str, tmp_path: Path) -> None:
    assert _is_half(_half(tmp_path / f"a.{suffix}", crs))


@pytest.mark.parametrize("by_code", [True, False])
def test_the_definition_that_is_known_counts(by_code: bool, tmp_path: Path) -> None:
    """A code that EPSG does not have, or a CRS that only the second definition tells (OGC 12-128r18, F.10)."""
    path = _half(tmp_path / "a.gpkg", OWN)
    if by_code:
        change(path, "UPDATE gpkg_spatial_ref_sys SET organization = 'EPSG', organization_coordsys_id = 999999")
    else:
        change(
            path,
            "ALTER TABLE gpkg_spatial_ref_sys ADD definition_12_063 TEXT",
            ("UPDATE gpkg_spatial_ref_sys SET definition_12_063 = ?, definition = 'undefined'", (OWN,)),
        )
    assert _is_half(path)


@pytest.mark.parametrize("suffix", ["gpkg", "fgb"])
def test_a_crs_without_a_place_on_earth_is_refused(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"a.{suffix}", [(10, shapely.box(0, 0, 1, 1))], SITE)
    with pytest.raises(BadInput, match=r"in any CRS on Earth with columns rank and code; found: .*CRS.* site.*; next"):
        read(path, INLAND.square)


@pytest.mark.parametrize("told", ["'undefined'", "''", "'nonsense'"])
def test_a_geopackage_without_a_known_crs_is_refused(told: str, tmp_path: Path) -> None:
    path = _half(tmp_path / "a.gpkg", OWN)
    change(path, f"UPDATE gpkg_spatial_ref_sys SET definition = {told}")
    with pytest.raises(BadInput, match="no known CRS"):
        read(path, INLAND.square)


def test_a_raster_without_a_place_on_earth_is_refused(tmp_path: Path) -> None:
    kind = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": 4, "width": 4, "crs": SITE}
    with rasterio.open(tmp_path / "a.tif", "w", transform=from_origin(5, 5, 1, 1), **kind) as file:
        file.write(np.ones((4, 4), "uint8"), 1)
    with pytest.raises(BadInput, match="found: a CRS without a place on Earth, site"):
        land_raster.check(tmp_path / "a.tif")


def test_what_is_said_of_a_geopackage_of_another_recipe_names_the_recipe(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", [(77, shapely.box(0, 0, 1, 1))])
    with pytest.raises(BadInput) as error:
        read(path, INLAND.square)
    assert (
        error.value.expected == "polygons of straight edges, each with a value in rank and a code of the nomenclature"
    )
    assert error.value.found == "code = 77"
    assert error.value.remedy.startswith("correct [land_cover] of the recipe, the nomenclature, or the file, or leave")
    path.write_text("nothing")
    with pytest.raises(BadInput, match="next: correct \\[land_cover\\]"):
        read(path, INLAND.square)
