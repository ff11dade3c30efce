"""Sen2Cor within the pipeline: its version, how many at once, what is left of a run, and of one that is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ben_luigi import config
from ben_luigi.domain.errors import Sen2CorError
from ben_luigi.sample.layout import World
from ben_luigi.stages import converter
from ben_luigi.stages.converter import FindSen2Cor
from tests.integration.running import ROOT, configuration, pipeline
from tests.unit.test_sen2cor import is_alive, wait_for_pids

TILE = "31UGR_20171015"


def program(path: Path, *lines: str, version: str = "02.11.00") -> Path:
    """A program that says its version, and else does what `lines` say."""
    banner = f'[ "$1" = -h ] && echo "Sentinel-2 Level 2A Processor (Sen2Cor). Version: {version}," && exit 0'
    path.write_text("\n".join(["#!/bin/sh", banner, *lines]) + "\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(("version", "right"), [("02.11.00", True), ("02.10.01", False), ("02.12.03", False)])
def test_another_version_is_refused(version: str, right: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = program(tmp_path / "L2A_Process", version=version)
    monkeypatch.setattr(converter, "executable_name", lambda: str(found))
    task = FindSen2Cor()
    assert task.complete() == right
    if not right:
        with pytest.raises(Sen2CorError, match=rf"Sen2Cor 2\.11.*version {version[1:4]}.*install-sen2cor"):
            task.run()


@pytest.mark.parametrize(
    ("cores", "memory_gb", "at_once"), [(1, 64, 1), (2, 64, 1), (16, 64, 8), (16, 16, 2), (16, 4, 1)]
)
def test_how_many_at_once(cores: int, memory_gb: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the cores, and no more than memory allows, at 6 GB each."""
    monkeypatch.setattr(config, "_names_nothing_real", lambda: False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)))
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": memory_gb * 2**30 // 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    assert config.sen2cor_at_once() == at_once


def test_a_conversion_that_is_ended_leaves_its_work_and_no_process(world: World, tmp_path: Path) -> None:
    """By SIGTERM to the pipeline; the next run begins anew, and leaves the product and its log."""
    stubborn = ('(trap "" TERM; sleep 600) & echo $! >> "$0.pids"', 'echo $$ >> "$0.pids"', "sleep 600")
    found = program(tmp_path / "L2A_Process", "echo begun", *stubborn)
    own = configuration(
        tmp_path, world, dataset={"tiles": TILE}, inputs={"l1c_dir": world.products}, sen2cor={"executable": found}
    )
    command = [sys.executable, "-m", "ben_luigi", "run", "ConvertToL2A", "--tile", TILE]
    environment = {**os.environ, "LUIGI_CONFIG_PATH": str(own), "PYTHONPATH": str(ROOT)}
    l2a = tmp_path / "data" / "l2a"
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL) as running:
        pids = wait_for_pids(Path(f"{found}.pids"))
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 143
    until = time.monotonic() + 20
    while any(is_alive(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(is_alive(pid) for pid in pids)
    work, log = sorted(l2a.iterdir())
    assert work.name.startswith(f".work-{TILE}.") and log.name == f"{TILE}.log"
    assert "begun" in (l2a / f"{TILE}.log").read_text()
    assert len(list(work.glob("l1c/*.SAFE"))) == 1

    program(found, f'exec "{world.l2a_process}" "$@"')
    run = pipeline(tmp_path, "ConvertToL2A", "--tile", TILE, config=own)
    assert run.code == 0, run.said
    assert sorted(path.name for path in l2a.iterdir()) == [TILE, f"{TILE}.log"]
    assert sorted(path.suffix for path in (l2a / TILE).iterdir()) == [".SAFE", ".json"]
    assert "Application terminated successfully." in (l2a / f"{TILE}.log").read_text()
