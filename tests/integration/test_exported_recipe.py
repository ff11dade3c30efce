"""Forms of a recipe that keeps the offset of pixels, where nothing else than a form was asked for, and with a run."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.running import Run, command, pipeline

ASKED = ("--recipe", "southern_summer", "--dataset-tiles", "21HUB_20250314")


def told(form: Path) -> Iterator[dict[str, Any]]:
    """What the JSON of each patch of WebDataset shards says."""
    for path in sorted(form.glob("*.tar")):
        with tarfile.open(path) as shard:
            for member in shard:
                if member.name.endswith(".json"):
                    yield json.load(shard.extractfile(member) or pytest.fail(member.name))


def require_offset(form: Path) -> None:
    """Require that the JSON of every patch says that its pixels carry the offset."""
    assert {patch.get("boa_offset") for patch in told(form)} == {True}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """WebDataset shards, and as much of the dataset as they need."""
    folder = tmp_path_factory.mktemp("exported")
    code, said = command("export", folder, None, "webdataset", *ASKED)
    assert code == 0, said
    return Run(code, said, folder / "data" / "recipes" / "southern-summer")


def test_shards_that_are_made_alone_say_that_pixels_carry_the_offset(exported: Run) -> None:
    assert not (exported.data / "dataset" / "patches.parquet").exists(), "only what the form needs is made"
    require_offset(exported.data / "forms" / "webdataset")


def test_a_dataset_and_subset_that_are_made_for_a_form_alone_can_be_verified_and_viewed(
    exported: Run, tmp_path: Path
) -> None:
    """By the recipe, which lies in them; title and years of their licence are those of the README."""
    root = exported.data.parents[2]
    code, said = command("export", root, None, "webdataset", *ASKED, "--splits", "test", "--subset-name", "small")
    assert code == 0, said
    for folder, form in (("dataset", "webdataset"), ("subsets/small", "subsets/small/webdataset")):
        require_offset(exported.data / "forms" / form)
        code, said = command(
            "verify", root, None, str(exported.data / folder), "--form", f"{exported.data}/forms/{form}"
        )
        assert code == 0 and "whole" in said, said
        code, said = command("view", root, None, str(exported.data / folder), "--to", str(tmp_path / folder))
        assert code == 0, said


def test_shards_that_are_made_with_a_run_of_a_subset_say_it_too(exported: Run) -> None:
    """However form and provenance are ordered; and those made before stay as they are."""
    own = exported.data.parents[2] / "own.cfg"
    own.write_text("[forms]\nmake = webdataset\n[subset]\nname = run\nsplits = validation\n")
    run = pipeline(own.parent, *ASKED, config=own)
    assert run.code == 0, run.said
    require_offset(exported.data / "forms" / "subsets" / "run" / "webdataset")
    own.write_text("[forms]\nmake = webdataset\n")
    run = pipeline(own.parent, *ASKED, config=own)
    assert run.code == 0 and not [task for task in run.tasks() if task.startswith("ExportForm")], run.said
