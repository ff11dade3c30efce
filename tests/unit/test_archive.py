"""Archives: parts hold what is kept, in order; joined they are one tar; damage and gaps are refused by name."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import zstandard

from ben_luigi.domain.dataset import archive
from ben_luigi.domain.errors import BadArchive
from ben_luigi.domain.formats import packing, shards
from tests.unit.tars import checked, names, unpacked

TILES = ("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP", "S2B_MSIL2A_20180204T094159_N9999_R022_T34TEN")


def shard(folder: Path, tile: str, count: int = 4, bands: tuple[str, ...] = ("B01", "B02")) -> tuple[Path, Path]:
    paths = folder / f"{tile[-5:]}.tar", folder / f"{tile[-5:]}.parquet"
    with shards.writing(*paths) as writer:
        for number in range(count):
            patch = f"{tile}_00_{number:02d}"
            for band in bands:
                data = np.random.default_rng(number).integers(0, 99, 3000, dtype="uint8").tobytes()
                writer.add(patch, f"BigEarthNet-S2/{tile}/{patch}/{patch}_{band}.tif", data)
    return paths


@pytest.fixture(params=[2**23, 1, 8192, 14_336, 57_344])
def frame_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Frames of a whole part, of one patch, of two, and such with which the part ends."""
    monkeypatch.setattr(packing, "FRAME_BYTES", request.param)
    return int(request.param)


def contents(part: bytes) -> list[bytes]:
    """What is in each frame."""
    found = []
    while part:
        unpacker = zstandard.ZstdDecompressor().decompressobj()
        found.append(unpacker.decompress(part))
        assert zstandard.get_frame_parameters(part).has_checksum
        assert zstandard.get_frame_parameters(part).content_size == len(found[-1])
        part = unpacker.unused_data
    return found


def test_a_part_is_frames_of_whole_patches_that_are_kept(tmp_path: Path, frame_bytes: int) -> None:
    tar, index = shard(tmp_path, TILES[0], count=10)
    keep = {f"{TILES[0]}_00_{number:02d}" for number in (0, 2, 3, 4, 7, 8, 9)}
    part = archive.write_shard_part(tar, index, keep, tmp_path / "part.tar.zst", 6)
    packed = (tmp_path / "part.tar.zst").read_bytes()
    *full, last = contents(packed)
    content = b"".join((*full, last))
    assert (part.members, part.tar_bytes, part.compressed_bytes) == (14, len(content), len(packed))
    assert [Path(name).parent.name for name in names(content)] == sorted([*keep] * 2)
    patches = [[Path(name).parent.name for name in names(frame)] for frame in (*full, *[last] * bool(last))]
    assert [patch for frame in patches for patch in frame] == sorted([*keep] * 2)
    assert all(frame.count(patch) == 2 for frame in patches for patch in frame)
    one_patch = len(content) // 7
    assert all(frame_bytes <= len(frame) < frame_bytes + one_patch for frame in full)
    assert len(last) < frame_bytes
    again = archive.write_shard_part(tar, index, sorted(keep), tmp_path / "again.tar.zst", 6)
    assert again == part
    assert (tmp_path / "again.tar.zst").read_bytes() == packed


def test_the_cases_are_there(tmp_path: Path, frame_bytes: int) -> None:
    """A patch of these tests has 8,192 bytes, so that frames end where it is awkward."""
    tar, index = shard(tmp_path, TILES[0], count=7)
    keep = shards.read_index(index)["patch_id"].to_pylist()
    archive.write_shard_part(tar, index, keep, tmp_path / "part.tar.zst", 6)
    sizes = [len(frame) // 8192 for frame in contents((tmp_path / "part.tar.zst").read_bytes())]
    expected = {2**23: [7], 1: [1] * 7 + [0], 8192: [1] * 7 + [0], 14_336: [2, 2, 2, 1], 57_344: [7, 0]}
    assert sizes == expected[frame_bytes]


@pytest.mark.usefixtures("frame_bytes")
def test_progress_counts_the_bytes_up_to_the_last(tmp_path: Path) -> None:
    tar, index = shard(tmp_path, TILES[0], count=100)
    keep = {f"{TILES[0]}_00_{number:02d}" for number in range(0, 100, 3)}
    part, seen = tmp_path / "part.tar.zst", []
    size = archive.write_shard_part(tar, index, keep, part, 1, lambda *at: seen.append(at)).tar_bytes
    assert seen[-1] == (size, size)
    assert size == archive.shard_bytes(index, keep) == archive.part_bytes(part)
    assert seen == sorted(seen)
    assert {total for _, total in seen} == {size}

    seen.clear()
    archive.hash_tar([archive.part_members(part)], None, size, lambda *at: seen.append(at))
    assert seen[-1] == (size, size)
    seen.clear()
    archive.join(checked(part), tmp_path / "S2.tar.zst", part.stat().st_size, lambda *at: seen.append(at))
    assert seen[-1] == (part.stat().st_size,) * 2


def test_a_patch_that_the_shard_lacks_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    tar, index = shard(tmp_path, TILES[0])
    with pytest.raises(BadArchive, match="lacks nowhere"):
        archive.write_shard_part(tar, index, {"nowhere"}, tmp_path / "out" / "part.tar.zst", 6)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("frame_bytes")
@pytest.mark.parametrize("count", [0, 1, 2])
def test_parts_join_to_one_tar(tmp_path: Path, count: int) -> None:
    parts = []
    for tile in TILES[:count]:
        tar, index = shard(tmp_path, tile)
        keep = set(shards.read_index(index)["patch_id"].to_pylist())
        parts.append(tmp_path / f"{tile}.tar.zst")
        archive.write_shard_part(tar, index, keep, parts[-1], 3)
    of_tar, tar_bytes = archive.hash_tar(map(archive.part_members, parts), tmp_path / "S2.tar")
    of_packed, joined_bytes = archive.join(checked(*parts), tmp_path / "S2.tar.zst")
    assert joined_bytes == tar_bytes
    packed, content = (tmp_path / "S2.tar.zst").read_bytes(), (tmp_path / "S2.tar").read_bytes()
    assert packed.startswith(b"".join(part.read_bytes() for part in parts))
    assert unpacked(tmp_path / "S2.tar.zst") == content
    assert len(names(content)) == 8 * count
    assert len(content) % 10_240 == 0
    for hashes, data in ((of_tar, content), (of_packed, packed)):
        assert hashes == archive.Hashes(len(data), hashlib.md5(data).hexdigest(), hashlib.sha256(data).hexdigest())


@pytest.mark.usefixtures("frame_bytes")
def test_the_tar_of_the_shards_is_that_of_the_parts(tmp_path: Path) -> None:
    sources = [(*shard(tmp_path, tile), {f"{tile}_00_{number:02d}" for number in (0, 2, 3)}) for tile in TILES]
    parts = [tmp_path / f"{number}.tar.zst" for number in range(len(sources))]
    for source, part in zip(sources, parts, strict=True):
        archive.write_shard_part(*source, part, 3)
    expected = archive.hash_tar(map(archive.part_members, parts), tmp_path / "1.tar")
    assert archive.hash_tar((archive.shard_members(*source) for source in sources), tmp_path / "2.tar") == expected
    assert (tmp_path / "2.tar").read_bytes() == (tmp_path / "1.tar").read_bytes()


@pytest.mark.usefixtures("frame_bytes")
def test_a_part_of_other_members_is_named(tmp_path: Path) -> None:
    tar, index = shard(tmp_path, TILES[0])
    part = tmp_path / "part.tar.zst"
    keep = shards.read_index(index)["patch_id"].to_pylist()
    size = archive.write_shard_part(tar, index, keep, part, 3).tar_bytes
    good = part.read_bytes()
    *full, _ = contents(good)
    cut = b"".join(zstandard.ZstdCompressor(write_checksum=True).compress(frame) for frame in full)
    unsaid = zstandard.ZstdCompressor(write_checksum=True, write_content_size=False).compress(b"members")
    for content in (good[:-5], good + b"junk", good * 2, cut, cut + unsaid):
        part.write_bytes(content)
        with pytest.raises(BadArchive, match=r"part\.tar\.zst; expected: a whole part"):
            archive.join(checked(part), tmp_path / "S2.tar.zst")
    archive.check_sizes([part], [size], [size])
    with pytest.raises(BadArchive, match=rf"part\.tar\.zst; expected: .* of {size - 512} bytes"):
        archive.check_sizes([part], [size], [size - 512])
    part.unlink()
    with pytest.raises(BadArchive, match="run again"):
        archive.join(checked(part), tmp_path / "S2.tar.zst")
    assert not (tmp_path / "S2.tar.zst").exists()


@pytest.mark.usefixtures("frame_bytes")
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
    with pytest.raises(BadArchive, match=r"part\.tar\.zst; expected: a whole part"):
        archive.hash_tar([archive.part_members(part)], out / "S2.tar")
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    "work", ["archive.hash_tar([archive.part_members(part)], out)", "archive.join([(part, '')], out)"]
)
def test_a_full_disk_leaves_nothing(tmp_path: Path, work: str) -> None:
    """A limit on the size of files stands for the disk: the write fails in the midst of the archive."""
    tar, index = shard(tmp_path, TILES[0], count=50)
    part = tmp_path / "part.tar.zst"
    archive.write_shard_part(tar, index, set(shards.read_index(index)["patch_id"].to_pylist()), part, 1)
    code = (
        "import resource, sys; from pathlib import Path; from ben_luigi.domain.dataset import archive\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        f"part, out = map(Path, sys.argv[1:])\n{work}"
    )
    result = run(code, part, tmp_path / "out" / "S2.tar")
    assert result.returncode == 1
    assert b"NoRoomError: " in result.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_a_kill_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    tar, index = shard(tmp_path, TILES[0])
    part = tmp_path / "part.tar.zst"
    archive.write_shard_part(tar, index, set(shards.read_index(index)["patch_id"].to_pylist()), part, 1)
    code = (
        "import sys; from pathlib import Path; from ben_luigi.domain.dataset import archive\n"
        "part, out = map(Path, sys.argv[1:3])\n"
        "archive.join([(part, sys.argv[3])] * 10**6, out)"
    )
    out = tmp_path / "out" / "S2.tar.zst"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(part), str(out), checked(part)[0][1]], env=environment()
    )
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in out.parent.glob("*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (left,) = out.parent.iterdir()
    assert left.name.startswith(".unfinished-")
    assert archive.join(checked(part), out)[0].size_bytes == out.stat().st_size


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def run(code: str, *arguments: Path) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=environment(), capture_output=True, check=False)
