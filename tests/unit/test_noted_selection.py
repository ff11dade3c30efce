"""The options of a subset as its files tell them: with the area itself, wherever it was taken from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import luigi
import pytest
import shapely

from ben_luigi.domain.dataset import subset
from ben_luigi.domain.errors import BadInput
from ben_luigi.stages.metadata import noted_selection, selected


@pytest.fixture
def ask() -> Iterator[Callable[[str], None]]:
    """A function that asks for an area."""
    parser = luigi.configuration.get_config()
    yield lambda text: parser.set("subset", "area", text)
    parser.remove_option("subset", "area")


def test_the_area_of_a_file_counts_and_not_its_path(
    ask: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    area, box = tmp_path / "mine.geojson", shapely.box(5, 49, 7, 51)
    monkeypatch.chdir(tmp_path)
    found = []
    for typed in (str(area), area.name):
        area.write_text(shapely.to_geojson(box))
        ask(typed)
        found.append((noted_selection(), selected()))
    assert found[0] == found[1]
    assert shapely.from_geojson(noted_selection()["area"]).equals(box) and len(selected()["area"]) == 64
    assert subset.in_words(noted_selection()) == "area = GeoJSON"
    area.write_text(shapely.to_geojson(shapely.box(5, 49, 8, 52)))
    assert selected() != found[0][1]
    area.unlink()
    assert selected() == {"area": area.name}
    with pytest.raises(BadInput, match="No such file"):
        noted_selection()


def test_a_box_is_told_as_it_was_typed(ask: Callable[[str], None]) -> None:
    ask("5, 49, 7, 51")
    assert noted_selection() == selected() == {"area": "5, 49, 7, 51"}
    assert subset.in_words(noted_selection()) == "area = 5, 49, 7, 51"
