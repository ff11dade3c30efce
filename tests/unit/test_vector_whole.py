"""Vector files that are truncated or damaged: of each kind refused, and never read as a smaller one."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import fiona
import pytest
import shapely

from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.formats import vector
from ben_luigi.domain.placement.country import read_borders
from ben_luigi.domain.recipe.model import Countries
from ben_luigi.domain.tiles import land_vector
from ben_luigi.domain.tiles.clc import Content
from tests.unit.geopackages import refused

DRIVERS = {
    ".shp": "ESRI Shapefile",
    ".fgb": "FlatGeobuf",
    ".gml": "GML",
    ".mif": "MapInfo File",
    ".tab": "MapInfo File",
    ".gpkg": "GPKG",
    ".sqlite": "SQLite",
    ".geojson": "GeoJSON",
    ".geojsonl": "GeoJSONSeq",
}
OF = {".dbf": ".shp", ".shx": ".shp", ".mid": ".mif", ".map": ".tab", ".dat": ".tab", ".id": ".tab"}
FEATURES = 120
EVERYWHERE = Countries(column="region", names=None)
CONTENT = Content("code", "", "", None, frozenset(range(FEATURES)))


def _write(path: Path, without: int | None = None) -> Path:
    schema = {"geometry": "Polygon", "properties": {"code": "int", "region": "str:20"}}
    with fiona.open(path, "w", driver=DRIVERS[path.suffix], crs="EPSG:4326", schema=schema) as file:
        for at in range(FEATURES):
            shape = shapely.geometry.mapping(shapely.box(at / 10, 0, at / 10 + 0.1, 0.1 + at / 1000))
            properties = {"code": at, "region": f"region {at}"}
            file.write({"geometry": None if at == without else shape, "properties": properties})
    return path


def _refused(path: Path) -> list[str]:
    """Return what regions and land cover say of a file that both of them refuse."""
    said = []
    for read in (lambda: read_borders(path, EVERYWHERE), lambda: land_vector.check(path, CONTENT)):
        with pytest.raises(BadInput) as error:
            read()
        said.append(error.value.found)
    return said


@pytest.mark.parametrize("suffix", DRIVERS)
def test_a_whole_file_is_read_as_a_whole(suffix: str, tmp_path: Path) -> None:
    path = _write(tmp_path / f"a{suffix}")
    assert len(read_borders(path, EVERYWHERE)) == FEATURES
    land_vector.check(path, CONTENT)


@pytest.mark.parametrize("part", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("suffix", sorted({*DRIVERS, *OF} - {".tab"}))  # which is a header alone
def test_a_truncated_file_is_refused(suffix: str, part: float, tmp_path: Path) -> None:
    path = _write(tmp_path / f"a{OF.get(suffix, suffix)}")
    cut = path.with_suffix(suffix)
    os.truncate(cut, int(cut.stat().st_size * part))
    assert len(set(_refused(path))) == 1
    (path.with_suffix(".xsd")).unlink(missing_ok=True)  # without it GDAL reads all of a GML when it opens it
    assert len(set(_refused(path))) == 1


@pytest.mark.parametrize("suffix", [".shp", ".shx", ".fgb", ".gml", ".mif", ".map", ".geojsonl"])
def test_a_damaged_file_is_refused(suffix: str, tmp_path: Path) -> None:
    path = _write(tmp_path / f"a{OF.get(suffix, suffix)}")
    with path.with_suffix(suffix).open("r+b") as file:
        file.seek(path.with_suffix(suffix).stat().st_size * 3 // 4)
        file.write(bytes(80))
    _refused(path)


@pytest.mark.parametrize("mark", ["\ufeff", "\ufeff\n"])
def test_a_feature_per_line_after_a_byte_order_mark_is_not_read_as_one_feature(mark: str, tmp_path: Path) -> None:
    """Editors of Windows write such marks."""
    path = _write(tmp_path / "a.geojsonl")
    path.write_text(mark + path.read_text())
    said = f"{FEATURES} objects of JSON, of which GDAL reads the first: make one collection of them"
    assert {one.rpartition("Error: ")[2] for one in _refused(path)} == {said}


def test_braces_and_quotes_in_texts_and_a_byte_order_mark_are_no_further_object(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.geojson")
    path.write_text("\ufeff" + path.read_text().replace("region 3", r"}} \" {{ \\").replace("region 4", r"\u0022}"))
    assert len(read_borders(path, EVERYWHERE)) == FEATURES


def test_errors_are_heard_that_nobody_wants_to_see(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = _write(tmp_path / "a.shp")
    os.truncate(path.with_suffix(".dbf"), 3000)
    caplog.set_level(logging.CRITICAL)
    assert "damaged near feature" in _refused(path)[0] and not caplog.text


def test_pages_that_are_lost_are_no_end_of_a_geopackage(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.gpkg")
    pages, lost = path.stat().st_size // 4096, 0
    whole = path.read_bytes()
    for page in range(1, pages):
        path.write_bytes(whole[: page * 4096] + bytes(4096) + whole[(page + 1) * 4096 :])
        try:
            assert len(vector.read(path, ["code"]).numbers) == FEATURES
        except ValueError:
            lost += 1
    assert lost > 1


def test_what_a_shapefile_says_is_deleted_or_without_geometry_is_no_damage(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.shp", without=7)
    dbf = bytearray(path.with_suffix(".dbf").read_bytes())
    first, record = int.from_bytes(dbf[8:10], "little"), int.from_bytes(dbf[10:12], "little")
    dbf[first + 3 * record] = ord("*")
    path.with_suffix(".dbf").write_bytes(dbf)
    assert len(read_borders(path, EVERYWHERE)) == FEATURES - 2


def test_a_geopackage_that_ends_within_a_page_is_refused(gpkg: Path) -> None:
    """SQLite reads the rest of the page as zeros, which may be those of a polygon."""
    os.truncate(gpkg, gpkg.stat().st_size - 100)
    assert "truncated" in refused(gpkg)
