"""Where there is no room for a file, in the store or here, that is what is said."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from ben_luigi.domain.errors import NoRoomError
from ben_luigi.domain.storing.opening import open_store
from tests.unit.test_storing import written


def test_a_full_disk_is_told_as_such_and_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit on the size of files stands in for it. Of a disk here the system's error stays: its user names it."""
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("it has waited"))
    store, (path, sha256) = open_store(f"file://{tmp_path}/store"), written(tmp_path, 10_000)
    held, back = store.put(path, "a", sha256, ""), tmp_path / "back"
    back.write_bytes(bytes(held.size_bytes))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, hard))
    try:
        said = rf"^file://{tmp_path}/store/b; expected: room in the store .*; found: File too large; [\d,]+ MB free in"
        with pytest.raises(NoRoomError, match=said):
            store.put(path, "b", sha256, "")
        with pytest.raises(OSError, match="File too large"):
            store.get("a", held, back)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["a"]
