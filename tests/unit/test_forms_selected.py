"""Forms of the patches that an area in a file selects: they are the same wherever that file lies, and without it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import shapely

from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.forms.export import FORMS, export, verify
from ben_luigi.domain.forms.form import NOTE, Options
from ben_luigi.domain.forms.selecting import selected
from ben_luigi.domain.forms.source import Source

AREA = shapely.union_all([shapely.box(13, 40, 30.123456789012345, 50), shapely.Point(14, 45).buffer(0.1)])
WEBDATASET = FORMS["webdataset"]


@pytest.fixture
def source(finished: Path) -> Source:
    return Source.open(finished)


@pytest.fixture
def area(tmp_path: Path) -> Path:
    path = tmp_path / "my area.geojson"
    path.write_text(shapely.to_geojson(AREA))
    return path


def test_a_form_has_the_area_itself_however_its_path_was_typed_and_is_verified_without_the_file(
    source: Source, area: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for form, typed in (("one", str(area)), ("other", area.name)):
        part = selected(source, {"area": typed})
        assert 0 < len(part.rows) < len(source.rows)
        export(WEBDATASET, part, tmp_path / form, Options())
    area.unlink()
    note = (tmp_path / "one" / NOTE).read_text()
    assert note == (tmp_path / "other" / NOTE).read_text() and "my area" not in note
    again = selected(source, json.loads(note)["selection"])
    assert again.rows.equals(part.rows) and again.selection == part.selection
    assert verify(source, tmp_path / "one") == []


def test_of_an_older_form_whose_area_is_gone_the_files_alone_are_compared(
    source: Source, area: Path, tmp_path: Path
) -> None:
    """Its patches are said not to be looked at; with the file they are."""
    part = replace(selected(source, {"area": str(area)}), selection={"area": str(area)})
    export(WEBDATASET, part, tmp_path / "form", Options())
    not_looked_at: list[str] = []
    assert verify(source, tmp_path / "form", on_skipped=not_looked_at.append) == not_looked_at == []
    area.unlink()
    assert verify(source, tmp_path / "form", on_skipped=not_looked_at.append) == []
    (said,) = not_looked_at
    assert said.startswith(f"the patches of {tmp_path / 'form'}: they were selected by {area}, which is not there; put")
    with (tmp_path / "form" / "index.parquet").open("r+b") as index:
        index.truncate(10)
    (finding,) = verify(source, tmp_path / "form")
    assert finding.startswith("index.parquet: 10 bytes, where ")


def test_an_area_that_cannot_be_read_is_named_in_short(source: Source) -> None:
    with pytest.raises(BadInput, match=r"^\[subset\] area = \{.{299}\.\.\.; expected: ") as error:
        selected(source, {"area": json.dumps({"type": "Polygon", "coordinates": [[[0, 0]] * 200]})})
    assert len(str(error.value)) < 700
