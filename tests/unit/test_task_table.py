"""The table of tasks and options: it is that of the code, and what it refuses is what Luigi would refuse."""

from __future__ import annotations

import pytest

from ben_luigi.commands import tabling, task_table, usage
from ben_luigi.domain.errors import BadName

TILE = "33UUP_20170613"


def test_the_table_is_that_of_the_code() -> None:
    """`python -m ben_luigi.documentation` makes it."""
    assert task_table.PATH.read_text(encoding="utf-8") == tabling.made()


def _refusal(arguments: list[str]) -> str:
    with pytest.raises(BadName) as refused:
        usage.task_of(arguments)
    return str(refused.value)


@pytest.mark.parametrize(
    "line",
    [
        "FinalizeDataset --nonsense",
        "FinalizeDataset --nonsense 3 more",
        "FinalizeDataset more",
        "FinalizeDataset --workers",
        "FinalizeDataset --dataset",
        "FinalizeDataset --local-scheduler=yes",
        "RenderTile",
        "RenderTile --tile",
        "RenderTile --format png",
        f"RenderTile --tiles {TILE}",
        f"RenderTile --tile {TILE} --patches x",
        f"CutLayer --tile {TILE}",
        "ExportForm --form-name zarr --name x",
    ],
)
def test_what_it_refuses_is_what_luigi_refuses(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(task_table.Unfit) as refused:
        task_table.check(line.split())
    monkeypatch.setattr(task_table, "check", lambda arguments: None)
    assert str(refused.value) == _refusal(line.split())


@pytest.mark.parametrize(
    "line",
    [
        "FinalizeDataset",
        "FinalizeDataset --scheduler-hos x --local-scheduler --dataset-tiles=33UUP_20170613",
        f"RenderTile --tile {TILE}",
        f"RenderTile --RenderTile-tile {TILE} --log-level DEBUG",
        f"RenderPatches --tile {TILE} --flagged any",
    ],
)
def test_what_luigi_takes_it_takes(line: str) -> None:
    task_table.check(line.split())
    usage.task_of(line.split())
