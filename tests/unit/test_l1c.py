"""L1C products: whether they are whole, what is said of damage, and how they differ from the published ones."""

from __future__ import annotations

import hashlib
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from ben_luigi.domain.errors import BadInput, BadProduct
from ben_luigi.domain.products import l1c
from tests.unit.l1c_products import BAND, FRAME, NAME, OTHER, make_image, write_manifest, zipped


def test_a_whole_product_is_whole_in_every_form(safe: Path, tmp_path: Path) -> None:
    forms = [
        safe,
        zipped(safe, tmp_path / "stored.zip"),
        zipped(safe, tmp_path / "deflated.zip", zipfile.ZIP_DEFLATED),
        Path(shutil.make_archive(str(tmp_path / "made"), "zip", safe.parent, safe.name)),
        zipped(safe, tmp_path / "without-folders.zip", folders=False),
    ]
    assert {l1c.verify(form, NAME) for form in forms} == {l1c.Verification(NAME, 16)}


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
