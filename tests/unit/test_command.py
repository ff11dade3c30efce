"""What all commands share."""

from __future__ import annotations

from pathlib import Path

import pytest

from ben_luigi.commands import command
from ben_luigi.domain.errors import BadArgument


@pytest.mark.parametrize("named", [".", "../dataset", "inner/..", "{folder}", "linked"])
def test_what_is_made_from_a_folder_goes_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    folder = tmp_path / "dataset"
    (folder / "inner").mkdir(parents=True)
    (folder / "linked").symlink_to(folder)
    monkeypatch.chdir(folder)
    beside = folder / "dataset-zarr" if named == "linked" else tmp_path / "dataset-zarr"
    assert command.beside(Path(named.format(folder=folder)), "-zarr") == beside


def test_nothing_lies_beside_the_root() -> None:
    with pytest.raises(BadArgument, match="/; expected: a folder that another can lie beside"):
        command.beside(Path("/"), ".csv")
