"""Pictures before the end, by the commands that make them."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from ben_luigi import config
from ben_luigi.domain.errors import BadArgument, BadName
from ben_luigi.domain.formats.shards import read_index
from ben_luigi.domain.names import ProductName
from ben_luigi.stages import render, resolve
from ben_luigi.stages.export import ExportPatches
from ben_luigi.stages.patches import CutPatches
from ben_luigi.stages.placement import AlignPatches
from ben_luigi.stages.prerequisites import HashInput, MakeSampleWorld
from ben_luigi.stages.reference_maps import LabelPatches, MakeReferenceMaps
from ben_luigi.stages.render import RenderPatches, RenderTile
from tests.integration.running import Run, command, pipeline

SNOWY, OTHER = "35VNJ_20180204", "31UGR_20180508"
LISTED = (
    "S2A_MSIL2A_20180508T104031_N9999_R008_T31UGR_00_01",
    "S2B_MSIL2A_20171015T104009_N9999_R008_T31UGR_09_09",
)
HOLE = "S2B_MSIL2A_20180204T094159_N9999_R036_T35VNJ_00_07"
FOREIGN = HOLE.replace("T35VNJ", "T29UPU")

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{NotGeoreferencedWarning.__module__}.{NotGeoreferencedWarning.__name__}"
)


@pytest.fixture(scope="module")
def rendered(sample_run: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """What the commands did, two at a time, in a data folder that shares the run's shards."""
    folder = tmp_path_factory.mktemp("render")
    data = folder / "data"
    data.mkdir()
    for path in (sample_run.data.parent / "database", sample_run.data / "made_from"):
        subprocess.run(["cp", "-a", path, data], check=True)
    for name in ("patches", "reference_maps", "sample"):
        (data / name).symlink_to(sample_run.data / name)
    (folder / "list.txt").write_text("\n".join([*LISTED, LISTED[0]]) + "\n")
    commands = {
        "list": ("RenderPatches", "--patch-file", "list.txt"),
        "flagged": ("RenderPatches", "--tile", SNOWY, "--flagged", "snow", "--format", "tif"),
        "tile": ("RenderTile", "--tile", OTHER, "--format", "tif"),
        "not written": ("RenderPatches", "--patches", HOLE),
    }
    with ThreadPoolExecutor(2) as pool:
        done = pool.map(lambda arguments: pipeline(folder, *arguments), commands.values())
        return dict(zip(commands, done, strict=True))


def _written(data: Path, tile: str) -> list[str]:
    names: list[str] = read_index(data / "patches" / f"{tile}.parquet")["patch_id"].unique().to_pylist()
    return names


def _bands(extracted: Path, patch: str) -> np.ndarray:
    """Red, green and blue of a patch from the finished dataset."""
    bands = []
    for band in ("B04", "B03", "B02"):
        with rasterio.open(
            extracted / "BigEarthNet-S2" / patch.rsplit("_", 2)[0] / patch / f"{patch}_{band}.tif"
        ) as raster:
            bands.append(raster.read(1))
    return np.array(bands)


def test_patches_of_a_list_as_png(rendered: dict[str, Run], extracted: Path) -> None:
    run = rendered["list"]
    assert run.code == 0, run.said
    pictures = [next((run.data / "render").glob(f"*/{name}.png")) for name in LISTED]
    assert run.said.splitlines()[1:4] == ["RenderPatches is complete.", *(f"  {path}" for path in pictures)]
    for name, picture in zip(LISTED, pictures, strict=True):
        with rasterio.open(picture) as raster:
            found = raster.read()
        bright = np.clip(_bands(extracted, name).astype(float) / 2500, 0, 1)  # restated: full at 0.25, gamma 1.5
        assert np.abs(found - 255 * np.cbrt(bright) ** 2).max() <= 0.5


def test_flagged_patches_of_a_tile_as_geotiff(rendered: dict[str, Run], sample_run: Run) -> None:
    run = rendered["flagged"]
    assert run.code == 0, run.said
    snow = set((sample_run.data / "sample" / "patches_with_seasonal_snow.csv").read_text().split())
    mapping = (sample_run.data / "metadata" / "patch_id_s2v1_mapping.csv").read_text().split()
    named = {patch for patch, v1 in (line.split(",") for line in mapping) if v1 in snow}
    expected = sorted(named & set(_written(sample_run.data, SNOWY)))
    assert expected
    found = sorted((run.data / "render" / SNOWY).glob("*_[0-9][0-9].tif"))
    assert [path.stem for path in found] == expected
    with rasterio.open(found[0]) as raster:
        assert (raster.count, raster.dtypes[0], raster.res, raster.crs.to_epsg()) == (3, "uint8", (10, 10), 32635)
        x, y = (int(part) for part in found[0].stem.split("_")[-2:])
        assert raster.bounds[:1] + raster.bounds[3:] == (499_980 + 1200 * x, 6_900_000 - 1200 * y)


def test_a_tile_as_geotiff_shows_each_patch_in_its_place(rendered: dict[str, Run], extracted: Path) -> None:
    run = rendered["tile"]
    assert run.code == 0, run.said
    folder = run.data / "render" / OTHER
    with rasterio.open(folder / "rgb.tif") as overview:
        assert (overview.read(4) > 0).sum() == len(_written(run.data, OTHER)) * 60 * 60
    with rasterio.open(folder / "reference_map.tif") as overview:
        maps = sorted((extracted / "Reference_Maps").glob("*20180508*/*/*.tif"))[::20]
        assert maps
        for path in maps:
            with rasterio.open(path) as raster:
                codes, place = raster.read(1), raster.bounds
            row, col = overview.index(place.left + 1, place.top - 1)
            opacity = overview.read(4)[row : row + 60, col : col + 60]
            assert np.array_equal(opacity > 0, codes[1::2, 1::2] != 999)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "expected: one of --patches, --patch-file, and --tile or --flagged; found: none"),
        ({"patches": HOLE, "flagged": "snow"}, "found: more than one"),
        (
            {"patch_file": "there/is/none.txt"},
            r"none\.txt; expected: a file with a patch id in each line; found: .*No such",
        ),
    ],
)
def test_what_is_asked_for_must_be_clear(asked: dict[str, str], said: str) -> None:
    task: Any = RenderPatches
    task = task(**asked)
    assert not task.complete()
    with pytest.raises(BadArgument, match=said):
        task.needs()


def test_a_patch_of_another_tile_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    known = ProductName.parse(f"{HOLE.rsplit('_', 2)[0]}_20180204T115809.SAFE")
    for module in (render, resolve):
        monkeypatch.setattr(module, "tiles", lambda: {known.tile_key: known})
    with pytest.raises(
        BadArgument, match=f"patch {FOREIGN}; expected: a patch of the tiles {SNOWY};.* next: correct the id"
    ):
        RenderPatches(patches=f"{HOLE}, {FOREIGN}").needs()
    with pytest.raises(BadName, match=f"tile {OTHER}; expected: one of {SNOWY};"):
        RenderPatches(tile=OTHER).needs()


def test_a_tile_is_asked_for_before_the_list_of_products_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The list first, with the sample world; what else is needed follows while the task runs."""
    monkeypatch.setattr(config, "data_dir", lambda: tmp_path)
    labelled = [AlignPatches(tile=SNOWY), LabelPatches(tile=SNOWY)]
    for task, more in ((RenderTile(tile=SNOWY), []), (ExportPatches(tile=SNOWY), labelled)):
        assert task.requires() == [HashInput(option="tile_names_csv")]
        assert task.requires()[0].requires() == MakeSampleWorld()
        assert not task.complete()
        assert next(task.run()) == task.requires()
        assert task.needs() == [CutPatches(tile=SNOWY), MakeReferenceMaps(tile=SNOWY), *more]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["RenderPatches"], "expected: one of --patches, --patch-file"),
        (
            ["RenderPatches", "--patches", "S2A_nonsense"],
            "--patches; expected: <L2A product name without time>_<x>_<y>",
        ),
        (["RenderPatches", "--patches", FOREIGN], f"patch {FOREIGN}; expected: a patch of the tiles"),
        (["RenderPatches", "--patch-file", "there/is/none.txt"], "next: correct --patch-file"),
        (["RenderPatches", "--patch-file", "wrong.txt"], "wrong.txt, patch 2; expected: <L2A product name"),
        (["RenderTile", "--tile", "31UGR_20180509"], f"did you mean {OTHER}?"),
        (["ExportPatches", "--tile", "31UGR"], "expected: a tile key, MGRS square and sensing date, as 33UUP_20170613"),
    ],
)
def test_wrong_arguments_are_refused_at_once_with_what_is_right(
    rendered: dict[str, Run], asked: list[str], said: str
) -> None:
    folder = rendered["list"].data.parent
    (folder / "wrong.txt").write_text(f"{LISTED[0]}\nnonsense\n")
    for module in ("run", "plan"):
        code, told = command(module, folder, None, *asked)
        assert code == 2, told
        assert said in told and "(tile=" not in told


def test_a_patch_that_is_not_written_is_named_and_why(rendered: dict[str, Run]) -> None:
    run = rendered["not written"]
    assert run.code == 2
    assert f"{HOLE} holds pixels without data" in run.said
    assert f"ben-luigi run RenderTile --tile {SNOWY}" in run.said
    assert not list((run.data / "render").glob(f"*/{HOLE}*"))
