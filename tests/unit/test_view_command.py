"""What `ben-luigi view` refuses before it reads anything."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from ben_luigi.commands import view
from ben_luigi.commands.arguments import view as parser
from ben_luigi.domain.errors import BadArgument, BadInput


def test_nothing_but_a_viewer_is_replaced(tmp_path: Path) -> None:
    """A report has a viewer too, and more."""
    for name, files in {"report": ("viewer.html", "index.html"), "other": ("notes.txt",)}.items():
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).touch()
        with pytest.raises(BadInput, match=f"{name}; expected: a viewer made before.*found: something else"):
            view._check(tmp_path / name)
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="something else"):
        view._check(tmp_path / "file")
    (tmp_path / "viewer").mkdir()
    view._check(tmp_path / "viewer")
    (tmp_path / "viewer" / "viewer.html").touch()
    (tmp_path / "viewer" / "viewer").mkdir()
    with pytest.raises(BadInput, match="something else, which is kept"):
        view._check(tmp_path / "viewer")
    (tmp_path / "viewer" / "assets").mkdir()
    view._check(tmp_path / "viewer")
    (tmp_path / "viewer" / "thesis.txt").touch()
    with pytest.raises(BadInput, match=r"found: thesis\.txt, which is kept"):
        view._check(tmp_path / "viewer")
    view._check(tmp_path / "new")


def test_another_form_is_called_by_its_name(exported: Mapping[str, Path]) -> None:
    with pytest.raises(BadArgument, match="found: the form zarr; next: name the dataset, or export it as webdataset"):
        view._read(exported["zarr"], 3, [])


def test_shards_without_their_index_are_told_so(exported: Mapping[str, Path], tmp_path: Path) -> None:
    shutil.copytree(exported["webdataset"], tmp_path / "shards")
    (tmp_path / "shards" / "index.parquet").unlink()
    with pytest.raises(BadArgument, match=r"found: shards without their index\.parquet; next"):
        view._read(tmp_path / "shards", 3, [])


def test_the_number_of_patches_is_a_whole_one() -> None:
    assert parser().parse_args([]).patches == 300
    for text in ("0", "-1", "many"):
        with pytest.raises(SystemExit):
            parser().parse_args([f"--patches={text}"])
