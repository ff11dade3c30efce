"""The archives of a finished dataset become folders: as GNU tar unpacks them, whole, and counted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard

from ben_luigi.commands import unpack as command
from ben_luigi.domain import locks
from ben_luigi.domain.dataset import unpacking
from ben_luigi.domain.dataset.form import FORM_V2
from ben_luigi.domain.errors import BadArchive, BadArgument, BadInput, DamagedFile, NoRoomError
from ben_luigi.exit_codes import ExitCode
from tests.unit.small_dataset import S1, S2, Dataset

ARCHIVES = FORM_V2.archives
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Dataset().write(tmp_path_factory.mktemp("whole") / "dataset")


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def written(folder: Path) -> dict[Path, tuple[int, int]]:
    """The folder of each patch, and when it was written."""
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("*/*/[!.]*")}


def unpack(dataset: Path, folder: Path) -> list[unpacking.Unpacked]:
    return unpacking.unpack(dataset, unpacking.archives_of(dataset, FORM_V2), folder)


def test_the_same_as_gnu_tar(whole: Path, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    theirs.mkdir()
    done = unpack(whole, ours)
    for archive in ARCHIVES:
        subprocess.run(["tar", "--zstd", "-xf", whole / f"{archive}.tar.zst", "-C", theirs], check=True)
    assert content(ours) == content(theirs)
    assert [(one.archive, one.patches, one.files, one.kept) for one in done] == [
        ("BigEarthNet-S2", 6, 72, 0),
        ("Reference_Maps", 6, 6, 0),
        ("BigEarthNet-S1", 6, 12, 0),
    ]


def add(folder: Path, name: str) -> None:
    """What macOS leaves in folders."""
    for path in [path for path in folder.rglob("*") if path.is_dir()]:
        (path / name).write_bytes(b"\0\5\26\7")


@pytest.mark.parametrize("options", [["--format=gnu"], ["--format=pax"], ["--format=ustar"], ["--no-recursion"]])
@pytest.mark.parametrize("prefix", ["", "./"])
def test_an_archive_that_somebody_has_packed_again_is_unpacked(
    whole: Path, tmp_path: Path, options: list[str], prefix: str
) -> None:
    """With folders as members, names in the places of other formats, and files that are no data."""
    unpack(whole, tmp_path / "unpacked")
    before = content(tmp_path / "unpacked")
    again = tmp_path / "again"
    shutil.copytree(whole, again)
    add(tmp_path / "unpacked", "._of_B02.tif")
    for archive in ARCHIVES:
        members = sorted(
            path.relative_to(tmp_path / "unpacked") for path in (tmp_path / "unpacked" / archive).rglob("*")
        )
        names = [f"{prefix}{name}" for name in members] if "--no-recursion" in options else [f"{prefix}{archive}"]
        packed = subprocess.run(
            ["tar", *options, "--sort=name", "-C", tmp_path / "unpacked", "-cf", "-", *names], check=True, stdout=-1
        ).stdout
        (again / f"{archive}.tar.zst").write_bytes(zstandard.ZstdCompressor().compress(packed))
    assert [one.files for one in unpack(again, tmp_path / "ours")] == [72, 6, 12]
    assert content(tmp_path / "ours") == before
    add(tmp_path / "ours", ".DS_Store")
    assert [one.kept for one in unpack(again, tmp_path / "ours")] == [6, 6, 6]


def test_the_room_it_takes_is_what_it_takes(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "unpacked"
    archives = unpacking.archives_of(whole, FORM_V2)
    room = unpacking.room_for(whole, archives, folder)
    assert not folder.exists()
    unpack(whole, folder)
    found = list(folder.rglob("*"))
    block = os.statvfs(folder).f_frsize
    assert room.inodes == len(found)
    assert room.size_bytes >= sum(-(-path.stat().st_size // block) * block for path in found if path.is_file())
    # What is there takes no more.
    assert unpacking.room_for(whole, archives, folder).size_bytes == 0
    unpacking.check_room(folder, room)
    for much in (unpacking.Room(1, 2**62), unpacking.Room(2**62, 1)):
        with pytest.raises(NoRoomError, match="nothing has been written"):
            unpacking.check_room(folder, much)


_UNPACK = """
import itertools, os, signal, sys
from ben_luigi.commands import unpack

wanted, number, folder, *arguments = sys.argv[1:]
reached = itertools.count(1)

def kill(event, values):
    if event == wanted and str(values[0]).startswith(folder + "/BigEarthNet-S2/"):
        if next(reached) == int(number):
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
sys.exit(unpack.main([folder, *arguments]))
"""
"""`unpack` in a process that kills itself when Python reports an event about the S2 patches for the nth time."""


@pytest.mark.parametrize(("event", "number"), [("open", 50), ("os.rename", 5)])
def test_it_goes_on_after_a_kill(whole: Path, tmp_path: Path, event: str, number: int) -> None:
    """In the midst of a patch's files, or before its folder gets its name; each of four threads is at one patch.

    Folders in the making are removed; what is there is compared, and not written again.
    """
    folder = tmp_path / "unpacked"
    arguments = [event, str(number), str(folder), "--from", str(whole)]
    killed = subprocess.run(
        [sys.executable, "-c", _UNPACK, *arguments], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert list(folder.glob(f"{S2}/*/.*")), "a folder in the making"
    before = written(folder)
    assert 0 < sum(path.is_relative_to(folder / S2) for path in before) < 6
    done = unpack(whole, folder)
    assert sum(one.kept for one in done) == len(before)
    unpack(whole, tmp_path / "at once")
    assert content(folder) == content(tmp_path / "at once")
    assert before.items() <= written(folder).items()
    assert not list(folder.rglob(".*"))


@pytest.mark.parametrize("change", ["bytes", "length", "less", "more"])
def test_a_file_that_is_another_is_named_and_kept(whole: Path, tmp_path: Path, change: str) -> None:
    folder = tmp_path / "unpacked"
    unpack(whole, folder)
    patch = sorted((folder / S1).rglob("*_VV.tif"))[0]
    data = patch.read_bytes()
    if change == "bytes":
        patch.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif change == "length":
        patch.write_bytes(data + b"\0")
    elif change == "less":
        patch.unlink()
    else:
        (patch.parent / "mine.txt").write_text("mine")
    before = content(folder)
    with pytest.raises(DamagedFile, match=patch.name if change in ("bytes", "length") else patch.parent.name):
        unpack(whole, folder)
    assert content(folder) == before


def test_a_damaged_archive_is_named_and_the_rest_is_unpacked(tmp_path: Path) -> None:
    dataset = Dataset().write(tmp_path / "dataset")
    archive = dataset / f"{S2}.tar.zst"
    data = bytearray(archive.read_bytes())
    data[len(data) // 4] ^= 255
    archive.write_bytes(data)
    with pytest.raises(
        BadArchive, match=r"with 12 files each; found: 1 place damaged: .*; 3 missing or without some of their files: "
    ):
        unpack(dataset, tmp_path / "unpacked")
    assert len(list((tmp_path / "unpacked" / S2).rglob("*.tif"))) == 36
    assert len(list((tmp_path / "unpacked" / S1).rglob("*.tif"))) == 12


def test_one_file_of_one_patch_is_said_in_the_singular(tmp_path: Path) -> None:
    made = Dataset()
    del made.parts["Reference_Maps"][0][made.names("Reference_Maps")[0]]
    dataset = made.write(tmp_path / "dataset")
    with pytest.raises(BadArchive, match=r"with 1 file each; found: 1 missing or without some of its files: "):
        unpack(dataset, tmp_path / "unpacked")


@pytest.mark.parametrize(
    "name", ["x.tif", "{tile}/stray.tif", "{tile}/S2A_foo_1_1/a.tif", "S2A_foo/a.tif", "{tile}/{patch}x/a.tif"]
)
def test_what_is_no_patch_of_the_metadata_is_named(whole: Path, tmp_path: Path, name: str) -> None:
    unpack(whole, tmp_path)
    patch = min((tmp_path / S2).glob("*/*"))
    stray = tmp_path / S2 / name.format(tile=patch.parent.name, patch=patch.name)
    stray.parent.mkdir(exist_ok=True)
    stray.touch()
    found = "/".join(stray.relative_to(tmp_path / S2).parts[: 2 if "{tile}" in name else 1])
    with pytest.raises(
        BadInput, match=f"{S2}; expected: nothing but the patches of the metadata; found: {found}; next"
    ):
        unpack(whole, tmp_path)
    assert stray.exists()


def test_the_files_that_a_patch_lacks_or_has_besides_are_named_and_what_to_remove(whole: Path, tmp_path: Path) -> None:
    unpack(whole, tmp_path)
    patch = min((tmp_path / S2).glob("*/*"))
    (patch / "mine.tif").touch()
    (patch / f"{patch.name}_B04.tif").unlink()
    with pytest.raises(DamagedFile) as raised:
        unpack(whole, tmp_path)
    assert raised.value.found == f"none of {patch.name}_B04.tif; mine.tif besides"
    assert raised.value.remedy.startswith(f"remove the folder {patch.name}, and unpack again")
    shutil.rmtree(patch)
    unpack(whole, tmp_path)


def test_half_an_archive_is_named(tmp_path: Path) -> None:
    """As a download that broke off: tar says so in its last line only, if at all."""
    dataset = Dataset().write(tmp_path / "dataset")
    archive = dataset / f"{S1}.tar.zst"
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(BadArchive, match="missing or without some of their files"):
        unpack(dataset, tmp_path / "unpacked")


def test_patches_that_are_not_those_of_the_metadata_are_named(tmp_path: Path) -> None:
    made = Dataset()
    surplus = made.rows.pop()
    made.rename(S2, lambda name: name.replace("_B8A", "_B99"), made.names(S2)[-1].replace("_B99", "_B8A"))
    made.rename(S1, lambda name: f"{S1}/../../outside/{name.rsplit('/', 1)[1]}", made.names(S1)[0])
    dataset = made.write(tmp_path / "dataset")
    with pytest.raises(BadArchive) as raised:
        unpack(dataset, tmp_path / "unpacked")
    assert str(surplus["patch_id"]) in str(raised.value)
    assert not (tmp_path / "outside").exists()
    assert not list(tmp_path.rglob(f"*{surplus['patch_id']}"))


def test_what_is_missing_is_said_before_anything_is_written(whole: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(whole, dataset)
    (dataset / f"{S1}.tar.zst").unlink()
    with pytest.raises(BadInput, match=r"BigEarthNet-S1\.tar\.zst.*--only"):
        unpacking.archives_of(dataset, FORM_V2)
    assert len(unpacking.archives_of(dataset, FORM_V2, [S2])) == 1
    with pytest.raises(BadArgument, match="BigEarthNet-S3"):
        unpacking.archives_of(dataset, FORM_V2, ["BigEarthNet-S3"])
    (dataset / "metadata.parquet").unlink()
    with pytest.raises(BadInput, match=r"metadata\.parquet"):
        unpacking.archives_of(dataset, FORM_V2, [S2])


def test_two_do_not_unpack_to_one_folder(whole: Path, tmp_path: Path) -> None:
    descriptor = locks.opened(tmp_path / unpacking.LOCK)
    try:
        assert locks.try_take(descriptor, locks.ALONE)
        with pytest.raises(BadInput, match="no other process unpacks"):
            unpack(whole, tmp_path)
    finally:
        os.close(descriptor)


def test_the_command_says_what_it_needs_and_what_is_there(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tmp_path / "unpacked"), "--from", str(whole), "--only", S1, S2]
    assert command.main(arguments) == ExitCode.DONE
    said = capsys.readouterr().out
    assert "files and folders of " in said
    assert "BigEarthNet-S2: 6 patches, 72 files, as the metadata says\n" in said
    assert command.main(arguments) == ExitCode.DONE
    again = capsys.readouterr().out
    assert again.startswith("each patch is in ")
    assert "BigEarthNet-S2: 6 patches (6 of them were there before), 72 files, as the metadata says\n" in again
    next((tmp_path / "unpacked" / S2).rglob("*.tif")).write_bytes(b"")
    assert command.main(arguments) == ExitCode.WAITS_FOR_PERSON
    assert "the bytes of the archive" in capsys.readouterr().err
    for wrong in (["--from", str(tmp_path / "none")], ["--from", str(whole), "--only", "BigEarthNet-S3"]):
        assert command.main([str(tmp_path / "none"), *wrong]) == ExitCode.WRONG_ARGUMENTS
    assert not (tmp_path / "none").exists()
