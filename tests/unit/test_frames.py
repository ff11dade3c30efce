"""Frames are found without decompressing, and found again behind a damage."""

from __future__ import annotations

import hashlib
import io
import itertools
import struct

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ben_luigi.domain.formats import frames

CONTENTS = [b"", b"a", bytes(range(256)) * 3000, b"\0" * 400_000]
SKIPPABLE = struct.pack("<II", 0x184D2A53, 5) + b"12345"


def packed(content: bytes, **options: bool) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(content)  # type: ignore[arg-type]


def unpacked(data: bytes) -> list[bytes]:
    file = io.BytesIO(data)
    return [b"".join(frames.unpack(file, frame)) for frame in frames.find(file)]


@given(st.lists(st.tuples(st.sampled_from(CONTENTS), st.booleans(), st.booleans(), st.booleans()), max_size=6))
def test_frames_of_all_kinds_are_found(chosen: list[tuple[bytes, bool, bool, bool]]) -> None:
    data = b"".join(
        SKIPPABLE * skippable + packed(content, write_checksum=checksum, write_content_size=size)
        for content, checksum, size, skippable in chosen
    )
    assert unpacked(data) == [content for content, *_ in chosen]
    assert all(frame.whole for frame in frames.find(io.BytesIO(data)))


def test_chunks_are_no_longer_than_asked_and_the_packed_bytes_are_seen() -> None:
    data, seen = packed(CONTENTS[3], write_checksum=True), bytearray()
    file = io.BytesIO(data)
    (frame,) = frames.find(file)
    chunks = list(frames.unpack(file, frame, seen.extend, chunk_bytes=1000))
    assert max(map(len, chunks)) == 1000
    assert b"".join(chunks) == CONTENTS[3]
    assert seen == data


@given(number=st.integers(1, 3), chunk_bytes=st.integers(100, 900_000))
def test_all_content_comes_before_a_wrong_checksum(number: int, chunk_bytes: int) -> None:
    content = CONTENTS[number]
    data = packed(content, write_checksum=True)
    file = io.BytesIO(data[:-1] + bytes([data[-1] ^ 1]))
    (frame,) = frames.find(file)
    found = bytearray()
    with pytest.raises(zstandard.ZstdError, match="checksum"):
        for chunk in frames.unpack(file, frame, chunk_bytes=chunk_bytes):
            found += chunk
    assert hashlib.sha256(found).digest() == hashlib.sha256(content).digest()


@given(st.data(), st.integers(1, 255))
def test_a_damage_hides_no_later_frame(data: st.DataObject, mask: int) -> None:
    good = [packed(content, write_checksum=True) for content in CONTENTS[1:]]
    at = data.draw(st.integers(0, len(good[0]) + len(good[1]) - 1))
    damaged = bytearray(b"".join(good))
    damaged[at] ^= mask
    found = list(frames.find(io.BytesIO(damaged)))
    last = len(damaged) - len(good[2])
    assert found[-1] == frames.Frame(last, len(damaged), len(CONTENTS[3]), whole=True)
    assert found[0].start == 0
    assert all(before.stop == after.start for before, after in itertools.pairwise(found))


@pytest.mark.parametrize("nonsense", [b"x", b"nothing of zstd" * 100_000, zstandard.FRAME_HEADER, SKIPPABLE[:-1]])
def test_what_is_no_frame_is_one_that_is_not_whole(nonsense: bytes) -> None:
    assert list(frames.find(io.BytesIO(nonsense))) == [frames.Frame(0, len(nonsense), None, whole=False)]
    with pytest.raises(zstandard.ZstdError):
        unpacked(nonsense)
