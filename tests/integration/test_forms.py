"""Results of an older checkout: what is cheap is made again in today's form, what took hours never is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.running import ROOT, Run, dataset_digests, environment

MARK = "/* another checkout */"
ALWAYS = {"ProcessTiles", "FinalizeDataset"}
"""They leave nothing of their own."""
CHANGED = {"provenance.json", "report/index.html", "stac/collection.json"}
"""What tells with which code the dataset was made, and what has the hash of that."""


@pytest.fixture(scope="module")
def checkout(sample_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code in a folder of its own, with what the sample run made there."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("ben_luigi", "tracked_artifacts"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "luigi.cfg", folder)
    sample_run.copy_to(folder)
    return folder


def _run(folder: Path, *task: str) -> Run:
    """`ben-luigi run TASK` with the code in `folder`, which Python finds before any other."""
    command = [sys.executable, "-m", "ben_luigi", "run", *task]
    done = subprocess.run(
        command, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return Run(done.returncode, done.stdout + done.stderr, folder / "data")


def _families(run: Run) -> set[str]:
    return {task.partition("(")[0] for task in run.tasks()}


def test_another_template_makes_the_report_again_and_nothing_else(checkout: Path) -> None:
    """And another comment in what cuts patches makes nothing again."""
    before = dataset_digests(checkout / "data")
    with (checkout / "ben_luigi" / "domain" / "report" / "templates" / "report.css").open("a") as file:
        file.write(MARK)
    with (checkout / "ben_luigi" / "domain" / "tiles" / "patches.py").open("a") as file:
        file.write("# another comment\n")
    run = _run(checkout)
    assert run.code == 0, run.said
    assert _families(run) == {"WriteReport", "VerifyDataset", *ALWAYS}
    assert (checkout / "data" / "dataset" / "report" / "assets" / "report.css").read_text().endswith(MARK)
    after = dataset_digests(checkout / "data")
    assert {name for name in after if after[name] != before.get(name)} == {"report/assets/report.css"}


def test_other_code_of_a_task_of_seconds_makes_its_rows_again_and_no_tile_is_cut(checkout: Path) -> None:
    before = dataset_digests(checkout / "data")
    with (checkout / "ben_luigi" / "domain" / "tiles" / "nomenclature.py").open("a") as file:
        file.write("# another comment\n")
    run = _run(checkout)
    assert run.code == 0, run.said
    assert "LabelPatches" in _families(run)
    assert not {"CutPatches", "MakeReferenceMaps", "CompressPart", "WriteMetadata"} & _families(run)
    after = dataset_digests(checkout / "data")
    assert {name for name in after if after[name] != before[name]} <= CHANGED


def test_what_an_older_checkout_has_converted_counts_and_the_rest_is_made_again(checkout: Path) -> None:
    """Its records say less: neither which task made a file, nor how long it is."""
    before = dataset_digests(checkout / "data")
    for record in (checkout / "data" / "made_from").rglob("*.json"):
        said = json.loads(record.read_text())
        record.write_text(json.dumps({"made_from": {"side_m": 6000}, "digest": said["digest"]}))
    run = _run(checkout)
    assert run.code == 0, run.said
    assert {"CutPatches", "MakeReferenceMaps", "WriteMetadata", "JoinParts"} <= _families(run)
    assert not {"DownloadL1C", "ConvertToL2A"} & _families(run)
    after = dataset_digests(checkout / "data")
    assert {name for name in after if after[name] != before[name]} <= CHANGED
