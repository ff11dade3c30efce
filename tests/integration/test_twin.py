"""A dataset beside its twin: the same squares, with pixels that differ by what is known."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio

from ben_luigi.sample.layout import World
from tests.integration.running import Run, command, configuration, pipeline

TILE = "35VNJ_20180204"


@pytest.fixture(scope="module")
def twin(extracted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One tile of the dataset, as if of 2023: B04 lies a pixel farther to the east, and has an offset of 1,000."""
    folder = tmp_path_factory.mktemp("twin")
    (tile,) = (extracted / "BigEarthNet-S2").glob("S2B_MSIL2A_20180204T*_T35VNJ")
    for path in sorted(tile.rglob("*.tif")):
        name = path.relative_to(extracted).as_posix().replace("20180204T094159_N9999", "20230210T094159_N0509")
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
        if path.stem.endswith("_B04"):
            with rasterio.open(target, "r+") as raster:
                raster.write(np.roll(raster.read(1), 1, axis=1) + np.uint16(1000), 1)
    return folder


@pytest.fixture(scope="module")
def compared(
    sample_run: Run, sample_world: World, l2a_dir: Path, twin: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, Path]:
    """The sample world's dataset, compared."""
    folder = tmp_path_factory.mktemp("compared")
    config = configuration(folder, sample_world, inputs={"l2a_dir": l2a_dir, "compare_with_dir": twin})
    run = pipeline(folder, config=config)
    assert run.code == 0, run.said
    return run, config


def test_the_pixels_of_each_band_are_told_apart(compared: tuple[Run, Path], sample_run: Run) -> None:
    run, _ = compared
    table = pq.read_table(run.data / "metadata" / "pixel_differences.parquet").to_pandas()
    of_tile = table[table["tile"] == TILE].set_index("band")
    assert set(table["tile"]) == {"all", TILE} and set(of_tile["days_later"]) == {5 * 365 + 1 + 6}
    assert of_tile.loc["B04", ["shift_x_px", "shift_y_px"]].tolist() == [1, 0]
    assert of_tile.loc["B04", "offset"] == pytest.approx(1000, abs=5) and of_tile.loc["B04", "equal"] < 0.01
    others = of_tile.drop("B04")
    assert (others[["shift_x_px", "shift_y_px", "offset"]] == 0).all(axis=None)
    assert (others[["scale", "correlation", "equal"]] == 1).all(axis=None)
    assert (run.data / "metadata" / "pixel_differences.csv").read_text().count("\n") == 1 + 2 * 12
    for name in ("metadata.parquet", "BigEarthNet-S2.tar.zst", "Reference_Maps.tar.zst"):
        assert (run.data / "dataset" / name).read_bytes() == (sample_run.data / "dataset" / name).read_bytes()


def test_the_report_shows_them_and_the_task_prints_them(compared: tuple[Run, Path], sample_run: Run) -> None:
    run, config = compared
    report = (run.data / "dataset" / "report" / "index.html").read_text(encoding="utf-8")
    assert 'id="twin"' in report and f"<title>{TILE}: 1.0</title>" in report
    assert 'id="twin"' not in (sample_run.data / "dataset" / "report" / "index.html").read_text(encoding="utf-8")
    again = pipeline(run.data.parent, "ComparePixels", config=config)
    assert again.code == 0 and "pixel_differences.csv" in again.said and "ComparePixels()" not in again.tasks()
    line = next(line for line in again.said.splitlines() if line.split()[:1] == ["B04"])
    assert line.split()[2:4] == ["1", "0"]


def test_a_folder_without_pixels_is_told(sample_world: World, l2a_dir: Path, tmp_path: Path) -> None:
    config = configuration(tmp_path, sample_world, inputs={"l2a_dir": l2a_dir, "compare_with_dir": tmp_path})
    run = pipeline(tmp_path, "ComparePixels", config=config)
    assert run.code == 20 and "with BigEarthNet-S2.tar.zst or BigEarthNet-S2/; found: neither" in run.said, run.said
    assert "Traceback" not in run.said
    code, said = command("plan", tmp_path, config, "ComparePixels")
    assert code == 20 and "found: neither" in said and "Traceback" not in said, said
