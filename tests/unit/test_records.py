"""Records of what results were made from: withdrawn for good before the work, and believed only if whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ben_luigi import config
from ben_luigi.domain import files
from ben_luigi.state import records

CONTENT = {"task": "CutPatches", "bytes": 5, "made_from": {"revision": 1}}


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(config, "data_dir", lambda: tmp_path)
    path = records.path_of("patches/a.tar")
    records.write(path, CONTENT)
    return path


def test_a_withdrawn_record_does_not_come_back_after_a_power_cut(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the new file would count as what the old record says."""
    synced: list[tuple[Path, bool]] = []
    monkeypatch.setattr(files, "sync", lambda path: synced.append((path, record.exists())))
    records.remove(record)
    assert synced == [(record.parent, False)]


@pytest.mark.parametrize(
    "content",
    [
        {**CONTENT, "bytes": 6},
        {**CONTENT, "record_sha256": "0" * 64},
        {"made_from": {}, "task": "CutPatches"},
        ["CutPatches"],
        None,
    ],
)
def test_a_record_that_was_changed_counts_as_none(record: Path, content: object) -> None:
    assert records.read(record) == CONTENT
    stated = json.loads(record.read_text())["record_sha256"]
    changed = {"record_sha256": stated, **content} if isinstance(content, dict) and "bytes" in content else content
    record.write_text(json.dumps(changed))
    assert records.read(record) == {}


def test_a_record_of_an_older_version_is_read_and_names_no_task(record: Path) -> None:
    record.write_text(json.dumps({"made_from": {"level": 6}}))
    assert records.read(record) == {"made_from": {"level": 6}}
