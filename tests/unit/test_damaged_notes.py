"""Notes of older versions that are damaged: they count as not there, and end no run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ben_luigi.domain.errors import DamagedFile
from ben_luigi.stages import atmosphere, download
from ben_luigi.stages.atmosphere import ConvertToL2A, made_product
from ben_luigi.stages.download import DownloadL1C

TILE = "31UGR_20171015"
NAME = "S2A_MSIL1C_20171015T105031_N0205_R051_T31UGR_20171015T105024.SAFE"
DAMAGED = ("", "{", '"text"', "[1]", "null", "[" * 100_000)


def _write(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_report_on_a_product_is_none(data_dir: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(download, "product_of", lambda _: NAME)
    task, report = DownloadL1C(tile=TILE), f"l1c/{TILE}.json"
    assert not task.adopts()
    _write(data_dir, report, json.dumps({"name": NAME}))
    assert task.adopts()
    _write(data_dir, report, text)
    assert not task.adopts()
    assert (task.id(), task.content()) == ("", "")
    with pytest.raises(DamagedFile, match=f"{TILE}.json"):
        task.report()


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_note_of_a_conversion_is_none(data_dir: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(atmosphere, "sen2cor_version", lambda: "2.11")
    task, note = ConvertToL2A(tile=TILE), f"l2a/{TILE}/product.json"
    monkeypatch.setattr(atmosphere, "l2a_task", lambda _: task)
    _write(data_dir, note, json.dumps({"sen2cor": "2.11"}))
    assert task.adopts()
    _write(data_dir, note, text)
    assert not task.adopts()
    assert task.content() == ""
    with pytest.raises(DamagedFile, match=r"product\.json"):
        made_product(TILE)
