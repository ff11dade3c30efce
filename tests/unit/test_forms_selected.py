"""Forms of the patches that an area in a file selects: they are the same wherever that file lies, and without it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import shapely

from ben_luigi.domain.dataset.about import About
from ben_luigi.domain.dataset.form import FORM_V2
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.forms.export import FORMS, export, verify
from ben_luigi.domain.forms.form import NOTE, Options
from ben_luigi.domain.forms.selecting import selected
from ben_luigi.domain.forms.source import Source
from ben_luigi.domain.recipe.model import Countries

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


def _selected(source: Source, **options: str) -> list[str]:
    return [str(patch) for patch in selected(source, options).rows["patch_id"].to_pylist()]


@pytest.mark.parametrize("names", [("Costa Rica", "Germany", "Oz"), None])
def test_countries_are_those_of_the_recipe_or_if_it_takes_all_those_of_the_patches(
    source: Source, names: tuple[str, ...] | None
) -> None:
    found = ["Germany", "Costa Rica", *["Oz"] * 4] if names else ["Germany", "Costa Rica", *[None] * 4]
    at = source.rows.column_names.index("country")
    own = replace(
        source,
        rows=source.rows.set_column(at, "country", pa.array(found)),
        form=replace(FORM_V2, about=About("own", "1", "MIT", ""), countries=Countries(names=names)),
    )
    ids = own.rows["patch_id"].to_pylist()
    assert _selected(own, countries="Germany, Costa Rica") == ids[:2]
    assert _selected(own, countries="Costa Rica") == ids[1:2]
    with pytest.raises(BadInput, match=r"\[subset\] countries; expected: some of Costa Rica, Germany.*found: Austria"):
        _selected(own, countries="Austria")


def test_each_of_two_datatakes_of_a_day_is_selected_by_its_time_and_a_single_one_by_either_key(source: Source) -> None:
    """The key of a single one may have the time: of another one of its day no patch is left."""
    ids = [str(patch) for patch in source.rows["patch_id"].to_pylist()]
    ids[2] = ids[2].replace("20170613T101031", "20170613T102031")
    two = replace(source, rows=source.rows.set_column(0, "patch_id", pa.array(ids)))
    assert _selected(two, tiles="33UUP_20170613T101031") == ids[:2]
    assert _selected(two, tiles="33UUP_20170613T102031, 34TEN_20180204") == ids[2:]
    assert _selected(two, tiles="34TEN_20180204T094159") == ids[3:]
    with pytest.raises(BadInput, match="some of 33UUP_20170613T101031, 33UUP_20170613T102031, 34TEN_20180204; found"):
        _selected(two, tiles="33UUP_20170613")


def test_an_area_that_cannot_be_read_is_named_in_short(source: Source) -> None:
    with pytest.raises(BadInput, match=r"^\[subset\] area = \{.{299}\.\.\.; expected: ") as error:
        selected(source, {"area": json.dumps({"type": "Polygon", "coordinates": [[[0, 0]] * 200]})})
    assert len(str(error.value)) < 700
