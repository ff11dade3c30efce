"""CORINE as other people and programs make it: read right, or named with the command that mends it, before the run."""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import fiona
import numpy as np
import pytest
import shapely
from pyproj import Transformer

from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.placement.country import BOXES
from ben_luigi.domain.placement.grid import PatchGrid
from ben_luigi.domain.tiles import clc
from ben_luigi.domain.tiles.clc import check_layer, read_polygons
from ben_luigi.domain.tiles.geopackage import Declared
from ben_luigi.domain.tiles.reference_maps import burn, make_maps
from tests.unit.geopackages import (
    CODES,
    ENDLESS,
    INSIDE,
    OUTSIDE,
    SQUARE,
    change,
    geometry,
    in_clc,
    put,
    read,
    refused,
    write,
)

GRID = PatchGrid("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP", SQUARE)
NAN = float("nan")


def maps(gpkg: Path, folder: Path) -> tuple[bytes, bytes]:
    """The reference maps of the tile, and the counts of their classes."""
    polygons = read_polygons(gpkg, SQUARE)
    counts = make_maps(polygons, GRID, np.arange(9), folder / "maps.tar", folder / "maps.parquet")
    return (folder / "maps.tar").read_bytes(), counts.to_csv().encode()


@pytest.mark.parametrize(
    "damage",
    [
        ["DELETE FROM rtree_clc_geom WHERE id % 2"],
        ["DELETE FROM rtree_clc_geom"],
        ["UPDATE rtree_clc_geom SET minx = 1, maxx = 2"],
        ["DELETE FROM rtree_clc_geom", "INSERT INTO rtree_clc_geom SELECT fid + 100, 1, 2, 3, 4 FROM clc"],
        ["DROP TABLE rtree_clc_geom", f"CREATE VIEW rtree_clc_geom AS {ENDLESS} SELECT n AS id FROM forever"],
    ],
)
def test_a_damaged_index_loses_nothing(gpkg: Path, sound_gpkg: Path, tmp_path: Path, damage: list[str]) -> None:
    """As GDAL 3.6.0 wrote it for layers above 100,000 rows. A second formulation: the maps of a sound file."""
    change(gpkg, *damage)
    assert read(gpkg) == read(sound_gpkg)
    assert len(read(gpkg)) == len(INSIDE)
    assert maps(gpkg, tmp_path) == maps(sound_gpkg, tmp_path)


@pytest.mark.parametrize("envelope", [(), (1, 2, 3, 4), (NAN, NAN, NAN, NAN), (1, 2, 3, 4, 5, 6), (0,) * 8])
def test_an_envelope_is_not_believed(gpkg: Path, envelope: tuple[float, ...]) -> None:
    outline = in_clc(shapely.box(*INSIDE["EU-2"]))
    put(gpkg, "EU-2", outline, envelope=envelope)
    found = read_polygons(gpkg, SQUARE)
    (place,) = np.flatnonzero(found.codes == CODES["EU-2"])
    assert np.allclose(found.geometries[place].bounds, INSIDE["EU-2"], atol=1e-3)


@pytest.mark.parametrize("kind", ["POLYGON", "MULTIPOLYGON"])
@pytest.mark.parametrize("dimensions", ["", "Z", "M", "ZM"])
@pytest.mark.parametrize("byte_order", [0, 1])
def test_every_kind_of_polygon_is_read(gpkg: Path, kind: str, dimensions: str, byte_order: int) -> None:
    plain = in_clc(shapely.box(*INSIDE["EU-2"]))
    more = ["7"] * len(dimensions)
    ring = ", ".join(" ".join([*map(repr, point), *more]) for point in plain.exterior.coords)
    text = f"POLYGON {dimensions} (({ring}))" if kind == "POLYGON" else f"MULTIPOLYGON {dimensions} ((({ring})))"
    wkb = shapely.to_wkb(shapely.from_wkt(text), flavor="iso", byte_order=byte_order, output_dimension=4)
    put(gpkg, "EU-2", wkb)
    found = read_polygons(gpkg, SQUARE)
    (place,) = np.flatnonzero(found.codes == CODES["EU-2"])
    assert shapely.get_coordinate_dimension(found.geometries[place]) == 2
    assert np.allclose(found.geometries[place].bounds, INSIDE["EU-2"], atol=1e-3)


def test_two_layers_that_fit_are_named(gpkg: Path) -> None:
    """The first by name would win: another edition, or a copy that somebody has worked on."""
    write(gpkg, layer="a copy")
    said = refused(gpkg)
    assert "one layer in EPSG:3035" in said and "a copy (fid" in said and "clc (fid" in said and "ogr2ogr" in said


def test_a_layer_that_does_not_fit_does_not_disturb(gpkg: Path, sound_gpkg: Path) -> None:
    write(gpkg, layer="another", code="Code_12")
    assert read(gpkg) == read(sound_gpkg)


CURVE = struct.pack("<BII", 1, 8, 5) + struct.pack(
    "<10d", *[4.5e6, 2.8e6, 4.6e6, 2.9e6, 4.7e6, 2.8e6, 4.6e6, 2.7e6, 4.5e6, 2.8e6]
)
CURVEPOLYGON = struct.pack("<BII", 1, 10, 1) + CURVE
MULTISURFACE = struct.pack("<BII", 1, 12, 1) + CURVEPOLYGON


def _ring(*numbers: float) -> bytes:
    return struct.pack("<BIII", 1, 3, 1, len(numbers) // 2) + struct.pack(f"<{len(numbers)}d", *numbers)


LONG_AGO = struct.pack("<BII", 1, 7, 1) * 100_000
UNBURNABLE = {
    "a curve: CURVEPOLYGON": CURVEPOLYGON,
    "a curve: MULTISURFACE": MULTISURFACE,
    "a curve: in a MULTIPOLYGON": struct.pack("<BII", 1, 6, 1) + CURVEPOLYGON,
    "finite: NaN": _ring(4.5e6, 2.8e6, 4.6e6, NAN, 4.6e6, 2.9e6, 4.5e6, 2.8e6),
    "finite: infinity": _ring(4.5e6, 2.8e6, 4.6e6, float("inf"), 4.6e6, 2.9e6, 4.5e6, 2.8e6),
    "a point: POINT": shapely.Point(4.5e6, 2.8e6).wkb,
    "a line: LINESTRING": shapely.LineString([(4.5e6, 2.8e6), (4.6e6, 2.8e6)]).wkb,
    "a multipoint: MULTIPOINT": shapely.MultiPoint([(4.5e6, 2.8e6)]).wkb,
    "a collection: GEOMETRYCOLLECTION": shapely.GeometryCollection([shapely.box(4.5e6, 2.8e6, 4.6e6, 2.9e6)]).wkb,
    "a collection: nested without end": LONG_AGO,
    "a collection: nested without end in a MULTIPOLYGON": struct.pack("<BII", 1, 6, 1) + LONG_AGO,
    "cannot be read: not closed": _ring(4.5e6, 2.8e6, 4.6e6, 2.8e6, 4.6e6, 2.9e6, 4.5e6, 2.9e6),
    "cannot be read: cut short": shapely.box(4.5e6, 2.8e6, 4.6e6, 2.9e6).wkb[:-8],
    "cannot be read: claims 64 GB": struct.pack("<BIII", 1, 3, 1, 0xFFFFFFFF),
    "no GeoPackage geometry: no WKB": b"",
    "type 999: nonsense": struct.pack("<BII", 1, 999, 1) + bytes(100),
}


@pytest.mark.parametrize("name", ["EU-2", "EU-1"])
@pytest.mark.parametrize("case", UNBURNABLE)
def test_what_no_map_can_be_burnt_from_is_named_wherever_it_lies(gpkg: Path, case: str, name: str) -> None:
    fid = list({**OUTSIDE, **INSIDE}).index(name) + 1
    put(gpkg, name, UNBURNABLE[case])
    said = refused(gpkg)
    assert f"layer clc, fid {fid};" in said and case.split(":")[0] in said
    assert ("CONVERT_TO_LINEAR" if "curve" in case else f"-where 'fid NOT IN ({fid})'") in said


@pytest.mark.parametrize("blob", [b"GP", b"nonsense of some length", geometry(b"", flags=0x21), "text"])
def test_what_is_no_geometry_is_named(gpkg: Path, blob: object) -> None:
    change(gpkg, ("UPDATE clc SET geom = ? WHERE ID = 'EU-1'", (blob,)))
    assert "fid 1; " in (said := refused(gpkg)) and "no GeoPackage geometry" in said


def test_the_command_that_is_named_leaves_out_what_it_says(gpkg: Path, tmp_path: Path) -> None:
    put(gpkg, "EU-1", UNBURNABLE["a point: POINT"])
    put(gpkg, "EU-3", UNBURNABLE["a point: POINT"])
    said = refused(gpkg)
    assert "fid 1, 2;" in said
    condition = said.partition("-where '")[2].partition("'")[0]
    mended = tmp_path / "mended.gpkg"
    with fiona.open(gpkg) as source, fiona.open(mended, "w", **{**source.meta, "layer": "clc"}) as target:
        target.writerecords(source.filter(where=condition))
    assert len(read(mended)) == len(INSIDE)


@pytest.mark.parametrize(
    "blob", [None, geometry(shapely.MultiPolygon().wkb, flags=0x11), geometry(shapely.Polygon().wkb)]
)
def test_rows_without_a_polygon_are_passed_over(gpkg: Path, blob: bytes | None) -> None:
    change(gpkg, ("UPDATE clc SET geom = ?, Code_18 = NULL, ID = NULL WHERE ID = 'EU-2'", (blob,)))
    assert len(read(gpkg)) == len(INSIDE) - 1


INVALID = {
    "bow-tie": shapely.Polygon(
        [(300_100, 5_399_000), (303_000, 5_397_000), (303_000, 5_399_000), (300_100, 5_397_000)]
    ),
    "parts that overlap": shapely.MultiPolygon(
        [shapely.box(300_100, 5_397_000, 302_000, 5_399_000), shapely.box(301_000, 5_398_000, 303_000, 5_399_900)]
    ),
    "a part in a part": shapely.MultiPolygon(
        [shapely.box(300_100, 5_397_000, 303_000, 5_399_900), shapely.box(301_000, 5_398_000, 302_000, 5_399_000)]
    ),
    "a ring that touches itself": shapely.Polygon(
        shapely.box(300_100, 5_397_000, 303_000, 5_399_000).exterior.coords[:3]
        + shapely.Polygon([(301_000, 5_397_000), (300_500, 5_398_000), (301_000, 5_398_500)]).exterior.coords[:]
        + [(300_100, 5_397_000)]
    ),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_polygons_are_burnt_as_makevalid_mends_them(gpkg: Path, case: str) -> None:
    """A second formulation: the pixels whose centres lie in what GEOS makes of the polygon."""
    assert not INVALID[case].is_valid
    put(gpkg, "EU-100", in_clc(INVALID[case]))
    change(gpkg, "DELETE FROM clc WHERE ID <> 'EU-100'")
    burnt = burn(read_polygons(gpkg, SQUARE), GRID)
    column, row = np.meshgrid(np.arange(360), np.arange(360))
    centres = shapely.points(300_000 + 10 * column + 5, 5_400_000 - 10 * row - 5)
    expected = shapely.contains(shapely.make_valid(INVALID[case]), centres)
    decided = ~shapely.dwithin(centres, shapely.boundary(INVALID[case]), 0.1)
    assert ((burnt.classes != burnt.nothing) == expected)[decided].all()
    assert expected.sum() > 10_000


@pytest.mark.parametrize("code", ["abc", "", None, "150", "999999", -1, 2.5, 10**12, b"211", "2 1", "nan"])
def test_a_code_that_is_none_of_clc_is_named(gpkg: Path, code: object) -> None:
    """On a map it would count as ground without a class, or stop the tile when its labels are made."""
    change(gpkg, ("UPDATE clc SET Code_18 = ? WHERE ID = 'EU-3'", (code,)))
    assert "fid 2; " in (said := refused(gpkg)) and f"Code_18 = {code!r}".replace("'", "") in said.replace("'", "")


@pytest.mark.parametrize("code", ["312", " 312 ", "312.0", 312, 312.0])
def test_a_code_may_be_text_or_a_number(tmp_path: Path, code: object) -> None:
    gpkg = change(
        write(tmp_path / "clc.gpkg"),
        "ALTER TABLE clc RENAME COLUMN Code_18 TO old",
        "ALTER TABLE clc ADD COLUMN Code_18",
        ("UPDATE clc SET Code_18 = ?", (code,)),
    )
    assert set(read_polygons(gpkg, SQUARE).codes.tolist()) == {312}


def test_a_polygon_without_id_has_no_place_in_the_order(gpkg: Path) -> None:
    change(gpkg, "UPDATE clc SET ID = NULL WHERE ID = 'EU-9'")
    assert "fid 5; " in (said := refused(gpkg)) and "found: no ID" in said


@pytest.mark.parametrize(
    ("moved", "found", "mend"),
    [
        (lambda x, y: (y, x), "x and y are exchanged", "axisswap"),
        (lambda x, y: (12 + x * 1e-7, 48 + y * 1e-7), "degrees", "-s_srs EPSG:4326"),
        (lambda x, y: (48 + y * 1e-7, 12 + x * 1e-7), "degrees", "-s_srs EPSG:4326"),
        (lambda x, y: (x - 4e6, y + 2.6e6), "none there", "-s_srs"),
    ],
)
def test_polygons_that_lie_elsewhere_are_an_error(gpkg: Path, moved: object, found: str, mend: str) -> None:
    with closing(sqlite3.connect(gpkg)) as database:
        rows = database.execute("SELECT ID, geom FROM clc").fetchall()
    for name, blob in rows:
        outline = shapely.from_wkb(blob[40:])
        put(gpkg, name, shapely.transform(outline, lambda p: np.column_stack(moved(*p.T))))  # type: ignore[operator]
    assert found in (said := refused(gpkg)) and mend in said


@pytest.mark.parametrize("country", BOXES)
def test_exchanged_axes_are_seen_in_every_country(tmp_path: Path, country: str) -> None:
    """Finland and Ireland lie about the diagonal of EPSG:3035, so that some of it stays in place."""
    to_clc = Transformer.from_crs(4326, 3035, always_xy=True)
    west, south, east, north = BOXES[country]
    x, y = np.meshgrid(np.linspace(west + 0.5, east - 0.5, 5), np.linspace(south + 0.5, north - 0.5, 5))
    x, y = to_clc.transform(x.ravel(), y.ravel())
    schema = {"geometry": "Polygon", "properties": {"Code_18": "str", "ID": "str"}}
    for name, (a, b) in {"right": (x, y), "wrong": (y, x)}.items():
        records = [
            {
                "geometry": shapely.box(a[n], b[n], a[n] + 9, b[n] + 9).__geo_interface__,
                "properties": {"Code_18": "211", "ID": str(n)},
            }
            for n in range(len(a))
        ]
        with fiona.open(tmp_path / f"{name}.gpkg", "w", driver="GPKG", crs="EPSG:3035", schema=schema) as file:
            file.writerecords(records)
    check_layer(tmp_path / "right.gpkg")
    assert "exchanged" in refused(tmp_path / "wrong.gpkg")


def test_a_file_is_looked_through_once_and_again_when_it_has_changed(
    gpkg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    select = clc._select

    def counted(layer: Declared) -> str:
        looks.append(layer.table)
        return select(layer)

    monkeypatch.setattr(clc, "_select", counted)
    check_layer(gpkg)
    check_layer(gpkg)
    assert len(looks) == 1
    put(gpkg, "EU-1", UNBURNABLE["a point: POINT"])
    for _ in range(3):
        with pytest.raises(BadInput, match="a point"):
            check_layer(gpkg)
    assert len(looks) == 2, "what was found wrong is remembered too"


def test_pages_out_of_order_are_said(gpkg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table whose pages were mixed up tells rows twice: here the table is one without order."""
    monkeypatch.setattr(clc, "_AT_ONCE", 2)
    select = clc._select
    duplicates = lambda layer: f"SELECT * FROM ({select(layer)} UNION ALL {select(layer)}) ORDER BY 1 --"  # noqa: E731
    monkeypatch.setattr(clc, "_select", duplicates)
    with pytest.raises(BadInput, match="out of order"):
        check_layer(gpkg)
