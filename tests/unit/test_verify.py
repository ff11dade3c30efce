"""A whole dataset has no findings; every kind of damage is found, by name, and alone."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from ben_luigi.domain.dataset import verify
from ben_luigi.domain.dataset.metadata import FLAGGED, METADATA, SCHEMA
from ben_luigi.domain.dataset.verify import HASH_LISTS, out_of_order, verify_dataset
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.formats import frames, geotiff, tarball
from ben_luigi.domain.formats.hashes import write_list
from ben_luigi.domain.names import s1_tile
from ben_luigi.domain.placement.grid import Square
from ben_luigi.domain.products.product import RESOLUTION_M

TILES = {"S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP": 32633, "S2B_MSIL2A_20180204T094159_N9999_R022_T34TEN": 32634}
S2, MAPS, S1 = "BigEarthNet-S2", "Reference_Maps", "BigEarthNet-S1"
CODES = {"Arable land": 211, "Pastures": 231}
Files = dict[str, bytes]


def labels_of(codes: np.ndarray) -> list[str]:
    if not set(codes.flat) <= {*CODES.values(), 999}:
        raise BadInput("codes", found="no code of CLC")
    return [label for label, code in CODES.items() if code in codes]


def corner(patch: str) -> tuple[float, float]:
    x, y = patch.split("_")[-2:]
    return 300_000 + 1200.0 * int(x), 5_000_040 - 1200.0 * int(y)


def s2_files(tile: str, patch: str) -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(sum(corner(patch)).__trunc__())
    for band, pixel_m in RESOLUTION_M.items():
        kind = geotiff.template(1200 // pixel_m, pixel_m, TILES[tile])
        place = slice(kind.tie_point_at, kind.tie_point_at + 16)
        header = bytearray(kind.header)
        header[place] = np.array(corner(patch), "<f8").tobytes()
        pixels = rng.integers(1, 65_536, kind.side_px**2).astype("<u2").tobytes()
        yield f"{S2}/{tile}/{patch}/{patch}_{band}.tif", bytes(header) + pixels


def map_file(tile: str, patch: str, *values: int) -> tuple[str, bytes]:
    codes = np.full((120, 120), 999, "uint16")
    codes[0, : len(values)] = values
    return (
        f"{MAPS}/{tile}/{patch}/{patch}_reference_map.tif",
        geotiff.template(120, 10, TILES[tile], packed=True).pack(codes, *corner(patch)),
    )


def s1_tiff(square: Square) -> bytes:
    with MemoryFile() as file:
        with file.open(
            driver="GTiff",
            width=120,
            height=120,
            count=1,
            dtype="float32",
            crs=f"EPSG:{square.epsg}",
            transform=from_origin(square.left, square.top, 10, 10),
        ) as raster:
            raster.write(np.full((1, 120, 120), -12.5, dtype="float32"))
        return bytes(file.read())


class Dataset:
    """The files of each archive by part, and the rows of the metadata: three patches a tile."""

    def __init__(self) -> None:
        self.parts: dict[str, list[Files]] = {S2: [], MAPS: [], S1: []}
        self.rows: list[dict[str, object]] = []
        for tile, epsg in TILES.items():
            patches = [f"{tile}_00_{y:02d}" for y in (1, 4, 45)]
            names = {patch: f"S1A_IW_GRDH_1SDV_20170613T165043_{tile[-5:]}_0_{int(patch[-2:])}" for patch in patches}
            self.parts[S2].append(dict(file for patch in patches for file in s2_files(tile, patch)))
            self.parts[MAPS].append(dict(map_file(tile, patch, 211, 231) for patch in patches))
            self.parts[S1].append(
                {
                    f"{S1}/{s1_tile(name)}/{name}/{name}_{band}.tif": s1_tiff(Square(*corner(patch), 1200, epsg))
                    for patch, name in sorted(names.items(), key=lambda item: item[1] + "/")
                    for band in ("VH", "VV")
                }
            )
            self.rows += [
                {
                    "patch_id": patch,
                    "labels": list(CODES),
                    "split": "train",
                    "country": "Austria",
                    "s1_name": name,
                    "s2v1_name": f"v1 of {patch}",
                    "contains_seasonal_snow": patch.endswith("_45"),
                    "contains_cloud_or_shadow": False,
                }
                for patch, name in names.items()
            ]

    def write(self, folder: Path) -> Path:
        folder.mkdir(exist_ok=True)
        for archive, parts in self.parts.items():
            blocks = [b"".join(member(name, data) for name, data in files.items()) for files in parts]
            blocks.append(tarball.end(sum(map(len, blocks))))
            packer = zstandard.ZstdCompressor(level=1, write_checksum=True)
            (folder / f"{archive}.tar.zst").write_bytes(b"".join(packer.compress(block) for block in blocks))
        for file, flagged in ((METADATA, False), (FLAGGED, True)):
            rows = [row for row in self.rows if row["contains_seasonal_snow"] is flagged]
            pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), folder / file)
        return folder

    def rename(self, archive: str, change: Callable[[str], str], name: str) -> None:
        """Rename a member where it stands."""
        self.parts[archive] = [
            {change(key) if key == name else key: data for key, data in files.items()} for files in self.parts[archive]
        ]

    def names(self, archive: str) -> list[str]:
        return [name for files in self.parts[archive] for name in files]

    def replace(self, name: str, data: bytes) -> None:
        (files,) = (files for parts in self.parts.values() for files in parts if name in files)
        files[name] = data


def member(name: str, data: bytes) -> bytes:
    return tarball.header(name, len(data)) + data + tarball.padding(len(data))


@pytest.fixture
def dataset() -> Dataset:
    return Dataset()


def findings(dataset: Dataset, folder: Path) -> list[str]:
    return verify_dataset(dataset.write(folder), labels_of)


def test_a_whole_dataset_has_no_findings(dataset: Dataset, tmp_path: Path) -> None:
    assert findings(dataset, tmp_path) == []


def test_it_tells_how_far_it_is(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "_TELL_EVERY", 10)
    told: list[float] = []
    verify_dataset(dataset.write(tmp_path), labels_of, told.append)
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
    said = "\n".join(verify_dataset(tmp_path, labels_of))
    assert f"{S2}.tar.zst: missing: {lost}\n" in said
    assert f"{S2}.tar.zst: surplus: {surplus}\n" in said
    assert f"{S2}.tar.zst: misplaced: {misplaced} (belongs at {moved})\n" in said
    maps = dataset.names(MAPS)
    assert f"{MAPS}.tar.zst: wrong checksum, so one of these 3 is damaged: {maps[0]} to {maps[2]}" in said


def write_lists(dataset: Dataset, folder: Path) -> None:
    for archive, file in HASH_LISTS.items():
        found = {name: data for files in dataset.parts[archive] for name, data in files.items()}
        rows = {Path(name).stem: hashlib.sha256(data).hexdigest() for name, data in found.items()}
        write_list(sorted({**rows, "zzz_more_than_the_archive_B01": "0" * 64}.items()), folder / file)


@pytest.mark.parametrize("archive", [S2, MAPS, S1])
def test_where_the_hash_lists_lie_a_flipped_byte_is_named_to_the_file(
    dataset: Dataset, tmp_path: Path, archive: str
) -> None:
    """One whose content no other check looks at: before compression, and in the compressed file."""
    dataset.write(tmp_path)
    write_lists(dataset, tmp_path)
    assert verify_dataset(tmp_path, labels_of) == []
    name = dataset.names(archive)[1]
    before = next(files[name] for files in dataset.parts[archive] if name in files)
    flipped = bytearray(before)
    flipped[-1] ^= 64
    dataset.replace(name, bytes(flipped))
    expected = f"{archive}.tar.zst: with another sha256 than in {HASH_LISTS[archive]}: {name}"
    assert expected in findings(dataset, tmp_path)
    dataset.replace(name, before)
    flip_content(dataset.write(tmp_path) / f"{archive}.tar.zst", name, before)
    said = verify_dataset(tmp_path, labels_of)
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
    write_lists(dataset, tmp_path)
    name = dataset.names(S2)[5]
    path = tmp_path / HASH_LISTS[S2]
    path.write_text("".join(line for line in path.open() if Path(name).stem not in line))
    assert verify_dataset(tmp_path, labels_of) == [f"{S2}.tar.zst: without a hash in {path.name}: {name}"]
    path.write_text("name,hash-sha256\na,b,c\n")
    (said,) = verify_dataset(tmp_path, labels_of)
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
        said = verify_dataset(whole, labels_of)
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
    return f"{MAPS}.tar.zst: not on the square of its S2 patch: {name}"


def s1_elsewhere(dataset: Dataset) -> str:
    name = first(dataset, S1, 3)
    dataset.replace(name, s1_tiff(Square(0, 0, 1200, 32633)))
    return f"{S1}.tar.zst: not on the square of its S2 patch: {name}"


def s1_other_crs(dataset: Dataset) -> str:
    name = first(dataset, S1)
    dataset.replace(name, s1_tiff(Square(300_000, 4_998_840, 1200, 32634)))
    return (
        f"{S1}.tar.zst: a TIFF of 120 x 120 px of 10 m, float32, no-data None, EPSG:32634 "
        f"instead of 120 x 120 px of 10 m, float32, no-data None, EPSG:32633: {name}"
    )


def band_elsewhere(dataset: Dataset) -> str:
    name, other = first(dataset, S2, 4), first(dataset, S2, 16)
    (files,) = (files for files in dataset.parts[S2] if other in files)
    dataset.replace(name, files[other])
    return f"{S2}.tar.zst: not on the square of the patch's other bands: {name}"


def no_data(dataset: Dataset) -> str:
    name = first(dataset, S2)
    dataset.replace(name, dataset.parts[S2][0][name][:-2] + bytes(2))
    return f"{S2}.tar.zst: with no-data pixels: {name}"


def longer(dataset: Dataset) -> str:
    name = first(dataset, S2)
    dataset.replace(name, dataset.parts[S2][0][name] + b"more")
    return f"{S2}.tar.zst: of 1176 bytes instead of 1172: {name}"


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
    dataset.rows.append(dataset.rows[0])
    return f"metadata: patch_id in more than one row: {dataset.rows[0]['patch_id']}"


def wrong_file(dataset: Dataset) -> str:
    dataset.rows[0]["contains_cloud_or_shadow"] = True
    return f"{METADATA}: in the wrong file, by their flags: {dataset.rows[0]['patch_id']}"


def no_name(dataset: Dataset) -> str:
    dataset.rows[0]["s1_name"] = "nothing"
    return "metadata: S1 patch name 'nothing'"


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
    assert len(said) == {"no_row": 3, "other_resolution": 2, "in_two_rows": 2}.get(damage.__name__, 1)


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
    assert verify_dataset(tmp_path, labels_of) == [
        f"{S1}.tar.zst: with another header than GNU tar's: {names[1]}",
        f"{S1}.tar.zst: twice: {names[0]}",
    ]


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
    said = verify_dataset(tmp_path, labels_of)
    expected = {
        "no end": ["cut short: the end of the tar is missing"],
        "short end": ["the tar does not end with a whole record of 10240 bytes"],
        "more": ["more after the end of the tar", "the tar does not end with a whole record"],
        "cut": [rf"damaged in {S1}/.* or just after it \(", "cut short", f"unreadable.*{dataset.names(S1)[-1]}"],
    }[end]
    assert all(re.match(f"{S1}.tar.zst: {what}", line) for what, line in zip(expected, said, strict=True)), said


def test_missing_files_are_findings(dataset: Dataset, tmp_path: Path) -> None:
    assert verify_dataset(tmp_path, labels_of) == [f"{METADATA}: missing", f"{FLAGGED}: missing"]
    dataset.write(tmp_path)
    (tmp_path / f"{S2}.tar.zst").unlink()
    assert verify_dataset(tmp_path, labels_of) == [f"{S2}.tar.zst: missing"]
    (tmp_path / METADATA).write_bytes(b"nonsense")
    assert any(line.startswith(f"{METADATA}: cannot be read (") for line in verify_dataset(tmp_path, labels_of))


@given(st.lists(st.integers(0, 9), unique=True, max_size=8))
def test_out_of_order_are_the_fewest_that_must_go(positions: list[int]) -> None:
    found = out_of_order(np.array(positions, dtype="int64")).tolist()
    rest = [value for index, value in enumerate(positions) if index not in found]
    assert rest == sorted(rest)
    longest = max(
        size for size in range(len(positions) + 1) if any(list(c) == sorted(c) for c in combinations(positions, size))
    )
    assert len(rest) == longest
