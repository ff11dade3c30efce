"""Reference maps against the slow way: each polygon's piece of each patch, burnt by itself, the last ID on top."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize
from rasterio.transform import from_origin

from ben_luigi.domain.formats import geotiff, shards
from ben_luigi.domain.names import PatchId
from ben_luigi.domain.placement.grid import PatchGrid, Square
from ben_luigi.domain.tiles.clc import Polygons
from ben_luigi.domain.tiles.nomenclature import read_nomenclature
from ben_luigi.domain.tiles.reference_maps import make_maps

TILE = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
SIDE = 3
LEFT, TOP = 300_000.0, 5_400_000.0
GRID = PatchGrid(TILE, Square(LEFT, TOP, 3_660, 32633))
EVERY = np.arange(SIDE**2)
CODES = (111, 211, 312, 512, 131, 423)
NOMENCLATURE = Path(__file__).resolve().parents[2] / "tracked_artifacts" / "nomenclature.toml"


def on_tile(*points: tuple[float, float]) -> list[tuple[float, float]]:
    """Points as metres east and south of the tile's corner."""
    return [(LEFT + x, TOP - y) for x, y in points]


def box(west: float, north: float, east: float, south: float) -> shapely.Polygon:
    return shapely.Polygon(on_tile((west, north), (east, north), (east, south), (west, south)))


def polygons(*geometries: shapely.Geometry) -> Polygons:
    """Polygons in the order in which they are burnt, with codes in turn."""
    codes = np.resize(np.array(CODES, dtype="uint16"), len(geometries))
    return Polygons(np.array(geometries, dtype=object), codes, 32633)


def slowly(land_cover: Polygons, x: int, y: int) -> np.ndarray | None:
    """The map of one patch, or None."""
    left, top = LEFT + 1200 * x, TOP - 1200 * y
    patch = shapely.box(left, top - 1200, left + 1200, top)
    pixels, with_map = np.full((120, 120), 999, dtype="uint16"), False
    for geometry, code in zip(land_cover.geometries, land_cover.codes.tolist(), strict=True):
        if not patch.intersects(geometry) or patch.touches(geometry):
            continue
        with_map = True
        pieces = [part for part in parts_of(patch.intersection(geometry)) if part.geom_type == "Polygon"]
        if pieces:
            rasterize([(shapely.MultiPolygon(pieces), code)], out=pixels, transform=from_origin(left, top, 10, 10))
    return pixels if with_map else None


def parts_of(geometry: shapely.Geometry) -> list[shapely.Geometry]:
    return list(shapely.get_parts(geometry))


def made(land_cover: Polygons, folder: Path, written: np.ndarray = EVERY) -> tuple[dict[str, bytes], pd.DataFrame]:
    """Files of a shard by name, and counts."""
    shard, index = folder / "tile.tar", folder / "tile.parquet"
    counts = make_maps(land_cover, GRID, written, shard, index)
    with tarfile.open(shard, "r:") as tar:
        members = {member.name: tar.extractfile(member) for member in tar}
        found = {name: file.read() for name, file in members.items() if file is not None}
    assert shards.read_index(index)["name"].to_pylist() == [Path(name).stem for name in found]
    return found, counts


def undecided(land_cover: Polygons, x: int, y: int) -> np.ndarray:
    """Pixels of a patch through whose very centre a sloping edge runs.

    Clipping such an edge rounds it, so that not even the slow way says on which side the centre is.
    """
    left, top = LEFT + 1200 * x, TOP - 1200 * y
    column, row = np.meshgrid(np.arange(120), np.arange(120))
    centres = shapely.points(left + 10 * column + 5, top - 10 * row - 5)
    rings = [ring for shape in land_cover.geometries for ring in shapely.get_rings(shape)]
    edges = [edge for ring in rings for edge in zip(ring.coords[:-1], ring.coords[1:], strict=True)]
    sloping = [edge for edge in edges if abs(edge[0][0] - edge[1][0]) > 0 and abs(edge[0][1] - edge[1][1]) > 0]
    return np.asarray(shapely.dwithin(centres, shapely.MultiLineString(sloping), 1e-6))


def agrees(land_cover: Polygons, folder: Path, written: np.ndarray = EVERY) -> dict[tuple[int, int], np.ndarray]:
    """Hold files and counts against the slow way; give the maps by (x, y)."""
    found, counts = made(land_cover, folder, written)
    maps, counted = {}, []
    for x, y in [divmod(place, SIDE) for place in written.tolist()]:
        expected = slowly(land_cover, x, y)
        if expected is None:
            continue
        patch = str(PatchId(TILE, x, y))
        name = f"Reference_Maps/{TILE}/{patch}/{patch}_reference_map.tif"
        with rasterio.open(io.BytesIO(found[name])) as raster:
            maps[x, y] = pixels = raster.read(1)
        differs = pixels != expected
        assert not differs.any() or not (differs & ~undecided(land_cover, x, y)).any()
        assert found[name] == geotiff.gdal_bytes(pixels, LEFT + 1200 * x, TOP - 1200 * y, 10, 32633, packed=True)
        counted += [(patch, code, int((pixels == code).sum())) for code in np.unique(pixels).tolist()]
    assert len(found) == len(maps)
    assert list(found) == sorted(found)
    assert list(counts.itertuples(index=False, name=None)) == counted
    return maps


STAR = shapely.Polygon(
    on_tile(
        (1800, 300), (2000, 1600), (3300, 1800), (2000, 2000), (1800, 3300), (1600, 2000), (300, 1800), (1600, 1600)
    )
)
HOLES = [on_tile((500, 500), (900, 505), (895, 905), (505, 895)), on_tile((1190, 1190), (1210, 1190), (1200, 1211))]

CASES = {
    "one over all": [box(-100, -100, 4000, 4000)],
    "slivers along pixel borders": [box(-50, 1798.5, 4000, 1801.5), box(2998.5, -50, 3001.5, 4000)],
    "slivers through pixel centres": [box(-50, 1794.9, 4000, 1795.1), box(2995, -50, 2995.01, 4000)],
    "edges through pixel centres": [box(5, 5, 1205, 1195), box(1205, 15, 2395, 2405), box(2395, 2405, 3605, 3595)],
    "edges on pixel borders": [box(10, 10, 1200, 1200), box(1200, 1200, 2400, 2400), box(600, 600, 1800, 1800)],
    "diagonals through pixel centres": [
        shapely.Polygon(on_tile((5, 5), (3595, 5), (5, 3595))),
        shapely.Polygon(on_tile((5, 3595), (1205, 2395), (3595, 3595))),
        shapely.Polygon(on_tile((5, 5), (1205, 605), (5, 605))),
    ],
    "smaller than a pixel": [
        box(1, 1, 4, 4),
        box(1214, 14, 1216, 16),
        box(2434.9, 2434.9, 2435.1, 2435.1),
        box(5, 5, 6, 6),
    ],
    "overlaps": [box(0, 0, 2000, 2000), box(1000, 1000, 3000, 3000), STAR, box(1700, 1700, 1900, 1900)],
    "parts and holes": [
        shapely.MultiPolygon(
            [shapely.Polygon(on_tile((0, 0), (2300, 7), (2290, 2300), (3, 2250)), HOLES), box(2500, 100, 2600, 3700)]
        ),
        shapely.Polygon(HOLES[0]),
    ],
    "touching only": [box(-500, -500, 0, 4000), box(1200, 2400, 2400, 3600), box(2400, 1200, 2500, 1210)],
    "a corner only": [box(-500, -500, 0.4, 0.4)],
    "outside": [box(3600, 0, 3700, 3600), box(9000, 9000, 9100, 9100)],
    "nothing": [],
}


@pytest.mark.parametrize("case", CASES)
def test_adversarial_polygons(case: str, tmp_path: Path) -> None:
    """Here all pixels are decided: edges through centres are level, upright or at 45 degrees."""
    for (x, y), pixels in agrees(polygons(*CASES[case]), tmp_path).items():
        assert np.all(pixels == slowly(polygons(*CASES[case]), x, y))


def test_what_is_crossed_without_a_pixel_centre_gets_an_empty_map_and_what_is_touched_none(tmp_path: Path) -> None:
    maps = agrees(polygons(box(1198, 1250, 1202, 1300), box(2400, 2450, 2500, 2500), box(0, 0, 1, 1)), tmp_path)
    assert sorted(maps) == [(0, 0), (0, 1), (1, 1), (2, 2)]
    assert [int((maps[place] != 999).sum()) for place in sorted(maps)] == [0, 0, 0, 50]
    _, counts = made(polygons(box(0, 0, 1, 1)), tmp_path)
    assert counts.to_dict("records") == [{"patch_id": f"{TILE}_00_00", "code": 999, "pixels": 14_400}]


def test_invalid_polygon_does_not_stop_the_tile(tmp_path: Path) -> None:
    bow_tie = shapely.Polygon(on_tile((1201, 1), (1203, 3), (1203, 1), (1201, 3)))
    assert not bow_tie.is_valid
    found, _ = made(polygons(bow_tie, box(0, 0, 600, 600)), tmp_path)
    assert [name[-23:-18] for name in found] == ["00_00", "01_00"]


def coordinates() -> st.SearchStrategy[float]:
    """Metres: anywhere, on pixel borders, on pixel centres, on borders of patches."""
    return st.one_of(
        st.floats(-100, 3700).map(lambda metres: round(metres, 2)),
        st.integers(-5, 370).map(lambda pixel: pixel * 10.0),
        st.integers(-5, 370).map(lambda pixel: pixel * 10.0 + 5),
        st.sampled_from([0.0, 1200.0, 2400.0, 3600.0]),
    )


@st.composite
def shapes(draw: st.DrawFn) -> shapely.Geometry:
    """Boxes, and hulls and rings of points; slivers come out of points close by."""
    if draw(st.booleans()):
        west, east = sorted([draw(coordinates()), draw(coordinates())])
        north, south = sorted([draw(coordinates()), draw(coordinates())])
        shape = box(west, north, east, south)
    else:
        points = draw(st.lists(st.tuples(coordinates(), coordinates()), min_size=3, max_size=9, unique=True))
        middle = np.mean(points, axis=0)
        ring = sorted(points, key=lambda p: np.arctan2(p[1] - middle[1], p[0] - middle[0]))
        shape = shapely.Polygon(on_tile(*ring))
    return shape


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
@given(st.lists(shapes().filter(lambda shape: shape.is_valid and shape.area > 0), max_size=6))
def test_any_polygons(tmp_path: Path, drawn: list[shapely.Geometry]) -> None:
    agrees(polygons(*drawn), tmp_path)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.sampled_from(EVERY.tolist())))
@example(set())
def test_only_written_patches_get_maps(tmp_path: Path, written: set[int]) -> None:
    agrees(polygons(*CASES["overlaps"]), tmp_path, np.array(sorted(written), dtype="int64"))


def test_code_999_of_a_polygon_is_counted_with_the_rest(tmp_path: Path) -> None:
    land_cover = polygons(box(0, 0, 600, 1200))
    _, counts = made(Polygons(land_cover.geometries, np.array([999], dtype="uint16"), 32633), tmp_path)
    assert counts.to_dict("records") == [{"patch_id": f"{TILE}_00_00", "code": 999, "pixels": 14_400}]


def test_labels_come_from_pixels(tmp_path: Path) -> None:
    """A quarter of the patch without a class is one pixel too many."""
    _, counts = made(polygons(box(0, 0, 3600, 900), box(1200, 899, 1210, 910)), tmp_path)
    labels = read_nomenclature(NOMENCLATURE).labels(counts)
    assert labels.to_dict("records") == [
        {"patch_id": f"{TILE}_01_00", "label": "Arable land"},
        {"patch_id": f"{TILE}_01_00", "label": "Urban fabric"},
    ]
