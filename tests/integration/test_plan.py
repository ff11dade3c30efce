"""`ben-luigi plan` before a run: on the sample, held against what the run took; on the real list of products."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ben_luigi.sample.layout import World
from tests.integration.running import ROOT, Run, command


def _bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def _planned(said: str, what: str) -> float:
    number, unit = re.findall(rf"{what} +([\d.]+) (MB|GB|TB)", said)[0]
    return float(number) * {"MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]


def test_the_peak_planned_for_the_sample_is_what_the_run_took(sample_run: Run, tmp_path: Path) -> None:
    code, said = command("plan", tmp_path, None)
    assert code == 0
    taken = _bytes(sample_run.data) - _bytes(sample_run.data / "sample")
    assert taken <= _planned(said, "peak, all kept") <= 2.5 * taken
    assert _planned(said, r"peak, all of \[retention\] on") < _planned(said, "peak, all kept")
    assert command("status", tmp_path, None)[0] == 0
    assert list(tmp_path.iterdir()) == [], "neither plan nor status makes anything"


def _keys_in_docs(heading: str) -> set[str]:
    """The keys in the first column of a table of docs/json.md."""
    text = (ROOT / "docs" / "json.md").read_text(encoding="utf-8").partition(f"`{heading}`:")[2]
    table = text.strip().partition("\n\n")[0].splitlines()[2:]
    return {key for line in table for key in re.findall(r"`(\w+)`", line.split("|")[1])}


def test_the_json_of_plan_status_and_verify_is_as_the_page_says(sample_run: Run, tmp_path: Path) -> None:
    asked = {
        "scripts/plan --json": ("plan", "--json"),
        "scripts/status --json": ("status", "--json"),
        "scripts/verify --json FOLDER": ("verify", "--json", str(sample_run.data / "dataset")),
    }
    told = {}
    for heading, (module, *arguments) in asked.items():
        code, said = command(module, tmp_path, _of(sample_run, tmp_path), *arguments)
        assert code == 0, said
        told[module] = json.loads(said)
        assert set(told[module]) == _keys_in_docs(heading)
        assert told[module]["version"] == 1
    assert told["plan"]["is_complete"] and not told["plan"]["missing"]
    assert {"name": "CutPatches", "complete": 4, "of": 4} in told["plan"]["stages"] == told["status"]["stages"]
    assert told["verify"]["is_whole"] and not told["verify"]["findings"]


def _of(run: Run, folder: Path) -> Path:
    """A configuration for the data of a run that is not to be changed."""
    path = folder / "own.cfg"
    path.write_text(f"[dataset]\ndata_dir = {run.data}\n")
    return path


def test_a_store_that_cannot_be_used_is_told_where_all_is_made(sample_run: Run, tmp_path: Path) -> None:
    """A run looks at it before anything else, and ends with the same exit code."""
    own = _of(sample_run, tmp_path)
    assert "Nothing to do" in command("plan", tmp_path, own)[1]
    own.write_text(f"[dataset]\ndata_dir = {sample_run.data}\nstore = file://{sample_run.data}/store\n")
    code, said = command("plan", tmp_path, own)
    assert code == 20 and "Nothing to do" not in said
    assert "Missing before it can come to its end:\n  1. [dataset] store" in said, said


def test_before_a_search_the_plan_says_that_the_number_is_not_known(tmp_path: Path) -> None:
    """A square in four seasons, of each one product, if there is any."""
    code, said = command("plan", tmp_path, None, "--recipe", "region_year")
    assert code == 0, said
    assert said.startswith("Plan: FinalizeDataset on the sample world, about 4 tiles, in ")
    assert "How many products there are is known after the search: " in said and "4 products, " in said
    own = tmp_path / "own.cfg"
    own.write_text("[dataset]\ntiles = 32TQM_20250422\n")
    code, said = command("plan", tmp_path, own, "--recipe", "region_year", "--json")
    told = json.loads(said)
    assert (told["tiles"], told["tiles_are_known"], told["tiles_by_search"]) == (1, False, True)
    assert list(tmp_path.iterdir()) == [own]


def test_a_list_that_is_there_is_counted_before_a_run_has_looked_at_it(tmp_path: Path) -> None:
    names = [f"S2A_MSIL2A_2023061{day}T101031_N0509_R022_T33UUP_20230615T161608.SAFE" for day in (1, 3)]
    (tmp_path / "list.csv").write_text("\n".join(names))
    (tmp_path / "codes.toml").write_text('[[class]]\nname = "Water"\ncodes = [80]\n[codes]\n80 = "Water"\n')
    (tmp_path / "cover.tif").write_text("")
    (tmp_path / "own.toml").write_text(
        'name = "own"\ntitle = "Mine"\nversion = "1.0.0"\nlicense = "MIT"\n'
        '[products]\nlevel = "L2A"\nlist = "list.csv"\nboa_offset = "keep"\n'
        '[land_cover]\nfile = "cover.tif"\nnomenclature = "codes.toml"\n'
    )
    code, said = command("plan", tmp_path, None, "--world", "real", "--recipe", "own.toml", HOME=str(tmp_path))
    assert code == 20 and "2 products, 2.0 GB" in said and "125" not in said.partition("Disk:")[0], said


def test_any_task_is_planned_and_what_it_does_not_need_is_not_missing(sample_run: Run, tmp_path: Path) -> None:
    own = _of(sample_run, tmp_path)
    arguments = ("ExportPatches", "--tile", "35VNJ_20180204")
    code, said = command("plan", tmp_path, own, *arguments)
    assert code == 0
    assert said.splitlines()[0] == f"Plan: {' '.join(arguments)} on the sample world, 1 tile, in {sample_run.data}"
    stages = [line.split() for line in said.partition("Complete:\n")[2].partition("\n\n")[0].splitlines()]
    assert stages[-1] == ["ExportPatches", "0", "of", "1"] and ["CutPatches", "1", "of", "1"] in stages
    assert "what takes seconds or minutes" in said
    code, said = command("plan", tmp_path, own, "--json", *arguments)
    assert json.loads(said)["arguments"] == {"tile": "35VNJ_20180204"}
    for wrong in (("ExportPatch",), ("ExportPatches", "--tle", "35VNJ_20180204")):
        code, said = command("plan", tmp_path, own, *wrong)
        assert code == 2 and "next: type: ben-luigi run " in said
    real, listed = tmp_path / "real.cfg", World(sample_run.data / "sample").tile_names_csv
    real.write_text(
        f"[dataset]\ndata_dir = {tmp_path}/data\n[land_cover]\nsource = geopackage\n[inputs]\n"
        f"tile_names_csv = {listed}\n"
    )
    code, said = command("plan", tmp_path, real, "--json", "RenderTile", "--tile", "35VNJ_20180204")
    assert code == 20
    missing = " ".join(error["subject"] for error in json.loads(said)["missing"])
    assert "clc_gpkg" in missing and "s1_dir" not in missing and "snow_csv" not in missing


def test_options_of_the_command_line_count_in_the_plan(tmp_path: Path) -> None:
    code, said = command("plan", tmp_path, None, "--dataset-tiles", "31UGR_20171015", "--workers", "7")
    assert code == 0 and ", about 1 tile, in " in said and "7 workers at once" in said, said
    task = ("RenderTile", "--tile", "31UGR_20171015")
    code, said = command("plan", tmp_path, None, *task, "--dataset-data-dir", str(tmp_path / "other"))
    assert code == 0 and f"about 1 tile, in {tmp_path / 'other'}" in said, said


def test_a_plan_before_anything_is_there_has_straight_columns_and_no_empty_times(tmp_path: Path) -> None:
    code, said = command("plan", tmp_path, None)
    assert code == 0, said
    assert "1 downloads" not in said and "0 min" not in said and "(1 download, " in said
    to_do = said.partition("To do:\n")[2].partition("\n\n")[0].splitlines()
    times = said.partition(" at once):\n")[2].partition("\n\n")[0].splitlines()
    assert len(to_do) == 4 and len(times) == 5
    assert {len(re.match(r"  \S.*?  +", line)[0]) for line in (*to_do, *times)} == {25}  # type: ignore[index]


def test_the_plan_of_the_real_run_names_all_that_is_missing_at_once(published: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.cfg"
    own.write_text(
        f"[dataset]\ndata_dir = {tmp_path}/data\n[inputs]\ntile_names_csv = {published}/tile_names_and_links.csv.bz2\n"
        f"l1c_dir =\ns1_dir = /nowhere/S1\n[land_cover]\nsource = geopackage\n"
        f"[sources]\norder = folder, cdse\n[cdse]\ncredentials = {tmp_path}/netrc\nparallel = 4\n[database]\n"
        "url = postgresql://somebody:hidden@127.0.0.1:9/ben\n[sen2cor]\nexecutable = /nowhere/L2A_Process\n"
        "[core]\nlocal_scheduler = false\nscheduler_host = 127.0.0.1\nscheduler_port = 9\n"
    )
    code, said = command("plan", tmp_path, own)
    assert code == 20, said
    assert "125 products, 125.0 GB" in said
    assert "1.0% of 12.0 TB in 30 days" in said
    missing = said.partition("Missing before")[2]
    for what in ("clc_gpkg", "s1_dir", "/nowhere/L2A_Process", "CDSE account", "luigid at", "PostgreSQL at"):
        assert what in missing
    assert "hidden" not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own.cfg"]


def test_the_plan_of_the_real_world_needs_no_setting_and_no_network(tmp_path: Path) -> None:
    """Nothing is given: what is missing is said, and what would be fetched from open sources."""
    code, told = command("plan", tmp_path, None, "--world", "real", "--json", HOME=str(tmp_path))
    assert code == 20, told
    plan, _ = json.JSONDecoder().raw_decode(told)  # what does not answer is said behind it
    assert (plan["world"], plan["tiles"], plan["tiles_are_known"]) == ("real", 125, True)
    fetched = {row["what"]: row["number"] for row in plan["to_fetch"]}
    assert fetched == {"inputs": 5, "Sentinel-1": 1, "land cover": 56, "installer of Sen2Cor": 1}
    assert sum(row["usual_bytes"] for row in plan["to_fetch"]) > 55e9
    assert plan["hours"]["inputs"][1] > 0
    missing = [error["subject"] for error in plan["missing"]]
    assert not [subject for subject in missing if subject.startswith("input ")]
    assert "Sen2Cor 2.11" in missing
    assert list(tmp_path.iterdir()) == []
    code, said = command("plan", tmp_path, None, "--world", "moon")
    assert code == 2 and "expected: one of auto, sample, real" in said
    code, said = command("run", tmp_path, None, "InstallSen2Cor", "--world=real", HOME=str(tmp_path))
    assert code == 20 and "[sen2cor] accept_licence = true" in said, said
