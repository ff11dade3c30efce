"""A whole dataset has no findings; every kind of damage of an archive is found, by name, and alone."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ben_luigi.domain.dataset import verify, verify_archives
from ben_luigi.domain.dataset.form import HASH_LISTS
from ben_luigi.domain.dataset.metadata import FLAGGED, METADATA
from ben_luigi.domain.dataset.verify_archives import out_of_order
from ben_luigi.domain.formats import frames, tarball
from ben_luigi.domain.placement.grid import Square
from tests.unit.small_dataset import MAPS, S1, S2, TILES, Dataset, labels_of, map_file, member, s1_tiff, square_of


def verify_dataset(folder: Path) -> list[str]:
    return verify.verify_dataset(folder, labels_of).wrong


@pytest.fixture
def dataset() -> Dataset:
    return Dataset()


def findings(dataset: Dataset, folder: Path) -> list[str]:
    return verify_dataset(dataset.write(folder))


def test_a_whole_dataset_has_no_findings(dataset: Dataset, tmp_path: Path) -> None:
    assert findings(dataset, tmp_path) == []


def test_it_tells_how_far_it_is(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_archives, "_TELL_EVERY", 10)
    told: list[float] = []
    verify.verify_dataset(dataset.write(tmp_path), labels_of, told.append)
    assert told == sorted(told)
    assert told[-1] == 1
    files = sum(len(dataset.names(archive)) for archive in (S1, S2, MAPS))
    assert told[0] == pytest.approx(10 / files)


def test_flipped_missing_surplus_and_misplaced_are_all_named(dataset: Dataset, tmp_path: Path) -> None:
    names = dataset.names(S2)
    lost, moved = names[3], names[40]
    del dataset.parts[S2][0][lost]
    surplus = f"{S2}/{next(iter(TILES))}/extra/extra_B01.tif"
    dataset.parts[S2][1] = {surplus: b"x", **dataset.parts[S2][1]}
    misplaced = moved.replace("T34TEN/", "T33UUP/", 1)
    dataset.rename(S2, lambda name: misplaced, moved)
    flip(dataset.write(tmp_path) / f"{MAPS}.tar.zst", frame=0, at=0.5)
    said = "\n".join(verify_dataset(tmp_path))
    assert f"{S2}.tar.zst: missing: {lost}\n" in said
    assert f"{S2}.tar.zst: surplus: {surplus}\n" in said
    assert f"{S2}.tar.zst: misplaced: {misplaced} (belongs at {moved})\n" in said
    maps = dataset.names(MAPS)
    assert f"{MAPS}.tar.zst: wrong checksum, so one of these 3 is damaged: {maps[0]} to {maps[2]}" in said


@pytest.mark.parametrize("archive", [S2, MAPS, S1])
def test_where_the_hash_lists_lie_a_flipped_byte_is_named_to_the_file(
    dataset: Dataset, tmp_path: Path, archive: str
) -> None:
    """One whose content no other check looks at: before compression, and in the compressed file."""
    dataset.write(tmp_path)
    dataset.write_lists(tmp_path)
    assert verify_dataset(tmp_path) == []
    name = dataset.names(archive)[1]
    before = next(files[name] for files in dataset.parts[archive] if name in files)
    flipped = bytearray(before)
    flipped[-1] ^= 64
    dataset.replace(name, bytes(flipped))
    expected = f"{archive}.tar.zst: with another sha256 than in {HASH_LISTS[archive]}: {name}"
    assert expected in findings(dataset, tmp_path)
    dataset.replace(name, before)
    flip_content(dataset.write(tmp_path) / f"{archive}.tar.zst", name, before)
    said = verify_dataset(tmp_path)
    assert any("wrong checksum" in line for line in said)
    assert expected in said


def flip_content(path: Path, name: str, data: bytes) -> None:
    """Flip a byte of a member in a frame whose blocks are raw, so that the frame's checksum alone is wrong."""
    tar = zstandard.ZstdDecompressor().decompressobj(read_across_frames=True).decompress(path.read_bytes())
    header, block_bytes = zstandard.FRAME_HEADER + b"\xe4" + len(tar).to_bytes(8, "little"), 2**17
    blocks = [tar[at : at + block_bytes] for at in range(0, len(tar), block_bytes)]
    at = tar.index(data, tar.index(name.encode())) + len(data) - 1
    frame = bytearray(header)
    for number, block in enumerate(blocks):
        frame += (len(block) << 3 | (number == len(blocks) - 1)).to_bytes(3, "little") + block
    start = len(header) + 3 * (at // block_bytes + 1) + at
    assert frame[start] == data[-1]
    frame[start] ^= 64
    path.write_bytes(bytes(frame) + zstandard.ZstdCompressor(write_checksum=True).compress(tar)[-4:])


def test_a_hash_list_that_lacks_a_file_or_is_none_is_named(dataset: Dataset, tmp_path: Path) -> None:
    dataset.write(tmp_path)
    dataset.write_lists(tmp_path)
    name = dataset.names(S2)[5]
    path = tmp_path / HASH_LISTS[S2]
    path.write_text("".join(line for line in path.open() if Path(name).stem not in line))
    assert verify_dataset(tmp_path) == [f"{S2}.tar.zst: without a hash in {path.name}: {name}"]
    path.write_text("name,hash-sha256\na,b,c\n")
    (said,) = verify_dataset(tmp_path)
    assert said.startswith(f"{path.name}: cannot be read (")


def flip(path: Path, frame: int, at: float, mask: int = 1) -> None:
    with path.open("rb") as file:
        found = list(frames.find(file))[frame]
    content = bytearray(path.read_bytes())
    content[found.start + int(at * (found.stop - found.start - 1))] ^= mask
    path.write_bytes(content)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Dataset().write(tmp_path_factory.mktemp("whole"))


@settings(max_examples=60, deadline=None)
@given(frame=st.integers(0, 1), at=st.floats(0, 1), mask=st.integers(1, 255))
def test_any_changed_byte_is_found_and_costs_only_its_frame(whole: Path, frame: int, at: float, mask: int) -> None:
    path = whole / f"{MAPS}.tar.zst"
    good = path.read_bytes()
    try:
        flip(path, frame, at, mask)
        said = verify_dataset(whole)
        unharmed = not said and unpacked(path.read_bytes()) == unpacked(good)
    finally:
        path.write_bytes(good)
    assert said or unharmed  # zstd has bits that mean nothing
    assert all(line.startswith(f"{MAPS}.tar.zst: ") for line in said)
    other = list(TILES)[1 - frame]
    assert not any(other in line for line in said if re.search("unreadable|missing|not readable|classes", line))


def unpacked(packed: bytes) -> bytes:
    return bytes(zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True).read())


def first(dataset: Dataset, archive: str, number: int = 0) -> str:
    return dataset.names(archive)[number]


def map_of(name: str, *values: int) -> tuple[str, bytes]:
    _, tile, patch, _ = name.split("/")
    return map_file(tile, patch, *values)


def swap(dataset: Dataset) -> str:
    """Move the last member of a tile to its front."""
    files = dataset.parts[S2][0]
    name = list(files)[-1]
    dataset.parts[S2][0] = {name: files.pop(name), **files}
    return f"{S2}.tar.zst: out of order: {name}"


def other_labels(dataset: Dataset) -> str:
    name = first(dataset, MAPS, 2)
    dataset.replace(name, map_of(name, 211)[1])
    return f"{MAPS}.tar.zst: with other classes than the labels in the metadata: {name}"


def unknown_code(dataset: Dataset) -> str:
    name = first(dataset, MAPS)
    dataset.replace(name, map_of(name, 777)[1])
    return f"{MAPS}.tar.zst: not readable (no code of CLC): {name}"


def map_elsewhere(dataset: Dataset) -> str:
    name, other = first(dataset, MAPS), first(dataset, MAPS, 1)
    dataset.replace(name, map_of(other, 211, 231)[1])
    return f"{MAPS}.tar.zst: not on the square that the patch's name says: {name}"


def s1_elsewhere(dataset: Dataset) -> str:
    name = first(dataset, S1, 3)
    dataset.replace(name, s1_tiff(Square(0, 0, 1200, 32633)))
    return f"{S1}.tar.zst: not on the square that the patch's name says: {name}"


def s1_other_crs(dataset: Dataset) -> str:
    name = first(dataset, S1)
    square = square_of(str(dataset.rows[0]["patch_id"]))
    dataset.replace(name, s1_tiff(Square(square.left, square.top, 1200, 32634)))
    return (
        f"{S1}.tar.zst: a TIFF of 120 x 120 px of 10 m, float32, no-data None, EPSG:32634 "
        f"instead of 120 x 120 px of 10 m, float32, no-data None, EPSG:32633: {name}"
    )


def band_elsewhere(dataset: Dataset) -> str:
    name, other = first(dataset, S2, 4), first(dataset, S2, 16)
    (files,) = (files for files in dataset.parts[S2] if other in files)
    dataset.replace(name, files[other])
    return f"{S2}.tar.zst: not on the square that the patch's name says: {name}"


def no_data(dataset: Dataset) -> str:
    name = first(dataset, S2)
    dataset.replace(name, dataset.parts[S2][0][name][:-2] + bytes(2))
    return f"{S2}.tar.zst: with no-data pixels: {name}"


def longer(dataset: Dataset) -> str:
    name = first(dataset, S2)
    dataset.replace(name, dataset.parts[S2][0][name] + b"more")
    return f"{S2}.tar.zst: of another length than 1,172 bytes: {name} (found 1,176)"


def other_resolution(dataset: Dataset) -> str:
    name, other = first(dataset, S2), first(dataset, S2, 4)
    dataset.replace(name, dataset.parts[S2][0][other])
    return (
        f"{S2}.tar.zst: a TIFF of 60 x 60 px of 20 m, uint16, no-data 0.0, EPSG:32633 "
        f"instead of 20 x 20 px of 60 m, uint16, no-data 0.0, EPSG:32633: {name}"
    )


def no_patch(dataset: Dataset) -> str:
    patch = str(dataset.rows[0]["patch_id"])
    dataset.parts[S2][0] = {name: data for name, data in dataset.parts[S2][0].items() if patch not in name}
    return f"{S2}.tar.zst: missing: .*{patch}_B01.tif.*(12 in all)"


def no_row(dataset: Dataset) -> str:
    row = dataset.rows.pop(0)
    return f"{S1}.tar.zst: surplus: .*{row['s1_name']}_VH.tif"


def in_two_rows(dataset: Dataset) -> str:
    dataset.rows.insert(0, dataset.rows[0])
    return f"metadata: patch_id in more than one row: {dataset.rows[0]['patch_id']}"


def wrong_file(dataset: Dataset) -> str:
    """As a file of the others is taken for it."""
    dataset.names_of = {METADATA: FLAGGED, FLAGGED: METADATA}
    return f"{FLAGGED}: in the wrong file, by their flags: {dataset.rows[0]['patch_id']}"


def no_name(dataset: Dataset) -> str:
    dataset.rows[0]["s1_name"] = "nothing"
    return f"{METADATA}: s1_name: another name than it must be: nothing (expected "


@pytest.mark.parametrize(
    "damage",
    [
        *(swap, other_labels, unknown_code, map_elsewhere, s1_elsewhere, s1_other_crs, band_elsewhere, no_data, longer),
        *(other_resolution, no_patch, no_row, in_two_rows, wrong_file, no_name),
    ],
    ids=lambda damage: damage.__name__,
)
def test_each_kind_of_damage_is_named(dataset: Dataset, tmp_path: Path, damage: Callable[[Dataset], str]) -> None:
    expected = re.escape(damage(dataset)).replace(r"\.\*", ".*")
    said = findings(dataset, tmp_path)
    assert any(re.match(expected, line) for line in said), said
    assert len(said) == {"no_row": 3, "other_resolution": 2, "wrong_file": 2}.get(damage.__name__, 1)


def test_a_member_twice_and_a_header_of_another_tar(dataset: Dataset, tmp_path: Path) -> None:
    dataset.write(tmp_path)
    names = dataset.names(S1)
    blocks = [bytearray(member(name, dataset.parts[S1][0][name])) for name in names[:6]]
    with tarfile.open(fileobj=(other := io.BytesIO()), mode="w", format=tarfile.GNU_FORMAT) as tar:
        info = tarfile.TarInfo(names[1])
        info.size = len(dataset.parts[S1][0][names[1]])
        tar.addfile(info, io.BytesIO(dataset.parts[S1][0][names[1]]))
    blocks[1] = bytearray(other.getvalue()[: len(blocks[1])])
    blocks += [blocks[0], *(bytearray(member(name, dataset.parts[S1][1][name])) for name in names[6:])]
    blocks.append(bytearray(tarball.end(sum(map(len, blocks)))))
    (tmp_path / f"{S1}.tar.zst").write_bytes(zstandard.ZstdCompressor().compress(b"".join(blocks)))
    assert verify_dataset(tmp_path) == [
        f"{S1}.tar.zst: with another header or padding than GNU tar's: {names[1]}",
        f"{S1}.tar.zst: twice: {names[0]}",
    ]


def test_a_byte_in_the_padding_of_a_member_is_noticed(dataset: Dataset, tmp_path: Path) -> None:
    """No hash of a file tells it, and tar reads over it."""
    path = dataset.write(tmp_path) / f"{S1}.tar.zst"
    tar = bytearray(unpacked(path.read_bytes()))
    name = dataset.names(S1)[0]
    entry = tarball.entry(tar)
    assert entry is not None
    tar[entry.stop - 1] = 1
    path.write_bytes(zstandard.ZstdCompressor().compress(bytes(tar)))
    assert verify_dataset(tmp_path) == [f"{S1}.tar.zst: with another header or padding than GNU tar's: {name}"]


@pytest.mark.parametrize("end", ["no end", "short end", "more", "cut"])
def test_an_archive_that_does_not_end_as_it_must(dataset: Dataset, tmp_path: Path, end: str) -> None:
    path = dataset.write(tmp_path) / f"{S1}.tar.zst"
    with path.open("rb") as file:
        *_, last = frames.find(file)
    content, packer = path.read_bytes(), zstandard.ZstdCompressor()
    path.write_bytes(
        {
            "no end": content[: last.start],
            "short end": content[: last.start] + packer.compress(bytes(1024)),
            "more": content + packer.compress(member("more", b"").ljust(10_240, b"\0")),
            "cut": content[: last.start - 5],
        }[end]
    )
    said = verify_dataset(tmp_path)
    expected = {
        "no end": ["cut short: the end of the tar is missing"],
        "short end": ["the tar does not end with a whole record of 10240 bytes"],
        "more": ["more after the end of the tar", "the tar does not end with a whole record"],
        "cut": [rf"damaged in {S1}/.* or just after it \(", "cut short", f"unreadable.*{dataset.names(S1)[-1]}"],
    }[end]
    assert all(re.match(f"{S1}.tar.zst: {what}", line) for what, line in zip(expected, said, strict=True)), said


def test_missing_files_are_findings(dataset: Dataset, tmp_path: Path) -> None:
    assert verify_dataset(tmp_path / "none") == ["no such folder"]
    archives = [f"{name}.tar.zst" for name in HASH_LISTS]
    assert verify_dataset(tmp_path) == [f"{name}: missing" for name in (METADATA, FLAGGED, *archives)]
    dataset.write(tmp_path)
    (tmp_path / f"{S2}.tar.zst").unlink()
    assert verify_dataset(tmp_path) == [f"{S2}.tar.zst: missing"]


@pytest.mark.parametrize("name", [METADATA, FLAGGED])
@pytest.mark.parametrize("content", [None, b"nonsense", b""])
def test_a_table_that_is_lost_is_said_once_and_not_by_every_member(
    dataset: Dataset, tmp_path: Path, name: str, content: bytes | None
) -> None:
    path = dataset.write(tmp_path) / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    verdict = verify.verify_dataset(tmp_path, labels_of)
    (said,) = verdict.wrong
    assert said.startswith(f"{name}: {'missing' if content is None else 'cannot be read ('}")
    assert "surplus members: there are rows that are missing or cannot be used" in verdict.not_looked_at


@given(st.lists(st.integers(0, 9), unique=True, max_size=8))
def test_out_of_order_are_the_fewest_that_must_go(positions: list[int]) -> None:
    found = out_of_order(np.array(positions, dtype="int64")).tolist()
    rest = [value for index, value in enumerate(positions) if index not in found]
    assert rest == sorted(rest)
    longest = max(
        size for size in range(len(positions) + 1) if any(list(c) == sorted(c) for c in combinations(positions, size))
    )
    assert len(rest) == longest
