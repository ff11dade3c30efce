"""`docs/adding_a_step.md`, followed to the letter in a copy of the checkout, with what the sample run has made."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.integration.running import ROOT, Run, command, environment, pipeline

TILE = "31UGR_20180508"
EDIT = re.compile(r"^`([\w/.]+)`:\n\n```(py|diff)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EDITS = EDIT.findall((ROOT / "docs" / "adding_a_step.md").read_text(encoding="utf-8"))
COPIED = ("ben_luigi", "docs", "scripts", "tests", "tracked_artifacts")


@pytest.fixture(scope="module")
def copy(sample_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The copy with the edits, and with the parts of the pages that are made from the code."""
    folder = tmp_path_factory.mktemp("copy")
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.glob("*.*"):
        if path.is_file():
            shutil.copy(path, folder)
    sample_run.copy_to(folder)
    for name, kind, text in EDITS:
        path = folder / name
        if kind == "py":
            assert not path.exists(), name
            path.write_text(text, encoding="utf-8")
        else:
            path.write_text(changed(path.read_text(encoding="utf-8"), text), encoding="utf-8")
    python(folder, "-m", "ben_luigi.documentation")
    return folder


def changed(text: str, diff: str) -> str:
    """The text with the changes of a diff, whose hunks have no numbers."""
    for hunk in re.split(r"^@@\n", diff, flags=re.MULTILINE):
        lines = hunk.splitlines(keepends=True)
        before, after = ("".join(line[1:] for line in lines if line[0] in kinds) for kinds in (" -", " +"))
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    return text


def python(folder: Path, *arguments: str) -> None:
    words = [sys.executable, *arguments]
    done = subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_takes_four_edits() -> None:
    assert [(Path(name).parent.as_posix(), kind) for name, kind, _ in EDITS] == [
        ("ben_luigi/domain/tiles", "py"),
        ("tests/unit", "py"),
        ("ben_luigi/stages", "py"),
        ("ben_luigi/stages", "diff"),
    ]


def test_the_tests_of_the_code_hold(copy: Path) -> None:
    """Its own test, and those that hold pages, help and layers."""
    tests = [f"tests/unit/test_{name}.py" for name in ("diversity", "architecture", "words")]
    python(copy, "-m", "pytest", "-p", "no:cacheprovider", *tests)
    python(copy, "-m", "ruff", "check", "--no-cache", *(name for name, _, _ in EDITS))
    python(copy, "-m", "ruff", "format", "--no-cache", "--check", *(name for name, _, _ in EDITS))


def test_a_run_makes_only_what_is_new_and_the_task_is_listed(copy: Path) -> None:
    run = pipeline(copy)
    assert run.code == 0, run.said
    made = {task.partition("(")[0] for task in run.tasks()}
    assert made >= {"MeasureDiversity", "ProcessTiles", "FinalizeDataset"}
    assert not made & {"CutPatches", "MakeReferenceMaps", "LabelPatches", "WriteMetadata", "CompressPart"}
    columns = pq.read_table(copy / "data" / "diversity" / f"{TILE}.parquet").to_pydict()
    measured = dict(zip(columns["patch_id"], columns["diversity"], strict=True))
    in_dataset = pq.read_table(copy / "data" / "dataset" / "patches.parquet")["patch_id"].to_pylist()
    assert {patch for patch in in_dataset if "_20180508T" in patch} <= measured.keys()
    assert all(0 <= diversity < 4 for diversity in measured.values())
    assert len(set(measured.values())) > 40
    code, said = command("status", copy, None)
    assert code == 0, said
    assert re.search(r"^ +MeasureDiversity +4 of 4$", said, re.MULTILINE), said
    again = pipeline(copy)
    assert again.code == 0 and again.tasks() == [], again.said
