"""Arguments that name what the dataset does not have are refused before a run, and failures of them are past."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import luigi
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ben_luigi import config
from ben_luigi.domain.dataset.metadata import FLAGGED, METADATA
from ben_luigi.domain.errors import BadInput, BadName, DamagedFile
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.recipe.model import NO_SENTINEL1
from ben_luigi.stages import archive_parts, land_cover, planning
from ben_luigi.stages.archive_parts import S1, S2
from ben_luigi.stages.archives import ArchiveLayer, ArchiveS1, CompressPart, HashTar
from ben_luigi.stages.land_cover import FetchLandCover
from ben_luigi.stages.prerequisites import FetchInput, GivenInput, HashInput, TryInput
from ben_luigi.stages.statistics import CountPixels
from ben_luigi.state import records
from ben_luigi.state.failures import Failure
from ben_luigi.state.targets import withdraw_damaged

TILES = {
    "31UGR_20180508": "S2A_MSIL2A_20180508T104031_N9999_R008_T31UGR",
    "35VNJ_20180204": "S2B_MSIL2A_20180204T094159_N9999_R036_T35VNJ",
}
PRODUCT = "S2A_MSIL1C_20180508T104031_N0206_R008_T31UGR_20180508T124025.SAFE"
REMOVED = {"archive_name": "Layer_scl", "part": "31UGR_20180508"}
"""Of a layer that `[layers]` had, and has no more."""


@pytest.mark.parametrize(
    "task",
    [
        ArchiveLayer(layer="nope"),
        CompressPart(archive_name=S2, part="nope"),
        CountPixels(archive_name=S2, part="nope"),
        FetchInput(option="nope"),
        GivenInput(option="nope"),
        GivenInput(option="s1_md5"),
        HashInput(option="nope"),
        HashInput(option="l1c_dir"),
        TryInput(option="nope"),
        TryInput(option="l1c_dir"),
    ],
    ids=str,
)
def test_what_does_not_exist_is_refused_before_a_run(task: luigi.Task, data_dir: Path) -> None:
    with pytest.raises(BadName, match=r"nope|s1_md5|l1c_dir"):
        planning.check_arguments(task)


def test_an_input_that_is_given_may_be_hashed(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planning.check_arguments(HashInput(option="clc_gpkg"))
    monkeypatch.setattr(config, "given_input", lambda option: Path("/l1c") if option == "l1c_dir" else None)
    planning.check_arguments(HashInput(option="l1c_dir"))


def test_a_square_without_a_tile_is_refused_by_the_task_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first run nobody knows the squares."""
    monkeypatch.setattr(land_cover, "known_tiles", lambda: {"31UGR_20180508": ProductName.parse(PRODUCT)})
    with pytest.raises(BadName, match="99XXX"):
        FetchLandCover(mgrs="99XXX").settings()


def test_only_bands_of_the_dataset_are_counted(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        BadName, match="Reference_Maps; expected: one of bands of the dataset: BigEarthNet-S2 or BigEarthNet-S1;"
    ):
        planning.check_arguments(CountPixels(archive_name="Reference_Maps", part="nope"))
    recipe = config.recipe()
    without = replace(recipe, sentinel1=replace(recipe.sentinel1, source=NO_SENTINEL1))
    monkeypatch.setattr(config, "recipe", lambda: without)
    with pytest.raises(BadName, match="BigEarthNet-S1; expected: one of bands of the dataset: BigEarthNet-S2;"):
        planning.check_arguments(CountPixels(archive_name=S1, part="nope"))


@pytest.mark.parametrize("task", [ArchiveS1(), HashTar(archive_name=S1)], ids=str)
def test_a_recipe_without_sentinel1_has_no_archive_of_it(
    task: luigi.Task, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planning.check_arguments(task)
    recipe = config.recipe()
    without = replace(recipe, sentinel1=replace(recipe.sentinel1, source=NO_SENTINEL1))
    monkeypatch.setattr(config, "recipe", lambda: without)
    with pytest.raises(BadName, match=S1):
        planning.check_arguments(task)


def _write_metadata(folder: Path) -> None:
    """Two tiles with a patch each."""
    (folder / "dataset").mkdir()
    for name, tiles in {METADATA: [*TILES.values()], FLAGGED: []}.items():
        columns = {"patch_id": [f"{tile}_26_57" for tile in tiles], "s1_name": [f"S1_{tile}" for tile in tiles]}
        table = pa.table(columns, schema=pa.schema({name: pa.string() for name in columns}))
        pq.write_table(table, folder / "dataset" / name)


def test_metadata_of_tiles_that_count_no_more_is_told(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write_metadata(data_dir)
    known = {"31UGR_20180508": ProductName.parse(PRODUCT)}
    monkeypatch.setattr(archive_parts, "known_tiles", lambda: known)
    with pytest.raises(BadInput, match=f"patches of {TILES['35VNJ_20180204']} as well; next: run WriteMetadata first"):
        archive_parts.shard_parts()


def test_a_failure_of_an_archive_that_is_no_more_is_past(data_dir: Path) -> None:
    failed = Failure("CompressPart", "", "OSError", "", False, "", "", family="CompressPart", arguments=REMOVED)
    assert planning._is_past(failed)


def test_a_damaged_file_of_an_archive_that_is_no_more_is_not_made_again(data_dir: Path) -> None:
    file = "archives/Layer_scl/31UGR_20180508.tar.zst"
    records.write(records.path_of(file), {"task": "CompressPart", "parameters": REMOVED})
    assert withdraw_damaged(DamagedFile(data_dir / file, expected="", found="")) is None
    assert not records.path_of(file).exists()
