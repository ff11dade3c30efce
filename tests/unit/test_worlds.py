"""A data folder in which the sample world and the real one take turns: their products have the same names."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from luigi.configuration import get_config

from ben_luigi import config
from ben_luigi.domain.errors import BadInput, Sen2CorError
from ben_luigi.domain.names import ProductName
from ben_luigi.stages import atmosphere, download
from ben_luigi.stages.atmosphere import ConvertToL2A, FetchL2A
from ben_luigi.stages.download import DownloadL1C
from ben_luigi.stages.prerequisites import TryInput
from ben_luigi.stages.product_list import SearchProducts
from ben_luigi.stages.resolve import AskCatalogue, FindMissing, _has_come
from ben_luigi.state import records, worlds

TILE = "31UGR_20171015"
NAME = "S2B_MSIL1C_20171015T104009_N0205_R008_T31UGR_20171015T104525.SAFE"


@pytest.mark.parametrize("task", [DownloadL1C, FetchL2A])
def test_a_product_of_the_sample_world_is_none_of_the_real_one(
    monkeypatch: pytest.MonkeyPatch, task: type[DownloadL1C | FetchL2A]
) -> None:
    for module in (download, atmosphere):
        monkeypatch.setattr(module, "product_of", lambda _: NAME)
    said = []
    for is_sample in (True, False):
        monkeypatch.setattr(config, "is_sample", lambda is_sample=is_sample: is_sample)
        said.append(task(tile=TILE).settings())
    assert said == [{"product": NAME, "world": "sample"}, {"product": NAME}]


@pytest.mark.parametrize(("recorded", "counts"), [("2.11", "2.11"), ("stand-in", "")])
def test_without_sen2cor_the_products_of_its_stand_in_do_not_count(
    monkeypatch: pytest.MonkeyPatch, recorded: str, counts: str
) -> None:
    def is_missing() -> str:
        raise Sen2CorError("Sen2Cor", expected="it", found="nothing", remedy="none")

    made = SimpleNamespace(recorded=lambda: {"made_from": {"sen2cor": recorded}})
    monkeypatch.setattr(atmosphere, "sen2cor_version", is_missing)
    monkeypatch.setattr(ConvertToL2A, "output", lambda self: made)
    assert ConvertToL2A(tile=TILE).settings() == {"sen2cor": counts}


def test_the_real_world_may_follow_the_sample_world_and_not_the_other_way_round(tmp_path: Path) -> None:
    worlds.enter(tmp_path, is_sample=True)
    worlds.enter(tmp_path, is_sample=False)
    worlds.enter(tmp_path, is_sample=False)
    with pytest.raises(BadInput, match="add --world real"):
        worlds.enter(tmp_path, is_sample=True)


@pytest.mark.parametrize("task", [SearchProducts, AskCatalogue, FindMissing, TryInput])
def test_no_list_and_no_answer_of_the_sample_world_is_that_of_the_real_one(
    monkeypatch: pytest.MonkeyPatch, task: type[SearchProducts | AskCatalogue | FindMissing | TryInput]
) -> None:
    said = []
    for is_sample in (True, False):
        monkeypatch.setattr(config, "is_sample", lambda is_sample=is_sample: is_sample)
        asked = TryInput(option="published_tile_ids_csv") if task is TryInput else task()
        said.append(asked.settings())
    assert said[0].pop("world") == "sample" and "world" not in said[1]


def test_a_made_up_product_has_not_come_for_the_real_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    get_config().set("dataset", "data_dir", str(tmp_path))
    try:
        report = tmp_path / "l1c" / f"{TILE}.json"
        report.parent.mkdir()
        report.write_text(json.dumps({"name": NAME}))
        for world, sample, real in (("sample", True, False), (None, True, True)):
            made_from = {"product": NAME, **({"world": world} if world else {})}
            records.write(records.path_of(f"l1c/{TILE}.json"), {"made_from": made_from})
            for is_sample, has_come in ((True, sample), (False, real)):
                monkeypatch.setattr(config, "is_sample", lambda is_sample=is_sample: is_sample)
                assert _has_come(ProductName.parse(NAME)) == has_come
    finally:
        get_config().remove_option("dataset", "data_dir")
