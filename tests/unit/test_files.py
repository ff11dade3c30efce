from __future__ import annotations

import errno
import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ben_luigi.domain import files
from ben_luigi.domain.cdse import partial_file
from ben_luigi.domain.errors import DiskError, NoRoomError
from ben_luigi.domain.formats import shards


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.tif"
    with files.atomic_write(path) as work:
        assert work.suffix == ".tif"
        work.write_bytes(b"one")
        assert not path.exists()
    assert path.read_bytes() == b"one"
    with pytest.raises(KeyboardInterrupt), files.atomic_write(path) as work:
        work.write_bytes(b"two")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"one"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "product.SAFE"
    with pytest.raises(ValueError, match="x"), files.atomic_write(path) as work:
        work.mkdir()
        (work / "half").write_text("")
        raise ValueError("x")
    assert list(tmp_path.iterdir()) == []
    with files.atomic_write(path) as work:
        (work / "deep").mkdir(parents=True)
        (work / "deep" / "file").write_text("whole")
    assert (path / "deep" / "file").read_text() == "whole"


_KILLED_WHILE_IT_REMOVES = """
import os, pathlib, shutil, sys
from ben_luigi.domain import files
for content in ("old", "new"):
    with files.atomic_write(pathlib.Path(sys.argv[1])) as work:
        work.mkdir()
        (work / "file").write_text(content)
        shutil.rmtree = lambda path: os.kill(os.getpid(), 9)
"""


def test_a_kill_while_the_former_folder_is_removed_loses_neither(tmp_path: Path) -> None:
    path = tmp_path / "lmdb"
    killed = subprocess.run([sys.executable, "-c", _KILLED_WHILE_IT_REMOVES, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (path / "file").read_text() == "new"


def test_what_is_free_on_a_full_disk_is_said_before_anything_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "free", lambda folder: f"with {len([*folder.rglob('*')])} files")
    with (
        pytest.raises(NoRoomError, match="No space left on device; with 2 files"),
        files.atomic_write(tmp_path / "made") as work,
    ):
        work.mkdir()
        (work / "one").write_bytes(b"1")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not [*tmp_path.iterdir()]


def test_a_full_disk_is_said_in_words(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with pytest.raises(NoRoomError, match="MB free") as caught, files.atomic_write(path) as work:
        work.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(path) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, str]]:
    """What is asked of the system, in order: paths below the test's folder, unfinished names without numbers."""
    asked: list[tuple[str, str]] = []

    def plain(path: object) -> str:
        return re.sub(r"\.unfinished-\d+-[0-9a-f]+-", "unfinished ", os.path.relpath(str(path), tmp_path))

    def noting(name: str, place: Callable[..., object]) -> None:
        original = getattr(os, name)

        def call(*arguments: object) -> object:
            asked.append((name, plain(place(*arguments))))
            return original(*arguments)

        monkeypatch.setattr(os, name, call)

    for name in ("fsync", "fdatasync"):
        noting(name, lambda descriptor: Path(f"/proc/self/fd/{descriptor}").readlink())
    for name in ("rename", "replace", "link"):
        noting(name, lambda source, target: target)
    return asked


def test_a_file_is_durable_before_it_has_its_name_and_so_is_the_name_then(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    files.write_text(tmp_path / "a.csv", "text")
    assert calls == [("fsync", "unfinished a.csv"), ("rename", "a.csv"), ("fsync", ".")]


def test_a_folder_is_durable_with_all_in_it_before_it_has_its_name(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    with files.atomic_write(tmp_path / "a.SAFE") as work:
        (work / "deep").mkdir(parents=True)
        (work / "deep" / "file").touch()
    assert calls == [
        ("fsync", "unfinished a.SAFE/deep/file"),
        ("fsync", "unfinished a.SAFE/deep"),
        ("fsync", "unfinished a.SAFE"),
        ("rename", "a.SAFE"),
        ("fsync", "."),
    ]


def _shard(folder: Path) -> tuple[Path, Path]:
    tile = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
    patch, shard, index = f"{tile}_07_00", folder / "a.tar", folder / "a.parquet"
    with shards.writing(shard, index) as writer:
        writer.add(patch, f"BigEarthNet-S2/{tile}/{patch}/{patch}_B01.tif", b"pixels")
    return shard, index


def test_a_shard_is_durable_before_its_index_has_its_name(tmp_path: Path, calls: list[tuple[str, str]]) -> None:
    """An index without its shard is noticed; one beside the shard of an earlier run would not be."""
    _shard(tmp_path)
    index = calls.index(("rename", "a.parquet"))
    assert ("fsync", "unfinished a.tar") in calls[:index]
    assert calls.index(("rename", "a.tar")) > index
    assert calls[-1] == ("fsync", ".")


def test_the_shard_of_an_earlier_run_goes_before_the_new_index_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard, index = _shard(tmp_path)
    index.unlink()
    there: list[bool] = []
    write = pq.write_table

    def writing(*arguments: object, **options: object) -> None:
        there.append(shard.exists())
        write(*arguments, **options)

    monkeypatch.setattr(pq, "write_table", writing)
    _shard(tmp_path)
    assert there == [False]


def test_a_shard_that_is_collected_is_durable_as_one_that_is_written(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    collector = shards.ShardCollector(tmp_path / "a.tar", ["S1_31UGR_0_0"], ("VH",))
    collector.add(0, "BigEarthNet-S1/S1/S1_31UGR_0_0/S1_31UGR_0_0_VH.tif", b"pixels")
    names = [(name, path) for name, path in calls if path in ("a.parquet", "a.tar", ".")]
    assert names[-3:] == [("fsync", "."), ("rename", "a.tar"), ("fsync", ".")]
    assert ("rename", "a.parquet") in names[:-3]
    assert calls.index(("fsync", "unfinished a.tar")) < calls.index(("rename", "a.parquet"))


def test_a_file_system_that_cannot_sync_folders_will_do() -> None:
    """As some on a network; /proc says EINVAL to both."""
    files.sync(Path("/proc/self/fd"))
    with pytest.raises(DiskError, match=r"/proc/self/stat.*Invalid argument \(fsync\)"):
        files.sync(Path("/proc/self/stat"))


@pytest.mark.parametrize("what", ["fsync", "fdatasync"])
def test_a_disk_that_does_not_keep_what_is_written_is_said_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, what, fail)
    monkeypatch.setattr(files, "_SYNC_BYTES", 1)
    path = tmp_path / "a.tar"
    with (
        pytest.raises(DiskError, match="Input/output error"),
        files.atomic_write(path) as work,
        work.open("wb") as file,
        files.keeping_up(file) as wrote,
    ):
        file.write(b"whole")
        wrote()
    assert list(tmp_path.iterdir()) == []


def test_a_file_becomes_durable_while_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once there is enough of it; while the disk is busy, nobody asks again."""
    asked: list[int] = []
    begun, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def slow(descriptor: int) -> None:
        asked.append(os.fstat(descriptor).st_size)
        begun.release()
        assert go_on.acquire(timeout=60)

    monkeypatch.setattr(files, "_SYNC_BYTES", 1000)
    monkeypatch.setattr(os, "fdatasync", slow)
    with (tmp_path / "a.tar").open("wb", buffering=0) as file, files.keeping_up(file) as wrote:

        def write(size: int) -> None:
            file.write(bytes(size))
            wrote()

        write(999)
        write(1)
        assert begun.acquire(timeout=60)
        write(5000)
        go_on.release()
        deadline = time.monotonic() + 60
        while not begun.acquire(blocking=False) and time.monotonic() < deadline:
            write(1)
        go_on.release()
    assert asked[0] == 1000
    assert len(asked) == 2 and 6000 < asked[1] <= (tmp_path / "a.tar").stat().st_size


def test_a_disk_that_is_full_behind_the_writer_is_said_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "_SYNC_BYTES", 10)
    monkeypatch.setattr(os, "fdatasync", full)
    with (
        pytest.raises(NoRoomError, match="MB free"),
        files.atomic_write(tmp_path / "a.tar") as work,
        work.open("wb") as file,
        files.keeping_up(file) as wrote,
    ):
        file.write(bytes(20))
        wrote()
    assert list(tmp_path.iterdir()) == []


def test_only_old_leftovers_are_swept(tmp_path: Path) -> None:
    old, new, other = files.unfinished(tmp_path / "a"), files.unfinished(tmp_path / "b"), tmp_path / "c"
    for path in (old, new, other):
        path.write_text("")
    past = time.time() - 100_000
    os.utime(old, (past, past))
    os.utime(other, (past, past))
    assert files.sweep(tmp_path) == [old]
    assert sorted(tmp_path.iterdir()) == sorted([new, other])


def test_all_leftovers_go_though_the_clock_was_set_back_since(tmp_path: Path) -> None:
    left = files.unfinished(tmp_path / "a")
    left.write_text("")
    os.utime(left, (time.time() + 3600,) * 2)
    assert files.sweep(tmp_path) == []
    assert files.sweep(tmp_path, older_than_s=0) == [left]


def test_text_keeps_its_line_ends_and_has_a_hash(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    files.write_text(path, "a\r\nü\n")
    assert path.read_bytes() == "a\r\nü\n".encode()
    assert files.file_hash(path) == hashlib.sha256(path.read_bytes()).hexdigest() == files.text_hash("a\r\nü\n")


def test_a_partial_file_of_any_size_is_made_durable_while_it_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real products are larger than what is written between two syncs; those of the sample world are not."""
    monkeypatch.setattr(files, "_SYNC_BYTES", 10)
    with partial_file.opened(tmp_path / "product.part") as partial, files.keeping_up(partial) as wrote:
        for _ in range(5):
            partial.write(bytes(20))
            wrote()
    assert (tmp_path / "product.part").stat().st_size == 100


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0 bytes"), (20_480, "20 kB"), (402e6, "402 MB"), (3.25e9, "3.2 GB"), (1.5e12, "1.5 TB")],
)
def test_a_size_is_said_in_the_unit_that_fits_it(number: float, said: str) -> None:
    assert files.size_in_words(number) == said


def test_a_folder_to_which_a_thread_still_writes_is_removed(tmp_path: Path) -> None:
    folder, stop = tmp_path / "folder", threading.Event()
    removing = os.rmdir

    def writes_meanwhile(path: object, **given: object) -> None:
        if Path(str(path)).name == "folder" and not stop.is_set():
            stop.set()
            (folder / "late").write_text("")
        removing(path, **given)  # type: ignore[arg-type]

    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "rmdir", writes_meanwhile)
        files.remove(folder)
    assert stop.is_set() and not folder.exists()


def test_what_ends_the_making_is_raised_although_the_rest_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise OSError(errno.EBUSY, "busy", str(path))

    with pytest.raises(SystemExit), files.atomic_write(tmp_path / "folder") as work:
        work.mkdir()
        monkeypatch.setattr(files, "remove", refuse)
        raise SystemExit(143)


def test_the_first_to_write_a_file_writes_it_for_all(tmp_path: Path) -> None:
    path, both = tmp_path / "new" / "id", threading.Barrier(2)
    written: list[str] = []

    def write(text: str) -> None:
        both.wait()
        files.write_first(path, text)
        written.append(path.read_text())

    threads = [threading.Thread(target=write, args=(text,)) for text in ("one", "other")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    files.write_first(path, "late")
    assert {*written} == {path.read_text()} <= {"one", "other"} and len(written) == 2
    assert list(path.parent.iterdir()) == [path]


def test_a_file_is_written_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    files.write_first(tmp_path / "id", "one")
    assert (tmp_path / "id").read_text() == "one" and len(list(tmp_path.iterdir())) == 1
