"""Render patches and tiles in true colour, and reference maps in CORINE's own colours.

A *picture* is an array (row, col, channel) of bytes: red, green, blue, and opacity if there is a fourth channel. True
colour follows one fixed curve, so that pictures of different tiles and seasons are comparable; snow and cloud are
white.
"""

from __future__ import annotations

import colorsys
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import rasterio
import rasterio.errors
import rasterio.transform

from ben_luigi.domain.blocks import block_sums
from ben_luigi.domain.bounded import read_toml
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.formats.shards import ShardReader
from ben_luigi.domain.formats.tiffheader import read_pixels
from ben_luigi.domain.names import MAP_SUFFIX, PatchId
from ben_luigi.domain.placement.grid import PatchGrid, Square, pixel_window
from ben_luigi.domain.products.product import BOA_ADD_OFFSET
from ben_luigi.domain.tiles.nomenclature import CLC_CODES, NO_CLC, Nomenclature
from ben_luigi.domain.tiles.reference_maps import PIXEL_M

RGB_BANDS = ("B04", "B03", "B02")
"""The bands shown as red, green and blue."""

OVERVIEW_PX = 960
"""Most pixels along a side of an overview."""

_CODES, _MOST_IN_PALETTE = 2**16, 255
_BRIGHT, _GAMMA = 2500, 1.5
_CLEAR = (255, 255, 255)
_PNG_LEVEL, _WEBP_METHOD = 4, 2
"""Half of the time of GDAL's defaults, for 7 and 3 % more bytes."""


@lru_cache(maxsize=4)
def read_colours(path: Path) -> dict[int, tuple[int, int, int]]:
    """Read red, green and blue of each CLC code from `tracked_artifacts/clc_colours.toml`.

    Raise BadInput if one is missing.
    """
    try:
        entries = read_toml(path)["colour"]
        colours = {int(code): (int(red), int(green), int(blue)) for code, (red, green, blue) in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise BadInput(
            path,
            expected="a table [colour] of red, green and blue by CLC code",
            found=repr(error),
            remedy="restore it from the repository",
        ) from error
    if sorted(colours) != sorted(CLC_CODES):
        missing = sorted(set(CLC_CODES) ^ set(colours))
        raise BadInput(
            path,
            expected="a colour for each of the 44 CLC codes",
            found=f"missing or unknown: {missing}",
            remedy="restore it from the repository",
        )
    return colours


def colours_of(nomenclature: Nomenclature) -> dict[int, tuple[int, int, int]]:
    """Return the colour of each code of a nomenclature: its own, or as many different hues as there are codes."""
    if nomenclature.colours:
        return dict(nomenclature.colours)
    return spread_hues(sorted(nomenclature.clc))


def spread_hues(codes: Sequence[int]) -> dict[int, tuple[int, int, int]]:
    """Return as many different hues as there are codes."""
    parts = (colorsys.hsv_to_rgb(at / len(codes), 0.55, 0.85) for at in range(len(codes)))
    return {
        code: (round(255 * r), round(255 * g), round(255 * b)) for code, (r, g, b) in zip(codes, parts, strict=True)
    }


def true_colour(reflectance: np.ndarray) -> np.ndarray:
    """Return the picture of surface reflectance * 10,000 in red, green, blue (row, col, 3): full brightness at 0.25."""
    return brightness(reflectance, _BRIGHT)


def brightness(reflectance: np.ndarray, full: int) -> np.ndarray:
    """Return surface reflectance * 10,000 as bytes of the same shape: full brightness at `full`."""
    fraction = np.clip(reflectance / full, 0, 1) ** (1 / _GAMMA)
    return np.asarray(np.round(255 * fraction).astype("uint8"))


def read_rgb(shard: ShardReader, patch_id: str, *, boa_offset: bool = False) -> np.ndarray:
    """Return reflectance * 10,000 of a patch in red, green, blue: (row, col, 3), int32.

    `boa_offset` tells whether its product's pixels carry BOA_ADD_OFFSET, as `provenance.json` records it.
    """
    bands = [read_pixels(shard.read(f"{patch_id}_{band}"), f"{patch_id}_{band}") for band in RGB_BANDS]
    return np.dstack(bands).astype("int32") + (BOA_ADD_OFFSET if boa_offset else 0)


def read_codes(shard: ShardReader, patch_id: str) -> np.ndarray:
    """Return the CLC codes of a patch's reference map: (row, col), uint16."""
    return read_pixels(shard.read(f"{patch_id}{MAP_SUFFIX}"), patch_id)


def rgb_overview(shard: ShardReader, grid: PatchGrid, *, boa_offset: bool = False) -> np.ndarray:
    """Return the picture of a tile from the patches in its shard, as means of pixels; transparent where there are none.

    `boa_offset` is as for `read_rgb`.
    """
    px = pixels_a_patch(grid)
    step = _side_px(grid) // px
    picture = np.zeros((grid.patches_a_side * px, grid.patches_a_side * px, 4), "uint8")
    for patch_id in shard.patch_ids:
        pixels = block_sums(read_rgb(shard, patch_id, boa_offset=boa_offset), step) / step**2
        position = _on_overview(patch_id, px)
        picture[(*position, slice(3))] = true_colour(pixels)
        picture[(*position, 3)] = 255
    return picture


def map_overview(shard: ShardReader, grid: PatchGrid, nothing: int = NO_CLC) -> np.ndarray:
    """Return the codes of a tile from its reference maps, every n-th pixel: (row, col); `nothing` elsewhere."""
    px = pixels_a_patch(grid)
    step = _side_px(grid) // px
    codes = np.full((grid.patches_a_side * px, grid.patches_a_side * px), nothing, "uint16")
    for patch_id in shard.patch_ids:
        pixels = read_codes(shard, patch_id)[step // 2 :: step, step // 2 :: step]
        codes[_on_overview(patch_id, px)] = pixels
    return codes


def pixels_a_patch(grid: PatchGrid) -> int:
    """Return the pixels along a patch's side in an overview: at most OVERVIEW_PX in all, and a divisor of its own."""
    side_px = _side_px(grid)
    fitting = [px for px in range(1, side_px + 1) if side_px % px == 0 and px * grid.patches_a_side <= OVERVIEW_PX]
    return max(fitting, default=1)


def _side_px(grid: PatchGrid) -> int:
    """Return the pixels of 10 m along a patch's side."""
    return grid.patch_m // PIXEL_M


def _on_overview(patch_id: str, px: int) -> tuple[slice, slice]:
    patch = PatchId.parse(patch_id)
    return pixel_window(patch.x, patch.y, px)


def read_picture(path: Path) -> np.ndarray:
    """Read the picture in a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path) as raster:
            return np.moveaxis(raster.read(), 0, 2)


def png(picture: np.ndarray) -> bytes:
    """Return a picture as PNG."""
    return _encoded(picture, driver="PNG", zlevel=_PNG_LEVEL)


def webp(picture: np.ndarray) -> bytes:
    """Return a picture as WebP, which has a tenth of the size of PNG at nearly the same quality."""
    return _encoded(picture, driver="WEBP", quality=88, method=_WEBP_METHOD)


def geotiff(picture: np.ndarray, square: Square) -> bytes:
    """Return a picture of a square on the ground as GeoTIFF in its UTM zone."""
    pixel_m = square.side_m / len(picture)
    position = rasterio.transform.from_origin(square.left, square.top, pixel_m, pixel_m)
    return _encoded(picture, driver="GTiff", crs=f"EPSG:{square.epsg}", transform=position, compress="deflate")


def map_picture(codes: np.ndarray, colours: Mapping[int, tuple[int, int, int]]) -> np.ndarray:
    """Return the picture of codes (row, col), with opacity: what has no colour is transparent."""
    table = np.zeros((_CODES, 4), "uint8")
    for code, colour in colours.items():
        table[code] = (*colour, 255)
    return np.asarray(table[codes])


def map_png(codes: np.ndarray, colours: Mapping[int, tuple[int, int, int]]) -> bytes:
    """Return codes (row, col) as PNG, with a palette if they fit into one: what has no colour is transparent."""
    known = sorted(colours)
    if len(known) > _MOST_IN_PALETTE:
        return png(map_picture(codes, colours))
    index = np.full(_CODES, len(known), "uint8")
    index[known] = np.arange(len(known))
    return palette_png(index[codes], [*(colours[code] for code in known), None])


def palette_png(index: np.ndarray, colours: Sequence[tuple[int, int, int] | None]) -> bytes:
    """Return an array (row, col) of indexes of `colours` as PNG; None is transparent."""
    table = dict(enumerate(colour or _CLEAR for colour in colours))
    clear = [position for position, colour in enumerate(colours) if colour is None]
    return _encoded(index[:, :, None].astype("uint8"), driver="PNG", palette=table, nodata=clear[0] if clear else None)


def _encoded(
    picture: np.ndarray, palette: Mapping[int, tuple[int, int, int]] | None = None, **options: object
) -> bytes:
    height, width, channels = picture.shape
    with rasterio.MemoryFile() as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with file.open(width=width, height=height, count=channels, dtype="uint8", **options) as raster:
            if palette:
                raster.write_colormap(1, palette)
            raster.write(np.moveaxis(picture, 2, 0))
        return bytes(file.read())


def patch_square(patch: PatchId, grid: PatchGrid) -> Square:
    """Return the square of a patch on the ground."""
    return grid.patch(patch.x, patch.y)
