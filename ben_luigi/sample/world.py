"""Make the sample world: a small world on which the whole pipeline runs, without account, Sen2Cor or download.

It has four Sentinel-2 products of 12 km a side with 100 patches each, in two UTM zones, and all the other inputs for
the same ground. Everything is made up, and has the same bytes each time, except for `bin/`.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from ben_luigi.domain.files import atomic_write
from ben_luigi.domain.progress import OnFraction, ignore_fraction
from ben_luigi.sample.catalogue import write_catalogue
from ben_luigi.sample.countries import write_countries
from ben_luigi.sample.l1c import write_l1c
from ben_luigi.sample.land_cover import land_cover, write_clc
from ben_luigi.sample.landscape import landscape
from ben_luigi.sample.layout import World
from ben_luigi.sample.scenes import SCENES
from ben_luigi.sample.sentinel1 import write_s1
from ben_luigi.sample.version1 import v1_patches, write_geometries, write_lists

_PACKAGES = Path(__file__).resolve().parents[2]


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
        for number, scene in enumerate(SCENES, 1):
            ground = landscape(scene, parcels)
            write_l1c(world.product_zip(scene.product), ground)
            write_s1(world.s1_dir, ground, [patch for patch in patches if patch.scene == scene])
            progress(number / len(SCENES))
        write_catalogue(world)
        _write_l2a_process(world.l2a_process)


def _write_l2a_process(path: Path) -> None:
    """Write a shell script that runs the stand-in with this interpreter, whose path may be too long for a shebang."""
    code = (
        f"import sys; sys.path.insert(0, {str(_PACKAGES)!r}); "
        "from ben_luigi.sample.sen2cor_stand_in import main; sys.exit(main())"
    )
    path.parent.mkdir()
    path.write_text(
        "#!/bin/sh\n# STAND-IN for Sen2Cor, made with the sample world.\n"
        f'exec {shlex.quote(sys.executable)} -P -c {shlex.quote(code)} "$@"\n',
        encoding="utf-8",
    )
    path.chmod(0o755)
