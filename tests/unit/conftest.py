"""Files that several unit tests change: made once, and copied for each."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.unit.geopackages import write


@pytest.fixture(scope="session")
def sound_gpkg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CORINE GeoPackage; not to be changed."""
    return write(tmp_path_factory.mktemp("clc") / "sound.gpkg")


@pytest.fixture
def gpkg(sound_gpkg: Path, tmp_path: Path) -> Path:
    """A copy of it that may be changed."""
    return Path(shutil.copy(sound_gpkg, tmp_path / "clc.gpkg"))
