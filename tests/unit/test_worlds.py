"""A data folder in which the sample world and the real one take turns: their products have the same names."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from ben_luigi import config
from ben_luigi.domain.errors import BadInput, Sen2CorError
from ben_luigi.stages import atmosphere, download
from ben_luigi.stages.atmosphere import ConvertToL2A, FetchL2A
from ben_luigi.stages.download import DownloadL1C
from ben_luigi.state import worlds

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
