"""What a retention rule deletes goes only once everything that is made from it is complete."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest

from ben_luigi import config
from ben_luigi.stages import retention
from ben_luigi.stages.archives import ArchiveS2
from ben_luigi.stages.atmosphere import ConvertToL2A, ReadProduct, made_product
from ben_luigi.stages.patches import CutPatches
from ben_luigi.stages.placement import ClassifyPatches
from ben_luigi.stages.task import PipelineTask, TileTask

TILE = "31UGR_20171015"
STAGES: tuple[type[TileTask], ...] = (ConvertToL2A, ReadProduct, CutPatches, ClassifyPatches)
RULES = {"l1c": "delete-after-l2a", "l2a": "delete-after-cut", "parts": "delete-after-archive"}
KEEP = dict.fromkeys(RULES, "keep")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with the products of a tile and a part of an archive."""
    for name in (f"l1c/{TILE}.zip", f"l2a/{TILE}/a.SAFE/b", "archives/BigEarthNet-S2/a.tar.zst"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    (tmp_path / "l2a" / TILE / "product.json").write_text(json.dumps({"folder": "a.SAFE", "content": ""}))
    monkeypatch.setattr(config, "data_dir", lambda: tmp_path)
    monkeypatch.setattr(config, "retention", lambda: SimpleNamespace(**RULES))
    monkeypatch.setattr(retention, "known_tiles", lambda: [TILE])
    return tmp_path


def _is_product_there(task: PipelineTask) -> bool:
    return not isinstance(task, ConvertToL2A) or made_product(TILE).is_dir()


def _retire(monkeypatch: pytest.MonkeyPatch, complete: set[type[PipelineTask]], after: str) -> None:
    for task in (*STAGES, *retention._ARCHIVES):
        monkeypatch.setattr(task, "complete", lambda self: type(self) in complete and _is_product_there(self))
    if after == "a run":
        retention.retire_all()
    else:
        for stage in STAGES:
            retention.retire_after(stage(tile=TILE))
        retention.retire_after(ArchiveS2())


@pytest.mark.parametrize("after", ["a task", "a run"])
@pytest.mark.parametrize("flags", [*product((False, True), repeat=5)])
def test_nothing_goes_before_what_is_made_from_it_is_complete(
    flags: tuple[bool, ...], after: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted, read, cut, classified, archived = flags
    tasks: list[type[PipelineTask]] = [*STAGES, ArchiveS2]
    complete = {task for task, flag in zip(tasks, flags, strict=True) if flag}
    _retire(monkeypatch, complete, after)
    assert (data / "l1c" / f"{TILE}.zip").exists() == (not (converted or (read and cut and classified)))
    assert (data / "l2a" / TILE / "a.SAFE").exists() == (not (converted and read and cut and classified))
    assert (data / "archives/BigEarthNet-S2/a.tar.zst").exists() == (not archived)
    assert (data / "l2a" / TILE / "product.json").exists(), "the note stays"


@pytest.mark.parametrize("after", ["a task", "a run"])
def test_without_a_rule_nothing_goes(after: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "retention", lambda: SimpleNamespace(**KEEP))
    before = sorted(data.rglob("*"))
    _retire(monkeypatch, {*STAGES, ArchiveS2}, after)
    assert sorted(data.rglob("*")) == before


def test_what_another_process_has_removed_meanwhile_is_no_error(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hosts end their runs at the same time."""
    rename = Path.rename

    def too_late(path: Path, target: Path) -> Path:
        rename(path, target.with_name("taken"))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", too_late)
    _retire(monkeypatch, {*STAGES, ArchiveS2}, "a run")
    assert not [path for path in data.rglob("*") if path.suffix in (".zip", ".SAFE", ".zst")]
