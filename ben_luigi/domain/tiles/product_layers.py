"""Cut what a product has besides the twelve bands on the grid of its patches, pixel by pixel as it is.

Of L2A products these are the scene classification, aerosol and water vapour, and the probabilities of cloud and snow;
of L1C products all 13 bands. Each is verified, as the twelve bands are, and decoded once.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import rasterio
import rasterio.errors

from ben_luigi.domain.errors import BadProduct
from ben_luigi.domain.formats import geotiff, shards
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.placement.grid import PatchGrid
from ben_luigi.domain.products.layer_files import find, remedy
from ben_luigi.domain.products.product import checksums_of, verify_image
from ben_luigi.domain.progress import OnFraction, ignore_fraction
from ben_luigi.domain.recipe.model import Layer
from ben_luigi.domain.tiles.decoding import Image, decode_images
from ben_luigi.domain.tiles.layers import member_name


def cut(
    layer: Layer,
    folder: Path,
    grid: PatchGrid,
    written: np.ndarray,
    shard: Path,
    index: Path,
    *,
    threads: int = 1,
    progress: OnFraction = ignore_fraction,
) -> None:
    """Write the files of a layer for each of the `written` patches to a shard and its index.

    `folder` is that of the product, `written` holds positions in the grid's arrays, ascending. Raise BadProduct if a
    file is missing, damaged, of another type, or not of the tile's extent. Memory: two columns of patches, and GDAL's
    block cache.
    """
    images = _images(layer, folder, grid)
    costly_first = dict(sorted(images.items(), key=lambda item: (item[1].pixel_m, item[0])))
    side_m, epsg = grid.patch_m, grid.square.epsg
    templates = {
        kind: geotiff.template(side_m // pixel_m, pixel_m, epsg, dtype=layer.dtype, nodata=layer.nodata)
        for kind, pixel_m in layer.kinds.items()
    }
    done = 0
    with shards.writing(shard, index) as writer:
        for column in decode_images(costly_first, *grid.columns_rows(written), threads, patch_m=side_m):
            for at, row in enumerate(column.rows.tolist()):
                patch, corner = grid.patch_id(column.x, row), grid.corner(column.x, row)
                for kind, template in templates.items():
                    pixels = column.pixels[kind][at]
                    data = template.plain(pixels, *corner)
                    if done == 0:
                        template.check(data, pixels, *corner)
                    writer.add(str(patch), member_name(patch, layer.name, kind), data)
                done += 1
            progress(done / len(written))


def _images(layer: Layer, folder: Path, grid: PatchGrid) -> dict[str, Image]:
    """Return the images of a layer, whose headers fit the tile."""
    found, name = find(layer, folder), ProductName.parse(folder.name)
    checksums = checksums_of(folder, found)
    images = {}
    for kind, path in found.items():
        verify = partial(verify_image, name, path, checksums.get(kind))
        images[kind] = Image(path, layer.kinds[kind], f"{name.tile_key}: {path}", verify, layer.dtype)
        for expected, said in _unlike(images[kind], grid):
            raise BadProduct(images[kind].subject, expected=expected, found=said, remedy=remedy(layer))
    return images


def _unlike(image: Image, grid: PatchGrid) -> Iterator[tuple[str, str]]:
    """Yield what is expected of an image, and what was found instead, if it differs."""
    square, pixel_m = grid.square, image.pixel_m
    side_px = round(square.side_m / pixel_m)
    expected = _described(side_px, side_px, image.dtype, square.epsg, square.left, square.top, pixel_m)
    try:
        with rasterio.open(image.path, driver="JP2OpenJPEG") as raster:
            place, epsg = raster.transform, raster.crs.to_epsg() if raster.crs else None
            found = _described(raster.width, raster.height, raster.dtypes[0], epsg, place.c, place.f, place.a)
    except rasterio.errors.RasterioError as error:
        found = str(error.__cause__ or error)
    if found != expected:
        yield expected, found


def _described(width: int, height: int, dtype: str, epsg: int | None, left: float, top: float, pixel_m: float) -> str:
    return f"{width} x {height} px of {pixel_m:g} m, {dtype}, EPSG:{epsg}, from {left:.0f}, {top:.0f}"
