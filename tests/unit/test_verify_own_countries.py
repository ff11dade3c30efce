"""The countries of a dataset of another recipe are verified by that recipe: of a file of regions, or none at all."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from pyproj import Transformer
from shapely.geometry import mapping

from ben_luigi.domain.dataset.about import About
from ben_luigi.domain.dataset.form import Form
from ben_luigi.domain.dataset.metadata import METADATA, SCHEMA
from ben_luigi.domain.dataset.verify_findings import Findings
from ben_luigi.domain.dataset.verify_rows import read_rows
from ben_luigi.domain.dataset.verify_rules import References, check_rows
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.placement.grid import PatchGrid, tile_square
from ben_luigi.domain.recipe.model import Countries

NAME = ProductName.parse("S2A_MSIL2A_20230613T101031_N0509_R022_T32TQM_20230613T161608.SAFE")
GRID = PatchGrid(NAME.tile_name, tile_square(NAME, 3660))
ABOUT = About("own", "1", "MIT", "")


@pytest.fixture
def borders(tmp_path: Path) -> Path:
    """A region that has the western column of the tile's three, and a little more."""
    square = GRID.square
    region = shapely.box(square.left - 9000, square.bottom - 9000, square.left + 1100, square.top + 9000)
    to_degrees = Transformer.from_crs(square.epsg, "OGC:CRS84", always_xy=True)
    degrees = shapely.transform(region.segmentize(500), to_degrees.transform, interleaved=False)
    feature = {"type": "Feature", "properties": {"region": "West"}, "geometry": mapping(degrees)}
    path = tmp_path / "regions.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    return path


def found(folder: Path, borders: Path, names: tuple[str, ...] | None, countries: list[str | None]) -> list[str]:
    """What is said of a dataset of the tile's nine patches with these countries."""
    columns = ("patch_id", "labels", "split", "country")
    rows = [
        {"patch_id": patch, "labels": ["Water"], "split": split, "country": country}
        for patch, split, country in zip(GRID.ids().to_pylist(), GRID.splits().tolist(), countries, strict=True)
    ]
    schema = pa.schema([SCHEMA.field(name) for name in columns])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / METADATA)
    form = Form(about=ABOUT, columns=columns, countries=Countries(column="region", names=names))
    findings = Findings()
    read = read_rows(folder, findings, form)
    check_rows(read, {GRID.tile_name: GRID.square}, References(borders=borders), findings, form)
    return list(findings.lines())


WEST: list[str | None] = [*["West"] * 3, *[None] * 6]


def test_a_patch_may_be_in_no_region_where_all_of_a_file_are_taken(borders: Path, tmp_path: Path) -> None:
    assert found(tmp_path, borders, None, WEST) == []
    wrong = [*["West"] * 2, None, "West", *[None] * 5]
    (said,) = found(tmp_path, borders, None, wrong)
    assert "country: not the nearest one" in said
    assert f"{GRID.tile_name}_00_02 (expected West, found None)" in said
    assert f"{GRID.tile_name}_01_00 (expected none, found West)" in said


def test_each_patch_is_in_a_region_where_the_recipe_names_them(borders: Path, tmp_path: Path) -> None:
    """The nearest, and none of the ten countries of BigEarthNet v2, which are not asked for."""
    assert found(tmp_path, borders, ("West",), ["West"] * 9) == []
    said = "\n".join(found(tmp_path, borders, ("West",), [*["West"] * 8, "Austria"]))
    assert f"{GRID.tile_name}_02_02 (expected West, found Austria)" in said and "ten" not in said
