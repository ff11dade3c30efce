"""What a recipe, or the products and files that it names, can have wrong: each is told by name, before any download.

A table: for each wrong input, what is said of it. That nothing is fetched then is tested with whole runs, in
tests/integration/test_before_fetching.py.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

import fiona
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin
from shapely.geometry import mapping

from ben_luigi.config import TRACKED_ARTIFACTS
from ben_luigi.domain.errors import PipelineError
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.placement import alignment, country, split
from ben_luigi.domain.placement.grid import PatchGrid, tile_square
from ben_luigi.domain.products import baselines, lists
from ben_luigi.domain.recipe import model, reading, template
from ben_luigi.domain.recipe.model import Countries, Products, Split
from ben_luigi.domain.tiles import clc, land_raster, land_vector
from ben_luigi.sample.countries import write_countries
from ben_luigi.state import contents, recipes
from tests.unit import geopackages

SIDE_M = 3660
NAME = "S2A_MSIL2A_20230613T101031_N0509_R022_T33UUP_20230613T161608.SAFE"


def product(mgrs: str = "33UUP", baseline: str = "N0509", day: str = "20230613") -> ProductName:
    return ProductName.parse(NAME.replace("33UUP", mgrs).replace("N0509", baseline).replace("20230613T10", f"{day}T10"))


def grid(mgrs: str = "33UUP", day: str = "20230613") -> PatchGrid:
    name = product(mgrs, day=day)
    return PatchGrid(name.tile_name, tile_square(name, SIDE_M))


def raised(call: Callable[[], object]) -> list[str]:
    """What the error says that a call raises."""
    with pytest.raises(PipelineError) as error:
        call()
    return [str(error.value)]


def told(errors: Iterable[PipelineError]) -> list[str]:
    return [str(error) for error in errors]


def recipe(folder: Path, *changes: tuple[str, str], codes: str = "") -> list[str]:
    """What is said of the template with changes, and of a nomenclature of its own."""
    text = template.text("mine", TRACKED_ARTIFACTS)
    if codes:
        (folder / "codes.toml").write_text(codes)
        changes = (*changes, ('"nomenclature.toml"', '"codes.toml"'))
    for before, after in changes:
        assert before in text
        text = text.replace(before, after, 1)
    (folder / "mine.toml").write_text(text)
    found, findings = reading.check(folder / "mine.toml", TRACKED_ARTIFACTS, "mine.toml")
    assert found is None
    return [str(one) for one in findings]


def wrong_in_many_ways(folder: Path) -> list[str]:
    changes = (
        ("title =", "titel ="),
        ("side_m = 1200", "side_m = 1250"),
        ("unlabeled_limit = 0.25", "unlabeled_limit = 2"),
    )
    return recipe(folder, *changes, codes='[[class]]\nname = "A"\ncodes = [1, 2]\n[codes]\n1 = "a"\n')


def splits(folder: Path, text: str, *tiles: str) -> list[str]:
    """What is said of a CSV of splits of these tiles."""
    (folder / "splits.csv").write_text(text)
    return told(split.problems(Split(rule=model.CSV, file=folder / "splits.csv"), [grid(mgrs) for mgrs in tiles]))


def raster(folder: Path, west_m: float) -> list[str]:
    """What is said of a raster of land cover from so far west of the tile's western edge, as wide as the tile."""
    square = grid().square
    place = from_origin(square.left + west_m, square.top, 10, 10)
    kind = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": 366, "width": 366, "crs": "EPSG:32633"}
    with rasterio.open(folder / "cover.tif", "w", transform=place, **kind) as file:
        file.write(np.ones((366, 366), "uint8"), 1)
    return raised(lambda: land_raster.check_covers(folder / "cover.tif", square, "33UUP_20230613"))


def layers(folder: Path, *, corine: bool) -> list[str]:
    """What is said of a GeoPackage with two layers that fit, as the default recipe reads it, or another one does."""
    path = geopackages.write(folder / "two.gpkg", layer="first")
    geopackages.write(path, layer="second")
    content = clc.CORINE if corine else clc.Content("Code_18", "ID", "", None, clc.CODES)
    check = clc.check_layer if corine else land_vector.check
    return raised(lambda: check(path, content))


def v1(folder: Path, day: str = "20170613") -> Path:
    """A folder of v1 geometries with one v1 patch, in the tile's upper-left corner, in summer."""
    square = grid().square
    box = shapely.box(square.left, square.top - 1200, square.left + 1200, square.top).wkb
    rows = {"patch_name": [f"S2A_MSIL2A_{day}T101031_0_0"], "geom": pa.array([box], pa.binary())}
    pq.write_table(pa.table(rows), folder / "bigearthnet_v1_spatial_32633.parquet")
    return folder


def aligned(folder: Path, *tiles: tuple[str, str]) -> list[str]:
    """What is said of tiles, square and day, beside these v1 geometries."""
    listed = {
        f"{mgrs}_{day}": (grid(mgrs, day), datetime.strptime(f"{day}101031", "%Y%m%d%H%M%S")) for mgrs, day in tiles
    }
    return told(alignment.problems(listed, v1(folder)))


def placed(folder: Path, mgrs: str, wanted: Countries = country.TEN) -> list[str]:
    """What is said of a tile in the sample world's countries, which are made up: Bavaria is in Germany."""
    write_countries(folder / "countries.geojson")
    of = grid(mgrs)
    return raised(lambda: country.check_tile(of.tile_name, of.square, folder / "countries.geojson", wanted))


def offsets(folder: Path, offset: str, *found: str) -> list[str]:
    names = [product(mgrs, baseline) for mgrs, baseline in zip(("33UUP", "33UVP", "33UWP"), found, strict=False)]
    return told(baselines.problems(names, Products(model.L2A, boa_offset=offset), folder / "products.csv"))


def two_recipes(folder: Path) -> list[str]:
    for name, version in (("first.toml", "1.0.0"), ("second.toml", "2.0.0")):
        text = template.text("mine", TRACKED_ARTIFACTS).replace('version = "0.1.0"', f'version = "{version}"')
        (folder / name).write_text(text)
    recipes.follow(folder / "data", "mine", folder / "first.toml")
    return raised(lambda: recipes.require_same(folder / "data", "mine", folder / "second.toml"))


def listed(folder: Path, text: str) -> list[str]:
    (folder / "products.csv").write_text(text)
    return raised(lambda: lists.read_list(folder / "products.csv", model.L2A))


STRANGE, TWICE = (f"{grid('31UGR').tile_name}_01_01", f"{grid().tile_name}_00_00")
STRANGERS = f"patch_id,split\n{TWICE},train\n{STRANGE},test\n"
OVERLAPPING = '[[class]]\nname = "A"\ncodes = [1, 2]\n[[class]]\nname = "B"\ncodes = [2]\n[codes]\n1 = "a"\n2 = "b"\n'
MISSING = '[[class]]\nname = "A"\ncodes = [1, 7]\n[codes]\n1 = "a"\n'
TABLE: dict[str, tuple[Callable[[Path], list[str]], list[str]]] = {
    "a key that is unknown": (
        lambda folder: recipe(folder, ("max_cloud = 10", "max_clod = 10")),
        ["mine.toml:13: [products] search: found a key 'max_clod'", "did you mean max_cloud?"],
    ),
    "an impossible side": (
        lambda folder: recipe(folder, ("side_m = 1200", "side_m = 2560")),
        ["mine.toml:21: [patches] side_m: found 2560; allowed: a multiple of 60", "did you mean 2580?"],
    ),
    "codes of two classes": (
        partial(recipe, codes=OVERLAPPING),
        ["[land_cover] nomenclature: found twice: [2]", "each code once"],
    ),
    "codes that are missing": (
        partial(recipe, codes=MISSING),
        ["[land_cover] nomenclature: found not in [codes]: [7]"],
    ),
    "several of these": (
        wrong_in_many_ways,
        ["titel", "[patches] side_m", "[land_cover] unlabeled_limit", "not in [codes]: [2]"],
    ),
    "a CSV that splits unknown patches": (
        lambda folder: splits(folder, STRANGERS, "33UUP"),
        ["splits.csv; expected: patches of the tiles of the dataset; found: 1 others: ", STRANGE],
    ),
    "a CSV that leaves a tile out": (
        lambda folder: splits(folder, f"patch_id,split\n{grid().tile_name}_00_00,train\n", "33UUP", "31UGR"),
        [f"expected: patches of each tile, with {grid('31UGR').tile_name}; found: none"],
    ),
    "a CSV that splits a patch twice": (
        lambda folder: splits(folder, f"patch_id,split\n{TWICE},train\n{TWICE},test\n", "33UUP"),
        ["splits.csv", "line 3", "_00_00 again"],
    ),
    "a raster that does not cover the tile": (
        partial(raster, west_m=600),
        ["tile 33UUP_20230613: ", "cover.tif; expected: a raster that covers the tile: 300000, ", "found: 300600, "],
    ),
    "products of which some have an offset": (
        lambda folder: offsets(folder, model.KEEP_OFFSET, "N0301", "N0509"),
        ["products.csv; expected: products of one offset", "T33UVP", "(05.09)", 'set boa_offset = "remove"'],
    ),
    "products with an offset that is refused": (
        lambda folder: offsets(folder, model.REFUSE_OFFSET, "N0509", "N0510"),
        ["expected: products without an offset", "(05.09)", "(05.10)", '[products] boa_offset = "remove" or "keep"'],
    ),
    "a product of another level": (
        lambda folder: listed(folder, f"product\n{NAME.replace('L2A', 'L1C')}\n"),
        ["products.csv, line 2; expected: the name of an L2A product", "MSIL1C"],
    ),
    "two recipes of one name": (
        two_recipes,
        ["recipe mine in ", "second.toml; expected: one recipe of a name", "found: another one in ", "first.toml"],
    ),
    "a day that is not that of the v1 name": (
        lambda folder: aligned(folder, ("33UUP", "20230613")),
        ["T33UUP; expected: imagery of the time of its v1 patches, as S2A_MSIL2A_20170613", "found: sensed 2023-06-13"],
    ),
    "days of several tiles": (
        lambda folder: aligned(folder, ("33UUP", "20230613"), ("33UUP", "20230714"), ("34UCU", "20170613")),
        ["found: sensed 2023-06-13", "found: sensed 2023-07-14", "34UCU_20170613: ", "v1_spatial_32634.parquet"],
    ),
    "no tile with a v1 partner": (
        lambda folder: aligned(folder, ("33UUP", "20170113"), ("33UVP", "20170613")),
        ["the tiles 33UUP_20170113, 33UVP_20170613; found: none for any of them: the dataset would be empty"],
    ),
    "a tile in another country": (
        lambda folder: placed(folder, "32UPV"),
        ["T32UPV; expected: a tile in one of the ten BigEarthNet countries", "found: in Germany, "],
    ),
    "a tile near the border, in another country": (
        lambda folder: placed(folder, "32TMT"),
        ["T32TMT; ", "found: in Germany, ", " km to Switzerland, the nearest of them"],
    ),
    "a tile far from all countries": (
        lambda folder: placed(folder, "29SKB"),
        ["T29SKB; ", " km to Portugal, the nearest of them"],
    ),
    "a tile in none of the recipe's countries": (
        lambda folder: placed(folder, "31UGR", Countries(column="name_long", names=("Finland", "Sweden"))),
        ["T31UGR; expected: a tile in one of the 2 countries of the recipe", "found: in Belgium, more than 300 km to"],
    ),
    "a second layer that fits": (
        partial(layers, corine=True),
        ["two.gpkg; expected: one layer in EPSG:3035", "found: first (", "second (", "ogr2ogr"],
    ),
    "a second layer that fits, of another land cover": (
        partial(layers, corine=False),
        ["two.gpkg; expected: polygons of land cover", "2 layers that fit: first (", "second ("],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_what_is_wrong_is_told_by_name(name: str, tmp_path: Path) -> None:
    find, expected = TABLE[name]
    said = "\n".join(find(tmp_path))
    assert [part for part in expected if part not in said] == [], said
    for line in said.splitlines():
        assert "Traceback" not in line and len(line) < 3 * 250


def test_what_is_right_is_not_told(tmp_path: Path) -> None:
    """Each check of the table has a right input, too."""
    assert not aligned(tmp_path, ("33UUP", "20170613"), ("33UVP", "20170613"))
    rows = "".join(f"{patch},train\n" for patch in grid().ids().to_pylist())
    assert not splits(tmp_path, f"patch_id,split\n{rows}", "33UUP")
    write_countries(tmp_path / "countries.geojson")
    for mgrs, wanted in (("35VNJ", country.TEN), ("31UGR", country.TEN), ("32UPV", Countries(names=None))):
        of = grid(mgrs)
        country.check_tile(of.tile_name, of.square, tmp_path / "countries.geojson", wanted)
    recipes.follow(tmp_path / "data", "mine", tmp_path / "first.toml")
    recipes.follow(tmp_path / "data", "mine", tmp_path / "first.toml")


def test_a_recipe_may_be_changed_moved_and_copied(tmp_path: Path) -> None:
    """Only another one that still has the name is another one."""
    first, second, folder = tmp_path / "first.toml", tmp_path / "second.toml", tmp_path / "data"
    first.write_text('name = "mine"\nversion = "1"\n')
    recipes.follow(folder, "mine", first)
    shutil.copy(first, second)
    recipes.require_same(folder, "mine", second)
    second.write_text('name = "mine"\nversion = "2"\n')
    with pytest.raises(PipelineError):
        recipes.require_same(folder, "mine", second)
    first.write_text('name = "other"\nversion = "1"\n')
    recipes.follow(folder, "mine", second)
    first.unlink()
    recipes.follow(folder, "mine", second)


def shapefile(folder: Path) -> Path:
    """A Shapefile of one polygon."""
    schema = {"geometry": "Polygon", "properties": {"code": "int"}}
    with fiona.open(folder / "cover.shp", "w", driver="ESRI Shapefile", crs="EPSG:4326", schema=schema) as file:
        file.write({"geometry": mapping(shapely.box(10, 45, 11, 46)), "properties": {"code": 1}})
    return folder / "cover.shp"


VRT = (
    '<VRTDataset rasterXSize="{side}" rasterYSize="{side}">{place}<VRTRasterBand dataType="Byte" band="1">'
    "<SimpleSource>{source}</SimpleSource></VRTRasterBand></VRTDataset>"
)


def virtual(folder: Path) -> Path:
    """A virtual raster of a GeoTIFF in another folder."""
    (folder / "tiles").mkdir()
    place = {"crs": "EPSG:32633", "transform": from_origin(300_000, 5_400_000, 10, 10)}
    kind = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": 4, "width": 4, **place}
    with rasterio.open(folder / "tiles" / "one.tif", "w", **kind) as file:
        file.write(np.ones((4, 4), "uint8"), 1)
    place_of = "<SRS>EPSG:32633</SRS><GeoTransform>300000,10,0,5400000,0,-10</GeoTransform>"
    source = '<SourceFilename relativeToVRT="1">tiles/one.tif</SourceFilename><SourceBand>1</SourceBand>'
    (folder / "cover.vrt").write_text(VRT.format(side=4, place=place_of, source=source))
    return folder / "cover.vrt"


def masked(folder: Path) -> Path:
    """A GeoTIFF whose mask lies beside it, and not in it."""
    virtual(folder)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(folder / "tiles" / "one.tif", "r+") as file:
        file.write_mask(np.eye(4, dtype="uint8") * 255)
    return folder / "tiles" / "one.tif"


def mapinfo(folder: Path) -> Path:
    """A file of MapInfo, whose attributes and geometries are in others."""
    for suffix in (".tab", ".dat", ".map", ".id"):
        (folder / f"cover{suffix}").write_text(suffix)
    return folder / "cover.tab"


@pytest.mark.parametrize(
    ("make", "beside"),
    [
        (shapefile, "cover.dbf"),
        (shapefile, "cover.prj"),
        (virtual, "tiles/one.tif"),
        (masked, "tiles/one.tif.msk"),
        (mapinfo, "cover.dat"),
        (mapinfo, "cover.map"),
    ],
)
def test_what_belongs_to_a_file_counts_as_its_content(
    make: Callable[[Path], Path], beside: str, tmp_path: Path
) -> None:
    """The codes of a Shapefile are in its .dbf, and the pixels of a virtual raster in other files."""
    path = make(tmp_path)
    before, signed = contents.sha256(path), contents.signature(path)
    assert contents.sha256(path) == before, "it is the same each time"
    data = bytearray((tmp_path / beside).read_bytes())
    data[-1] ^= 1
    (tmp_path / beside).write_bytes(data)
    assert contents.sha256(path) != before and contents.signature(path) != signed


def test_a_plain_file_counts_alone(tmp_path: Path) -> None:
    for name in ("cover.tif", "cover.dbf", "cover.geojson"):
        (tmp_path / name).write_bytes(json.dumps(name).encode())
    before = contents.sha256(tmp_path / "cover.geojson")
    (tmp_path / "cover.dbf").write_bytes(b"other")
    assert contents.sha256(tmp_path / "cover.geojson") == before


def unreadable(folder: Path) -> Iterator[Path]:
    """Virtual rasters that cannot be read, or never end: of themselves, of nothing, and no XML."""
    names = {"itself.vrt": "itself.vrt", "nothing.vrt": "gone.tif"}
    texts = {name: f'<SourceFilename relativeToVRT="1">{source}</SourceFilename>' for name, source in names.items()}
    found = {name: VRT.format(side=1, place="", source=source) for name, source in texts.items()}
    for name, text in {**found, "none.vrt": "no XML"}.items():
        (folder / name).write_text(text)
        yield folder / name


def test_virtual_rasters_that_cannot_be_read_have_a_hash_all_the_same(tmp_path: Path) -> None:
    assert len({contents.sha256(path) for path in unreadable(tmp_path)}) == 3
