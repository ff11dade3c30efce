"""Pixels of cloud, shadow, snow and water against a count pixel by pixel."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.transform import from_origin

from ben_luigi.domain.errors import BadProduct
from ben_luigi.domain.placement.grid import PatchGrid, Square
from ben_luigi.domain.tiles import scene_classes

TILE = "S2A_MSIL2A_20230613T101031_N0509_R022_T33UUP"


def _grid(side_m: int) -> PatchGrid:
    return PatchGrid(TILE, Square(300_000, 5_400_000, 780, 32633), side_m)


@given(st.sampled_from([60, 120, 240, 360]), st.sampled_from([20, 60]), st.integers(0, 1000))
def test_pixels_of_each_patch_are_counted_where_they_are_valid(side_m: int, pixel_m: int, seed: int) -> None:
    grid = _grid(side_m)
    classes = np.random.default_rng(seed).integers(0, 12, (780 // pixel_m,) * 2).astype("uint8")
    found = scene_classes.counts(classes, pixel_m, grid)
    rows = {}
    for x in range(grid.patches_a_side):
        for y in range(grid.patches_a_side):
            left, top = x * side_m // pixel_m, y * side_m // pixel_m
            pixels = [
                int(classes[row, column])
                for row in range(top, top + side_m // pixel_m)
                for column in range(left, left + side_m // pixel_m)
            ]
            valid = [value for value in pixels if value not in (0, 1)]
            if valid:
                cloud = sum(value in (8, 9, 10) for value in valid)
                rows[str(grid.patch_id(x, y))] = len(valid), cloud, *map(valid.count, (3, 11, 6))
    assert found["patch_id"].tolist() == sorted(rows)
    assert found.columns.tolist() == ["patch_id", "pixels", "cloud", "shadow", "snow", "water"]
    assert [tuple(row) for row in found.iloc[:, 1:].to_numpy().tolist()] == list(rows.values())


def _write(folder: Path, pixel_m: int, side_px: int, value: int) -> Path:
    path = folder / "GRANULE" / "L2A_1" / "IMG_DATA" / f"R{pixel_m}m" / f"T33UUP_SCL_{pixel_m}m.jp2"
    path.parent.mkdir(parents=True)
    shape = {"height": side_px, "width": side_px, "count": 1, "dtype": "uint8"}
    place = {"crs": "EPSG:32633", "transform": from_origin(300_000, 5_400_000, pixel_m, pixel_m)}
    with rasterio.open(path, "w", driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE=True, **shape, **place) as file:
        file.write(np.full((side_px, side_px), value, "uint8"), 1)
    return path


@pytest.fixture
def product(tmp_path: Path) -> Path:
    """The folder of a product without a file."""
    folder = tmp_path / f"{TILE}_20230613T160000.SAFE"
    folder.mkdir()
    return folder


def test_the_finest_classification_of_a_product_is_read(product: Path) -> None:
    _write(product, 60, 13, 9)
    assert set(scene_classes.read(product, _grid(120))["cloud"]) == {4}
    _write(product, 20, 39, 11)
    found = scene_classes.read(product, _grid(120))
    assert len(found) == 36 and set(found["cloud"]) == {0} and set(found["snow"]) == {36}


def test_what_macos_leaves_beside_a_classification_is_not_taken_for_it(product: Path) -> None:
    path = _write(product, 20, 39, 11)
    path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
    assert set(scene_classes.read(product, _grid(120))["snow"]) == {36}


def test_a_classification_has_the_checksum_of_the_manifest(product: Path) -> None:
    path = _write(product, 20, 39, 11)
    name, md5 = path.relative_to(product).as_posix(), hashlib.md5(path.read_bytes()).hexdigest()
    (product / "manifest.safe").write_text(
        f'<xfdu><byteStream><fileLocation href="./{name}"/><checksum checksumName="MD5">{md5}</checksum>'
        "</byteStream></xfdu>"
    )
    assert len(scene_classes.read(product, _grid(120))) == 36
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadProduct, match=r"SCL_20m.jp2; expected: md5 .*, as manifest.safe says"):
        scene_classes.read(product, _grid(120), required=False)


def test_a_product_without_a_usable_classification(product: Path) -> None:
    with pytest.raises(BadProduct, match="found: none"):
        scene_classes.read(product, _grid(120))
    assert scene_classes.read(product, _grid(120), required=False).empty
    path = _write(product, 20, 30, 4)
    with pytest.raises(BadProduct, match=r"780 m a side.*found: 30 x 30 pixels of 20 m"):
        scene_classes.read(product, _grid(120))
    path.write_bytes(b"nothing")
    with pytest.raises(BadProduct, match="SCL_20m"):
        scene_classes.read(product, _grid(120), required=False)
