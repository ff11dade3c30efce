"""What is wrong with a user's geographic files and tiles is said by the plan, and by a run before its long work."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ben_luigi.sample.layout import World
from tests.integration.running import command, configuration

TILE = "31UGR_20171015"
NAME = "S2B_MSIL1C_20171015T104009_N0205_R008_T31UGR_20171015T104525.SAFE"


def _names(folder: Path, *names: str) -> Path:
    """A list of products, as `tile_names_csv` is one."""
    path = folder / "names.csv"
    path.write_text("".join(f"v1 name,{name},link\r\n" for name in names))
    return path


def _bad_clc(world: World, folder: Path) -> Path:
    path = Path(shutil.copy(world.clc_gpkg, folder / "clc.gpkg"))
    with closing(sqlite3.connect(path)) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f'DROP TRIGGER "{name}"')
        database.execute(f'UPDATE "{world.clc_gpkg.stem}" SET Code_18 = 7 WHERE OBJECTID = 12')
        database.commit()
    return path


def _bad_borders(world: World, folder: Path) -> Path:
    path = folder / "borders.geojson"
    path.write_text(world.countries_geojson.read_text().replace("Kosovo", "Kosova"))
    return path


def _bad_v1(world: World, folder: Path) -> Path:
    target = Path(shutil.copytree(world.v1_spatial_dir, folder / "v1"))
    path = target / "bigearthnet_v1_spatial_32631.parquet"
    pq.write_table(pq.read_table(path).drop_columns("geom"), path)
    return target


def test_the_plan_names_all_that_is_wrong_with_the_files_given(world: World, tmp_path: Path) -> None:
    inputs: dict[str, object] = {
        "tile_names_csv": _names(tmp_path, NAME),
        "clc_gpkg": _bad_clc(world, tmp_path),
        "countries_geojson": _bad_borders(world, tmp_path),
        "v1_spatial_dir": _bad_v1(world, tmp_path),
    }
    code, said = command("plan", tmp_path, configuration(tmp_path, world, inputs=inputs))
    assert code == 20, said
    missing = said.partition("Missing before")[2]
    assert re.search(r"clc\.gpkg, layer U2018\w+, OBJECTID 12; .*found: Code_18 = '7'; next: .*ogr2ogr", missing)
    assert re.search(r"borders\.geojson; .*found: none for Kosovo", missing)
    assert re.search(r"32631\.parquet; .*found: no column geom, but patch_name", missing)
    assert "Traceback" not in said


@pytest.mark.parametrize("option", ["clc_gpkg", "countries_geojson", "v1_spatial_dir"])
def test_a_run_says_it_before_its_work(world: World, tmp_path: Path, option: str) -> None:
    bad = {"clc_gpkg": _bad_clc, "countries_geojson": _bad_borders, "v1_spatial_dir": _bad_v1}[option]
    config = configuration(tmp_path, world, inputs={option: bad(world, tmp_path)})
    code, said = command("run", tmp_path, config, "GivenInput", "--option", option)
    assert code == 20, said
    assert "next: " in said and "Traceback" not in said
    config = configuration(tmp_path, world)
    assert command("run", tmp_path, config, "GivenInput", "--option", option)[0] == 0


def test_status_forgets_an_input_that_has_been_given_since(world: World, tmp_path: Path) -> None:
    config = configuration(tmp_path, world, inputs={"clc_gpkg": _bad_clc(world, tmp_path)})
    assert command("run", tmp_path, config, "GivenInput", "--option", "clc_gpkg")[0] == 20
    assert "GivenInput(option=clc_gpkg)" in command("status", tmp_path, config)[1]
    config = configuration(tmp_path, world)
    assert "Nothing has failed" in command("status", tmp_path, config)[1]


def test_a_tile_that_turns_out_to_be_none_is_a_wrong_argument(world: World, tmp_path: Path) -> None:
    """Known only once the run has read the list; nothing of it is left in `status`."""
    names = _names(tmp_path, NAME)
    config = configuration(tmp_path, world, inputs={"tile_names_csv": names})
    code, said = command("run", tmp_path, config, "ExportPatches", "--tile", "33UUP_20170613")
    assert code == 2, said
    assert "correct the tile key" in said and "same command again" not in said
    assert not list((tmp_path / "data" / "failed").glob("*.json"))


@pytest.mark.parametrize(
    ("mgrs", "day", "said"),
    [
        ("32TQM", "20171015", "tile 32TQM_20171015; .* km to [A-Z].*, the nearest of them"),
        ("31UGR", "20231015", "tile S2B_MSIL2A_20231015T104009_N9999_R008_T31UGR; .*sensed 2023-10-15 10:40:09 UTC"),
        ("31UFR", "20171015", "v1_spatial; .*of the tiles 31UFR_20171015; found: none for any of them"),
        ("33UUP", "20171015", "33UUP_20171015: .*expected: bigearthnet_v1_spatial_32633.parquet"),
    ],
)
def test_the_plan_names_tiles_that_lie_elsewhere_or_are_of_another_day(
    world: World, tmp_path: Path, mgrs: str, day: str, said: str
) -> None:
    names = _names(tmp_path, NAME.replace("T31UGR", f"T{mgrs}").replace("20171015", day))
    code, plan = command("plan", tmp_path, configuration(tmp_path, world, inputs={"tile_names_csv": names}))
    assert code == 20, plan
    assert re.search(said, plan.partition("Missing before")[2]), plan


@pytest.mark.parametrize("program", ["plan", "run"])
def test_southern_tiles_are_refused_before_anything_is_downloaded(world: World, tmp_path: Path, program: str) -> None:
    southern = NAME.replace("T31UGR", "T33HUB")
    names = _names(tmp_path, NAME, southern)
    config = configuration(tmp_path, world, inputs={"tile_names_csv": names})
    code, said = command(program, tmp_path, config)
    assert code == 20, said
    assert re.search(r"names\.csv; .*latitude bands N to X; found: 33HUB_20171015 \(latitude band H, south", said)
    assert "[dataset] tiles" in said and "Traceback" not in said
    assert not list((tmp_path / "data").glob("l1c/*"))
    config = configuration(tmp_path, world, inputs={"tile_names_csv": names}, dataset={"tiles": TILE})
    said = command("plan", tmp_path, config)[1]
    assert "latitude band" not in said and "Missing before" in said, "the others may be named"


def test_the_plan_has_nothing_against_the_sample(world: World, tmp_path: Path) -> None:
    config = configuration(tmp_path, world, inputs={"tile_names_csv": world.tile_names_csv})
    missing = command("plan", tmp_path, config)[1].partition("Missing before")[2]
    assert json.dumps(missing).count("expected") == 2, missing  # Sen2Cor and an account
