"""Squares in longitude and latitude, also across the 180th meridian, and the boxes around them."""

from __future__ import annotations

import json
from pathlib import Path

import geoparquet_validator
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from ben_luigi.domain.dataset import geoparquet, stac, subset
from ben_luigi.domain.dataset.subset import Selection
from ben_luigi.domain.errors import BadOption
from ben_luigi.domain.placement.footprints import LONGITUDE_LATITUDE, bounding_box, common_box, outline, polygons
from tests.unit.test_geoparquet import Tile

ZONE = 32760
"""In Fiji, where the 180th meridian is its east edge."""
ROW = [(left, 8_100_000, left + 1_200, 8_101_200) for left in range(810_000, 825_000, 1_200)]
"""Neighbours, of which one lies across that meridian."""


def fiji() -> Tile:
    """A tile of Fiji, as far as its patches 60 km from its north edge: some lie on each side, some across."""
    tile = Tile("60KZF", slice(0, 8281))
    kept = [number for number, patch in enumerate(tile.rows["patch_id"].to_pylist()) if patch.endswith("_50")]
    tile.rows = tile.rows.take(pa.array(kept))
    radar = pa.repeat("S1A_IW_GRDH_1SDV_20170613T165043_33UUP_70_48", len(kept))
    tile.rows = tile.rows.set_column(tile.rows.column_names.index("s1_name"), "s1_name", radar)
    tile.places["tile"] = "60KZF_20170613"
    return tile


def test_a_square_across_the_180th_meridian_has_a_part_on_each_side() -> None:
    shapes = polygons(np.full(len(ROW), ZONE), np.array(ROW), LONGITUDE_LATITUDE)
    (across,) = (shape for shape in shapes if shape.geom_type == "MultiPolygon")
    east, west = across.geoms
    assert east.bounds[2] == 180 and west.bounds[0] == -180
    assert all(part.exterior.is_ccw for part in across.geoms)
    others = [shape.area for shape in shapes if shape.geom_type == "Polygon"]
    assert len(others) == len(ROW) - 1 and others == pytest.approx([across.area] * len(others), rel=1e-2)
    assert bounding_box(across) == (east.bounds[0], across.bounds[1], west.bounds[2], across.bounds[3])
    assert bounding_box(shapes[0]) == shapes[0].bounds


def test_the_outline_of_a_tile_is_split_there_too() -> None:
    edges = 800_000, 8_090_000, 830_000, 8_120_000
    found = outline(ZONE, edges, LONGITUDE_LATITUDE, 10_000)
    west, _, east, _ = bounding_box(found)
    assert found.geom_type == "MultiPolygon" and found.is_valid and west > 179 and east < -179
    assert all(shape.intersects(found) for shape in polygons(np.full(len(ROW), ZONE), np.array(ROW), 4326))
    assert not found.intersects(shapely.box(-178, -18, 178, -17))


@pytest.mark.parametrize(
    ("boxes", "common"),
    [
        ([(10, 1, 12, 2), (-5, 0, -4, 1)], (-5, 0, 12, 2)),
        ([(178, 1, -179, 2)], (178, 1, -179, 2)),
        ([(178, 1, -179, 2), (176, 0, 177, 1)], (176, 0, -179, 2)),
        ([(178, 1, -179, 2), (-177, 0, -176, 1), (170, 0, 171, 1)], (170, 0, -176, 2)),
        ([(178, 1, -171, 2), (-179, 0, -178, 1), (-170, 0, -169, 3)], (178, 0, -169, 3)),
        ([(178, 1, -170, 2), (-175, 0, 100, 1), (90, 0, 179, 1)], (-180, 0, 180, 2)),
    ],
)
def test_the_box_around_boxes_leaves_out_the_widest_gap(boxes: list[tuple[float, ...]], common: tuple[float]) -> None:
    assert common_box(np.array(boxes, float)) == pytest.approx(list(common))


def test_patches_across_the_meridian_are_valid_geoparquet(tmp_path: Path) -> None:
    geoparquet.write([fiji().table()], tmp_path / "patches.parquet")
    assert geoparquet_validator.conformant(geoparquet_validator.check(str(tmp_path / "patches.parquet")))
    table = pq.read_table(tmp_path / "patches.parquet")
    shapes = shapely.from_wkb(table["geometry"].to_numpy())
    parts = [part for shape in shapes for part in shapely.get_parts(shape)]
    assert len(parts) > len(shapes) and max(part.bounds[2] - part.bounds[0] for part in parts) < 0.02
    about = json.loads(table.schema.metadata[b"geo"])["columns"]["geometry"]
    assert about["geometry_types"] == ["MultiPolygon", "Polygon"] and about["bbox"][::2] == [-180, 180]


def test_a_stac_item_across_the_meridian_goes_the_short_way() -> None:
    table = fiji().table()
    documents = stac.describe(table.select(list(stac.COLUMNS)), {}, "t", "d", has_report=False)
    (item,) = (document for document in documents.values() if document["type"] == "Feature")
    assert item["geometry"]["type"] == "MultiPolygon"
    assert item["bbox"][0] > 179 and item["bbox"][2] < -179
    assert documents[stac.COLLECTION]["extent"]["spatial"]["bbox"] == [pytest.approx(item["bbox"])]


def test_an_area_elsewhere_has_no_patch_across_the_meridian() -> None:
    tile = fiji()
    places = subset.placed(tile.rows, tile.places)
    with pytest.raises(BadOption, match="0 meet area"):
        subset.select(tile.rows, places, Selection(area=shapely.box(140, -18, 145, -17)))
    both = subset.select(tile.rows, places, Selection(area=shapely.box(-180, -20, 180, -15)))
    assert len(both) == len(tile.rows)
