"""Publishing where something is already: nothing is overwritten unasked, nothing stays of a form that is replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from ben_luigi.domain.dataset.about import V2
from ben_luigi.domain.errors import TransientError
from ben_luigi.domain.publishing.package import Item, Package, flattened
from ben_luigi.domain.publishing.service import AnotherContent
from ben_luigi.sample.loopback import Fault, Faults
from tests.unit.publishing_places import ALL, contents_of, form_of, place

pytestmark = pytest.mark.usefixtures("credentials")


@ALL
def test_another_content_under_a_name_is_kept_unless_it_is_to_be_replaced(
    kind: str, package: Package, tmp_path: Path
) -> None:
    (tmp_path / "other").write_bytes(b"mine" * 1000)
    theirs = Package(package.folder, package.folder, "A title", V2, 6, (Item.of("large.tar", tmp_path / "other"),))
    with place(kind, tmp_path) as there:
        there.publish(theirs)
        before = there.content()
        with pytest.raises(AnotherContent) as told:
            there.publish(package)
        assert there.content() == before == {"large.tar": b"mine" * 1000}
        assert "large.tar" in told.value.subject and "--replace" in told.value.remedy
        kinds = {"zenodo": "md5", "huggingface": "sha256", "s3": "md5"}
        for said, size in ((told.value.expected, package.items[3].size_bytes), (told.value.found, 4000)):
            assert said.startswith(f"{kinds[kind]} ") and f"{size:,} bytes" in said
        there.publish(package, replaces=True)
        assert there.content() == contents_of(package)


@ALL
@pytest.mark.parametrize("fault", ["", "cut after", "503"])
def test_of_a_form_that_is_replaced_nothing_stays_and_what_is_not_of_it_stays_and_is_named(
    kind: str, fault: str, tmp_path: Path
) -> None:
    """Otherwise readers of `train-*.parquet` get patches twice. It goes on after an interruption."""
    before = form_of(tmp_path / "before", "train-0.parquet", "train-1.parquet", "gone/0", "gone/1")
    after = form_of(tmp_path / "after", "test-0.parquet", "train-0.parquet")
    (tmp_path / "mine.txt").write_text("mine")
    mine = Package(tmp_path, tmp_path, "A title", V2, 6, (Item.of("mine.txt", tmp_path / "mine.txt"),))
    if kind == "zenodo":
        before = flattened(before, tmp_path / "flat")
    with place(kind, tmp_path) as there:
        there.publish(mine)
        assert list(there.publish(before).others) == ["mine.txt"]
        with pytest.raises(AnotherContent):
            there.publish(after)
        if fault:
            there.server.faults = Faults(
                [Fault(fault, {"huggingface": "commit", "zenodo": "delete", "s3": "abort"}[kind])]
            )
        sent = there.publish(after, replaces=True)
        gone = ["gone.zip"] if kind == "zenodo" else ["gone/0", "gone/1"]
        assert sorted(sent.removed) == [*gone, "train-1.parquet"] and list(sent.others) == ["mine.txt"]
        assert there.content() == {**contents_of(after), **contents_of(mine)}


@ALL
def test_a_form_that_is_gone_on_with_is_still_known_by_the_note_of_the_one_before(kind: str, tmp_path: Path) -> None:
    before = form_of(tmp_path / "before", "train-0.parquet", "train-1.parquet")
    after = form_of(tmp_path / "after", "train-0.parquet")
    with place(kind, tmp_path) as there:
        there.publish(before)
        removing = {"huggingface": "tree", "zenodo": "delete", "s3": "abort"}[kind]
        there.server.faults = Faults([Fault("503", removing, times=None)])
        with pytest.raises(TransientError):
            there.publish(after, replaces=True)
        there.server.faults = Faults()
        assert list(there.publish(after, replaces=True).removed) == ["train-1.parquet"]
        assert there.content() == contents_of(after)


@ALL
def test_a_dataset_takes_no_form_away_that_lies_beside_it(kind: str, package: Package, tmp_path: Path) -> None:
    form = form_of(tmp_path / "form", "train-0.parquet")
    with place(kind, tmp_path) as there:
        there.publish(form)
        sent = there.publish(package, replaces=True)
        assert not sent.removed and sorted(sent.others) == ["form.json", "train-0.parquet"]
        assert there.content() == {**contents_of(form), **contents_of(package)}
