"""A damaged product in the user's own folder: what is intact is taken from there, and the rest from other sources."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from ben_luigi.domain.files import file_hash
from ben_luigi.domain.sources.outcome import Contradicted, Nowhere
from ben_luigi.sample import safe
from ben_luigi.sample.cdse_faults import Fault, Script
from tests.integration.source_world import GRANULE, IMAGES, NAME, WEATHER, Sources, found_in, sources

BAND, METADATA = f"{IMAGES}_B02.jp2", f"{GRANULE}/MTD_TL.xml"


def as_folder(members: dict[str, bytes], folder: Path) -> Path:
    safe.write_folder(members, folder / str(NAME))
    return folder / str(NAME)


def as_zip(members: dict[str, bytes], folder: Path) -> Path:
    """A zip whose first band was damaged after it had been packed, as a bad disk does it."""
    folder.mkdir(parents=True)
    path = folder / "product.zip"
    safe.write_zip(members, path, str(NAME), datetime(2017, 6, 13))
    return path


def digests(path: Path) -> dict[Path, tuple[str, int]]:
    """Content and time of everything that the user has."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {file: (file_hash(file), file.stat().st_mtime_ns) for file in files}


def own(world: Sources, folder: Path, write: Callable[[dict[str, bytes], Path], Path]) -> Path:
    """The user's product: one band with a flipped bit, and without the metadata of its tile."""
    members = {path: content for path, content in world.members.items() if path != METADATA}
    content = members[BAND]
    path = write(members, folder / "own")
    file = path if path.is_file() else path / BAND
    data = file.read_bytes()
    at = data.index(content) + len(content) // 2
    file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    return path


@pytest.mark.parametrize("write", [as_folder, as_zip])
def test_only_what_is_not_intact_is_fetched(write: Callable[[dict[str, bytes], Path], Path], tmp_path: Path) -> None:
    with sources(tmp_path / "world") as world:
        path = own(world, tmp_path, write)
        before = digests(path)
        report = world.fetch(tmp_path, ["google"], damaged=path)
        assert found_in(tmp_path) == dict(world.members)
        assert digests(path) == before
        fetched = {key.partition(".SAFE/")[2]: count for key, count in world.google.fetched.items()}
        assert fetched == {BAND: 1, METADATA: 1}
    assert report.source == "folder"
    assert {one.path: one.source for one in report.files if one.source != "folder"} == dict.fromkeys(fetched, "google")
    assert {one.path for one in report.files if one.proof != "manifest"} == {"manifest.safe", WEATHER}
    assert any(trouble.startswith(f"folder: {BAND}: ") for trouble in report.troubles)


def test_a_manifest_that_is_damaged_is_another_sources_and_proves_the_users_files(tmp_path: Path) -> None:
    with sources(tmp_path / "world") as world:
        path = as_folder(dict(world.members), tmp_path / "own")
        text = (path / "manifest.safe").read_bytes()
        (path / "manifest.safe").write_bytes(text[: len(text) // 2])
        report = world.fetch(tmp_path, ["google"], damaged=path)
        assert found_in(tmp_path) == dict(world.members)
    assert {one.path: one.source for one in report.files if one.source != "folder"} == {"manifest.safe": "google"}
    assert {one.path for one in report.files if one.proof != "manifest"} == {"manifest.safe", WEATHER}


def test_what_no_source_has_intact_stays_an_error_and_what_is_intact_is_kept(tmp_path: Path) -> None:
    fault = Fault("object", "flipped bit", None, BAND.rpartition("/")[2])
    with sources(tmp_path / "world", [fault]) as world:
        world.dead = {"cdse"}
        path = own(world, tmp_path, as_folder)
        before = digests(path)
        with pytest.raises(Contradicted, match=r"B02\.jp2.*google: md5"):
            world.fetch(tmp_path, ["google"], damaged=path)
        assert not (tmp_path / "t").exists() and digests(path) == before
        world.google.script, fetched = Script([]), world.google.fetched.copy()
        world.fetch(tmp_path, ["google"], damaged=path)
        assert found_in(tmp_path) == dict(world.members)
        assert [key.partition(".SAFE/")[2] for key in world.google.fetched - fetched] == [BAND]


def test_of_a_product_that_no_source_has_nothing_is_copied(tmp_path: Path) -> None:
    with sources(tmp_path / "world") as world:
        world.google.objects = {}
        path = own(world, tmp_path, as_folder)
        with pytest.raises(Nowhere, match="google: does not have it"):
            world.fetch(tmp_path, ["google"], damaged=path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["own", "world"]


def test_a_page_in_place_of_a_file_that_nothing_proves_is_not_taken(tmp_path: Path) -> None:
    with sources(tmp_path / "world") as world:
        path = own(world, tmp_path, as_folder)
        (path / WEATHER).write_bytes(b"<!DOCTYPE html><html>Sign in</html>")
        report = world.fetch(tmp_path, ["google"], damaged=path)
        assert found_in(tmp_path) == dict(world.members)
    assert {one.path for one in report.files if one.source == "google"} == {BAND, METADATA, WEATHER}
