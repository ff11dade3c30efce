"""Tar headers: read back as written, by our own reader and by Python's tarfile. GNU tar: tests/integration."""

from __future__ import annotations

import io
import tarfile
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ben_luigi.domain.errors import BadArchive
from ben_luigi.domain.formats import tarball

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1)
SIZES = st.integers(0, 2_000)


def member(name: str, data: bytes) -> bytes:
    return tarball.header(name, len(data)) + data + tarball.padding(len(data))


@given(st.lists(st.tuples(NAMES, SIZES), max_size=8), st.integers(0, 300))
def test_tarfile_reads_what_is_written(files: list[tuple[str, int]], more: int) -> None:
    files = [(name + "n" * more, size) for name, size in files]
    body = b"".join(member(name, b"x" * size) for name, size in files)
    tar = body + tarball.end(len(body))
    assert len(tar) % 10_240 == 0
    with tarfile.open(fileobj=io.BytesIO(tar), mode="r:", encoding="utf-8") as archive:
        infos = archive.getmembers()
        assert [(info.name, info.size) for info in infos] == [(name.rstrip("/"), size) for name, size in files]
        assert all(info.isreg() and info.mode == 0o644 and info.mtime == 1_704_067_200 for info in infos)
        assert all(info.uid == info.gid == 0 and info.uname == info.gname == "" for info in infos)


@given(NAMES, SIZES, st.integers(0, 300), st.integers(0, 3))
def test_entry_reads_what_header_writes(name: str, size: int, more: int, at: int) -> None:
    buffer = bytes(at) + member(name + "n" * more, b"x" * size)
    entry = tarball.entry(buffer, at)
    assert entry is not None
    assert (entry.name, entry.size, entry.exact) == (name + "n" * more, size, True)
    assert buffer[entry.data : entry.data + size] == b"x" * size
    assert entry.stop == len(buffer)
    assert tarball.entry(buffer[: entry.data - 1], at) is None


def _walked(tar: bytes) -> list[tarball.Entry]:
    with tempfile.TemporaryFile() as file:
        file.write(tar)
        file.flush()
        return list(tarball.walk(file))


@given(st.lists(st.tuples(NAMES, SIZES), max_size=5), st.sampled_from([0, 150]), st.data())
def test_a_walk_finds_the_data_where_tarfile_does_and_refuses_what_is_not_all_of_it(
    files: list[tuple[str, int]], more: int, data: st.DataObject
) -> None:
    """Cut anywhere, or with another byte anywhere but in the data of its members, a tar is not one of ours."""
    body = b"".join(member(name + "n" * more, b"x" * size) for name, size in files)
    tar = body + tarball.end(len(body))
    with tarfile.open(fileobj=io.BytesIO(tar), mode="r:", encoding="utf-8") as archive:
        expected = [(info.name, info.offset_data, info.size) for info in archive]
    found = _walked(tar)
    assert [(entry.name.rstrip("/"), entry.data, entry.size) for entry in found] == expected
    with pytest.raises(BadArchive):
        _walked(tar[: data.draw(st.integers(0, len(tar) - 1))])
    free = [at for at in range(len(tar)) if not any(of <= at < of + size for _, of, size in expected)]
    damaged = bytearray(tar)
    damaged[data.draw(st.sampled_from(free))] ^= data.draw(st.integers(1, 255))
    try:
        other = _walked(bytes(damaged))
    except BadArchive:
        return
    # Of a long name the header repeats the first 100 bytes alone: one after them makes another name.
    assert more and [entry.name for entry in other] != [entry.name for entry in found]


@given(st.integers(0, 135), st.integers(1, 255))
def test_a_changed_byte_of_a_header_does_not_pass(at: int, change: int) -> None:
    damaged = bytearray(member("a" * 120, b"data"))
    at += 1024 if at >= 100 else 512  # the name block, and all fields of the header before its checksum
    damaged[at] ^= change
    try:
        entry = tarball.entry(damaged)
    except BadArchive:
        return
    assert entry is not None
    assert not entry.exact or entry.name != "a" * 120


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("name", ["n", "f" * 90 + "/" + "n" * 90])
def test_other_tars_are_read_but_not_exact(form: int, name: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        info = tarfile.TarInfo(name)
        info.size, info.mtime = 3, 1
        archive.addfile(info, io.BytesIO(b"abc"))
    entry = tarball.entry(buffer.getvalue())
    assert entry is not None
    assert (entry.name, entry.size, entry.exact) == (name, 3, False)


def test_pax_records_count_for_the_member_after_them_as_python_reads_them() -> None:
    buffer = io.BytesIO()
    with tarfile.open(
        fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "of all"}
    ) as archive:
        for name, more in ("ä" * 80, {"SCHILY.xattr.user": "line\n" * 9}), ("b", {}), ("c" * 300, {"mtime": "1.5"}):
            info = tarfile.TarInfo(name)
            info.pax_headers = more
            archive.addfile(info)
    at, found = 0, []
    while any(buffer.getvalue()[at : at + 512]):
        entry = tarball.entry(buffer.getvalue(), at)
        assert entry is not None
        assert tarball.entry(buffer.getvalue()[: entry.data - 1], at) is None
        at = entry.stop
        found.append(entry.name)
    assert found == ["ä" * 80, "b", "c" * 300]


def pax(records: bytes, size: int | None = None) -> bytes:
    """A header with these records, and a member after it."""
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, len(records) if size is None else size
    return info.tobuf(tarfile.USTAR_FORMAT) + records + tarball.padding(len(records)) + member("n", b"data")


NO_PAX = [pax(records) for records in (b"path=a\n", b"0 path=a\n", b"99 path=a\n", b"9 size=-9\n", b"x" * 512)]
NO_PAX.append(pax(b"", 2**21))


@pytest.mark.parametrize("nonsense", NO_PAX)
def test_pax_records_that_are_none_are_an_error(nonsense: bytes) -> None:
    with pytest.raises(BadArchive):
        tarball.entry(nonsense)


@pytest.mark.parametrize("nonsense", [bytes(512), b"\xff" * 512, b"0" * 1024, tarball.header("n" * 5000, 3)])
def test_what_is_no_header_is_an_error(nonsense: bytes) -> None:
    with pytest.raises(BadArchive, match="the header of a member at byte 0"):
        tarball.entry(nonsense)


@given(st.integers(0, 100).map(lambda blocks: 512 * blocks))
def test_the_end_fills_a_record(size: int) -> None:
    closing = tarball.end(size)
    assert 1024 <= len(closing) < 1024 + 10_240
    assert (size + len(closing)) % 10_240 == 0
    assert not any(closing)


def test_a_size_beyond_the_field_is_an_error() -> None:
    assert tarball.header("n", 8**11 - 1)
    with pytest.raises(BadArchive, match="less than 8 GiB"):
        tarball.header("n", 8**11)
