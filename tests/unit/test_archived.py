"""Single patches out of archives, against the members that tar reads."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from pathlib import Path

import pytest
import zstandard

from ben_luigi.domain.dataset import archived
from ben_luigi.domain.dataset.archived import ArchivedPatches
from ben_luigi.domain.errors import BadArchive, DamagedFile
from ben_luigi.domain.formats import frames
from tests.unit.small_dataset import MAPS, S1, S2, Dataset

ARCHIVES = (S2, MAPS, S1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset, and beside it the folders that were unpacked from its archives."""
    folder = tmp_path_factory.mktemp("dataset")
    Dataset().write(folder)
    for archive in ARCHIVES:
        _tar(folder, archive).extractall(folder / "unpacked")  # ours: Python 3.11.2 knows no filter
    return folder


def _tar(folder: Path, archive: str) -> tarfile.TarFile:
    with (folder / f"{archive}.tar.zst").open("rb") as file:
        content = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    return tarfile.open(fileobj=io.BytesIO(content))


def _expected(folder: Path, archive: str) -> dict[str, dict[str, bytes]]:
    found: dict[str, dict[str, bytes]] = {}
    tar = _tar(folder, archive)
    for info in tar.getmembers():
        _, _, name, file = info.name.split("/")
        data = tar.extractfile(info)
        assert data
        found.setdefault(name, {})[file.removesuffix(".tif").removeprefix(f"{name}_")] = data.read()
    return found


@pytest.mark.parametrize("archive", ARCHIVES)
def test_each_patch_is_found_in_its_archive_and_in_its_folder(folder: Path, archive: str) -> None:
    expected = _expected(folder, archive)
    assert len(expected) == 6
    for where in (folder, folder / "unpacked"):
        with ArchivedPatches(where, archive, unpacked=where != folder) as patches:
            assert patches.read(expected) == expected
            for name in reversed(list(expected)):
                assert patches.read([name]) == {name: expected[name]}
            assert patches.read([]) == {}


def test_only_the_frame_of_a_patch_is_unpacked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked: Counter[int] = Counter()
    original = frames.unpack

    def counting(file: io.BufferedReader, frame: frames.Frame) -> object:
        unpacked[frame.start] += 1
        return original(file, frame)

    monkeypatch.setattr(frames, "unpack", counting)
    with ArchivedPatches(folder, S2) as patches:
        names = sorted(_expected(folder, S2))
        patches.read(names[:2])
        assert len(unpacked) == 1
        patches.read(names[-1:])
    assert list(unpacked.values()) == [1, 1]


@pytest.mark.parametrize("where", [".", "unpacked"])
def test_a_patch_that_is_not_there_is_named(folder: Path, where: str) -> None:
    with ArchivedPatches(folder / where, S2, unpacked=where != ".") as patches:
        for name in sorted(_expected(folder, S2))[:1]:
            for other in (f"{name[:-5]}00_02", f"A{name[1:]}", f"Z{name[1:]}"):
                with pytest.raises(DamagedFile, match=f"expected: {other}_B01.tif; found: no such file"):
                    patches.read([name, other])


def test_damage_names_the_archive_and_does_not_ask_to_remove_a_download(folder: Path, tmp_path: Path) -> None:
    content = bytearray((folder / f"{S2}.tar.zst").read_bytes())
    names = sorted(_expected(folder, S2))
    content[len(content) // 4] ^= 1
    (tmp_path / f"{S2}.tar.zst").write_bytes(content)
    with ArchivedPatches(tmp_path, S2) as patches, pytest.raises(DamagedFile, match=rf"{S2}\.tar\.zst; .*fetch"):
        patches.read(names[:3])
    (tmp_path / f"{S2}.tar.zst").write_bytes(content[: len(content) // 4])
    with pytest.raises(DamagedFile, match=r"expected: whole frames.*next: fetch"), ArchivedPatches(tmp_path, S2):
        pass
    with pytest.raises(DamagedFile, match=r"an archive of the dataset.*next: fetch"), ArchivedPatches(tmp_path, S1):
        pass


def test_an_archive_of_one_piece_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others than ours have one frame, which is as long as the archive."""
    names = sorted(_expected(folder, S2))
    with (folder / f"{S2}.tar.zst").open("rb") as file:
        content = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    (tmp_path / f"{S2}.tar.zst").write_bytes(zstandard.ZstdCompressor(level=1).compress(content))
    monkeypatch.setattr(archived, "_FRAME_BYTES", len(content) - 1)
    with ArchivedPatches(tmp_path, S2) as patches, pytest.raises(BadArchive, match="unpack the archive"):
        patches.read(names[:1])


def test_an_archive_of_one_piece_is_read_once_for_all_patches_that_are_wanted(folder: Path, tmp_path: Path) -> None:
    """Its length is not stated, either, as of one that was made from a pipe."""
    expected = _expected(folder, S2)
    names = sorted(expected)
    with (folder / f"{S2}.tar.zst").open("rb") as file:
        content = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    packer = zstandard.ZstdCompressor(level=1).compressobj()
    (tmp_path / f"{S2}.tar.zst").write_bytes(packer.compress(content) + packer.flush())
    with ArchivedPatches(tmp_path, S2) as patches:
        patches.prepare([names[4], names[0]])
        (tmp_path / f"{S2}.tar.zst").unlink()
        assert patches.read([names[0]]) == {names[0]: expected[names[0]]}
        assert patches.read([names[4]]) == {names[4]: expected[names[4]]}
        with pytest.raises(DamagedFile, match="no such file at its place"):
            patches.read([names[1]])


def test_a_file_that_a_patch_lacks_is_named(folder: Path, tmp_path: Path) -> None:
    """In the archive, and in its folder, which also tells what to do."""
    dataset = Dataset()
    name = sorted(_expected(folder, S1))[0]
    lost = next(path for path in dataset.names(S1) if path.endswith(f"/{name}_VV.tif"))
    dataset.parts[S1] = [{path: data for path, data in part.items() if path != lost} for part in dataset.parts[S1]]
    dataset.write(tmp_path)
    _tar(tmp_path, S1).extractall(tmp_path)
    for unpacked, remedy in ((False, "fetch that archive again"), (True, "unpack the whole archive")):
        said = f"expected: {name}_VV.tif; found: no such file .*; next: {remedy}"
        with ArchivedPatches(tmp_path, S1, unpacked=unpacked) as patches, pytest.raises(DamagedFile, match=said):
            patches.read([name])
