"""Make the sample world: a small world on which the whole pipeline runs, without account, Sen2Cor or download.

It has four Sentinel-2 products of 12 km a side with 100 patches each, in two UTM zones, and all the other inputs for
the same ground. Everything is made up, and has the same bytes each time, except for `bin/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ben_luigi.domain import machine
from ben_luigi.domain.files import atomic_write
from ben_luigi.domain.progress import OnFraction, ignore_fraction
from ben_luigi.sample import launcher
from ben_luigi.sample.catalogue import write_catalogue
from ben_luigi.sample.countries import write_countries, write_regions
from ben_luigi.sample.l1c import write_l1c
from ben_luigi.sample.l2a import write_l2a, write_l2a_catalogue
from ben_luigi.sample.l2a_scenes import L2AScene
from ben_luigi.sample.land_cover import land_cover, write_clc
from ben_luigi.sample.land_raster import write_land_raster
from ben_luigi.sample.landscape import Landscape, landscape
from ben_luigi.sample.layout import World
from ben_luigi.sample.scenes import SCENES
from ben_luigi.sample.sentinel1 import write_s1
from ben_luigi.sample.version1 import v1_patches, write_geometries, write_lists


def make_world(folder: Path, progress: OnFraction = ignore_fraction) -> None:
    """Make the sample world at `folder`, which must not exist; it appears complete or not at all. See `World`.

    `progress` receives the fraction done, from 0 to 1.
    """
    with atomic_write(folder) as work:
        world = World(work)
        world.products.mkdir(parents=True)
        parcels, patches = land_cover(), v1_patches()
        write_clc(world.clc_gpkg, parcels)
        write_countries(world.countries_geojson)
        write_geometries(world.v1_spatial_dir, patches)
        write_lists(world, patches)

        grounds = [landscape(scene, parcels) for scene in SCENES]

        def write(ground: Landscape) -> None:
            write_l1c(world.product_zip(ground.scene.product), ground)
            write_s1(world.s1_dir, ground, [patch for patch in patches if patch.scene == ground.scene])

        with ThreadPoolExecutor(max(1, int(machine.cores()))) as threads:
            for number, _ in enumerate(threads.map(write, grounds), 1):
                progress(number / len(SCENES))
        write_catalogue(world)
        launcher.write(world.l2a_process)


def make_l2a_world(folder: Path, scenes: Sequence[L2AScene], progress: OnFraction = ignore_fraction) -> None:
    """Make a world at `folder` with the L2A products of `scenes` and what else there is of their ground.

    It has version 1 and Sentinel-1 where scenes are twins of L1C products, CORINE north of the equator, and a raster of
    land cover south of it. `progress` receives the fraction done, from 0 to 1.
    """
    squares = {scene.product.mgrs: scene.square for scene in scenes}
    twins = {scene.product.sensing + scene.product.mgrs for scene in scenes}
    with atomic_write(folder) as work:
        world = World(work)
        world.products.mkdir(parents=True)
        parcels = land_cover(squares)
        patches = [patch for patch in v1_patches() if patch.scene.product.sensing + patch.scene.product.mgrs in twins]
        write_countries(world.countries_geojson)
        write_regions(world.region_polygons)
        if patches:
            write_geometries(world.v1_spatial_dir, patches)
            write_lists(world, patches)
        for number, scene in enumerate(scenes, 1):
            ground = landscape(scene, parcels)
            write_l2a(world.product_zip(scene.product), scene, ground)
            if scene.s1_tile:
                write_s1(world.s1_dir, ground, [patch for patch in patches if patch.s1_name.startswith(scene.s1_tile)])
            progress(number / len(scenes))
        if any(scene.product.is_southern for scene in scenes):
            write_land_raster(world.land_cover_raster, parcels, squares)
        else:
            write_clc(world.clc_gpkg, parcels, squares)
        write_l2a_catalogue(world, scenes)
