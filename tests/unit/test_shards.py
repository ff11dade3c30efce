"""Shards: what is added comes back, by index, by tarfile and unpacked; what cannot be right is refused."""

from __future__ import annotations

import hashlib
import tarfile
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ben_luigi.domain.errors import BadArchive
from ben_luigi.domain.formats import shards, tarball

TILE = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
PATCHES = [f"{TILE}_{x:02d}_{y:02d}" for x in (7, 26) for y in (0, 1, 57)]
BANDS = ("B01", "B02", "B8A")


def files(patches: list[str] = PATCHES) -> list[tuple[str, str, bytes]]:
    """(patch id, member name, data); lengths around a block."""
    return [
        (patch, f"BigEarthNet-S2/{TILE}/{patch}/{patch}_{band}.tif", f"{patch}{band}".encode() * (5 + 3 * number))
        for patch in patches
        for number, band in enumerate(BANDS)
    ]


def write(folder: Path, patches: list[str] = PATCHES) -> tuple[Path, Path]:
    shard, index = folder / "33UUP_20170613.tar", folder / "33UUP_20170613.parquet"
    with shards.writing(shard, index) as writer:
        for patch, member, data in files(patches):
            writer.add(patch, member, data)
    return shard, index


def test_the_shard_holds_what_was_added(tmp_path: Path) -> None:
    shard, index = write(tmp_path)
    with tarfile.open(shard) as archive:
        found = [(info.name, archive.extractfile(info).read()) for info in archive]  # type: ignore[union-attr]
    assert found == [(member, data) for _, member, data in files()]
    table = shards.read_index(index)
    content = shard.read_bytes()
    assert table["patch_id"].to_pylist() == [patch for patch, _, _ in files()]
    for row, (_, member, data) in zip(table.to_pylist(), files(), strict=True):
        block = content[row["offset"] : row["offset"] + row["size"]]
        assert block == tarball.header(member, len(data)) + data + tarball.padding(len(data))
    expected = [(Path(member).stem, hashlib.sha256(data).hexdigest()) for _, member, data in files()]
    assert list(shards.hash_rows(table)) == expected


def test_ready_made_members_give_the_same_bytes(tmp_path: Path) -> None:
    one = write(tmp_path / "one")
    other = tmp_path / "other" / one[0].name, tmp_path / "other" / one[1].name
    blocks = [tarball.header(member, len(data)) + data + tarball.padding(len(data)) for _, member, data in files()]
    with shards.writing(*other) as writer:
        for part in (slice(0, 6), slice(6, 6), slice(6, None)):
            writer.append(
                memoryview(b"".join(blocks[part])),
                [patch for patch, _, _ in files()[part]],
                [Path(member).stem for _, member, _ in files()[part]],
                [len(block) for block in blocks[part]],
                [hashlib.sha256(data).hexdigest() for _, _, data in files()[part]],
            )
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


@given(st.sets(st.sampled_from(PATCHES)))
def test_ranges_are_the_unbroken_runs_of_kept_members(kept: set[str]) -> None:
    rows, at = [], 0
    for patch, member, data in files():
        size = len(tarball.header(member, len(data)) + data + tarball.padding(len(data)))
        rows.append((patch, at, size))
        at += size
    table = shards.SCHEMA.empty_table().from_pylist(
        [{"patch_id": p, "name": "", "offset": o, "size": s, "sha256": "", "crc32": 0} for p, o, s in rows],
        schema=shards.SCHEMA,
    )
    runs = shards.runs(shards.kept_rows(table, kept))
    covered = {byte for offset, size in runs for byte in range(offset, offset + size)}
    assert covered == {byte for patch, o, s in rows if patch in kept for byte in range(o, o + s)}
    assert all(before[0] + before[1] < after[0] for before, after in pairwise(runs))


def test_a_kept_patch_that_the_shard_lacks_is_named(tmp_path: Path) -> None:
    _, index = write(tmp_path, PATCHES[1:])
    with pytest.raises(BadArchive, match=f"33UUP_20170613.tar.*lacks {PATCHES[0]}"):
        shards.kept_rows(shards.read_index(index), PATCHES)


def test_an_empty_shard_is_a_shard(tmp_path: Path) -> None:
    shard, index = write(tmp_path, [])
    assert shard.read_bytes() == bytes(10_240)
    table = shards.read_index(index)
    assert table.num_rows == 0
    assert shards.runs(shards.kept_rows(table, set())) == []
    assert shards.export(shard, index, tmp_path / "out") == 0


def test_members_out_of_order_or_unlike_their_rows_are_refused(tmp_path: Path) -> None:
    block = tarball.header(files()[0][1], 512) + bytes(512)
    stem = f"{PATCHES[0]}_B01"
    wrong = [
        ([PATCHES[0]], [f"{PATCHES[0]}_B02"], [len(block)], ["0"]),
        ([PATCHES[1]], [stem], [len(block)], ["0"]),
        ([PATCHES[0]], [stem], [len(block) - 1], ["0"]),
        ([PATCHES[0]], [stem], [len(block)], []),
        ([PATCHES[0]] * 2, [stem] * 2, [len(block), 0], ["0"] * 2),
    ]
    for arguments in wrong:
        with pytest.raises(BadArchive), shards.writing(tmp_path / "a.tar", tmp_path / "a.parquet") as writer:
            writer.append(block, *arguments)
    with (
        pytest.raises(BadArchive, match="in byte order"),
        shards.writing(tmp_path / "a.tar", tmp_path / "a.parquet") as writer,
    ):
        for patch, member, data in reversed(files()):
            writer.add(patch, member, data)
    assert list(tmp_path.iterdir()) == []


def test_nothing_appears_when_writing_fails(tmp_path: Path) -> None:
    shard, index = tmp_path / "a.tar", tmp_path / "a.parquet"
    with pytest.raises(RuntimeError), shards.writing(shard, index) as writer:
        writer.add(*files()[0])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["no index", "no shard", "cut shard", "cut index", "index of another"])
def test_a_shard_that_does_not_fit_its_index_is_refused(tmp_path: Path, damage: str) -> None:
    shard, index = write(tmp_path)
    match damage:
        case "no index":
            index.unlink()
        case "no shard":
            shard.unlink()
        case "cut shard":
            shard.write_bytes(shard.read_bytes()[:-512])
        case "cut index":
            index.write_bytes(index.read_bytes()[:-100])
        case _:
            pq.write_table(pq.read_table(index).replace_schema_metadata({"bytes": str(shard.stat().st_size)}), index)
    with pytest.raises(BadArchive, match=r"33UUP_20170613\.(tar|parquet).*next: .*remove the file and run again"):
        shards.read_index(index)


def test_export_unpacks_all_or_some_and_replaces(tmp_path: Path) -> None:
    shard, index = write(tmp_path)
    out = tmp_path / "out"
    stale = out / "BigEarthNet-S2" / TILE / PATCHES[0] / "old.tif"
    stale.parent.mkdir(parents=True)
    stale.touch()
    assert shards.export(shard, index, out, PATCHES[:2]) == 2
    assert {path.name for path in (out / "BigEarthNet-S2" / TILE).iterdir()} == set(PATCHES[:2])
    assert shards.export(shard, index, out) == len(PATCHES)
    unpacked = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert unpacked == {member: data for _, member, data in files()}


def test_export_does_not_unpack_damaged_bytes(tmp_path: Path) -> None:
    shard, index = write(tmp_path)
    content = bytearray(shard.read_bytes())
    row = shards.read_index(index).to_pylist()[4]
    content[row["offset"] + row["size"] - 512] ^= 1
    shard.write_bytes(content)
    with pytest.raises(BadArchive, match=row["sha256"]):
        shards.export(shard, index, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out" / "BigEarthNet-S2" / TILE).iterdir()} == {PATCHES[0]}
