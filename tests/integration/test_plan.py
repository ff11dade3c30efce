"""`ben-luigi plan` before a run: on the sample, held against what the run took; on the real list of products."""

from __future__ import annotations

import re
from pathlib import Path

from tests.integration.running import Run, command


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


def test_the_plan_of_the_real_run_names_all_that_is_missing_at_once(published: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.cfg"
    own.write_text(
        f"[dataset]\ndata_dir = {tmp_path}/data\n[inputs]\ntile_names_csv = {published}/tile_names_and_links.csv.bz2\n"
        f"l1c_dir =\n[cdse]\ncredentials = {tmp_path}/netrc\nparallel = 4\n[database]\n"
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
