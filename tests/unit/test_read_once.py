"""What all tiles or squares ask for is read or computed once, so that time grows in proportion to their number."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import luigi
import pytest
from luigi.configuration import get_config

from ben_luigi import config
from ben_luigi.configuration.kept import of_last
from ben_luigi.domain.cdse.resolve import Resolution, write_states
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.tiles import clc
from ben_luigi.stages import land_cover, provenance, resolve
from ben_luigi.stages.land_cover import FetchLandCover
from ben_luigi.stages.patches import CutPatches
from ben_luigi.stages.placement import AssignSplits
from ben_luigi.stages.places import CheckPlaces
from ben_luigi.stages.reference_maps import LabelPatches, MakeReferenceMaps
from ben_luigi.stages.resolve import AskCatalogue
from ben_luigi.stages.task import PipelineTask

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


@pytest.fixture
def listed(data_dir: Path) -> Iterator[None]:
    """A list of the products."""
    path, options = data_dir / "list.csv", get_config()
    path.write_text("".join(f"S2A_MSIL2A_{name.sensing}_0_0,{name},link\r\n" for name in NAMES))
    options.set("inputs", "tile_names_csv", str(path))
    config.given_input.cache_clear()
    yield
    options.remove_option("inputs", "tile_names_csv")
    config.given_input.cache_clear()


def test_a_task_of_one_tile_looks_at_no_other_tile(listed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each runs in a process of its own, which shares what the one has read that it was forked from."""
    resolve.hash_of(resolve.tiles())  # as the scheduling process does
    texts: list[object] = []
    monkeypatch.setattr(ProductName, "__str__", _counted(ProductName.__str__, texts))
    before = resolve.tiles()
    for name in NAMES:
        assert resolve.product_of(name.tile_key) == name
        assert CheckPlaces().settings()["products"] == resolve.hash_of(before)
    assert resolve.tiles() is before and not texts


def test_what_follows_from_the_same_arguments_is_found_once() -> None:
    calls: list[object] = []
    doubled = of_last(_counted(lambda of, by=2: [by * each for each in of], calls))
    assert doubled([1, 2]) == [2, 4] == doubled([1, 2]) and len(calls) == 1
    assert doubled([1, 3]) == [2, 6] and doubled([1, 3], by=3) == [3, 9] and doubled([1, 2]) == [2, 4]
    assert len(calls) == 4, "only those of the last call are known"


def test_of_what_is_missing_luigi_is_given_what_nothing_else_of_it_requires(listed: None) -> None:
    """What is required comes with what requires it: Luigi goes through all of that once per task that it is given."""
    tasks = (LabelPatches, MakeReferenceMaps, CutPatches, AssignSplits)
    missing: list[luigi.Task] = [task(tile=NAMES[0].tile_key) for task in tasks]
    assert not any(task.complete() for task in missing)
    assert [*PipelineTask._missing(missing)] == [[missing[0], missing[-1]]]
    assert not [*PipelineTask._missing([])]
