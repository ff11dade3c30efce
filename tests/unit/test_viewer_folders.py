"""The viewer of a folder: of archives, of what was unpacked from them, and of WebDataset shards, the same pictures."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from ben_luigi import config
from ben_luigi.domain.dataset.form import FORM_V2
from ben_luigi.domain.errors import BadInput, DamagedFile
from ben_luigi.domain.forms.export import FORMS, export
from ben_luigi.domain.forms.source import Source
from ben_luigi.domain.report import viewer_folders
from ben_luigi.domain.report.rendering import read_colours
from ben_luigi.domain.report.viewer import write_viewer
from ben_luigi.domain.report.viewer_folders import Folder, Given
from ben_luigi.domain.tiles.nomenclature import read_nomenclature
from tests.unit.exports import SMALL, files_of, varied_dataset
from tests.unit.small_dataset import PRODUCTS, S1, Dataset
from tests.unit.test_viewer import content

WORDS = {"title": "Small", "is_v2": False, "sample": False, "root": "", "alone": True, "version": "0"}
GIVEN = Given(
    read_nomenclature(config.TRACKED_ARTIFACTS / "nomenclature.toml"),
    read_colours(config.TRACKED_ARTIFACTS / "clc_colours.toml"),
    WORDS,
)


@pytest.fixture(scope="module")
def varied() -> Dataset:
    """Patches that all differ."""
    return varied_dataset()


@pytest.fixture(scope="module")
def dataset(varied: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their dataset."""
    return varied.write(tmp_path_factory.mktemp("varied") / "dataset")


@pytest.fixture(scope="module")
def shards(dataset: Path) -> Path:
    """Its shards."""
    export(FORMS["webdataset"], Source.open(dataset), dataset.with_name("shards"), SMALL)
    return dataset.with_name("shards")


def write(viewed: Folder, folder: Path) -> dict[str, bytes]:
    """The pictures of a viewer, by name."""
    assert write_viewer(folder, viewed.about, viewed.patches) == viewed.count
    return {path.name: path.read_bytes() for path in (folder / "viewer").iterdir() if path.suffix != ".js"}


def test_pictures_are_the_same_from_wherever_the_pixels_come(
    varied: Dataset, dataset: Path, shards: Path, tmp_path: Path
) -> None:
    unpacked = tmp_path / "unpacked"
    for name, data in files_of(varied):
        (unpacked / name).parent.mkdir(parents=True, exist_ok=True)
        (unpacked / name).write_bytes(data)
    for path in dataset.glob("*.parquet"):
        (unpacked / path.name).symlink_to(path)
    expected = write(viewer_folders.of_dataset(dataset, FORM_V2, 300, GIVEN), tmp_path / "archives")
    assert sorted(expected) == sorted(f"{row['patch_id']}{end}" for row in varied.rows for end in (".png", ".webp"))
    assert len({data for name, data in expected.items() if name.endswith(".webp")}) == len(varied.rows)
    assert write(viewer_folders.of_dataset(unpacked, FORM_V2, 300, GIVEN), tmp_path / "of-unpacked") == expected
    assert write(viewer_folders.of_webdataset(shards, 300, GIVEN), tmp_path / "of-shards") == expected
    said = [content(tmp_path / name, "patches") for name in ("archives", "of-unpacked", "of-shards")]
    by_id = [sorted(each["patches"], key=lambda patch: str(patch["id"])) for each in said]
    assert by_id[0] == by_id[1] == by_id[2] and said[0]["countries"] == said[2]["countries"]
    hashed = content(tmp_path / "archives", "files")
    assert hashed == content(tmp_path / "of-unpacked", "files")
    for name, data in files_of(varied):
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        facts = [Path(name).name, len(data), hashlib.sha256(data).hexdigest(), md5]
        assert any(facts in files for files in hashed.values())


def test_some_shards_are_enough(shards: Path, tmp_path: Path) -> None:
    """As somebody has who has fetched one, and the index."""
    (tmp_path / "index.parquet").symlink_to(shards / "index.parquet")
    with pytest.raises(BadInput, match="the shards that its index names; found: none of them"):
        viewer_folders.of_webdataset(tmp_path, 300, GIVEN)
    shard = sorted(shards.glob("*.tar"))[0]
    (tmp_path / shard.name).symlink_to(shard)
    with tarfile.open(shard) as tar:
        names = {name.partition(".")[0] for name in tar.getnames()}
    found = write(viewer_folders.of_webdataset(tmp_path, 300, GIVEN), tmp_path / "viewer")
    assert {name.partition(".")[0] for name in found} == names


def test_of_many_patches_some_are_shown(shards: Path, dataset: Path, tmp_path: Path) -> None:
    for at, viewed in enumerate(
        (viewer_folders.of_webdataset(shards, 2, GIVEN), viewer_folders.of_dataset(dataset, FORM_V2, 2, GIVEN))
    ):
        assert viewed.count == 2 and len(write(viewed, tmp_path / str(at))) == 4
        assert "A sample of the dataset's 6 patches" in (tmp_path / str(at) / "viewer.html").read_text()


def test_a_dataset_without_its_sentinel_1_is_shown_without(varied: Dataset, tmp_path: Path) -> None:
    """As one that was fetched in part."""
    folder = varied.write(tmp_path / "dataset")
    (folder / f"{S1}.tar.zst").unlink()
    write(viewer_folders.of_dataset(folder, FORM_V2, 300, GIVEN), tmp_path / "viewer")
    assert "VV" not in content(tmp_path / "viewer", "patches")["cells"]
    assert 'label="Sentinel-1"' not in (tmp_path / "viewer" / "viewer.html").read_text()


def test_other_labels_have_hues_of_their_own(shards: Path, tmp_path: Path) -> None:
    """The shards of another recipe do not say what its codes are called."""
    given = Given(GIVEN.nomenclature, GIVEN.colours, WORDS)
    other = Given(type(given.nomenclature)(("Something else",), {}, {7: "seven"}), {7: (1, 2, 3)}, WORDS)
    viewed = viewer_folders.of_webdataset(shards, 300, other)
    assert sorted(viewed.about.colours) == [211, 231] and viewed.about.classes == ("Arable land", "Pastures")
    assert len(set(viewed.about.colours.values())) == 2


def test_the_offset_is_taken_off_where_provenance_says_so(dataset: Path, tmp_path: Path) -> None:
    """Of one of two tiles."""
    before = {one.row["patch_id"]: one for one in viewer_folders.of_dataset(dataset, FORM_V2, 300, GIVEN).patches}
    folder = tmp_path / "dataset"
    folder.mkdir()
    for path in dataset.iterdir():
        (folder / path.name).symlink_to(path)
    name = f"{min(before)[:-6]}_20200101T000000.SAFE"
    tiles = {
        "a": {"l2a_name": name, "boa_offset": True},
        "b": {"l2a_name": name.replace("33UUP", "34TEN")},
    }
    (folder / "provenance.json").write_text(json.dumps({"tiles": tiles}))
    after = {one.row["patch_id"]: one for one in viewer_folders.of_dataset(folder, FORM_V2, 300, GIVEN).patches}
    for patch, one in after.items():
        shift = one.pixels["B04"].astype(int) - before[patch].pixels["B04"]
        assert set(shift.flat) == ({-1000} if patch.startswith(min(before)[:-6]) else {0})
        assert (one.pixels["VV"] == before[patch].pixels["VV"]).all()
    (folder / "provenance.json").write_text("{")
    with pytest.raises(BadInput, match="take it away"):
        list(viewer_folders.of_dataset(folder, FORM_V2, 300, GIVEN).patches)


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 3]


def _swapped(content: bytes) -> bytes:
    return content.replace(b".json\0", b".jsen\0")


@pytest.mark.parametrize("harm", [_cut, _swapped])
def test_a_damaged_shard_is_named(shards: Path, tmp_path: Path, harm: Callable[[bytes], bytes]) -> None:
    for path in shards.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    damaged = sorted(tmp_path.glob("*.tar"))[0]
    damaged.write_bytes(harm(damaged.read_bytes()))
    with pytest.raises(DamagedFile, match=rf"{damaged.name}; expected: a whole shard"):
        list(viewer_folders.of_webdataset(tmp_path, 300, GIVEN).patches)
    (tmp_path / "index.parquet").write_bytes(b"PAR1")
    with pytest.raises(DamagedFile, match="the index of the shards"):
        viewer_folders.of_webdataset(tmp_path, 300, GIVEN)


def test_every_file_is_hashed_once(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "b.bin").write_bytes(b"b" * 3_000_000)
    (tmp_path / "a.txt").write_bytes(b"a")
    for unpacked in (S1, "Layer_scl"):
        (tmp_path / unpacked).mkdir()
        (tmp_path / unpacked / "unpacked.tif").write_bytes(b"not listed")
    (tmp_path / ".DS_Store").write_bytes(b"not listed")
    (tmp_path / "below" / "._b.bin").write_bytes(b"not listed")
    seen: list[tuple[int, int | None]] = []
    found = viewer_folders.hashed(tmp_path, lambda at, of: seen.append((at, of)))
    assert [(file.name, file.size) for file in found] == [("a.txt", 1), ("below/b.bin", 3_000_000)]
    assert found[1].sha256 == hashlib.sha256(b"b" * 3_000_000).hexdigest()
    assert found[1].md5 == hashlib.md5(b"b" * 3_000_000, usedforsecurity=False).hexdigest()
    assert seen[-1] == (3_000_001, 3_000_001)


def test_a_page_lists_files_whose_names_are_no_text(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"bad\xff<i>.txt")).write_bytes(b"a")
    given = replace(GIVEN, files=viewer_folders.hashed(tmp_path))
    write(viewer_folders.of_dataset(dataset, FORM_V2, 300, given), tmp_path / "made")
    assert "bad\\udcff&lt;i&gt;.txt" in (tmp_path / "made" / "viewer.html").read_text()


def test_archives_of_one_piece_and_shards_of_pixels_with_an_offset_give_the_same_pictures(
    dataset: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "of-others"
    folder.mkdir()
    for path in dataset.iterdir():
        if path.suffix != ".zst":
            (folder / path.name).write_bytes(path.read_bytes())
            continue
        packer = zstandard.ZstdCompressor(level=1).compressobj()
        with path.open("rb") as file:
            content = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
        (folder / path.name).write_bytes(packer.compress(content) + packer.flush())
    plain = write(viewer_folders.of_dataset(dataset, FORM_V2, 300, GIVEN), tmp_path / "plain")
    assert write(viewer_folders.of_dataset(folder, FORM_V2, 300, GIVEN), tmp_path / "one-piece") == plain
    product = str(PRODUCTS[0].converted())
    (folder / "provenance.json").write_text(json.dumps({"tiles": {"a": {"l2a_name": product, "boa_offset": -1000}}}))
    lowered = write(viewer_folders.of_dataset(folder, FORM_V2, 300, GIVEN), tmp_path / "lowered")
    assert lowered != plain
    export(FORMS["webdataset"], Source.open(folder), tmp_path / "offset", SMALL)
    assert write(viewer_folders.of_webdataset(tmp_path / "offset", 300, GIVEN), tmp_path / "of-offset") == lowered
