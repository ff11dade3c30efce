"""What an L2A product says of itself, and which products are refused."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from ben_luigi.domain import given
from ben_luigi.domain.errors import BadInput, BadName, BadProduct
from ben_luigi.domain.placement.grid import Square
from ben_luigi.domain.products.product import (
    BANDS,
    QUALITY_RESULTS,
    find_product,
    find_products,
    read_product,
)
from ben_luigi.domain.vocabulary import RESOLUTION_M
from tests.unit.products import NAME, SIDE_M, SmallProduct, jpeg2000, noise

SMALL = SmallProduct()


@pytest.fixture(scope="module")
def members() -> dict[str, bytes]:
    return SMALL.members()


@pytest.fixture
def folder(members: dict[str, bytes], tmp_path: Path) -> Path:
    return SMALL.write(tmp_path, members)


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_what_a_product_says(folder: Path) -> None:
    product = read_product(folder, SIDE_M)
    assert product.name == NAME
    assert product.start_time == datetime(2017, 6, 13, 10, 10, 31, 26_000)
    assert product.baseline == "99.99"
    assert product.quality == dict.fromkeys(QUALITY_RESULTS, "PASSED")
    assert product.passed
    assert product.boa_offsets == {}
    assert product.square == SMALL.square
    assert {band: path.relative_to(folder).as_posix() for band, path in product.bands.items()} == {
        band: SMALL.image(band) for band in BANDS
    }
    for band in BANDS:
        product.verify(band)


def test_lower_resolution_copies_and_other_layers_do_not_count(folder: Path) -> None:
    for band, pixel_m in (("B02", 20), ("B02", 60), ("AOT", 10), ("SCL", 20), ("B05", 60)):
        path = (
            folder / SMALL.facts.granule / "IMG_DATA" / f"R{pixel_m}m" / f"T33UUP_20170613T101031_{band}_{pixel_m}m.jp2"
        )
        path.write_bytes(b"never read")
    assert read_product(folder, SIDE_M).bands.keys() == set(BANDS)


@pytest.mark.parametrize("check", QUALITY_RESULTS)
def test_one_failed_result_is_enough(folder: Path, check: str) -> None:
    change(folder / "MTD_MSIL2A.xml", f'checkType="{check}">PASSED', f'checkType="{check}">FAILED')
    product = read_product(folder, SIDE_M)
    assert not product.passed
    assert product.quality[check] == "FAILED"


def test_results_spelt_as_older_products_do(folder: Path) -> None:
    for check in QUALITY_RESULTS:
        old = f'<quality_check checkType="{check}">PASSED</quality_check>'
        change(folder / "MTD_MSIL2A.xml", old, f"<{check}_FLAG>PASSED</{check}_FLAG>")
    assert read_product(folder, SIDE_M).passed


@pytest.mark.parametrize("check", QUALITY_RESULTS)
def test_missing_result(folder: Path, check: str) -> None:
    change(folder / "MTD_MSIL2A.xml", f'checkType="{check}"', 'checkType="OTHER"')
    with pytest.raises(BadProduct, match=f"four quality results.*no {check}"):
        read_product(folder, SIDE_M)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (f"<PRODUCT_URI>{NAME}", f"<PRODUCT_URI>{str(NAME).replace('33UUP', '33UVP')}", "T33UVP.*as its metadata say"),
        ("<PRODUCT_URI>", "<OTHER>", "not well-formed|mismatched"),
        ("PRODUCT_START_TIME", "OTHER", "an element PRODUCT_START_TIME"),
        ("2017-06-13T10:10:31.026Z</PRODUCT_START", "yesterday</PRODUCT_START", "yesterday"),
        ("PROCESSING_BASELINE", "OTHER", "an element PROCESSING_BASELINE"),
    ],
)
def test_metadata_that_contradict_or_are_damaged(folder: Path, old: str, new: str, said: str) -> None:
    change(folder / "MTD_MSIL2A.xml", old, new)
    with pytest.raises(BadProduct, match=said):
        read_product(folder, SIDE_M)


def test_no_metadata(folder: Path) -> None:
    (folder / "MTD_MSIL2A.xml").unlink()
    with pytest.raises(BadProduct, match=r"MTD_MSIL2A.xml; expected: the metadata"):
        read_product(folder, SIDE_M)


@pytest.mark.parametrize("band", BANDS)
def test_missing_band(folder: Path, band: str) -> None:
    (folder / SMALL.image(band)).unlink()
    with pytest.raises(BadProduct, match=f"33UUP_20170613.*one file of band {band}.*found: none"):
        read_product(folder, SIDE_M)


def test_two_files_of_a_band(folder: Path) -> None:
    path = folder / SMALL.image("B8A")
    shutil.copy(path, path.with_name("T33UUP_20170613T101032_B8A_20m.jp2"))
    with pytest.raises(BadProduct, match=r"one file of band B8A.*T101031.*T101032"):
        read_product(folder, SIDE_M)


def test_wrong_size(folder: Path) -> None:
    with pytest.raises(BadProduct, match=r"1830.*found: \(61"):
        read_product(folder, 109_800)


@pytest.mark.parametrize("band", ["B02", "B05", "B09"])
@pytest.mark.parametrize("check_extent", [True, False])
def test_one_band_elsewhere(folder: Path, band: str, check_extent: bool) -> None:
    square, pixel_m = SMALL.square, RESOLUTION_M[band]
    moved = Square(square.left + 60, square.top, square.side_m, square.epsg)
    (folder / SMALL.image(band)).write_bytes(jpeg2000(noise(band), moved, pixel_m))
    with pytest.raises(BadProduct, match="expected: width, height, type, EPSG code and transform"):
        read_product(folder, SIDE_M, check_extent=check_extent)


@pytest.mark.parametrize("check_extent", [True, False])
def test_wrong_crs(folder: Path, check_extent: bool) -> None:
    for band in BANDS:
        (folder / SMALL.image(band)).write_bytes(jpeg2000(noise(band), SMALL.square, RESOLUTION_M[band], epsg=32634))
    with pytest.raises(BadProduct, match=r"32633.*found: .*32634"):
        read_product(folder, SIDE_M, check_extent=check_extent)


def test_wrong_type(folder: Path) -> None:
    (folder / SMALL.image("B11")).write_bytes(jpeg2000(noise("B11").astype("uint8"), SMALL.square, 20))
    with pytest.raises(BadProduct, match=r"B11_20m.jp2.*uint16.*found: .*uint8"):
        read_product(folder, SIDE_M)


def test_elsewhere_than_its_name_says(folder: Path) -> None:
    square = SMALL.square
    moved = Square(square.left + 1200, square.top - 60, square.side_m, square.epsg)
    for band in BANDS:
        (folder / SMALL.image(band)).write_bytes(jpeg2000(noise(band), moved, RESOLUTION_M[band]))
    with pytest.raises(BadProduct, match="check_extent"):
        read_product(folder, SIDE_M)
    assert read_product(folder, SIDE_M, check_extent=False).square == moved


@pytest.mark.parametrize(("value", "accepted"), [("0", False), ("-1000", False), ("-1000", True)])
def test_offset(folder: Path, value: str, accepted: bool) -> None:
    offsets = (
        f'<n><BOA_ADD_OFFSET band_id="0">0</BOA_ADD_OFFSET><BOA_ADD_OFFSET band_id="1">{value}</BOA_ADD_OFFSET></n>'
    )
    change(folder / "MTD_MSIL2A.xml", "<Spectral_Information_List>", f"{offsets}<Spectral_Information_List>")
    if value == "0" or accepted:
        product = read_product(folder, SIDE_M, accept_offset=accepted)
        assert product.boa_offsets == ({} if value == "0" else {"1": -1000})
    else:
        with pytest.raises(BadProduct, match=r"found: offsets \{'1': -1000\}.*accept_offset"):
            read_product(folder, SIDE_M)


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.99, 0.9999])
def test_truncated_band(folder: Path, kept: float) -> None:
    path = folder / SMALL.image("B04")
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(BadProduct, match=r"33UUP_20170613: .*B04_10m.jp2; expected: a whole JPEG 2000 file"):
        read_product(folder, SIDE_M)


def test_changed_bit_is_seen_by_the_manifest_alone(folder: Path) -> None:
    path = folder / SMALL.image("B03")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    product = read_product(folder, SIDE_M)
    with pytest.raises(BadProduct, match=r"B03_10m.jp2; expected: md5 .*manifest.safe says"):
        product.verify("B03")
    product.verify("B04")
    (folder / "manifest.safe").unlink()
    read_product(folder, SIDE_M).verify("B03")


def test_other_checksums(folder: Path) -> None:
    """ESA's products state SHA3-256 from baseline 04.00."""
    change(folder / "manifest.safe", 'checksumName="MD5"', 'checksumName="SHA3-256"')
    with pytest.raises(BadProduct, match="expected: sha3_256"):
        read_product(folder, SIDE_M).verify("B03")


@pytest.mark.parametrize("stated", ["CRC-7", "SHAKE-128", ""])
def test_a_checksum_of_an_unknown_algorithm_is_named(folder: Path, stated: str) -> None:
    change(folder / "manifest.safe", 'checksumName="MD5"', f'checksumName="{stated}"')
    with pytest.raises(BadProduct, match=f"manifest.safe; .*found: a checksum '{stated}' of .*only MD5, SHA1"):
        read_product(folder, SIDE_M)


def test_damaged_manifest(folder: Path) -> None:
    change(folder / "manifest.safe", "</dataObjectSection>", "")
    with pytest.raises(BadProduct, match="a manifest in XML"):
        read_product(folder, SIDE_M)


def test_products_in_a_folder(tmp_path: Path) -> None:
    names = ["S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_20260101T000000.SAFE"]
    names += ["S2B_MSIL2A_20180204T094159_N9999_R036_T35VPK_20260101T000000.SAFE"]
    for name in [*names, "S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE"]:
        (tmp_path / name).mkdir()
    assert find_products(tmp_path) == {
        "33UUP_20170613": tmp_path / names[0],
        "35VPK_20180204": tmp_path / names[1],
    }
    later = names[0].replace("T101031", "T114531")
    (tmp_path / later).mkdir()
    assert find_products(tmp_path) == {
        "33UUP_20170613T101031": tmp_path / names[0],
        "33UUP_20170613T114531": tmp_path / later,
        "35VPK_20180204": tmp_path / names[1],
    }
    (tmp_path / names[0].replace("20260101", "20260102")).mkdir()
    with pytest.raises(BadName, match="one L2A product"):
        find_products(tmp_path)


def test_a_folder_is_searched_again_when_an_entry_of_it_changes_and_only_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if that happens within the resolution of the clock, or within a folder around a product."""
    names = [f"S2A_MSIL2A_201706{day}T101031_N9999_R022_T33UUP_20260101T000000.SAFE" for day in (13, 14, 15)]
    around = tmp_path / "around"
    for path in (tmp_path / names[0], around):
        path.mkdir()
    looked_into: list[Path] = []
    look = given.product_within

    def counted(path: Path) -> Path:
        looked_into.append(path)
        return look(path)

    monkeypatch.setattr(given, "product_within", counted)
    times = tmp_path.stat()
    assert [len(find_products(tmp_path)) for _ in range(50)] == [1] * 50 and len(looked_into) == 2
    (tmp_path / names[1]).mkdir()
    os.utime(tmp_path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert len(find_products(tmp_path)) == 2
    (around / names[2]).mkdir()
    assert find_products(tmp_path)["33UUP_20170615"] == around / names[2]
    (tmp_path / names[1]).rename(tmp_path / names[1].replace("20260101", "20260102"))
    assert find_product(tmp_path, "33UUP_20170614").name.endswith("_20260102T000000.SAFE")


GOOD = "S2B_MSIL2A_20180204T094159_N9999_R036_T35VPK_20260101T000000.SAFE"


@pytest.fixture
def products(tmp_path: Path) -> Path:
    """A folder of L2A products with a good one in it."""
    (tmp_path / "l2a" / GOOD).mkdir(parents=True)
    return tmp_path / "l2a"


def folder_around(products: Path) -> None:
    for name in (NAME, "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUQ_20260101T000000.SAFE"):
        (products / "around" / str(name)).mkdir(parents=True)


BESIDE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a zip": (lambda folder: (folder / f"{NAME}.zip").touch(), f"zipped products, type: unzip -d .*: {NAME}.zip"),
    "a zip of another name": (
        lambda folder: (folder / f"{NAME}.zip".replace(".SAFE", "")).touch(),
        "zipped products, type: unzip -d ",
    ),
    "an old format": (
        lambda folder: (folder / "S2A_OPER_PRD_MSIL2A_PDMC_20160101T000000_R022_V20160101T101031.SAFE").mkdir(),
        "the format of before December 2016",
    ),
    "an old format of a user": (
        lambda folder: (folder / "S2A_USER_PRD_MSIL2A_PDMC_20160101T000000_R022_V20160101T101031.SAFE").mkdir(),
        "the format of before December 2016",
    ),
    "another name": (lambda folder: (folder / f"{NAME}.SAFE copy").mkdir(), "has no product's name"),
    "a file": (lambda folder: (folder / str(NAME)).touch(), "a file, not a folder"),
    "a FIFO": (lambda folder: os.mkfifo(folder / str(NAME)), "a FIFO, not a folder"),
    "a link to nothing": (lambda folder: (folder / str(NAME)).symlink_to("gone"), "a link to nothing, not a folder"),
    "a link in a circle": (lambda folder: (folder / str(NAME)).symlink_to(str(NAME)), "in a circle, not a folder"),
    "a folder around products": (folder_around, "folders around several products, type: mv .*: around"),
}


@pytest.mark.parametrize(("beside", "said"), BESIDE.values(), ids=BESIDE)
def test_what_is_no_product_is_said_once_and_the_others_go_on(
    beside: Callable[[Path], object], said: str, products: Path, caplog: pytest.LogCaptureFixture
) -> None:
    beside(products)
    for _ in range(3):
        assert find_products(products) == {"35VPK_20180204": products / GOOD}
    (record,) = caplog.records
    assert re.search(f"{products}: passed over .*{said}", record.getMessage())
    (products / GOOD).rmdir()
    with pytest.raises(BadInput, match=f"{products}; .*found: .*{said}.*next: "):
        find_products(products)


@pytest.mark.parametrize("name", [f"._{NAME}", ".DS_Store", f".{NAME}.zip", "readme.txt", "notes", f"{GOOD}.zip"])
def test_hidden_files_and_what_does_not_look_like_a_product_are_not_even_mentioned(
    name: str, products: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (products / name).touch()
    assert find_products(products) == {"35VPK_20180204": products / GOOD}
    assert not caplog.text


@pytest.mark.parametrize("around", [str(NAME), str(NAME).removesuffix(".SAFE"), "T33UUP"])
def test_a_product_alone_in_a_folder_around_it_is_found(
    around: str, members: dict[str, bytes], products: Path, caplog: pytest.LogCaptureFixture
) -> None:
    safe = SMALL.write(products / around, members)
    (products / around / ".DS_Store").touch()
    assert find_products(products)["33UUP_20170613"] == safe == find_product(products, "33UUP_20170613")
    assert read_product(safe, SIDE_M).name == NAME
    assert not caplog.text
    shutil.rmtree(products / around)
    with pytest.raises(BadProduct, match=r"33UUP_20170613: .*expected: the tile's L2A product"):
        find_product(products, "33UUP_20170613")


def test_a_product_in_the_place_of_the_folder_of_products_is_said(folder: Path) -> None:
    with pytest.raises(
        BadInput, match=f"found: a product itself; next: name the folder that it lies in: {folder.parent}"
    ):
        find_products(folder)


def test_hidden_files_in_a_product_are_not_its_bands(folder: Path) -> None:
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"of macOS")
    (folder / "GRANULE" / "._L2A").mkdir()
    product = read_product(folder, SIDE_M)
    for band in BANDS:
        product.verify(band)


def test_the_uri_as_older_products_spell_it(folder: Path) -> None:
    uri = "<PRODUCT_URI_1C>S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE</PRODUCT_URI_1C>"
    change(
        folder / "MTD_MSIL2A.xml", f"<PRODUCT_URI>{NAME}</PRODUCT_URI>", f"{uri}<PRODUCT_URI_2A>{NAME}</PRODUCT_URI_2A>"
    )
    assert read_product(folder, SIDE_M).name == NAME
    change(folder / "MTD_MSIL2A.xml", f"_2A>{NAME}", f"_2A>{GOOD}")
    with pytest.raises(BadProduct, match=f"expected: the L2A product {GOOD}, as its metadata say"):
        read_product(folder, SIDE_M)


def test_a_time_in_another_zone_is_in_utc(folder: Path) -> None:
    change(folder / "MTD_MSIL2A.xml", "T10:10:31.026Z</PRODUCT_START", "T12:10:31.026+02:00</PRODUCT_START")
    assert read_product(folder, SIDE_M).start_time == datetime(2017, 6, 13, 10, 10, 31, 26_000)


@pytest.mark.parametrize(
    ("offsets", "offset"),
    [
        ({}, 0),
        (dict.fromkeys(map(str, range(13)), -1000), -1000),
        (dict.fromkeys(map(str, range(12)), -1000), -1000),
        ({"0": -1000}, None),
        ({**dict.fromkeys(map(str, range(12)), -1000), "12": -900}, None),
        (dict.fromkeys(map(str, range(13)), 1000), None),
    ],
)
def test_bands_have_one_offset(folder: Path, offsets: dict[str, int], offset: int | None) -> None:
    product = replace(read_product(folder, SIDE_M), boa_offsets=offsets)
    if offset is None:
        with pytest.raises(BadProduct, match="one negative BOA_ADD_OFFSET for all bands"):
            _ = product.offset
    else:
        assert product.offset == offset
