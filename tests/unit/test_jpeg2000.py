"""Whether truncated files are told from whole ones."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ben_luigi.domain.products.jpeg2000 import check_whole
from tests.unit.products import SmallProduct, jpeg2000, noise

WHOLE = jpeg2000(noise("B05"), SmallProduct().square, 20)
CODESTREAM = WHOLE.index(b"jp2c") + 4


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jpeg2000") / "band.jp2"


def test_whole_file(file: Path) -> None:
    file.write_bytes(WHOLE)
    check_whole(file)
    file.write_bytes(WHOLE + struct.pack(">I4s", 12, b"free") + b"more")
    check_whole(file)


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(0, len(WHOLE) - 1))
@example(cut=len(WHOLE) - 1)
@example(cut=len(WHOLE) - 2)
@example(cut=CODESTREAM)
@example(cut=0)
def test_truncated_anywhere(file: Path, cut: int) -> None:
    file.write_bytes(WHOLE[:cut])
    with pytest.raises(ValueError, match=r"middle of the image|no end|no JPEG 2000"):
        check_whole(file)


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(0, len(WHOLE) - 1))
def test_filled_up_with_zeros(file: Path, cut: int) -> None:
    """As a download that was broken off leaves a file whose size was set beforehand."""
    file.write_bytes(WHOLE[:cut].ljust(len(WHOLE), b"\0"))
    with pytest.raises(ValueError, match=r"."):
        check_whole(file)


@pytest.mark.parametrize(
    "header",
    [struct.pack(">I", 0) + b"jp2c", struct.pack(">I4sQ", 1, b"jp2c", len(WHOLE) - CODESTREAM + 16)],
    ids=["up to the end", "64 bits"],
)
def test_other_spellings_of_the_length(file: Path, header: bytes) -> None:
    file.write_bytes(WHOLE[: CODESTREAM - 8] + header + WHOLE[CODESTREAM:])
    check_whole(file)
    file.write_bytes(WHOLE[: CODESTREAM - 8] + header + WHOLE[CODESTREAM:-1])
    with pytest.raises(ValueError, match=r"no end|middle"):
        check_whole(file)


def test_an_end_marker_behind_its_box_does_not_count(file: Path) -> None:
    """The box of the codestream says that it is shorter by the two bytes of the marker."""
    header = struct.pack(">I4s", len(WHOLE) - CODESTREAM + 8 - 2, b"jp2c")
    file.write_bytes(WHOLE[: CODESTREAM - 8] + header + WHOLE[CODESTREAM:])
    with pytest.raises(ValueError, match="no end of the image"):
        check_whole(file)


def test_last_tile_part_up_to_the_end(file: Path) -> None:
    last = WHOLE.rindex(b"\xff\x90\x00\x0a")
    file.write_bytes(WHOLE[: last + 6] + bytes(4) + WHOLE[last + 10 :])
    check_whole(file)
    file.write_bytes(WHOLE[: last + 6] + bytes(4) + WHOLE[last + 10 : -100])
    with pytest.raises(ValueError, match=r"no end|middle"):
        check_whole(file)


def test_something_else(file: Path) -> None:
    file.write_bytes(b"<html>503</html>" * 100)
    with pytest.raises(ValueError, match=r"no JPEG 2000"):
        check_whole(file)
