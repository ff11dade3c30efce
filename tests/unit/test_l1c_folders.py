"""Folders of L1C products: which are found in them, and what a product is unpacked to."""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from pathlib import Path

import pytest

from ben_luigi.domain.errors import BadProduct
from ben_luigi.domain.products import l1c
from tests.unit.l1c_products import BAND, DATASTRIP, GRANULE, NAME, OTHER, zipped


def test_links_in_a_folder_are_refused(safe: Path) -> None:
    (safe / "link").symlink_to("/etc/passwd")
    with pytest.raises(BadProduct, match="found: a link;"):
        l1c.verify(safe, NAME)


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
