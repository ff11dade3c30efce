"""Layers of products: which files they are, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from ben_luigi.domain.errors import BadProduct
from ben_luigi.domain.formats import shards
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.placement.grid import PatchGrid, Square
from ben_luigi.domain.products.layer_files import find
from ben_luigi.domain.recipe.model import OF_PRODUCT
from ben_luigi.domain.sources import needs
from ben_luigi.domain.tiles import product_layers
from ben_luigi.domain.vocabulary import L1C_RESOLUTION_M, PRODUCT_LAYERS

NAME = ProductName.parse("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_20170613T101608.SAFE")
SIDE_M = 2400
GRID = PatchGrid(NAME.tile_name, Square(300_000, 5_400_000, SIDE_M, 32633), 1200)
SCL, SNOW = OF_PRODUCT["scl"], OF_PRODUCT["snow_probability"]


def _write(folder: Path, where: str, dtype: str = "uint8", left: float = 300_000, side_m: int = SIDE_M) -> Path:
    path = folder / str(NAME) / "GRANULE" / "L2A_1" / where
    path.parent.mkdir(parents=True, exist_ok=True)
    side_px = side_m // 20
    pixels = np.random.default_rng(1).integers(0, 12, (side_px, side_px)).astype(dtype)
    place = {"crs": "EPSG:32633", "transform": from_origin(left, 5_400_000, 20, 20), "count": 1, "dtype": dtype}
    lossless = {"QUALITY": 100, "REVERSIBLE": True}
    with rasterio.open(path, "w", driver="JP2OpenJPEG", height=side_px, width=side_px, **place, **lossless) as file:
        file.write(pixels, 1)
    return path


def _cut(folder: Path, written: tuple[int, ...] = (0, 1, 2, 3)) -> None:
    where = folder / "one.tar", folder / "one.parquet"
    product_layers.cut(SCL, folder / str(NAME), GRID, np.array(written, dtype="int64"), *where)


def test_the_names_of_options_and_layers_are_the_same() -> None:
    assert tuple(OF_PRODUCT) == PRODUCT_LAYERS
    assert OF_PRODUCT["l1c"].kinds == {f"l1c_{band}": pixel_m for band, pixel_m in L1C_RESOLUTION_M.items()}
    assert list(OF_PRODUCT["l1c"].kinds) == sorted(OF_PRODUCT["l1c"].kinds) and len(L1C_RESOLUTION_M) == 13


def test_a_tile_of_which_no_or_some_patches_are_written(tmp_path: Path) -> None:
    _write(tmp_path, "IMG_DATA/R20m/T33UUP_20170613T101031_SCL_20m.jp2")
    _cut(tmp_path, ())
    assert len(shards.read_index(tmp_path / "one.parquet")) == 0
    _cut(tmp_path, (1, 2))
    names = shards.read_index(tmp_path / "one.parquet")["name"].to_pylist()
    assert names == [f"{NAME.tile_name}_00_01_scl", f"{NAME.tile_name}_01_00_scl"]


@pytest.mark.parametrize("name", ["MSK_SNWPRB_20m.jp2", "L2A_T33UUP_20170613T101031_SNW_20m.jp2"])
def test_probabilities_have_another_name_in_older_products(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadProduct, match=r"33UUP_20170613.*layer snow_probability.*leave snow_probability out"):
        find(SNOW, tmp_path / str(NAME))
    path = _write(tmp_path, f"QI_DATA/{name}")
    assert find(SNOW, tmp_path / str(NAME)) == {"snow_probability": path}


@pytest.mark.parametrize(
    ("how", "found"),
    [
        ({"dtype": "uint16"}, "uint16"),
        ({"left": 300_020}, "from 300020, 5400000"),
        ({"side_m": 1200}, "60 x 60 px of 20 m"),
    ],
)
def test_an_image_that_does_not_fit_the_tile_is_refused(tmp_path: Path, how: dict[str, object], found: str) -> None:
    _write(tmp_path, "IMG_DATA/R20m/T33UUP_20170613T101031_SCL_20m.jp2", **how)  # type: ignore[arg-type]
    with pytest.raises(BadProduct, match=rf"SCL_20m.*expected: 120 x 120 px of 20 m, uint8.*found: .*{found}"):
        _cut(tmp_path)


def test_a_truncated_image_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path, "IMG_DATA/R20m/T33UUP_20170613T101031_SCL_20m.jp2")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadProduct, match="SCL_20m"):
        _cut(tmp_path)
    assert not (tmp_path / "one.tar").exists()


def test_only_what_is_asked_for_is_fetched_besides_the_bands() -> None:
    images = "GRANULE/L2A_1/IMG_DATA/R20m/T33UUP_20170613T101031"
    snow, aerosol = "GRANULE/L2A_1/QI_DATA/MSK_SNWPRB_20m.jp2", f"{images}_AOT_20m.jp2"
    assert not any(needs.is_needed(NAME, path) for path in (snow, aerosol))
    assert needs.is_needed(NAME, snow, [SNOW]) and not needs.is_needed(NAME, aerosol, [SNOW])
    assert needs.is_needed(NAME, f"{images}_SCL_20m.jp2")
    assert "layer snow_probability" in needs.lacking(NAME, [aerosol], [SNOW])
    assert "layer aot" not in needs.lacking(NAME, [aerosol], [OF_PRODUCT["aot"]])
