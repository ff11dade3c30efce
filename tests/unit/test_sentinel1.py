"""Sentinel-1: parts in the order of the archive, the same from folder and `.tar.gz`; what is wrong is named."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ben_luigi.domain.dataset import archive, sentinel1
from ben_luigi.domain.dataset.sentinel1_stream import collect
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.formats import packing, shards
from ben_luigi.domain.placement.grid import Square
from tests.unit.s1_patches import SQUARE, s1_tiff
from tests.unit.tars import names, unpacked

ACQUISITION = "S1B_IW_GRDH_1SDV_20170612T165809"
S1_NAMES = [f"{ACQUISITION}_33UUP_{xy}" for xy in ("1_45", "1_4", "0_9", "26_57")]


def s1_folder(folder: Path, data: bytes) -> Path:
    for name in S1_NAMES:
        (folder / name).mkdir(parents=True)
        for band in ("VV", "VH"):
            (folder / name / f"{name}_{band}.tif").write_bytes(data)
    return folder


@given(st.lists(st.tuples(st.integers(0, 120), st.integers(0, 120), st.sampled_from(["33UUP", "34TEN"])), unique=True))
def test_s1_names_are_in_the_order_of_their_paths(positions: list[tuple[int, int, str]]) -> None:
    wanted = [f"{ACQUISITION}_{square}_{x}_{y}" for x, y, square in positions]
    parts = sentinel1.parts_of(wanted)
    ordered = [name for _, part in parts for name in part]
    paths = [f"{name}/{name}_{band}.tif".encode() for name in ordered for band in ("VH", "VV")]
    assert paths == sorted(f"{name}/{name}_{band}.tif".encode() for name in wanted for band in ("VH", "VV"))
    assert [key for key, _ in parts] == sorted({f"{ACQUISITION}_{square}" for _, _, square in positions})


def test_an_s1_part_holds_both_files_of_each_patch(tmp_path: Path) -> None:
    data = s1_tiff()
    folder = s1_folder(tmp_path / "s1", data)
    ((key, ordered),) = sentinel1.parts_of(S1_NAMES)
    out = tmp_path / f"{key}.tar.zst"
    part = sentinel1.write_folder_part(folder, ordered, out, 6, expected=dict.fromkeys(S1_NAMES, SQUARE))
    content = unpacked(out)
    assert (part.members, part.tar_bytes, part.compressed_bytes) == (8, len(content), out.stat().st_size)
    assert names(content) == [
        f"BigEarthNet-S1/{ACQUISITION}/{name}/{name}_{band}.tif"
        for name in (f"{ACQUISITION}_33UUP_{xy}" for xy in ("0_9", "1_4", "1_45", "26_57"))
        for band in ("VH", "VV")
    ]
    assert content.count(data) == 8


def test_missing_s1_files_are_all_named_before_anything_is_written(tmp_path: Path) -> None:
    folder = s1_folder(tmp_path / "s1", b"never read")
    gone = [f"{S1_NAMES[0]}/{S1_NAMES[0]}_VV.tif", f"{S1_NAMES[3]}/{S1_NAMES[3]}_VH.tif"]
    for name in gone:
        (folder / name).unlink()
    with pytest.raises(BadInput) as caught:
        sentinel1.write_folder_part(folder, S1_NAMES, tmp_path / "out" / "part.tar.zst", 6)
    assert caught.value.found == f"no {gone[0]}, {gone[1]}"
    assert str(folder) in caught.value.subject
    assert "12687186" in caught.value.remedy
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (s1_tiff(Square(300_010, 5_000_040, 1200, 32633)), "1200 m from (300010, 5000040) in EPSG:32633"),
        (s1_tiff(Square(300_000, 5_000_039, 1200, 32633)), "1200 m from (300000, 5000039) in EPSG:32633"),
        (s1_tiff(Square(300_000, 5_000_040, 1200, 32634)), "1200 m from (300000, 5000040) in EPSG:32634"),
        (s1_tiff(side_px=119), "1190 m from (300000, 5000040) in EPSG:32633"),
        (b"", "no classic TIFF"),
    ],
)
def test_an_s1_patch_elsewhere_is_an_error(tmp_path: Path, data: bytes, found: str) -> None:
    folder = s1_folder(tmp_path / "s1", s1_tiff())
    wrong = folder / S1_NAMES[1] / f"{S1_NAMES[1]}_VV.tif"
    wrong.write_bytes(data)
    with pytest.raises(BadInput) as caught:
        sentinel1.write_folder_part(folder, S1_NAMES, tmp_path / "p.zst", 6, expected=dict.fromkeys(S1_NAMES, SQUARE))
    assert caught.value.found == found
    assert str(wrong) in caught.value.subject
    assert "12687186" in caught.value.remedy
    assert not (tmp_path / "p.zst").exists()


OTHER = [f"S1A_IW_GRDH_1SDV_20180101T000000_34TEN_{xy}" for xy in ("7_1", "70_48", "7_10")]
PARTS = sentinel1.parts_of(S1_NAMES + OTHER)


def s1_files() -> dict[str, bytes]:
    """All files of the patches, each with content of its own, in an arbitrary order, and some that are not kept."""
    paths = [f"{name}/{name}_{band}.tif" for name in (*S1_NAMES, *OTHER, "S1A_other_1_1") for band in ("VV", "VH")]
    paths += [f"{name}/{name}_labels_metadata.json" for name in OTHER]
    np.random.default_rng(6).shuffle(paths)
    return {path: s1_tiff() + path.encode() for path in paths}


def tar_gz(path: Path, files: Mapping[str, bytes]) -> str:
    """A `.tar.gz` with folders in front of their files, as the published one; gives its md5."""
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for folder in ("", *sorted({name.split("/")[0] for name in files})):
            info = tarfile.TarInfo(f"BigEarthNet-S1-v1.0/{folder}")
            info.type = tarfile.DIRTYPE
            tar.addfile(info)
        for name, data in files.items():
            info = tarfile.TarInfo(f"BigEarthNet-S1-v1.0/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return hashlib.md5(path.read_bytes()).hexdigest()


def on_square(names: Sequence[str]) -> dict[str, Square]:
    return dict.fromkeys(names, SQUARE)


@pytest.mark.parametrize(("frame_bytes", "piece_bytes"), [(2**23, 2**20), (150_000, 1000), (1, 20)])
def test_the_stream_gives_the_bytes_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frame_bytes: int, piece_bytes: int
) -> None:
    """So does the sample that each takes, of some pieces, on which the packing depends."""
    samples: list[bytes] = []
    parameters = packing.parameters
    monkeypatch.setattr(packing, "FRAME_BYTES", frame_bytes)
    monkeypatch.setattr(packing, "_PIECE_BYTES", piece_bytes)

    def spied(level: int, sample: bytes) -> zstandard.ZstdCompressionParameters:
        samples.append(sample)
        return parameters(level, sample)

    monkeypatch.setattr(packing, "parameters", spied)
    files = s1_files()
    md5 = tar_gz(tmp_path / "s1.tar.gz", files)
    for name, data in files.items():
        (tmp_path / "s1" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "s1" / name).write_bytes(data)
    done: list[float] = []
    collect(tmp_path / "s1.tar.gz", PARTS, tmp_path / "c", md5=md5, squares=on_square, progress=done.append)
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == sorted(
        f"{key}.{kind}" for key, _ in PARTS for kind in ("tar", "parquet")
    )
    assert done == sorted(done) and done[-1] == 1
    for key, ordered in PARTS:
        collected = tmp_path / "c" / f"{key}.tar"
        sentinel1.write_folder_part(tmp_path / "s1", ordered, tmp_path / "1", 6, expected=on_square(ordered))
        archive.write_shard_part(collected, collected.with_suffix(".parquet"), ordered, tmp_path / "2", 6)
        assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
        content = unpacked(tmp_path / "1")
        pieces = [content[at : at + size] for at, size in packing.sampled(len(content))]
        assert samples[-1] == samples[-2] == b"".join(pieces)
        of_index = dict(shards.hash_rows(shards.read_index(collected.with_suffix(".parquet"))))
        assert of_index == {
            name.split("/")[1].removesuffix(".tif"): hashlib.sha256(data).hexdigest()
            for name, data in files.items()
            if name.split("/")[0] in ordered and name.endswith(".tif")
        }


def test_what_was_collected_is_not_read_again(tmp_path: Path) -> None:
    files = s1_files()
    source, folder = tmp_path / "s1.tar.gz", tmp_path / "c"
    md5 = tar_gz(source, files)
    collect(source, PARTS[:1], folder, md5=md5)
    before = {path: path.stat().st_ino for path in folder.iterdir()}
    collect(source, PARTS, folder, md5=md5)
    assert len(list(folder.iterdir())) == 4
    assert all(path.stat().st_ino == inode for path, inode in before.items())


def without(files: dict[str, bytes], number: int) -> str:
    name = f"{S1_NAMES[number]}/{S1_NAMES[number]}_VH.tif"
    del files[name]
    return f"no {Path(name).name}"


def elsewhere(files: dict[str, bytes]) -> str:
    files[f"{OTHER[0]}/{OTHER[0]}_VV.tif"] = s1_tiff(Square(300_000, 5_000_040, 1200, 32634))
    return "found: 1200 m from (300000, 5000040) in EPSG:32634"


def duplicates(files: dict[str, bytes]) -> str:
    files[f"again/{OTHER[0]}_VV.tif"] = files[f"{OTHER[0]}/{OTHER[0]}_VV.tif"]
    files.update({name: files.pop(name) for name in [f"{OTHER[1]}/{OTHER[1]}_VV.tif"]})
    return f"S1 patch {OTHER[0]}"


@pytest.mark.parametrize(
    "damage", [lambda files: without(files, 0), elsewhere, duplicates], ids=["no VH", "other CRS", "twice"]
)
def test_a_patch_that_is_not_right_is_named_and_nothing_stays(
    tmp_path: Path, damage: Callable[[dict[str, bytes]], str]
) -> None:
    files = s1_files()
    said = damage(files)
    md5 = tar_gz(tmp_path / "s1.tar.gz", files)
    with pytest.raises(BadInput) as caught:
        collect(tmp_path / "s1.tar.gz", PARTS, tmp_path / "c", md5=md5, squares=on_square)
    assert said in str(caught.value) and "12687186" in str(caught.value)
    assert list((tmp_path / "c").iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "flip", "other", "no gzip", "empty"])
def test_a_file_that_is_not_the_published_one_is_refused(tmp_path: Path, damage: str) -> None:
    source = tmp_path / "s1.tar.gz"
    md5 = tar_gz(source, s1_files())
    content = source.read_bytes()
    flipped = bytearray(content)
    flipped[-6] ^= 1  # gzip's checksum, of which nothing but the md5 tells when all is found before it
    bad = {"cut": content[: len(content) // 2], "flip": bytes(flipped), "other": content + b"x", "empty": b""}
    source.write_bytes(bad.get(damage, b"no gzip at all"))
    with pytest.raises(BadInput, match=f"md5 {md5}.*found: (md5|damage)") as caught:
        collect(source, PARTS, tmp_path / "c", md5=md5)
    assert str(source) in str(caught.value)
    assert list((tmp_path / "c").iterdir()) == []


def collect_elsewhere(source: Path, folder: Path, before: str, die: str = "lambda part: None") -> tuple[int, bytes]:
    """`collect` in a process of its own; gives its exit code and what it says."""
    code = (
        "import os, resource, sys; from pathlib import Path\n"
        "from ben_luigi.domain.dataset import sentinel1, sentinel1_stream\n"
        f"source, folder, *names = sys.argv[1:]\n{before}\n"
        f"sentinel1_stream.collect(Path(source), sentinel1.parts_of(names), Path(folder), md5='', progress={die})"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code, str(source), str(folder), *S1_NAMES, *OTHER]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    return done.returncode, done.stderr


def test_a_full_disk_is_said_and_leaves_what_is_complete(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: there is room for the smaller part only."""
    source, folder = tmp_path / "s1.tar.gz", tmp_path / "c"
    files = s1_files()
    last = {name: files.pop(name) for name in [*files] if S1_NAMES[0] in name}
    tar_gz(source, files | last)
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))"
    code, said = collect_elsewhere(source, folder, limit)
    assert code == 1
    assert b"NoRoomError: " in said and b"MB free" in said
    assert [path.name for path in sorted(folder.iterdir())] == [f"{PARTS[0][0]}.parquet", f"{PARTS[0][0]}.tar"]


def test_a_kill_leaves_no_shard_that_is_not_whole(tmp_path: Path) -> None:
    """The process dies when the first shard has appeared, while files of the second one are there already."""
    source, folder = tmp_path / "s1.tar.gz", tmp_path / "c"
    files = s1_files()
    last = {name: files.pop(name) for name in [*files] if OTHER[2] in name}
    md5 = tar_gz(source, files | last)
    die = "lambda part: list(Path(folder).glob('S1*.tar')) and os.kill(os.getpid(), 9)"
    code, _ = collect_elsewhere(source, folder, "sentinel1_stream._CHUNK_BYTES = 512", die)
    assert code == -signal.SIGKILL
    (whole,) = folder.glob("S1*.tar")
    assert len(list(folder.glob(".unfinished-*"))) == 1
    inode = whole.stat().st_ino
    collect(source, PARTS, folder, md5=md5, squares=on_square)
    assert len(list(folder.iterdir())) == 4
    assert whole.stat().st_ino == inode
