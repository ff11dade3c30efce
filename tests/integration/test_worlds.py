"""A data folder in which the real world has been run, and the sample world is asked for: somebody forgets --world."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.integration.running import ROOT, command, environment, pipeline

REFUSED = "real world, which it would replace; found: world.json: the real world has been run there"


def test_the_sample_world_does_not_replace_what_the_real_one_has_made(tmp_path: Path) -> None:
    config = tmp_path / "own.cfg"
    config.write_text("[inputs]\ntile_names_csv = names.csv\n")
    (tmp_path / "names.csv").write_text("no list\n")
    begun = pipeline(tmp_path, "ResolveTileIds", config=config)
    assert begun.code and (begun.data / "world.json").exists()
    before = sorted(begun.data.iterdir())
    for name in ("run", "status"):
        code, said = command(name, tmp_path, None)
        assert code == 20 and REFUSED in said, said
    planned, said = command("plan", tmp_path, None)
    assert planned == 20 and REFUSED in said
    luigi = [sys.executable, "-m", "luigi", "--module", "ben_luigi", "ResolveTileIds", "--local-scheduler"]
    plain = subprocess.run(
        luigi, cwd=tmp_path, env=environment(PYTHONPATH=str(ROOT)), capture_output=True, text=True, check=False
    )
    assert REFUSED in plain.stdout + plain.stderr
    assert sorted(begun.data.iterdir()) == before
    (begun.data / "world.json").unlink()
    assert pipeline(tmp_path, "ResolveTileIds").code == 0
