"""L1C products: whether they are whole, what they are unpacked to, and how they differ from the published ones."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, example, given, settings

from ben_luigi.domain.errors import BadInput, BadProduct
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.products import l1c
from ben_luigi.domain.products.l1c_container import MemberDigests, opened
from tests.unit.mangling import MANGLINGS, mangled

NAME = ProductName.parse("S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE")
OTHER = ProductName.parse("S2A_MSIL1C_20170613T101031_N0205_R022_T33UUQ_20170613T101608.SAFE")
GRANULE = "GRANULE/L1C_T33UUP_A010309_20170613T101608"
DATASTRIP = "DATASTRIP/DS_MTI__20170613T101608_S20170613T101608"
BAND = f"{GRANULE}/IMG_DATA/T33UUP_20170613T101031_{{}}.jp2"
ENTRY = """<dataObject ID="x{number}"><byteStream mimeType="application/octet-stream" size="{size}">
<fileLocation locatorType="URL" href="./{file}"/><checksum checksumName="{algorithm}">{checksum}</checksum>
</byteStream></dataObject>"""
FRAME = """<?xml version="1.0" encoding="UTF-8" standalone="no"?><xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1">
<metadataSection/><dataObjectSection>{}</dataObjectSection></xfdu:XFDU>"""


def write_manifest(safe: Path, algorithm: str = "MD5") -> None:
    """A manifest of all files that are in the folder."""
    files = [path.relative_to(safe).as_posix() for path in safe.rglob("*") if path.is_file()]
    hasher = {"MD5": hashlib.md5, "SHA3-256": hashlib.sha3_256, "SHA-256": hashlib.sha256, "CRC": hashlib.md5}[
        algorithm
    ]
    entries = [
        ENTRY.format(
            number=number,
            size=(safe / file).stat().st_size,
            file=file,
            algorithm=algorithm,
            # In capitals, as some of ESA's processors wrote it.
            checksum=hasher((safe / file).read_bytes()).hexdigest().upper(),
        )
        for number, file in enumerate(sorted(files))
        if file != "manifest.safe"
    ]
    (safe / "manifest.safe").write_text(FRAME.format("".join(entries)))


@pytest.fixture
def safe(tmp_path: Path) -> Path:
    """A product as a folder, with 13 files that pass for images."""
    return make_safe(tmp_path / "source" / str(NAME))


def make_safe(safe: Path, image_bytes: int = 3000) -> Path:
    """Write a product with images of that many bytes."""
    random = Random(1)
    for folder in (f"{GRANULE}/IMG_DATA", f"{GRANULE}/AUX_DATA", f"{DATASTRIP}/QI_DATA"):
        (safe / folder).mkdir(parents=True)
    for band in l1c.BANDS:
        (safe / BAND.format(band)).write_bytes(random.randbytes(image_bytes))
    (safe / BAND.format("TCI")).write_bytes(b"true colour")
    (safe / "MTD_MSIL1C.xml").write_text("<metadata/>")
    write_manifest(safe)
    return safe


def make_image(safe: Path, band: str) -> Path:
    """One more image, empty."""
    (safe / BAND.format(band)).touch()
    return safe


def zipped(safe: Path, target: Path, method: int = zipfile.ZIP_STORED, folders: bool = True) -> Path:
    """The folder as a zip."""
    with zipfile.ZipFile(target, "w", method) as archive:
        for path in sorted(safe.rglob("*")):
            if folders or path.is_file():
                archive.write(path, path.relative_to(safe.parent))
    return target


@pytest.fixture
def product(safe: Path, tmp_path: Path) -> Path:
    """The product as CDSE sends it."""
    return zipped(safe, tmp_path / "product.zip")


def digests_of(path: Path, step: int) -> MemberDigests:
    """What is taken of a zip that comes in pieces."""
    digests, content = MemberDigests(), path.read_bytes()
    for start in range(0, len(content), step):
        digests.update(content[start : start + step])
    return digests


def test_a_whole_product_is_whole_in_every_form(safe: Path, tmp_path: Path) -> None:
    forms = [
        safe,
        zipped(safe, tmp_path / "stored.zip"),
        zipped(safe, tmp_path / "deflated.zip", zipfile.ZIP_DEFLATED),
        Path(shutil.make_archive(str(tmp_path / "made"), "zip", safe.parent, safe.name)),
        zipped(safe, tmp_path / "without-folders.zip", folders=False),
    ]
    assert {l1c.verify(form, NAME) for form in forms} == {l1c.Verification(NAME, 16)}


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


@pytest.mark.parametrize("algorithm", ["SHA3-256", "SHA-256"])
def test_other_checksums_are_known(algorithm: str, safe: Path, tmp_path: Path) -> None:
    write_manifest(safe, algorithm)
    assert not l1c.verify(zipped(safe, tmp_path / "t.zip"), NAME).unlisted
    (safe / BAND.format("B04")).write_bytes(b"other")
    assert l1c.inspect(zipped(safe, tmp_path / "t.zip")).damaged == (BAND.format("B04"),)


@pytest.mark.parametrize("algorithm", ["CRC", "SHAKE-128", ""])
def test_a_checksum_of_an_unknown_algorithm_is_named(algorithm: str, safe: Path, tmp_path: Path) -> None:
    write_manifest(safe)
    text = (safe / "manifest.safe").read_text()
    (safe / "manifest.safe").write_text(text.replace('checksumName="MD5"', f'checksumName="{algorithm}"', 1))
    for path in (safe, zipped(safe, tmp_path / "t.zip")):
        with pytest.raises(BadProduct, match=f"manifest.safe; .*found: a checksum '{algorithm}' of .*only MD5, SHA1"):
            l1c.verify(path, NAME)


def test_previews_that_were_added_are_recorded(safe: Path, tmp_path: Path) -> None:
    (safe / "preview.html").write_text("<html/>")
    assert l1c.verify(zipped(safe, tmp_path / "t.zip"), NAME).unlisted == ("preview.html",)
    assert l1c.verify(safe, NAME).unlisted == ("preview.html",)


def test_pages_that_are_left_out_are_recorded_and_stop_nobody(safe: Path, tmp_path: Path) -> None:
    """What is listed and only there to be looked at; the metadata beside it are needed."""
    for page in ("HTML/UserProduct_index.html", "preview/map-overlay.kml", "S2A_OPER-ql.jpg", "rep_info/x.xsd"):
        (safe / page).parent.mkdir(exist_ok=True)
        (safe / page).write_text("to be looked at")
    write_manifest(safe)
    for page in ("HTML/UserProduct_index.html", "preview/map-overlay.kml", "S2A_OPER-ql.jpg"):
        (safe / page).unlink()
    found = l1c.verify(zipped(safe, tmp_path / "t.zip"), NAME)
    assert sorted(found.left_out) == [
        "HTML/UserProduct_index.html",
        "S2A_OPER-ql.jpg",
        "preview/map-overlay.kml",
    ]
    assert l1c.deviation(tmp_path / "t.zip", "0" * 64) == "repacked, imagery intact"
    (safe / "rep_info/x.xsd").unlink()
    with pytest.raises(BadProduct, match=r"missing rep_info/x\.xsd$|missing rep_info/x\.xsd;"):
        l1c.verify(safe, NAME)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a band that is gone": (
        lambda safe: (safe / BAND.format("B8A")).unlink(),
        r"missing .*B8A\.jp2, band B8A \(found 0 times\)",
    ),
    "a band that is changed": (
        lambda safe: (safe / BAND.format("B01")).write_bytes(b"x" * 3000),
        r"damaged .*B01\.jp2$",
    ),
    "metadata that are changed": (lambda safe: (safe / "MTD_MSIL1C.xml").write_text("<m/>"), "damaged MTD_MSIL1C.xml$"),
    "a band twice": (
        lambda safe: write_manifest(make_image(safe, "old_B02")),
        r"band B02 \(found 2 times\)$",
    ),
    "no manifest": (lambda safe: (safe / "manifest.safe").unlink(), "found: none"),
    "a manifest that is cut": (
        lambda safe: (safe / "manifest.safe").write_text((safe / "manifest.safe").read_text()[:-40]),
        "expected: a manifest in XML",
    ),
    "a manifest of nothing": (
        lambda safe: (safe / "manifest.safe").write_text(FRAME.format("")),
        "found: no files in it",
    ),
    "a manifest with entities": (
        lambda safe: (safe / "manifest.safe").write_text('<!DOCTYPE x [<!ENTITY a "a">]><x>&a;</x>'),
        "document type",
    ),
    "a document type in another encoding": (
        lambda safe: (safe / "manifest.safe").write_text(
            '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE x [<!ENTITY a "a">]><x>&a;</x>', encoding="UTF-16"
        ),
        "document type",
    ),
    "an unknown encoding": (
        lambda safe: (safe / "manifest.safe").write_text('<?xml version="1.0" encoding="klingon"?><x/>'),
        "expected: a manifest in XML",
    ),
}


@pytest.mark.parametrize(("damage", "says"), DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_damage_is_told(damage: Callable[[Path], object], says: str, form: str, safe: Path, tmp_path: Path) -> None:
    damage(safe)
    path = safe if form == "folder" else zipped(safe, tmp_path / "t.zip")
    with pytest.raises(BadProduct) as caught:
        l1c.verify(path, NAME)
    assert str(path) in caught.value.subject
    found = f"expected: {caught.value.expected}; found: {caught.value.found}"
    assert re.search(says, found), found


def test_the_wrong_product_is_told(product: Path, safe: Path) -> None:
    for path in (product, safe):
        with pytest.raises(BadProduct, match=f"expected: product {OTHER}; found: product {NAME}"):
            l1c.verify(path, OTHER)


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


def test_links_in_a_folder_are_refused(safe: Path) -> None:
    (safe / "link").symlink_to("/etc/passwd")
    with pytest.raises(BadProduct, match="found: a link;"):
        l1c.verify(safe, NAME)


def test_a_zip_that_says_it_unpacks_to_more_than_any_product_is_refused(product: Path) -> None:
    content = bytearray(product.read_bytes())
    place = -1
    while (place := content.find(b"PK\1\2", place + 1)) >= 0:
        content[place + 24 : place + 28] = struct.pack("<I", 2**32 - 2)
    product.write_bytes(content)
    with pytest.raises(BadProduct, match="bytes unpacked"):
        l1c.verify(product, NAME)


def test_unpacking_gives_the_folder_that_sen2cor_needs(
    safe: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of each form; the folders that CDSE drops are created, with a warning."""
    shutil.rmtree(safe / DATASTRIP / "QI_DATA")
    shutil.rmtree(safe / GRANULE / "AUX_DATA")
    (safe / DATASTRIP / "MTD_DS.xml").write_text("<x/>")
    before = {path.relative_to(safe): path.read_bytes() for path in safe.rglob("*") if path.is_file()}
    for number, source in enumerate([safe, zipped(safe, tmp_path / "t.zip", folders=False)]):
        unpacked = l1c.unpack(source, tmp_path / f"out{number}")
        assert unpacked == tmp_path / f"out{number}" / str(NAME)
        after = {path.relative_to(unpacked): path.read_bytes() for path in unpacked.rglob("*") if path.is_file()}
        assert after == before
        assert (unpacked / DATASTRIP / "QI_DATA").is_dir() and (unpacked / GRANULE / "AUX_DATA").is_dir()
    assert caplog.text.count("created") == 4 and f"created {DATASTRIP}/QI_DATA" in caplog.text.replace("//", "/")
    assert not (safe / DATASTRIP / "QI_DATA").exists()


def test_unpacking_a_complete_product_warns_of_nothing(
    product: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unpacked = l1c.unpack(product, tmp_path / "out")
    assert l1c.verify(unpacked, NAME) == l1c.verify(product, NAME)
    assert not caplog.text


@pytest.mark.parametrize("parent", ["DATASTRIP", "GRANULE"])
@pytest.mark.parametrize("number", ["none", "two"])
def test_more_or_less_than_one_datastrip_or_granule_is_an_error(
    parent: str, number: str, safe: Path, tmp_path: Path
) -> None:
    if number == "none":
        shutil.rmtree(safe / parent)
    else:
        (safe / parent / "L1C_another").mkdir()
    with pytest.raises(BadProduct, match=f"expected: one folder under {parent}"):
        l1c.unpack(safe, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_products_are_found_whatever_their_files_are_called(
    safe: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "l1c"
    folder.mkdir()
    zipped(safe, folder / "f602623e-fd82-5a53-ba09-b05ce085e40c.out")
    zipped(safe, folder / "same.zip")
    shutil.copytree(safe, folder / str(OTHER))
    (folder / "broken.zip").write_bytes(b"PK\3\4")
    (folder / "notes.txt").write_text("no product")
    (folder / "S2A.SAFE").mkdir()
    assert l1c.find_products(folder) == {
        NAME: folder / "f602623e-fd82-5a53-ba09-b05ce085e40c.out",
        OTHER: folder / str(OTHER),
    }
    for passed_over in ("broken.zip", "same.zip", "S2A.SAFE"):
        assert passed_over in caplog.text
    assert "notes.txt" not in caplog.text


def test_hidden_files_are_no_products_and_no_members(
    safe: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As macOS leaves them beside each file, and in the zips that it makes."""
    whole = l1c.verify(safe, NAME)
    for path in [path for path in safe.rglob("*") if path.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"of macOS")
    (safe / "GRANULE" / ".DS_Store").write_bytes(b"of macOS")
    folder = tmp_path / "l1c"
    folder.mkdir()
    zipped(safe, folder / "product.zip")
    with zipfile.ZipFile(folder / "product.zip", "a") as archive:
        archive.writestr(f"__MACOSX/{NAME}/._manifest.safe", b"of macOS")
    for name in ("._product.zip", f"._{NAME}", ".DS_Store", ".nfs0001.SAFE"):
        (folder / name).write_bytes(b"of macOS")
    assert l1c.find_products(folder) == {NAME: folder / "product.zip"}
    for path in (safe, folder / "product.zip"):
        assert l1c.verify(path, NAME) == whole
        unpacked = l1c.unpack(path, tmp_path / path.name)
        assert not [path for path in unpacked.rglob("*") if path.name.startswith((".", "__"))]
    assert not caplog.text


@pytest.mark.parametrize("around", [str(NAME), "T33UUP"])
def test_a_product_alone_in_a_folder_around_it_is_found(safe: Path, tmp_path: Path, around: str) -> None:
    folder = tmp_path / "l1c"
    shutil.copytree(safe, folder / around / str(NAME))
    assert l1c.find_products(folder) == {NAME: folder / around}
    assert l1c.verify(folder / around, NAME) == l1c.verify(safe, NAME)


def test_what_is_no_l1c_product_is_said_once_and_the_others_go_on(
    safe: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "l1c"
    shutil.copytree(safe, folder / str(NAME))
    old = "S2A_OPER_PRD_MSIL1C_PDMC_20160101T000000_R022_V20160101T101031.SAFE"
    l2a = str(NAME).replace("L1C", "L2A")
    for name in (old, l2a, f"around/{NAME}", f"around/{OTHER}"):
        (folder / name).mkdir(parents=True)
    os.mkfifo(folder / "a.zip")
    (folder / "b.zip").symlink_to("gone")
    (folder / "c.zip").symlink_to("c.zip")
    for _ in range(3):
        assert l1c.find_products(folder) == {NAME: folder / str(NAME)}
    said = {
        "a.zip": "a FIFO, not a file",
        "b.zip": "a link to nothing, not a file",
        "c.zip": "a link that leads in a circle, not a file",
        old: "the format of before December 2016",
        l2a: r"belong in \[inputs\] l2a_dir",
        "around": "folders around several products, type: mv ",
    }
    assert len(caplog.records) == len(said)
    for name, reason in said.items():
        assert re.search(f"passed over .*{reason}.*: {name}", caplog.text), name


def test_what_was_replaced_since_it_was_verified_is_not_unpacked(safe: Path, tmp_path: Path) -> None:
    """The manifest in it decides, whatever the zip's own checksums say."""
    l1c.verify(safe, NAME)
    (safe / BAND.format("B03")).write_bytes(b"other pixels")
    for source in (safe, zipped(safe, tmp_path / "t.zip")):
        with pytest.raises(BadProduct, match=r"_B03.jp2; expected: md5 .*, as manifest.safe states it"):
            l1c.unpack(source, tmp_path / "out")
    (safe / BAND.format("B03")).unlink()
    with pytest.raises(BadProduct, match=r"found: missing .*_B03.jp2, band B03"):
        l1c.unpack(safe, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    "text", ["", "name\n", "name,hash-sha256\na,b\n", "name,hash-sha256\na\n", f"name,hash-sha256\n,{'0' * 64}\n"]
)
def test_a_list_of_hashes_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "hashes.csv").write_text(text)
    with pytest.raises(BadInput, match=r"hashes\.csv; expected: a CSV with the columns name and hash-sha256"):
        l1c.read_hashes(tmp_path / "hashes.csv")


def test_drift_tells_repacking_from_damage(product: Path, safe: Path, tmp_path: Path) -> None:
    published = hashlib.sha256(product.read_bytes()).hexdigest()
    assert l1c.deviation(product, published) == "same"
    assert l1c.deviation(tmp_path / "not-even-read", published, published) == "same"
    (safe / "preview.html").write_text("<html/>")
    assert l1c.deviation(zipped(safe, tmp_path / "t.zip"), published) == "repacked, imagery intact"
    (safe / BAND.format("B03")).write_bytes(b"black")
    changed = l1c.deviation(zipped(safe, tmp_path / "t.zip"), published)
    assert changed == f"imagery changed or damaged: {BAND.format('B03')}"
    (tmp_path / "t.zip").write_bytes(b"")
    assert l1c.deviation(tmp_path / "t.zip", published).startswith("imagery changed or damaged: BadZipFile")
    assert l1c.deviation(safe, published) == f"imagery changed or damaged: {BAND.format('B03')}"


def test_hashes_are_as_published(published: Path, tmp_path: Path) -> None:
    path = published / "ben_s2_l1c_hashes.csv"
    rows = list(l1c.read_hashes(path).items())
    Random(1).shuffle(rows)
    l1c.write_hashes(tmp_path / "hashes.csv", rows)
    assert (tmp_path / "hashes.csv").read_bytes() == path.read_bytes()


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
