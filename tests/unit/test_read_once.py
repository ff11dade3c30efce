"""What all tiles or squares ask for is read or computed once, so that time grows in proportion to their number."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest

from ben_luigi.domain.cdse.resolve import Resolution, write_states
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.tiles import clc
from ben_luigi.stages import land_cover, provenance
from ben_luigi.stages.land_cover import FetchLandCover
from ben_luigi.stages.resolve import AskCatalogue

NAMES = [
    ProductName.parse(f"S2A_MSIL1C_20180508T104031_N0206_R008_T{square}_20180508T124025.SAFE")
    for square in ("31UGR", "31UGS", "32ULC", "35VNJ")
]


def _counted(function: Any, calls: list[object]) -> Any:
    def counting(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return function(*args, **kwargs)

    return counting


def test_the_catalogues_answers_are_read_once_for_all_tiles(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, reads = AskCatalogue().output()["states"].file, list[object]()
    monkeypatch.setattr(provenance, "is_fetched_l1c", lambda: True)
    monkeypatch.setattr(csv, "DictReader", _counted(csv.DictReader, reads))
    path.parent.mkdir(parents=True)
    write_states(path, [Resolution(name, "found") for name in NAMES[:-1]])
    found = [provenance._state(str(name)) for name in NAMES]
    assert found == [*[{"state": "found", "note": ""}] * 3, {}]
    assert len(reads) == 1
    write_states(path, [Resolution(name, "deleted", note="since then") for name in NAMES])
    os.utime(path, ns=(0, 0))
    assert provenance._state(str(NAMES[-1])) == {"state": "deleted", "note": "since then"}
    assert len(reads) == 2


def test_the_box_of_a_square_is_computed_once_for_all_fetches(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes: list[object] = []
    land_cover._bounds.cache_clear()
    monkeypatch.setattr(land_cover, "known_tiles", lambda: {name.mgrs: name for name in NAMES})
    monkeypatch.setattr(clc, "bounds", _counted(clc.bounds, boxes))
    for name in NAMES:
        assert not [*FetchLandCover(mgrs=name.mgrs)._others()], "nothing is there yet"
    assert len(boxes) == len(NAMES)
