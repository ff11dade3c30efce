"""What other programs have left in the environment changes no byte, and is not taken for a fault of the product."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.running import ROOT
from tests.unit.geopackages import write as write_clc
from tests.unit.products import SmallProduct

WORK = """
import ben_luigi  # first, as `luigi --module ben_luigi` does
import hashlib, sys
from pathlib import Path
import numpy as np, pandas as pd
from ben_luigi.domain.files import file_hash
from ben_luigi.domain.placement import footprints
from ben_luigi.domain.placement.grid import PatchGrid
from ben_luigi.domain.products.product import read_product
from ben_luigi.domain.tiles import patches, reference_maps
from ben_luigi.domain.tiles.clc import read_polygons
from ben_luigi.sample import safe
source, made = Path(sys.argv[1]), Path("made")
product = read_product(next(source.glob("*.SAFE")), 3_660)
grid = PatchGrid(product.name.tile_name, product.square)
every = np.arange(9)
print(product.start_time.isoformat(), patches.cut(product, grid, every, made / "s2.tar", made / "s2.parquet").tolist())
land_cover = read_polygons(source / "clc.gpkg", product.square)
counts = reference_maps.make_maps(land_cover, grid, every, made / "map.tar", made / "map.parquet")
print(land_cover.geometries[0].wkt, counts)
print(footprints.polygons(np.array([32633]), np.array([[300_000, 5_390_000, 310_000, 5_400_000]]), 3035)[0].wkt)
print(hashlib.sha256(safe.jpeg2000(np.ones((183, 183), "uint16"), product.square, 20)).hexdigest())
print([(path.name, file_hash(path)) for path in sorted(made.iterdir())])
"""
"""Reads a product, cuts it, burns maps, projects, encodes; prints all that comes of it."""

QUERY = """
import ben_luigi
from ben_luigi.state import database
found = database.query("SELECT 'M\u00e4rz' AS month, current_user AS who, date '2018-05-08'::text AS day")
print(found.to_dict("list"))
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    SmallProduct().write(folder)
    write_clc(folder / "clc.gpkg")
    return folder


def work(source: Path, folder: Path, what: str = WORK, **surroundings: str) -> str:
    """What the work prints in `folder`, with these variables and nothing else of interest."""
    folder.mkdir(exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT), **surroundings}
    command = [sys.executable, "-c", what, str(source)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def clean(source: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return work(source, tmp_path_factory.mktemp("clean"))


HARMLESS_TODAY = {
    "GDAL_DATA": "/nowhere",
    "GDAL_DRIVER_PATH": "/nowhere",
    "GDAL_NUM_THREADS": "ALL_CPUS",
    "GDAL_CACHEMAX": "1",
    "GTIFF_DIRECT_IO": "YES",
    "GTIFF_VIRTUAL_MEM_IO": "YES",
    "OGR_SKIP": "GPKG",
    "OSR_WKT_FORMAT": "WKT1",
    "CPL_LOG": "/nowhere/log",
    "CPL_TMPDIR": "/nowhere",
    "VSI_CACHE": "TRUE",
    "VSI_CACHE_SIZE": "1",
    "AWS_ACCESS_KEY_ID": "a",
    "AWS_SECRET_ACCESS_KEY": "b",
    "AWS_PROFILE": "none",
    "GEOS_LIBDIR": "/nowhere",
    "OMP_NUM_THREADS": "nonsense",
    "OPENBLAS_CORETYPE": "Nehalem",
    "PROJ_NETWORK": "ON",
    "GTIFF_POINT_GEO_IGNORE": "YES",
    "CPL_DEBUG": "ON",
    "NPY_PROMOTION_STATE": "legacy",
    "PANDAS_FUTURE_INFER_STRING": "0",
    "TMPDIR": "/nowhere",
    "PYTHONOPTIMIZE": "2",
    "LC_ALL": "de_DE.ISO-8859-1",
    "LANG": "tr_TR.UTF-8",
    "TZ": "Pacific/Kiritimati",
}
HOSTILE = {
    "PROJ_DATA": {"PROJ_DATA": "/nowhere"},
    "PROJ_LIB": {"PROJ_LIB": "/nowhere"},
    "GDAL_SKIP": {"GDAL_SKIP": "GTiff JP2OpenJPEG"},
    "GDAL_TIFF_ENDIANNESS": {"GDAL_TIFF_ENDIANNESS": "BIG"},
    "GDAL_TIFF_DEFLATE_SUBCODEC": {"GDAL_TIFF_DEFLATE_SUBCODEC": "ZLIB"},
    "GTIFF_DONT_WRITE_BLOCKS": {"GTIFF_DONT_WRITE_BLOCKS": "YES"},
    "PYTHONWARNINGS": {"PYTHONWARNINGS": "error"},
    "harmless today": HARMLESS_TODAY,
}


@pytest.mark.parametrize("variables", HOSTILE.values(), ids=HOSTILE)
def test_the_bytes_are_the_same(variables: dict[str, str], source: Path, clean: str, tmp_path: Path) -> None:
    assert work(source, tmp_path / "there", **variables) == clean


def test_files_of_gdal_and_proj_in_the_home_count_for_nothing(source: Path, clean: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    for path, text in (
        (".gdal/gdalrc", "[configoptions]\nGDAL_TIFF_ENDIANNESS=BIG\n"),
        (".local/share/proj/proj.db", ""),
    ):
        (home / path).parent.mkdir(parents=True)
        (home / path).write_text(text)
    assert work(source, tmp_path / "there", HOME=str(home)) == clean


@pytest.mark.parametrize("where", ["current folder", "PYTHONPATH"])
def test_modules_of_others_come_last(where: str, source: Path, clean: str, tmp_path: Path) -> None:
    there, elsewhere = tmp_path / "there", tmp_path / "elsewhere"
    for folder in (there, elsewhere):
        folder.mkdir()
    for name in ("numpy", "rasterio", "luigi", "tornado", "statistics"):
        (there if where == "current folder" else elsewhere).joinpath(f"{name}.py").write_text("raise SystemExit(name)")
    assert work(source, there, PYTHONPATH=f"{ROOT}:{elsewhere}") == clean


def test_the_database_is_the_one_that_is_configured(source: Path, tmp_path: Path) -> None:
    others = {"PGHOST": "192.0.2.1", "PGHOSTADDR": "192.0.2.1", "PGPORT": "1", "PGUSER": "nobody", "PGDATABASE": "none"}
    others |= {
        "PGSERVICE": "none",
        "PGCLIENTENCODING": "SQL_ASCII",
        "PGTZ": "Pacific/Kiritimati",
        "PGSSLMODE": "require",
    }
    others |= {"PGOPTIONS": "-c default_transaction_read_only=on", "PGDATESTYLE": "German", "PGAPPNAME": "other"}
    said = work(source, tmp_path, QUERY, **others)
    assert said.strip() == "{'month': ['M\u00e4rz'], 'who': ['ben_luigi'], 'day': ['2018-05-08']}"


@pytest.mark.parametrize(
    "script", [ROOT / "scripts" / name for name in ("ben-luigi", "run", "luigid", "cron-rerun", "bench", "environment")]
)
def test_a_script_takes_no_module_of_others(script: Path, tmp_path: Path) -> None:
    """Not even of the standard library, which is loaded before our first line."""
    for name in ("numpy", "re", "runpy", "contextlib", "usercustomize", "sitecustomize", "encodings"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} of others')")
    others = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": str(tmp_path), "PYTHONSTARTUP": str(tmp_path / "numpy.py")}
    others |= {"PYTHONOPTIMIZE": "2", "PYTHONWARNINGS": "error", "PYTHONUSERBASE": str(tmp_path)}
    done = subprocess.run(
        [script, "--help"], cwd=tmp_path, env={**os.environ, **others}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(("usage: scripts/", "usage: ben-luigi"))


def test_what_other_libraries_would_load_on_the_side_is_not_loaded_and_can_still_be() -> None:
    code = "import sys, ben_luigi; assert 'rasterio' in sys.modules and 'boto3' not in sys.modules; import boto3"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
