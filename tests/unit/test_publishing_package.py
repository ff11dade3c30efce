"""What is published of a dataset and of its forms: the files, the plan, and what is refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from ben_luigi.domain.dataset.about import V2
from ben_luigi.domain.dataset.form import FORM_V2
from ben_luigi.domain.dataset.verify_rules import NO_REFERENCES
from ben_luigi.domain.errors import BadArgument, BadInput, DamagedFile
from ben_luigi.domain.publishing import card, plan, verdicts
from ben_luigi.domain.publishing.huggingface import HuggingFace
from ben_luigi.domain.publishing.package import (
    Item,
    Package,
    flattened,
    names_when_flat,
    of_dataset,
    of_form,
    with_item,
)
from ben_luigi.domain.publishing.s3 import S3
from ben_luigi.domain.publishing.service import Limits, Service, token_of
from ben_luigi.domain.publishing.zenodo import Zenodo
from ben_luigi.sample.loopback import Fault
from tests.conftest import ROOT
from tests.unit.publishing_places import place
from tests.unit.small_dataset import look


def _zenodo(folder: Path, quota_gb: float = 50) -> Zenodo:
    return Zenodo(None, "https://zenodo.org", "", folder / "record", "key", quota_gb=quota_gb)  # type: ignore[arg-type]


def test_all_files_of_a_dataset_are_published_but_what_was_unpacked(folder: Path) -> None:
    (folder / "BigEarthNet-S2").mkdir()
    (folder / "BigEarthNet-S2" / "a.tif").write_bytes(b"")
    (folder / ".unfinished-1-00000000-x").write_bytes(b"")
    found = of_dataset(folder, FORM_V2)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {item.name for item in found.items} == names - {"BigEarthNet-S2/a.tif", ".unfinished-1-00000000-x"}
    assert found.left_out == ("BigEarthNet-S2/ (unpacked; its archive is sent)",)
    assert (found.title, found.about, found.patches) == ("A small dataset", V2, 6)
    (folder / "BigEarthNet-S2.tar.zst").unlink()
    with pytest.raises(BadInput, match="archive BigEarthNet-S2"):
        of_dataset(folder, FORM_V2)


def test_an_entry_that_is_no_file_is_named(folder: Path) -> None:
    os.mkfifo(folder / "stac" / "pipe")
    with pytest.raises(BadInput, match=r"stac/pipe.*a FIFO"):
        of_dataset(folder, FORM_V2)


def test_for_a_service_without_folders_each_is_a_zip_of_the_same_bytes(shown: Package, tmp_path: Path) -> None:
    flat = [flattened(shown, tmp_path / name) for name in ("one", "other")]
    names = [item.name for item in flat[0].items]
    assert names == names_when_flat(shown) and {"stac.zip", "report.zip"} <= {*names} and len(names) == len({*names})
    one, other = (next(item.path for item in package.items if item.name == "stac.zip") for package in flat)
    with zipfile.ZipFile(one) as packed:
        assert {info.filename: packed.read(info) for info in packed.infolist()} == {
            item.name: item.path.read_bytes() for item in shown.items if item.name.startswith("stac/")
        }
        assert {info.compress_type for info in packed.infolist()} == {zipfile.ZIP_STORED}
    assert one.read_bytes() == other.read_bytes()


def test_a_zip_that_is_there_is_not_packed_again_unless_a_file_has_changed(
    exported: Mapping[str, Path], folder: Path, tmp_path: Path
) -> None:
    form = shutil.copytree(exported["zarr"], tmp_path / "form")

    def zips() -> set[tuple[Path, int]]:
        packed = flattened(of_form(form, folder, FORM_V2), tmp_path / "work")
        return {(item.path, item.path.stat().st_mtime_ns) for item in packed.items if item.name.endswith(".zip")}

    first = zips()
    assert first and zips() == first
    os.utime(next(path for path in form.rglob("zarr.json") if path.parent != form), ns=(0, 0))
    assert zips() != first
    assert len([*(tmp_path / "work").rglob("*.zip")]) == len(first), "what is of no use is removed"


def test_a_file_of_the_name_of_such_a_zip_is_refused(
    exported: Mapping[str, Path], folder: Path, tmp_path: Path
) -> None:
    form = shutil.copytree(exported["zarr"], tmp_path / "form")
    packed = next(path for path in form.iterdir() if path.is_dir())
    mine = packed.with_suffix(".zip")
    mine.write_bytes(b"mine")
    package = with_item(of_form(form, folder, FORM_V2), Item.of(mine.name, mine))
    with pytest.raises(BadInput, match=rf"{packed.name}\.zip; .*nothing was sent"):
        flattened(package, tmp_path / "work")


def test_what_is_no_part_of_a_dataset_is_said_and_not_sent(folder: Path) -> None:
    """A file of the user's own, or a form that was exported into it."""
    before = of_dataset(folder, FORM_V2)
    (folder / "notes.txt").write_text("mine")
    (folder / "form").mkdir()
    (folder / "form" / "data.mdb").write_text("mine")
    package = of_dataset(folder, FORM_V2)
    assert package.items == before.items
    assert package.left_out == ("form/ (no part of a dataset)", "notes.txt (no part of a dataset)")
    verdict = look(folder, NO_REFERENCES)
    assert verdict.not_looked_at[-2:] == ["form/: it is no part of a dataset", "notes.txt: it is no part of a dataset"]


def test_the_plan_has_each_file_where_to_licence_and_title(shown: Package, tmp_path: Path) -> None:
    said = "\n".join(plan.lines(_zenodo(tmp_path), shown))
    for word in ("https://zenodo.org, a new draft", "A small dataset", V2.license, "at most 50 GB in all, 100 files"):
        assert word in said
    for item in shown.items:
        if "/" not in item.name:
            assert re.search(rf"^ *{item.size_bytes:,}  {re.escape(item.name)}$", said, re.MULTILINE)
    stac = [item.size_bytes for item in shown.items if item.name.startswith("stac/")]
    assert f"{sum(stac):,}  stac/: {len(stac)} files, packed as stac.zip" in said
    assert f"{shown.size_bytes:,} bytes" in said


@pytest.mark.parametrize("limits", [Limits(bytes=2), Limits(files=2), Limits(file_bytes=2)], ids=str)
def test_what_is_over_a_limit_is_refused_with_what_to_do(limits: Limits, shown: Package, tmp_path: Path) -> None:
    zenodo = _zenodo(tmp_path, quota_gb=1e-6)
    with pytest.raises(BadInput, match=r"at most 1,000 bytes in all.*--quota-gb.*nothing was sent"):
        plan.check(zenodo, shown)
    plan.check(_zenodo(tmp_path), shown)
    names = [item.name for item in shown.items]
    with pytest.raises(BadInput, match="nothing was sent"):
        limits.check("a", names, shown)


def test_the_limits_of_each_service_are_those_of_the_documentation(tmp_path: Path) -> None:
    zenodo = Zenodo(None, "https://zenodo.org", "", tmp_path / "record", "key")  # type: ignore[arg-type]
    assert zenodo.limits == Limits(50 * 10**9, 100, remedy=zenodo.limits.remedy)
    assert HuggingFace("u/n", "").limits == Limits(files=100_000, file_bytes=200 * 10**9)
    assert S3("s3://bucket").limits == Limits(file_bytes=5 * 2**40)
    documented = (ROOT / "docs" / "publishing.md").read_text(encoding="utf-8")
    for words in ("| takes | 50 GB and 100 files;", "| 100,000 files, 200 GB per file | 5 TiB per file |"):
        assert words in documented


def test_a_form_is_published_with_the_licence_of_its_dataset(exported: Mapping[str, Path], folder: Path) -> None:
    for name in ("parquet", "webdataset", "zarr", "geoparquet"):
        package = of_form(exported[name], folder, FORM_V2)
        names = {item.name for item in package.items}
        assert {"LICENSE", "form.json"} <= names and (package.form, package.patches) == (name, 6)
        configs = yaml.safe_load(card.front_matter(package).strip("-\n")).get("configs", [])
        if name in ("parquet", "webdataset"):
            files = configs[0]["data_files"]
            parts = {path.name.rpartition("-")[0].replace("-", "_") for path in exported[name].glob("*-*.*")}
            assert {each["split"] for each in files} == parts
            for each in files:
                assert [*exported[name].glob(each["path"])]
        assert "| `" in card.text(package, FORM_V2)


def test_of_a_form_only_what_was_exported_is_sent(exported: Mapping[str, Path], folder: Path, tmp_path: Path) -> None:
    """Its own licence counts only if it was exported with it; a link is not followed, a FIFO not opened."""
    form = Path(shutil.copytree(exported["parquet"], tmp_path / "form"))
    before, state = of_form(form, folder, FORM_V2), verdicts.state_of_form(form)
    assert {path.name for path in form.iterdir()} == {*state} and not before.left_out
    (form / "secret.txt").symlink_to("/etc/passwd")
    (form / "more").symlink_to(folder)
    (form / "LICENSE").write_text("mine")
    os.mkfifo(form / "pipe")
    package = of_form(form, folder, FORM_V2)
    assert package.items == before.items and verdicts.state_of_form(form) == state
    names = ("LICENSE", "more/", "pipe", "secret.txt")
    assert package.left_out == tuple(f"{name} (no part of the form)" for name in names)
    lost = next(form.glob("train-*"))
    lost.unlink()
    assert {*state} - {*verdicts.state_of_form(form)} == {lost.name}


def test_a_form_whose_note_lists_no_files_is_refused(
    exported: Mapping[str, Path], folder: Path, tmp_path: Path
) -> None:
    """Nobody knows what of it was exported. Names that lead out of its folder are not followed either."""
    note = json.loads((exported["parquet"] / "form.json").read_text())
    (tmp_path / "form.json").write_text(json.dumps({**note, "files": {"../dataset/LICENSE": "3 00000000"}}))
    assert [item.path.parent for item in of_form(tmp_path, folder, FORM_V2).items if item.name == "form.json"]
    assert {*verdicts.state_of_form(tmp_path)} == {"form.json"}
    (tmp_path / "form.json").write_text(json.dumps({key: value for key, value in note.items() if key != "files"}))
    with pytest.raises(BadInput, match=r"a list of the files that were exported.*export it again"):
        of_form(tmp_path, folder, FORM_V2)


def test_a_form_of_another_dataset_is_refused(exported: Mapping[str, Path], folder: Path) -> None:
    """Its licence and title would be wrong."""
    other = replace(FORM_V2, about=replace(V2, name="other"))
    with pytest.raises(BadInput, match=rf"a form of the dataset other 2\.0\.0; found: one of {V2.name} 2\.0\.0"):
        of_form(exported["parquet"], folder, other)


@pytest.mark.parametrize(
    "told",
    [{"dataset": "x"}, {"dataset": None}, {"dataset": {}}, {"patches": float("inf")}, {"selection": 1}, {"form": None}],
)
def test_a_note_of_a_form_that_cannot_be_one_is_told(
    told: Mapping[str, object], exported: Mapping[str, Path], folder: Path, tmp_path: Path
) -> None:
    note = json.loads((exported["parquet"] / "form.json").read_text())
    (tmp_path / "form.json").write_text(json.dumps({**note, **told}))
    with pytest.raises(BadInput if "form" in told else DamagedFile, match="export it a"):
        of_form(tmp_path, folder, FORM_V2)


CHANGES: Mapping[str, Callable[[Path], object]] = {
    "changed": lambda folder: (folder / "LICENSE").write_text("mine"),
    "lost": lambda folder: (folder / "LICENSE").unlink(),
    "added": lambda folder: (folder / "more.csv").write_text("more"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_only_what_was_verified_as_it_is_now_is_published(
    change: Callable[[Path], object], folder: Path, tmp_path: Path
) -> None:
    def require() -> None:
        verdicts.require(verdicts.read(tmp_path, folder), folder, verdicts.state_of(folder), "ben-luigi verify A")

    with pytest.raises(BadInput, match=r"never verified.*ben-luigi verify A; nothing was sent"):
        require()
    verdicts.note(tmp_path, folder, verdicts.Noted(["a: missing"], verdicts.state_of(folder)))
    with pytest.raises(BadInput, match="1 finding: a: missing"):
        require()
    verdicts.note(tmp_path, folder, verdicts.Noted([], verdicts.state_of(folder)))
    require()
    change(folder)
    with pytest.raises(BadInput, match=r"changed since it was verified: (LICENSE|more\.csv)"):
        require()


@pytest.mark.parametrize("to", ["", "name", "a/b/c", "../b", "a b/c"])
def test_a_place_that_is_none_is_refused(to: str) -> None:
    makers: tuple[Callable[[str], Service], ...] = (lambda text: HuggingFace(text, ""), lambda text: S3(f"s4://{text}"))
    for make in makers:
        with pytest.raises(BadArgument, match="--to"):
            make(to)


def test_a_token_comes_from_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("abc\n")
    file.chmod(0o644)
    with pytest.raises(BadInput, match="chmod 600"):
        token_of("Zenodo", "ZENODO_TOKEN", "", file)
    file.chmod(0o600)
    assert token_of("Zenodo", "ZENODO_TOKEN", "", file) == "abc"
    assert token_of("Zenodo", "ZENODO_TOKEN", " def ", None) == "def"
    for wrong in ("", "two words", "ü", "a\x1bb"):
        with pytest.raises(BadInput) as told:
            token_of("Zenodo", "ZENODO_TOKEN", wrong, None)
        assert not wrong or wrong not in str(told.value)


def test_a_draft_whose_creation_was_cut_off_is_found_again(shown: Package, tmp_path: Path) -> None:
    """Also by another process, which knows nothing of it."""
    with place("zenodo", tmp_path, Fault("cut after", "create")) as there:
        there.publish(replace(shown, items=shown.items[:1]))
        (tmp_path / "record").unlink()
        there.publish(replace(shown, items=shown.items[:1]))
        assert there.server.counts["create"] == 1
