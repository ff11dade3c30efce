"""What is not published of a dataset or form, or not at all: what nobody has verified."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import shapely

from ben_luigi.domain.dataset.form import FORM_V2
from ben_luigi.domain.dataset.verify_rules import NO_REFERENCES
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.forms.export import FORMS, export, verify
from ben_luigi.domain.forms.selecting import selected
from ben_luigi.domain.forms.source import Source
from ben_luigi.domain.publishing import verdicts
from ben_luigi.domain.publishing.package import of_dataset, of_form
from tests.unit.exports import SMALL
from tests.unit.small_dataset import look


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_of_the_report_only_what_its_pages_name_is_sent_and_no_link_is_followed(folder: Path, tmp_path: Path) -> None:
    report = folder / "report"
    page = '<a href="tiles/A.html?x=1#y"></a><img src="a%20b.png"><img src="linked/a.png"><img src="link.png">'
    outside = '<a href="../README.md"></a><a href="/etc/passwd"></a><a href="https://a.example/b.html"></a>'
    outside += '<a href="//["></a><a href=".x"></a>'
    for name, text in {
        "index.html": page + outside,
        "tiles/A.html": '<a href="../index.html"></a><img src="A/grid.png">',
        "tiles/A/grid.png": "",
        "a b.png": "",
        "viewer.html": '<link href="a b.png"><![x[',
        "data/index.js": 'report.index({"tiles":[["A","name"],[],1]});\n',
        "data/A.js": "",
    }.items():
        (report / name).parent.mkdir(parents=True, exist_ok=True)
        (report / name).write_text(text + '<script src="data/index.js"></script>' * (name == "index.html"))
    before = of_dataset(folder, FORM_V2)
    sent = {item.name for item in before.items if item.name.startswith("report/")}
    assert sent == {f"report/{name}" for name in _files(report)} and before.left_out == ()
    state = verdicts.state_of(folder)
    (report / ".x").touch()
    secret = tmp_path / "elsewhere" / "a.png"
    secret.parent.mkdir()
    secret.write_text("mine")
    (report / "linked").symlink_to(secret.parent)
    (report / "link.png").symlink_to(secret)
    (report / "tiles" / "A" / "notes.txt").write_text("mine")
    (report / "drafts").mkdir()
    os.mkfifo(report / "pipe")
    package = of_dataset(folder, FORM_V2)
    assert package.items == before.items and verdicts.state_of(folder) == state
    others = ["drafts/", "link.png", "linked/", "pipe", "tiles/A/notes.txt"]
    assert [*package.left_out] == [f"report/{name} (no part of a dataset)" for name in others]
    not_looked_at = look(folder, NO_REFERENCES).not_looked_at
    assert not_looked_at[-len(others) :] == [f"report/{name}: it is no part of a dataset" for name in others]
    report.rename(tmp_path / "moved")
    report.symlink_to(tmp_path / "moved")
    package = of_dataset(folder, FORM_V2)
    assert package.left_out == ("report/ (no part of a dataset)",)
    assert {item.name for item in before.items} - {item.name for item in package.items} == sent


def test_a_form_that_tells_its_area_by_a_path_is_refused(finished: Path, folder: Path, tmp_path: Path) -> None:
    """Without the file its patches cannot be compared, and `verify` has no findings; the area itself is taken."""
    area = tmp_path / "area.geojson"
    area.write_text(shapely.to_geojson(shapely.box(13, 40, 30, 50)))
    part = selected(Source.open(finished), {"area": str(area)})
    export(FORMS["webdataset"], part, tmp_path / "new", SMALL)
    export(FORMS["webdataset"], replace(part, selection={"area": str(area)}), tmp_path / "old", SMALL)
    area.unlink()
    assert [verify(Source.open(finished), tmp_path / form) for form in ("new", "old")] == [[], []]
    assert verdicts.state_of_form(tmp_path / "new")
    for look_at in (verdicts.state_of_form, lambda form: of_form(form, folder, FORM_V2)):
        with pytest.raises(BadInput, match=r"old/form\.json; .*area\.geojson, .*export it again"):
            look_at(tmp_path / "old")
