"""Large libraries are loaded when they are first used, and before processes are forked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_START = "import sys; from ben_luigi.domain import deferred; "


def _said(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_loading_the_pipeline_loads_none_of_them() -> None:
    loaded = "[name for name in deferred.LIBRARIES if not isinstance(sys.modules[name], deferred._Deferred)]"
    found = _said(f"import sys; from ben_luigi import pipeline; from ben_luigi.domain import deferred; print({loaded})")
    assert found == "[]"


@pytest.mark.parametrize(
    "name",
    [
        *("ben_luigi.sample.world", "luigi.server", "tornado", "jsonschema", "pyproj.crs", "sqlalchemy", "urllib3"),
        *("affine", "click"),  # which rasterio loads
    ],
)
def test_nor_does_it_load_what_only_some_commands_need(name: str) -> None:
    assert _said(f"import sys; from ben_luigi import pipeline; print({name!r} in sys.modules)") == "False"


def test_nor_does_what_each_run_asks_tasks_for() -> None:
    """The URLs of services are recorded without passwords: taking these out of a text needs no library."""
    asked = "from ben_luigi.stages import resolve; resolve.FindMissing().settings()"
    assert _said(f"import sys; from ben_luigi import pipeline; {asked}; print('urllib3' in sys.modules)") == "False"


def test_what_luigi_was_not_to_load_can_be_loaded_afterwards() -> None:
    found = _said("from ben_luigi.configuration import quiet_luigi; import jsonschema, luigi.server; print('fine')")
    assert found == "fine"


@pytest.mark.parametrize(
    "used",
    [
        "import shapely; assert shapely.box(0, 0, 2, 1).area == 2; assert shapely.geometry.shape",
        "from shapely.geometry import shape; import shapely.errors; assert shape",
        "import pandas as pd; assert isinstance(pd.DataFrame({'a': [1]}).a, pd.Series)",
        "import pandas; from pandas.testing import assert_frame_equal; assert pandas.testing",
        "import pyarrow as pa, pyarrow.compute as pc; assert pc.sum(pa.array([1, 2])).as_py() == 3",
        "import pyarrow as pa, pyarrow.compute; assert pa.compute.sum(pa.array([1, 2])).as_py() == 3",
        "import pyarrow.parquet as pq; import pandas; assert pq.ParquetFile and pandas.read_parquet",
        "import fiona; assert fiona.errors.FionaError and fiona.Env and 'boto3' not in sys.modules",
        "import rasterio.errors; assert rasterio.errors.RasterioError and 'boto3' not in sys.modules",
        "import rasterio; assert rasterio.windows.Window(0, 0, 1, 1) and rasterio.shutil.copy and rasterio.open",
        "from rasterio.enums import Resampling; import rasterio.enums; assert rasterio.enums.Resampling is Resampling",
        "import rasterio as r; r.open; import rasterio; assert rasterio.vrt.WarpedVRT and rasterio.features.rasterize",
        "import pyproj.exceptions as e, pyproj; assert issubclass(e.CRSError, e.ProjError) and pyproj.CRS(4326)",
        "import jinja2; assert jinja2.Template('{{ a }}').render(a=1) == '1'",
        "deferred.load_all(); assert not deferred._waiting; import pandas as pd; assert type(pd) is type(sys)",
    ],
)
def test_a_deferred_library_is_the_library(used: str) -> None:
    said = _said(f"{_START}deferred.defer('pandas', 'shapely', *deferred.LIBRARIES); {used}; print('fine')")
    assert said == "fine"


def test_what_a_deferred_library_has_not_is_missed_as_usual() -> None:
    tried = "\ntry:\n    json.tool.nothing\nexcept AttributeError as error:\n    print(error)"
    said = _said(f"{_START}deferred.defer('json.tool'); import json, json.tool{tried}")
    assert said == "module 'json.tool' has no attribute 'nothing'"


def test_threads_that_ask_first_at_once_all_get_the_library() -> None:
    ask = "lambda _: pandas.DataFrame({'a': [1]}).shape"
    program = f"{_START}deferred.defer('pandas'); import pandas; from concurrent.futures import ThreadPoolExecutor; "
    said = _said(f"{program}print({{*ThreadPoolExecutor(8).map({ask}, range(64))}})")
    assert said == "{(1, 1)}"
