"""Shards and archives beside what GNU tar and zstd make of the same files."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import zstandard

from ben_luigi.domain.dataset import archive, sentinel1
from ben_luigi.domain.formats import packing, shards, tarball
from tests.unit.tars import checked

pytestmark = pytest.mark.skipif(shutil.which("tar") is None, reason="no tar")

TILES = ("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP", "S2B_MSIL2A_20180204T094159_N9999_R022_T34TEN")
OPTIONS = ("--format=gnu", "--owner=0", "--group=0", "--numeric-owner", "--mtime=2024-01-01 00:00:00Z", "--mode=0644")


def gnu_tar(folder: Path, names: Iterable[str], *more: str) -> bytes:
    command = ["tar", *OPTIONS, *more, "--no-recursion", "-C", str(folder), "-cf", "-", "--files-from=-"]
    return subprocess.run(command, input="\n".join(names).encode(), stdout=subprocess.PIPE, check=True).stdout


def name_of(length: int) -> str:
    path = ("n" * 120 + "/") * 5
    return path[:length].rstrip("/").ljust(length, "n")


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 29_196])
def test_headers_are_those_of_gnu_tar(tmp_path: Path, size: int) -> None:
    data = bytes(number % 251 for number in range(size))
    names = [name_of(length) for length in (1, 99, 100, 101, 102, 255, 510, 511, 512, 513)]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    ours = b"".join(tarball.header(name, size) + data + tarball.padding(size) for name in names)
    assert ours + tarball.end(len(ours)) == gnu_tar(tmp_path, names)


def write_shard(folder: Path, tile: str) -> tuple[Path, Path]:
    shard, index = folder / f"{tile[-5:]}.tar", folder / f"{tile[-5:]}.parquet"
    with shards.writing(shard, index) as writer:
        for y in (0, 1, 12):
            patch = f"{tile}_26_{y:02d}"
            for band, size in (("B01", 1172), ("B02", 29_196), ("B8A", 7572)):
                data = f"{patch}{band}".encode().ljust(size, b".")
                writer.add(patch, f"BigEarthNet-S2/{tile}/{patch}/{patch}_{band}.tif", data)
    return shard, index


def sorted_files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_shard_is_what_gnu_tar_makes_of_its_files(tmp_path: Path) -> None:
    shard, index = write_shard(tmp_path, TILES[0])
    shards.export(shard, index, tmp_path / "files")
    assert shard.read_bytes() == gnu_tar(tmp_path / "files", sorted_files(tmp_path / "files"))


def test_an_archive_is_what_gnu_tar_makes_of_its_files(tmp_path: Path) -> None:
    parts = []
    for tile in TILES:
        shard, index = write_shard(tmp_path, tile)
        kept = shards.read_index(index)["patch_id"].to_pylist()[:-3]
        shards.export(shard, index, tmp_path / "files", set(kept))
        parts.append(tmp_path / f"{tile}.tar.zst")
        archive.write_shard_part(shard, index, set(kept), parts[-1], 6)
    archive.hash_tar(map(archive.part_members, parts), tmp_path / "S2.tar")
    assert (tmp_path / "S2.tar").read_bytes() == gnu_tar(tmp_path / "files", sorted_files(tmp_path / "files"))


def test_the_s1_archive_is_what_gnu_tar_makes_of_its_files(tmp_path: Path) -> None:
    """The source folders are sorted, then renamed by tar itself, as when it was published."""
    source, parts = tmp_path / "source", []
    names = [f"S1A_IW_GRDH_1SDV_20170613T165043_33UUP_{xy}" for xy in ("1_4", "1_45", "70_48", "7_1")]
    names += ["S1B_IW_GRDH_1SDV_20170612T165809_33UUP_26_57", "S1B_IW_GRDH_1SDV_20170612T165809_34VER_0_45"]
    for name in names:
        (source / name).mkdir(parents=True)
        for band in ("VV", "VH"):
            (source / name / f"{name}_{band}.tif").write_bytes(f"{name}{band}".encode())
    for key, group in sentinel1.parts_of(names):
        parts.append(tmp_path / f"{key}.tar.zst")
        sentinel1.write_folder_part(source, group, parts[-1], 6)
    archive.hash_tar(map(archive.part_members, parts), tmp_path / "S1.tar")
    transform = r"--transform=s,^\(S1._IW_GRDH_1SDV_[0-9T]*\)_,BigEarthNet-S1/\1/\1_,"
    assert (tmp_path / "S1.tar").read_bytes() == gnu_tar(source, sorted_files(source), transform)


def unpack_with_tar(archived: Path, folder: Path) -> None:
    if shutil.which("zstd") is None:
        pytest.skip("tar --zstd needs the program zstd")
    subprocess.run(["tar", "--zstd", "-xf", archived, "-C", folder], check=True)


def unpack_with_libarchive(archived: Path, folder: Path) -> None:
    commands = [["bsdtar", "-xf", str(archived)], ["cmake", "-E", "tar", "xf", str(archived)]]
    found = [command for command in commands if shutil.which(command[0])]
    if not found:
        pytest.skip("no bsdtar and no cmake, which are made with libarchive")
    subprocess.run(found[0], cwd=folder, check=True)


def unpack_with_python(archived: Path, folder: Path) -> None:
    with zstandard.open(archived, "rb") as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.3 and older have none
        tar.extractall(folder)


@pytest.mark.parametrize("frame_bytes", [2**23, 1])
@pytest.mark.parametrize("unpack", [unpack_with_tar, unpack_with_libarchive, unpack_with_python])
def test_an_archive_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unpack: Callable[[Path, Path], None], frame_bytes: int
) -> None:
    """Of one frame a part, and of one a patch and an empty one at the end of each part."""
    monkeypatch.setattr(packing, "FRAME_BYTES", frame_bytes)
    parts = []
    for tile in TILES:
        shard, index = write_shard(tmp_path, tile)
        shards.export(shard, index, tmp_path / "files")
        parts.append(tmp_path / f"{tile}.tar.zst")
        archive.write_shard_part(shard, index, set(shards.read_index(index)["patch_id"].to_pylist()), parts[-1], 6)
    archive.join(checked(*parts), tmp_path / "S2.tar.zst")
    (tmp_path / "unpacked").mkdir()
    unpack(tmp_path / "S2.tar.zst", tmp_path / "unpacked")
    assert sorted_files(tmp_path / "unpacked") == sorted_files(tmp_path / "files")
    for name in sorted_files(tmp_path / "files"):
        assert (tmp_path / "unpacked" / name).read_bytes() == (tmp_path / "files" / name).read_bytes()
