"""Results that live in a store: what counts as there, what a run uploads again, and whose a store is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ben_luigi.domain import files
from ben_luigi.domain.errors import BadInput, DamagedFile, TransientError
from ben_luigi.domain.storing.filesystem import FilesystemStore
from ben_luigi.domain.storing.store import Overtaken
from ben_luigi.state import cache, records, stored
from ben_luigi.state.locks import data_folder
from ben_luigi.state.targets import MadeFile, MadeFolder
from tests.unit.store_places import ONE, SIZE, Maker, Place, option


def _gone(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    os.truncate(path, 10)


def _replaced(path: Path) -> None:
    path.write_bytes(b"\0" * SIZE)


@pytest.mark.parametrize("harm", [_gone, _cut, _replaced])
def test_an_object_that_is_not_there_as_it_was_does_not_count(place: Place, harm, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    target = place.made(ONE)
    target.file.unlink()
    assert target.exists()
    harm(place.store / ONE)
    said = f"{ONE}; expected: sha256 .* in file://.*{ONE}, as when it was uploaded"
    with pytest.raises(DamagedFile, match=said), cache.at_hand(target.file):
        pass
    assert not target.file.exists() and not list((place.data / "cache").glob(".unfinished-*"))
    monkeypatch.setattr(stored, "_listings", {})
    assert not target.exists()


@pytest.mark.parametrize("harm", [_gone, _cut, _replaced])
def test_a_run_uploads_again_what_the_store_has_lost_and_the_data_folder_has(place: Place, harm) -> None:  # type: ignore[no-untyped-def]
    target = place.made(ONE)
    before = (place.store / ONE).read_bytes()
    harm(place.store / ONE)
    stored.prepare()
    assert (place.store / ONE).read_bytes() == before
    target.file.unlink()
    assert MadeFile(ONE, Maker()).exists()


def test_what_the_store_has_lost_and_is_damaged_here_is_made_again(place: Place) -> None:
    lost = [place.made(name) for name in (ONE, "dataset/metadata.parquet")]
    kept = place.made("patches/2.tar")
    for target in (*lost, kept):
        target.file.write_bytes(bytes(SIZE))
    for target in lost:
        (place.store / target.relative).unlink()
    stored.prepare()
    assert not any(target.exists() for target in lost) and kept.exists()
    assert all(target.is_withdrawn() for target in lost)
    assert stored.lacking("dataset") == []  # it is not complete, so nothing is said of it


def test_what_the_store_lacks_is_not_said_to_be_in_it_while_another_process_works_here(place: Place) -> None:
    made = [place.made(name) for name in ("dataset/metadata.parquet", "dataset/BigEarthNet-S1.tar.zst", ONE)]
    place.made("dataset/README.md")
    for target in made:
        (place.store / target.relative).unlink()
    data_folder.enter(place.data)
    stored.prepare()
    assert stored.lacking("dataset") == [made[1].relative, made[0].relative]
    data_folder.leave(place.data)
    stored.prepare()
    assert stored.lacking("dataset") == []


def test_what_was_made_before_there_was_a_store_is_uploaded_by_a_run(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        option(without, "store", "")
        target = place.made(ONE)
        damaged = place.made("patches/2.tar")
        assert not place.store.exists()
    damaged.file.write_bytes(b"short")
    assert target.exists()
    stored.prepare()
    assert (place.store / ONE).read_bytes() == target.file.read_bytes()
    assert not (place.store / "patches/2.tar").exists()


def test_a_run_removes_what_uploads_from_here_have_left_and_nothing_else(place: Place) -> None:
    place.made("patches/2.tar")
    left, theirs = (files.unfinished(place.store / name) for name in (ONE, "patches/of somebody.tar"))
    with pytest.raises(KeyboardInterrupt), stored._noted([ONE]):
        left.write_text("half")
        theirs.write_text("half")
        raise KeyboardInterrupt
    stored.prepare()
    assert not left.exists() and theirs.exists() and not list((place.data / "uploading").iterdir())


def test_a_result_does_not_replace_that_of_another_worker(place: Place) -> None:
    """One that was taken for dead, and comes back after another has made it."""
    late = MadeFile(ONE, Maker(1))
    late.withdraw()
    place.made(ONE, maker=Maker(2))
    before = (place.store / ONE).read_bytes(), records.path_of(ONE).read_bytes()
    late.file.write_bytes(b"of the late one")
    with pytest.raises(Overtaken, match="another process has made it in the meantime"):
        late.record()
    assert ((place.store / ONE).read_bytes(), records.path_of(ONE).read_bytes()) == before


def test_of_a_folder_that_is_made_again_nothing_else_stays_in_the_store(place: Place) -> None:
    """Its files come back as a whole: one too many would be in the form from then on."""
    target = MadeFolder("forms/webdataset", Maker())
    beside = place.made("forms/parquet/a.tar")
    for names in (["a.tar", "b/c.json", "b/d.json"], ["a.tar", "b/d.json"]):
        target.withdraw()
        files.remove(target.file)
        for name in names:
            (target.file / name).parent.mkdir(parents=True, exist_ok=True)
            (target.file / name).write_text(f"{name} of {len(names)}")
        target.record("of the form")
        folder = place.store / target.relative
        kept = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}
        assert kept == {name: f"{name} of {len(names)}" for name in names}
    assert (place.store / beside.relative).exists()


def test_a_store_belongs_to_one_data_folder(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    stored.check()
    stored.prepare()
    stored.prepare()
    stored.check()
    (place.data.parent / "other").mkdir()
    option(monkeypatch, "data_dir", place.data.parent / "other")
    for ask in (stored.check, stored.prepare):
        with pytest.raises(
            BadInput, match=f"expected: a store for .*other alone; found: .*{place.data}; next: name an"
        ):
            ask()


def test_a_store_belongs_to_one_data_folder_by_whatever_recipes_it_is_filled(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored.prepare()
    option(monkeypatch, "recipe", "southern_summer")
    stored.prepare()
    assert [path.name for path in place.store.iterdir()] == ["data_folder.json"]
    option(monkeypatch, "data_dir", place.data.parent / "other")
    for recipe in ("southern_summer", "bigearthnet_v2"):
        option(monkeypatch, "recipe", recipe)
        for ask in (stored.check, stored.prepare):
            with pytest.raises(BadInput, match=f"a store for .*/other alone; found: .*folder {place.data}; next"):
                ask()


def test_a_copy_of_a_data_folder_is_refused_as_long_as_the_first_one_is_there(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored.prepare()
    linked, copy = place.data.parent / "linked", place.data.parent / "copy"
    linked.symlink_to(place.data)
    shutil.copytree(place.data, copy)
    option(monkeypatch, "data_dir", linked)
    stored.check()
    option(monkeypatch, "data_dir", copy)
    for ask in (stored.check, stored.prepare):
        with pytest.raises(BadInput, match=f"expected: a store for {copy} alone; found: .*folder {place.data}; next"):
            ask()
    shutil.rmtree(place.data)
    stored.prepare()


def test_a_store_that_is_not_mounted_does_not_count_as_an_empty_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored.prepare()
    target = place.made(ONE)
    target.file.unlink()
    place.store.rename(place.data.parent / "away")
    place.store.mkdir()
    said = (
        f"expected: data_folder.json in file://{place.store}, which {place.data} has filled; found: none; next: mount"
    )

    def read() -> None:
        with cache.at_hand(target.file):
            pass

    for ask in (stored.check, stored.prepare, read):
        with pytest.raises(BadInput, match=said):
            ask()
    assert not list(place.store.iterdir())
    option(monkeypatch, "store", f"{stored._store().place}d")
    with pytest.raises(BadInput, match=said):
        stored.prepare()
    (place.data / "store.json").unlink()  # as the message says
    stored.prepare()
    stored.check()


@pytest.mark.parametrize("place_of_store", ["data", "data/store", "", "link/store", "data/../data"])
def test_a_store_is_no_part_of_its_data_folder(
    place: Place, monkeypatch: pytest.MonkeyPatch, place_of_store: str
) -> None:
    target = place.made(ONE)
    (place.data.parent / "link").symlink_to(place.data)
    option(monkeypatch, "store", f"file://{place.data.parent}/{place_of_store}")
    for ask in (stored.check, stored.prepare, target.withdraw):
        with pytest.raises(BadInput, match=f"expected: a folder outside {place.data}, and not around it; found: "):
            ask()
    assert target.file.exists()


@pytest.mark.parametrize("text", ["", "{", '["x"]', "null", "1", "[" * 100_000])
def test_a_note_of_the_owner_that_says_nothing_is_written_again(place: Place, text: str) -> None:
    stored.prepare()
    before = (place.store / stored.OWNER).read_text()
    (place.store / stored.OWNER).write_text(text)
    stored.check()
    stored.prepare()
    assert (place.store / stored.OWNER).read_text() == before


def test_a_store_that_does_not_answer_at_first_is_asked_nothing_else(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later it is waited for."""

    def silent(store: FilesystemStore) -> None:
        raise TransientError(store.place)

    with monkeypatch.context() as away:
        away.setattr(FilesystemStore, "reach", silent)
        for ask in (stored.check, stored.prepare, lambda: stored.tags(ONE), lambda: stored.lying_in("patches")):
            with pytest.raises(TransientError):
                ask()
    stored.check()
    monkeypatch.setattr(FilesystemStore, "reach", silent)
    stored.prepare()


def test_questions_about_many_results_cost_one_listing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [place.made(f"patches/{number}.tar") for number in range(30)]
    for target in made:
        target.file.unlink(missing_ok=True)
    asked: list[str] = []
    store = stored._store()

    def noted(name: str) -> Callable[[str], object]:
        ask = getattr(store, name)

        def answer(what: str) -> object:
            asked.append(name)
            return ask(what)

        return answer

    for name in ("look", "listed"):
        monkeypatch.setattr(store, name, noted(name))
    monkeypatch.setattr(stored, "_listings", {})
    assert all(target.exists() for target in made)
    assert asked == ["listed"]


def test_without_a_store_nothing_is_asked_and_nothing_is_removed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    option(monkeypatch, "store", "")
    made = [place.made(f"patches/{number}.tar") for number in range(12)]
    stored.check()
    stored.prepare()
    with cache.at_hand(*(target.file for target in made)), cache.whole(place.data / "dataset"):
        assert all(target.exists() for target in made) and not place.store.exists()
    assert not (place.data / "cache").exists()
