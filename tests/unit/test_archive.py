"""Archives: parts hold what is kept, in order; joined they are one tar; damage and gaps are refused by name."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from ben_luigi.domain import archive, shards
from ben_luigi.domain.errors import BadArchive, BadInput
from ben_luigi.domain.grid import Square

TILES = ("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP", "S2B_MSIL2A_20180204T094159_N9999_R022_T34TEN")
ACQUISITION = "S1B_IW_GRDH_1SDV_20170612T165809"
S1_NAMES = [f"{ACQUISITION}_33UUP_{xy}" for xy in ("1_45", "1_4", "0_9", "26_57")]
SQUARE = Square(300_000, 5_000_040, 1200, 32633)


def shard(folder: Path, tile: str, count: int = 4, bands: tuple[str, ...] = ("B01", "B02")) -> tuple[Path, Path]:
    paths = folder / f"{tile[-5:]}.tar", folder / f"{tile[-5:]}.parquet"
    with shards.writing(*paths) as writer:
        for number in range(count):
            patch = f"{tile}_00_{number:02d}"
            for band in bands:
                data = np.random.default_rng(number).integers(0, 99, 3000, dtype="uint8").tobytes()
                writer.add(patch, f"BigEarthNet-S2/{tile}/{patch}/{patch}_{band}.tif", data)
    return paths


def unpacked(path: Path) -> bytes:
    with zstandard.open(path, "rb") as file:
        return bytes(file.read())


def names(tar: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as opened:
        return opened.getnames()


def s1_tiff(square: Square = SQUARE, side_px: int = 120) -> bytes:
    with MemoryFile() as file:
        with file.open(
            driver="GTiff",
            width=side_px,
            height=side_px,
            count=1,
            dtype="float32",
            crs=f"EPSG:{square.epsg}",
            transform=from_origin(square.left, square.top, 10, 10),
        ) as raster:
            raster.write(np.full((1, side_px, side_px), -12.5, dtype="float32"))
        return bytes(file.read())


def s1_folder(folder: Path, data: bytes) -> Path:
    for name in S1_NAMES:
        (folder / name).mkdir(parents=True)
        for band in ("VV", "VH"):
            (folder / name / f"{name}_{band}.tif").write_bytes(data)
    return folder


def test_a_part_is_one_frame_with_the_kept_patches(tmp_path: Path) -> None:
    tar, index = shard(tmp_path, TILES[0])
    keep = {f"{TILES[0]}_00_{number:02d}" for number in (0, 2, 3)}
    part = archive.write_shard_part(tar, index, keep, tmp_path / "part.tar.zst", 6)
    frame = (tmp_path / "part.tar.zst").read_bytes()
    parameters = zstandard.get_frame_parameters(frame)
    content = zstandard.ZstdDecompressor().decompress(frame)
    assert (parameters.content_size, parameters.has_checksum) == (len(content), True)
    assert part == archive.Part(6, len(content), len(frame))
    assert [Path(name).parent.name for name in names(content)] == sorted([*keep] * 2)
    again = archive.write_shard_part(tar, index, sorted(keep), tmp_path / "again.tar.zst", 6)
    assert again == part
    assert (tmp_path / "again.tar.zst").read_bytes() == frame


def test_a_patch_that_the_shard_lacks_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    tar, index = shard(tmp_path, TILES[0])
    with pytest.raises(BadArchive, match="lacks nowhere"):
        archive.write_shard_part(tar, index, {"nowhere"}, tmp_path / "out" / "part.tar.zst", 6)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_parts_join_to_one_tar(tmp_path: Path, count: int) -> None:
    parts = []
    for tile in TILES[:count]:
        tar, index = shard(tmp_path, tile)
        keep = set(shards.read_index(index)["patch_id"].to_pylist())
        parts.append(tmp_path / f"{tile}.tar.zst")
        archive.write_shard_part(tar, index, keep, parts[-1], 3)
    hashes = archive.join(parts, tmp_path / "S2.tar.zst", keep_tar=tmp_path / "S2.tar")
    packed, content = (tmp_path / "S2.tar.zst").read_bytes(), (tmp_path / "S2.tar").read_bytes()
    assert packed.startswith(b"".join(part.read_bytes() for part in parts))
    assert unpacked(tmp_path / "S2.tar.zst") == content
    assert len(names(content)) == 8 * count
    assert len(content) % 10_240 == 0
    assert hashes == archive.ArchiveHashes(
        *(len(content), hashlib.md5(content).hexdigest(), hashlib.sha256(content).hexdigest()),
        *(len(packed), hashlib.md5(packed).hexdigest(), hashlib.sha256(packed).hexdigest()),
    )


def test_the_tar_may_come_from_the_shards(tmp_path: Path) -> None:
    sources = [(*shard(tmp_path, tile), {f"{tile}_00_{number:02d}" for number in (0, 2, 3)}) for tile in TILES]
    parts = [tmp_path / f"{number}.tar.zst" for number in range(len(sources))]
    for source, part in zip(sources, parts, strict=True):
        archive.write_shard_part(*source, part, 3)
    expected = archive.join(parts, tmp_path / "S2.tar.zst", keep_tar=tmp_path / "S2.tar")
    members = [archive.shard_members(*source) for source in sources]
    assert archive.join(parts, tmp_path / "2.tar.zst", keep_tar=tmp_path / "2.tar", members=members) == expected
    assert (tmp_path / "2.tar.zst").read_bytes() == (tmp_path / "S2.tar.zst").read_bytes()
    assert (tmp_path / "2.tar").read_bytes() == (tmp_path / "S2.tar").read_bytes()


def test_a_part_of_other_members_is_named(tmp_path: Path) -> None:
    tar, index = shard(tmp_path, TILES[0])
    part = tmp_path / "part.tar.zst"
    keep = shards.read_index(index)["patch_id"].to_pylist()
    archive.write_shard_part(tar, index, keep, part, 3)
    good = part.read_bytes()
    for content, kept in ((good, keep[2:]), (good[:-5], keep), (good + b"junk", keep)):
        part.write_bytes(content)
        with pytest.raises(BadArchive, match=r"part .*part\.tar\.zst; expected: one whole zstd frame"):
            archive.join([part], tmp_path / "S2.tar.zst", members=[archive.shard_members(tar, index, kept)])
    assert not (tmp_path / "S2.tar.zst").exists()


@pytest.mark.parametrize("damage", ["flip", "cut", "checksum", "twice", "junk", "empty", "gone"])
def test_a_damaged_part_is_named_and_nothing_is_left(tmp_path: Path, damage: str) -> None:
    tar, index = shard(tmp_path, TILES[0])
    part = tmp_path / "part.tar.zst"
    archive.write_shard_part(tar, index, set(shards.read_index(index)["patch_id"].to_pylist()), part, 6)
    good = part.read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1
    bad = {
        "flip": bytes(flipped),
        "cut": good[:-1],
        "checksum": good[:-1] + bytes([good[-1] ^ 1]),
        "twice": good * 2,
        "junk": good + b"junk",
        "empty": b"",
    }
    part.write_bytes(bad[damage]) if damage in bad else part.unlink()
    out = tmp_path / "out"
    with pytest.raises(BadArchive, match=r"part .*part\.tar\.zst; expected: one whole zstd frame"):
        archive.join([part], out / "S2.tar.zst", keep_tar=out / "S2.tar")
    assert list(out.iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the write fails in the midst of the archive."""
    tar, index = shard(tmp_path, TILES[0], count=50)
    part = tmp_path / "part.tar.zst"
    archive.write_shard_part(tar, index, set(shards.read_index(index)["patch_id"].to_pylist()), part, 1)
    code = (
        "import resource, sys; from pathlib import Path; from ben_luigi.domain import archive\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))\n"
        "part, out = map(Path, sys.argv[1:])\n"
        "archive.join([part], out, keep_tar=out.with_suffix('.tar'))"
    )
    result = run(code, part, tmp_path / "out" / "S2.zst")
    assert result.returncode == 1
    assert b"DiskError: " in result.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_a_kill_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    tar, index = shard(tmp_path, TILES[0])
    part = tmp_path / "part.tar.zst"
    archive.write_shard_part(tar, index, set(shards.read_index(index)["patch_id"].to_pylist()), part, 1)
    code = (
        "import sys; from itertools import repeat; from pathlib import Path; from ben_luigi.domain import archive\n"
        "part, out = map(Path, sys.argv[1:])\n"
        "archive.join(repeat(part), out)"
    )
    out = tmp_path / "out" / "S2.tar.zst"
    process = subprocess.Popen([sys.executable, "-c", code, str(part), str(out)], env=environment())
    deadline = time.monotonic() + 20
    while not any(path.stat().st_size for path in out.parent.glob("*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (left,) = out.parent.iterdir()
    assert left.name.startswith(".unfinished-")
    assert archive.join([part], out).compressed_bytes == out.stat().st_size


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def run(code: str, *arguments: Path) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=environment(), capture_output=True, check=False)


@given(st.lists(st.tuples(st.integers(0, 120), st.integers(0, 120), st.sampled_from(["33UUP", "34TEN"])), unique=True))
def test_s1_names_are_in_the_order_of_their_paths(positions: list[tuple[int, int, str]]) -> None:
    wanted = [f"{ACQUISITION}_{square}_{x}_{y}" for x, y, square in positions]
    parts = archive.parts_of_s1(wanted)
    ordered = [name for _, part in parts for name in part]
    paths = [f"{name}/{name}_{band}.tif".encode() for name in ordered for band in ("VH", "VV")]
    assert paths == sorted(f"{name}/{name}_{band}.tif".encode() for name in wanted for band in ("VH", "VV"))
    assert [key for key, _ in parts] == sorted({f"{ACQUISITION}_{square}" for _, _, square in positions})


def test_an_s1_part_holds_both_files_of_each_patch(tmp_path: Path) -> None:
    data = s1_tiff()
    folder = s1_folder(tmp_path / "s1", data)
    ((key, ordered),) = archive.parts_of_s1(S1_NAMES)
    out = tmp_path / f"{key}.tar.zst"
    part = archive.write_s1_part(folder, ordered, out, 6, expected=dict.fromkeys(S1_NAMES, SQUARE))
    content = unpacked(out)
    assert part == archive.Part(8, len(content), out.stat().st_size)
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
        archive.write_s1_part(folder, S1_NAMES, tmp_path / "out" / "part.tar.zst", 6)
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
        archive.write_s1_part(folder, S1_NAMES, tmp_path / "p.zst", 6, expected=dict.fromkeys(S1_NAMES, SQUARE))
    assert caught.value.found == found
    assert str(wrong) in caught.value.subject
    assert "12687186" in caught.value.remedy
    assert not (tmp_path / "p.zst").exists()
