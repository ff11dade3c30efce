"""What says the codes of an own land cover is made again where the nomenclature gets another code, or another name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ben_luigi import config
from ben_luigi.stages import open_metadata
from ben_luigi.stages.open_metadata import WriteCroissant, WritePatches

TEXT = '[[class]]\nname = "Water"\ncodes = [80]\n[codes]\n80 = "Lakes"\n'


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a task is made from besides other tasks, by an own recipe with a nomenclature of this text."""
    recipe = replace(config.recipe(), name="own")
    monkeypatch.setattr(config, "recipe", lambda: recipe)
    for name in ("tiles", "of_product"):
        monkeypatch.setattr(open_metadata, name, dict)

    def settings(task: WriteCroissant | WritePatches, text: str) -> dict[str, Any]:
        path = tmp_path / f"{len(text)}.toml"  # what was read of a path stays in memory
        path.write_text(text)
        monkeypatch.setattr(config, "nomenclature", lambda: path)
        return task.settings()

    return settings


def test_a_code_that_occurs_nowhere_yet_gets_its_column(says: Any) -> None:
    """Labels and maps stay, so that nothing else tells; another name of a code changes no column."""
    before = says(WritePatches(), TEXT)
    assert says(WritePatches(), TEXT + '90 = "Wetland"\n') != before
    assert says(WritePatches(), TEXT.replace("Lakes", "Open water")) == before


def test_the_description_of_columns_says_the_names_of_codes(says: Any) -> None:
    before = says(WriteCroissant(), TEXT)
    assert says(WriteCroissant(), TEXT + '90 = "Wetland"\n') != before
    assert says(WriteCroissant(), TEXT.replace("Lakes", "Open water")) != before


def test_codes_of_corine_leave_what_patches_are_made_from_as_it_was(says: Any) -> None:
    text = (config.TRACKED_ARTIFACTS / "nomenclature.toml").read_text(encoding="utf-8")
    assert says(WritePatches(), text).keys() == {"l1c"}
