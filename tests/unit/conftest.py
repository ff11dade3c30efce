"""Files that several unit tests change, and a small finished dataset: made once, and copied for each."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ben_luigi.domain.dataset.verify_rules import References
from tests.unit.geopackages import write
from tests.unit.small_dataset import Dataset, write_references


@pytest.fixture(scope="session")
def references(tmp_path_factory: pytest.TempPathFactory) -> References:
    """The inputs of the small dataset; not to be changed."""
    return write_references(tmp_path_factory.mktemp("references"))


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small dataset, with all that the pipeline makes; who changes it puts it right again."""
    return Dataset().write_all(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(whole, tmp_path / "dataset"))


@pytest.fixture(scope="session")
def sound_gpkg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CORINE GeoPackage; not to be changed."""
    return write(tmp_path_factory.mktemp("clc") / "sound.gpkg")


@pytest.fixture
def gpkg(sound_gpkg: Path, tmp_path: Path) -> Path:
    """A copy of it that may be changed."""
    return Path(shutil.copy(sound_gpkg, tmp_path / "clc.gpkg"))
