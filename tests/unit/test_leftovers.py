"""What killed commands have left beside what they were making."""

from __future__ import annotations

from pathlib import Path

import pytest

from ben_luigi.domain import files, leftovers
from ben_luigi.domain.errors import BadInput


def test_what_a_killed_command_left_of_the_same_folder_is_removed(tmp_path: Path) -> None:
    (left := files.unfinished(tmp_path / "lmdb")).mkdir()
    (left / "data.mdb").write_bytes(b"half")
    others = [files.unfinished(tmp_path / "my-lmdb"), tmp_path / "lmdb-old", tmp_path / "lmdb"]
    for other in others:
        other.mkdir()
    with leftovers.alone_at(tmp_path / "lmdb"):
        assert not left.exists() and all(other.is_dir() for other in others)
    assert sorted(tmp_path.iterdir()) == sorted(others)


def test_two_commands_do_not_make_the_same_folder_at_once(tmp_path: Path) -> None:
    target = tmp_path / "new" / "lmdb"
    with leftovers.alone_at(target):
        (work := files.unfinished(target)).mkdir()
        with pytest.raises(BadInput, match="that no other process makes it"), leftovers.alone_at(target):
            pass
        with leftovers.alone_at(target.with_name("zarr")):
            pass
        assert work.is_dir()
    with leftovers.alone_at(target):
        assert not work.exists()
