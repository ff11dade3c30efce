"""The sample world of L2A products in the south: the same bytes each time, as ESA makes them since 2022."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.warp import transform_bounds

from ben_luigi.config import TRACKED_ARTIFACTS
from ben_luigi.domain.products.product import read_product
from ben_luigi.domain.tiles.nomenclature import read_nomenclature
from ben_luigi.sample import world
from ben_luigi.sample.l2a_scenes import SOUTH
from ben_luigi.sample.layout import World
from ben_luigi.sample.scenes import SIDE_M


@pytest.fixture(scope="module")
def south(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("south") / "world"
    world.make_l2a_world(folder, SOUTH)
    return World(folder)


def test_a_world_of_l2a_products_has_the_same_bytes_again(south: World, tmp_path: Path) -> None:
    world.make_l2a_world(tmp_path / "again", SOUTH)
    files = {path.relative_to(south.folder): path for path in south.folder.rglob("*") if path.is_file()}
    assert len(files) == 5
    for name, path in files.items():
        assert (tmp_path / "again" / name).read_bytes() == path.read_bytes(), name


def test_l2a_products_are_as_esa_makes_them_since_2022(south: World, tmp_path: Path) -> None:
    """The offset is in pixels and metadata; there is a cloud, in reflectance and in the scene classification."""
    (scene,) = SOUTH
    with zipfile.ZipFile(south.product_zip(scene.product)) as archive:
        archive.extractall(tmp_path)
    product = read_product(tmp_path / str(scene.product), SIDE_M, accept_offset=True)
    assert (product.offset, product.baseline, product.square) == (-1000, "05.11", scene.square)
    (path,) = (tmp_path / str(scene.product)).rglob("*_SCL_20m.jp2")
    with rasterio.open(path) as raster:
        classes, crs = raster.read(1), raster.crs.to_epsg()
    assert crs == 32721 and scene.cloud
    assert classes[scene.cloud.y_m // 20, scene.cloud.x_m // 20] == 9
    assert (classes == 9).sum() * 400 == pytest.approx(np.pi * scene.cloud.radius_m**2, rel=0.02)
    assert {3, 9} < set(np.unique(classes)) <= {3, 4, 5, 6, 9}
    with rasterio.open(product.bands["B02"]) as raster:
        blue = raster.read(1)
    assert blue.min() > 1000 and blue[scene.cloud.y_m // 10, scene.cloud.x_m // 10] == 7000


def test_the_raster_of_land_cover_covers_the_southern_tile(south: World) -> None:
    (scene,) = SOUTH
    known = read_nomenclature(TRACKED_ARTIFACTS / "worldcover.toml").codes
    with rasterio.open(south.land_cover_raster) as raster:
        west, south_edge, east, north = transform_bounds(scene.square.epsg, 4326, *scene.square.bounds)
        assert raster.bounds.left < west and raster.bounds.right > east
        assert raster.bounds.bottom < south_edge and raster.bounds.top > north
        assert set(np.unique(raster.read(1))) <= set(known)
