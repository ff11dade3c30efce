"""Pictures: held against the pixels that they are made from, by GDAL and by a second formulation."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile

from ben_luigi.domain.blocks import block_sums
from ben_luigi.domain.errors import BadArchive, BadInput
from ben_luigi.domain.formats.shards import ShardReader
from ben_luigi.domain.formats.tiffheader import read_pixels
from ben_luigi.domain.names import PatchId
from ben_luigi.domain.placement.grid import PatchGrid, Square
from ben_luigi.domain.report import rendering
from tests.unit.report_sources import COLOURS, PRODUCTS, STATES, grid_of, write_shards

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def decoded(data: bytes) -> np.ndarray:
    """The pixels of an encoded picture: (row, col, channel), a palette's colours and opacity put in."""
    with warnings.catch_warnings(), MemoryFile(data) as file:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with file.open() as raster:
            pixels = np.moveaxis(raster.read(), 0, 2)
            if raster.colorinterp[0].name != "palette":
                return np.asarray(pixels)
            table = np.array([raster.colormap(1).get(value, (0, 0, 0, 0)) for value in range(256)], "uint8")
            return np.dstack([table[pixels[:, :, 0]][:, :, :3], raster.dataset_mask()])


def test_every_code_has_the_colour_of_the_official_legend() -> None:
    assert len(COLOURS) == 44
    legend = {111: "e6004d", 121: "cc4df2", 211: "ffffa8", 231: "e6e64d", 243: "e6cc4d", 312: "00a600", 324: "a6f200"}
    legend |= {332: "cccccc", 334: "000000", 411: "a6a6ff", 422: "e6e6ff", 511: "00ccf2", 523: "e6f2ff"}
    assert {code: "{:02x}{:02x}{:02x}".format(*COLOURS[code]) for code in legend} == legend
    assert len(set(COLOURS.values())) == 44


@pytest.mark.parametrize("text", ["", "[colour]\n111 = [1, 2, 3]\n", "[colour]\n111 = [1, 2]\n", "colour = ["])
def test_a_file_of_colours_that_lacks_some_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "colours.toml"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"colours\.toml; expected"):
        rendering.read_colours(path)


@given(st.lists(st.integers(0, 65_535), min_size=2, max_size=20))
def test_brighter_ground_is_never_darker_in_the_picture(values: list[int]) -> None:
    picture = rendering.true_colour(np.array(sorted(values)))
    assert (np.diff(picture.astype(int)) >= 0).all()


def test_the_curve_runs_from_black_to_white() -> None:
    assert rendering.true_colour(np.array([0, 2500, 20_000])).tolist() == [0, 255, 255]
    assert rendering.true_colour(np.array([312])).tolist() == [64]  # an eighth to the power of two thirds: a quarter


def test_lossless_pictures_come_back_as_they_were() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (7, 9, 3)).astype("uint8")
    assert np.array_equal(decoded(rendering.png(picture)), picture)
    assert np.array_equal(decoded(rendering.geotiff(picture, Square(0, 0, 70, 32631))), picture)


def test_webp_is_close_and_small() -> None:
    ramp = np.add.outer(np.arange(120), np.arange(120))[:, :, None].repeat(3, axis=2)
    noisy = (ramp + np.random.default_rng(1).integers(-3, 4, ramp.shape)).clip(0, 255).astype("uint8")
    data = rendering.webp(noisy)
    assert data[8:12] == b"WEBP"
    assert np.abs(decoded(data).astype(int) - noisy).mean() < 4
    assert len(data) < len(rendering.png(noisy)) / 10


@given(st.lists(st.sampled_from([*COLOURS, 999]), min_size=12, max_size=12))
def test_both_pictures_of_a_map_have_the_official_colours(codes: list[int]) -> None:
    array = np.array(codes, "uint16").reshape(3, 4)
    expected = [[(*COLOURS[code], 255) if code != 999 else (..., 0) for code in row] for row in array.tolist()]
    for picture in (decoded(rendering.map_png(array, COLOURS)), rendering.map_picture(array, COLOURS)):
        for row, wanted in zip(picture.tolist(), expected, strict=True):
            for pixel, (*colour, opacity) in zip(row, wanted, strict=True):
                assert pixel[3] == opacity
                assert not opacity or pixel[:3] == colour


def test_a_geotiff_lies_where_its_patch_lies(tmp_path: Path) -> None:
    grid = grid_of(PRODUCTS[0])
    square = rendering.patch_square(PatchId(grid.tile_name, 2, 1), grid)
    (tmp_path / "patch.tif").write_bytes(rendering.geotiff(np.zeros((120, 120, 3), "uint8"), square))
    with rasterio.open(tmp_path / "patch.tif") as raster:
        assert raster.crs.to_epsg() == 32631
        assert raster.res == (10, 10)
        west, south, east, north = raster.bounds
    place = grid.table().set_index("patch_id").loc[f"{grid.tile_name}_02_01"]
    assert (west, south, east, north) == tuple(place[["left_m", "bottom_m", "right_m", "top_m"]])


@pytest.mark.parametrize(("side_m", "px"), [(109_800, 10), (12_180, 60), (3660, 120), (1200, 120)])
def test_an_overview_is_as_large_as_fits(side_m: int, px: int) -> None:
    square = Square(0, 0, side_m, 32631)
    assert rendering.pixels_a_patch(PatchGrid(PRODUCTS[0].tile_name, square)) == px


def test_overviews_show_each_patch_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "OVERVIEW_PX", 60)  # so 20 pixels a patch
    product, states = PRODUCTS[0], STATES[PRODUCTS[0].tile_key]
    grid = grid_of(product)
    patch_shard, map_shard = write_shards(tmp_path, product, states)
    with ShardReader(patch_shard) as shard:
        rgb = rendering.rgb_overview(shard, grid)
        read = {patch_id: rendering.read_rgb(shard, patch_id) for patch_id in shard.patch_ids}
        red = read_pixels(shard.read(f"{shard.patch_ids[0]}_B04"))
    assert np.array_equal(read[f"{grid.tile_name}_00_00"][:, :, 0], red)
    with ShardReader(map_shard) as shard:
        codes = rendering.map_overview(shard, grid)
        maps = {patch_id: rendering.read_codes(shard, patch_id) for patch_id in shard.patch_ids}
    for patch_id, state in zip(grid.ids().to_pylist(), states, strict=True):
        patch = PatchId.parse(patch_id)
        for row, col in ((0, 0), (3, 17), (19, 19)):
            at = patch.y * 20 + row, patch.x * 20 + col
            assert rgb[at][3] == (0 if state in ".0" else 255)
            if state not in ".0":
                block = read[patch_id][row * 6 : row * 6 + 6, col * 6 : col * 6 + 6].astype(float)
                assert rgb[at][:3].tolist() == rendering.true_colour(block.mean(axis=(0, 1))).tolist()
            expected = maps[patch_id][row * 6 + 3, col * 6 + 3] if state not in ".0m" else 999
            assert codes[at] == expected


def test_pixels_with_an_offset_show_the_same_ground(tmp_path: Path) -> None:
    """Reflectance is (pixel + BOA_ADD_OFFSET) / 10,000, as ESA's product specification has it."""
    grid = grid_of(PRODUCTS[0])
    with ShardReader(write_shards(tmp_path, PRODUCTS[0], STATES[PRODUCTS[0].tile_key])[0]) as shard:
        pixels = read_pixels(shard.read(f"{shard.patch_ids[0]}_B02")).astype(float)
        shown = rendering.read_rgb(shard, shard.patch_ids[0], boa_offset=True)[:, :, 2]
        overview = rendering.rgb_overview(shard, grid, boa_offset=True)
    assert np.array_equal(shown / 10_000, (pixels - 1000) / 10_000)
    blue = (np.clip((pixels - 1000) / 10_000, 0, 0.25) / 0.25) ** (2 / 3) * 255
    assert np.array_equal(overview[:120, :120, 2], np.round(blue))


def test_a_damaged_patch_is_named(tmp_path: Path) -> None:
    shard, _ = write_shards(tmp_path, PRODUCTS[0], STATES[PRODUCTS[0].tile_key])
    content = bytearray(shard.read_bytes())
    content[20_000] ^= 1
    shard.write_bytes(content)
    with ShardReader(shard) as reader, pytest.raises(BadArchive, match="other bytes"):
        rendering.rgb_overview(reader, grid_of(PRODUCTS[0]))


@given(st.integers(1, 7), st.integers(1, 5), st.integers(1, 5), st.sampled_from([(), (3,)]), st.integers(0))
def test_sums_of_blocks_are_those_of_their_pixels(
    side: int, rows: int, cols: int, channels: tuple[int, ...], seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 2**16, (rows * side, cols * side, *channels), "int32")
    blocks = pixels.reshape(rows, side, cols, side, *channels)
    assert np.array_equal(block_sums(pixels, side), blocks.sum(axis=(1, 3)))
    assert block_sums(pixels, side).dtype == "int32"
