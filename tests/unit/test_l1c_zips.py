"""Zips of L1C products: digests taken in passing, members that lead elsewhere, and mangled ones."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings

from ben_luigi.domain.errors import BadProduct
from ben_luigi.domain.products import l1c
from ben_luigi.domain.products.l1c_container import MemberDigests, opened
from tests.unit.l1c_products import BAND, NAME, OTHER, digests_of, make_safe, zipped
from tests.unit.mangling import MANGLINGS, mangled


@pytest.mark.parametrize("step", [1, 7, 30, 1000, 10**6])
def test_digests_taken_in_passing_are_those_of_the_members(step: int, product: Path) -> None:
    """Whatever the pieces; checked against the zip module, and verified without reading the members again."""
    taken = digests_of(product, step).taken
    with zipfile.ZipFile(product) as archive:
        files = [info for info in archive.infolist() if not info.is_dir()]
        expected = {(info.CRC, hashlib.md5(archive.read(info)).hexdigest()) for info in files}
    assert set(taken.values()) == expected
    with opened(product, taken) as container:
        assert set(container._md5) == set(container.files)
    assert l1c.verify(product, NAME, taken) == l1c.verify(product, NAME)


def test_digests_are_left_out_where_the_zip_cannot_be_followed(safe: Path, tmp_path: Path) -> None:
    """Compressed members, and those of a zip that was made while it was sent, whose lengths come after the data."""
    assert not digests_of(zipped(safe, tmp_path / "deflated.zip", zipfile.ZIP_DEFLATED), 1000).taken

    class Pipe:
        def __init__(self) -> None:
            self.content = bytearray()

        def write(self, data: bytes) -> int:
            self.content += data
            return len(data)

        def flush(self) -> None:
            pass

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as archive:  # type: ignore[call-overload]
        for path in safe.rglob("*"):
            archive.write(path, path.relative_to(safe.parent))
    (tmp_path / "streamed.zip").write_bytes(pipe.content)
    taken = digests_of(tmp_path / "streamed.zip", 1000).taken
    assert l1c.verify(tmp_path / "streamed.zip", NAME, taken).members == 16


def test_false_digests_prove_nothing(product: Path) -> None:
    """Digests whose CRC does not fit are not believed, and the member is read."""
    taken = {place: (crc ^ 1, "0" * 32) for place, (crc, _) in digests_of(product, 1000).taken.items()}
    assert l1c.verify(product, NAME, taken).members == 16


def test_a_flipped_bit_is_found_by_the_crc_where_the_manifest_is_silent(safe: Path, tmp_path: Path) -> None:
    (safe / "preview.html").write_text("a preview without a checksum")
    path = zipped(safe, tmp_path / "t.zip")
    path.write_bytes(path.read_bytes().replace(b"a preview without", b"a preview Without"))
    assert l1c.inspect(path).damaged == ("preview.html",)


def test_what_follows_a_zip_is_not_passed_over(product: Path, tmp_path: Path) -> None:
    """Python's zip module would; a comment is part of the zip."""
    content = product.read_bytes()
    product.write_bytes(content + b"<!-- served in 0.3 s -->")
    for action in (lambda: l1c.verify(product, NAME), lambda: l1c.unpack(product, tmp_path / "out")):
        with pytest.raises(BadProduct, match="nothing after the end of the zip"):
            action()
    product.write_bytes(content[:-2] + b"\x03\x00why")
    assert l1c.verify(product, NAME).members == 16


@pytest.mark.parametrize("field", ["name in the header", "packed length in the directory"])
def test_digests_taken_in_passing_do_not_hide_a_member_that_cannot_be_unpacked(field: str, product: Path) -> None:
    """Its bytes are right, and so is its CRC; but the two places that describe it contradict each other."""
    content, name = bytearray(product.read_bytes()), f"{NAME}/{BAND.format('B04')}".encode()
    if field == "name in the header":
        content[content.index(name)] ^= 1
    else:
        content[content.rindex(name) - 46 + 20] ^= 8  # fewer
    product.write_bytes(content)
    with pytest.raises(BadProduct, match=r"damaged .*B04\.jp2"):
        l1c.verify(product, NAME, digests_of(product, 1000).taken)


def info(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    """A member's head."""
    head = zipfile.ZipInfo(name)
    head.external_attr = mode << 16
    return head


HOSTILE = {
    "absolute": info("/escaped"),
    "upwards": info("../escaped"),
    "upwards within": info(f"{NAME}/../../escaped"),
    "here": info(f"{NAME}/./escaped"),
    "nothing": info(f"{NAME}//escaped"),
    "backslash": info(f"{NAME}\\..\\..\\escaped"),
    "newline": info(f"{NAME}/escaped\nfile"),
    "long": info(f"{NAME}/{'x' * 256}"),
    "link": info(f"{NAME}/escaped", stat.S_IFLNK | 0o777),
    "device": info(f"{NAME}/escaped", stat.S_IFCHR | 0o644),
    "beside": info("escaped"),
    "another top": info(f"{OTHER}/escaped"),
    "file that is a folder": info(f"{NAME}/GRANULE"),
    "below a file": info(f"{NAME}/MTD_MSIL1C.xml/escaped"),
}


@pytest.mark.parametrize("member", HOSTILE.values(), ids=HOSTILE)
def test_members_that_would_leave_the_folder_are_refused(
    member: zipfile.ZipInfo, product: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(product, "a") as archive:
        archive.writestr(member, b"/etc/passwd")
    for action in (lambda: l1c.verify(product, NAME), lambda: l1c.unpack(product, tmp_path / "out")):
        with pytest.raises(BadProduct):
            action()
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_twice_is_refused(product: Path) -> None:
    with zipfile.ZipFile(product, "a") as archive:
        archive.writestr(info(f"{NAME}/MTD_MSIL1C.xml"), b"other")
    with pytest.raises(BadProduct, match="there twice"):
        l1c.verify(product, NAME)


def test_a_zip_that_says_it_unpacks_to_more_than_any_product_is_refused(product: Path) -> None:
    content = bytearray(product.read_bytes())
    place = -1
    while (place := content.find(b"PK\1\2", place + 1)) >= 0:
        content[place + 24 : place + 28] = struct.pack("<I", 2**32 - 2)
    product.write_bytes(content)
    with pytest.raises(BadProduct, match="bytes unpacked"):
        l1c.verify(product, NAME)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small product, to be mangled thousands of times: nobody waits for the disk meanwhile."""
    folder = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield zipped(make_safe(folder / str(NAME), image_bytes=3), folder / "t.zip")


@settings(max_examples=800, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(manglings=MANGLINGS)
@example(
    manglings=[(0.9997907458193811, "flip", b"")]
)  # the place of the directory: members seem to begin before the file
def test_a_mangled_zip_is_an_error_or_a_right_result(tiny: Path, manglings: list[tuple[float, str, bytes]]) -> None:
    """Never another exception, never a file outside, and what passes has the imagery of the original."""
    folder = tiny.parent / "mangled"
    folder.mkdir(exist_ok=True)
    path, unpacked = folder / "t.zip", folder / "out" / str(NAME)
    content = mangled(tiny.read_bytes(), manglings)
    path.write_bytes(content)
    digests = MemberDigests()
    digests.update(content)
    try:
        found = l1c.verify(path, NAME, digests.taken)
    except BadProduct:
        pass
    else:
        assert found.name == NAME
        try:
            l1c.unpack(path, folder / "out")
        except BadProduct as error:
            # No checksum covers the empty folders that Sen2Cor needs. Files that are verified can be unpacked.
            assert error.expected.startswith("one folder under")
            unpacked = tiny.parent / str(NAME)
        for band in l1c.BANDS:
            assert (unpacked / BAND.format(band)).read_bytes() == (
                tiny.parent / str(NAME) / BAND.format(band)
            ).read_bytes()
    shutil.rmtree(folder / "out", ignore_errors=True)
    assert sorted(entry.name for entry in folder.iterdir()) == ["t.zip"]
    assert sorted(entry.name for entry in tiny.parent.iterdir()) == [str(NAME), "mangled", "t.zip"]


@settings(max_examples=800, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(manglings=MANGLINGS)
def test_a_mangled_manifest_is_an_error_or_a_right_result(
    tiny: Path, manglings: list[tuple[float, str, bytes]]
) -> None:
    """A manifest that still says of all bands what is true, or BadProduct."""
    source, copy = tiny.parent / str(NAME), tiny.parent / "manifest" / str(NAME)
    if not copy.exists():
        shutil.copytree(source, copy)
    (copy / "manifest.safe").write_bytes(mangled((source / "manifest.safe").read_bytes(), manglings))
    try:
        found = l1c.verify(copy, NAME)
    except BadProduct:
        return
    assert not found.damaged and not found.missing
