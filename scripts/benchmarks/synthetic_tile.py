"""A made-up L2A product and made-up CORINE polygons of any size: made once, and kept.

The images have texture at many scales and noise whose strength changes over the tile, so that a full tile's twelve
bands take about 800 MB without loss, as real ones do. They are blocked as ESA's are: 1024 pixels at 10 m, 640 at 20 m,
192 at 60 m. The polygons partition the tile and a margin around it; they have 110 vertices on average.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fiona
import numpy as np
import rasterio
import shapely
from pyproj import Transformer
from rasterio.transform import from_origin
from shapely.geometry import mapping

from ben_luigi.domain.files import atomic_write
from ben_luigi.domain.names import SEN2COR_BASELINE, ProductName
from ben_luigi.domain.placement.footprints import EQUAL_AREA
from ben_luigi.domain.placement.grid import Square, tile_square
from ben_luigi.domain.products.baselines import has_offset
from ben_luigi.domain.products.product import BOA_ADD_OFFSET
from ben_luigi.domain.vocabulary import RESOLUTION_M
from ben_luigi.sample.safe import manifest
from ben_luigi.sample.safe_metadata import CHECKS, Facts, product_xml

NAME = ProductName.parse("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_20260101T000000.SAFE")
_BLOCK_PX = {10: 1024, 20: 640, 60: 192}
_STRIP_PX = 1020
"""Rows of noise made at once; a multiple of all scales of texture."""

_CLC_EPSG = EQUAL_AREA
_CODES = (112, 211, 231, 242, 243, 311, 312, 313, 324, 412, 512, 131)
_KM2_A_POLYGON = 1.34
"""A full tile then has about 9,000 polygons."""


def product(folder: Path, side_m: int, baseline: str = SEN2COR_BASELINE) -> Path:
    """The `.SAFE` folder of a product of `side_m` metres in `folder`; made if it is not there.

    Products of all baselines have the same images; those from N0400 on say that these carry ESA's offset.
    """
    name = replace(NAME, baseline=baseline)
    safe = folder / f"{side_m}m" / str(name)
    if not safe.is_dir():
        offset = BOA_ADD_OFFSET if has_offset(name) else 0
        facts = Facts(name, tile_square(name, side_m), 10_000, dict.fromkeys(CHECKS, "PASSED"), "made up", offset)
        with atomic_write(safe) as work:
            images = work / facts.granule / "IMG_DATA"
            if baseline == SEN2COR_BASELINE:
                _write_images(images, facts.square)
            else:
                made = product(folder, side_m) / facts.granule / "IMG_DATA"
                shutil.copytree(made, images, copy_function=os.link)
            (work / facts.product_file).write_bytes(product_xml(facts, []))
            members = {path.relative_to(work).as_posix(): path for path in work.rglob("*") if path.is_file()}
            text = manifest({member: path.read_bytes() for member, path in members.items()}, name.level)
            (work / "manifest.safe").write_bytes(text)
    return safe


def _write_images(folder: Path, square: Square) -> None:
    for number, (band, pixel_m) in enumerate(RESOLUTION_M.items()):
        image = folder / f"R{pixel_m}m" / f"T{NAME.mgrs}_{NAME.sensing}_{band}_{pixel_m}m.jp2"
        image.parent.mkdir(parents=True, exist_ok=True)
        _write_image(image, square, pixel_m, np.random.default_rng(number))


def scene_classification(safe: Path, side_m: int) -> None:
    """Add a scene classification to the product, if there is none: patches of all classes, with single other pixels."""
    images = next(safe.glob("GRANULE/*/IMG_DATA/R20m"))
    image = images / f"T{NAME.mgrs}_{NAME.sensing}_SCL_20m.jp2"
    if not image.is_file():
        rng = np.random.default_rng(20)
        shape = (side_m // 20, side_m // 20)
        fields = _noise(shape, 100, rng) + _noise(shape, 20, rng) + 0.2 * _noise(shape, 1, rng)
        classes = (6.5 + 2.5 * fields).clip(2, 11).astype("uint8")
        with atomic_write(image) as work:
            _write(work, tile_square(NAME, side_m), 20, classes)


def _write_image(path: Path, square: Square, pixel_m: int, rng: np.random.Generator) -> None:
    _write(path, square, pixel_m, texture(int(square.side_m) // pixel_m, rng))


def _write(path: Path, square: Square, pixel_m: int, pixels: np.ndarray) -> None:
    side_px = int(square.side_m) // pixel_m
    with (
        rasterio.Env(GDAL_NUM_THREADS="ALL_CPUS"),
        rasterio.open(
            path,
            "w",
            driver="JP2OpenJPEG",
            width=side_px,
            height=side_px,
            count=1,
            dtype=pixels.dtype.name,
            crs=f"EPSG:{square.epsg}",
            transform=from_origin(square.left, square.top, pixel_m, pixel_m),
            quality=100,
            reversible="YES",
            geojp2="NO",
            blockxsize=_BLOCK_PX[pixel_m],
            blockysize=_BLOCK_PX[pixel_m],
        ) as raster,
    ):
        raster.write(pixels, 1)


def texture(side_px: int, rng: np.random.Generator, contrast: float = 1) -> np.ndarray:
    """Reflectances * 10,000 from 1 upwards, (row, col), uint16. The less `contrast`, the better they compress."""
    pixels = np.empty((side_px, side_px), dtype="uint16")
    for row in range(0, side_px, _STRIP_PX):
        shape = min(_STRIP_PX, side_px - row), side_px
        strength = 80 + 100 * _noise(shape, 60, rng).clip(0)
        fields = 300 * _noise(shape, 510, rng) + 200 * _noise(shape, 30, rng) + 100 * _noise(shape, 6, rng)
        values = 3000 + contrast * (fields + strength * _noise(shape, 1, rng))
        pixels[row : row + shape[0]] = values.clip(1, 65_535)
    return pixels


def _noise(shape: tuple[int, int], scale_px: int, rng: np.random.Generator) -> np.ndarray:
    rows, cols = (-(-length // scale_px) for length in shape)
    coarse = rng.standard_normal((rows, cols), dtype="float32")
    return np.repeat(np.repeat(coarse, scale_px, axis=0)[: shape[0]], scale_px, axis=1)[:, : shape[1]]


def land_cover(folder: Path, side_m: int) -> Path:
    """A CORINE GeoPackage around the product of the same `folder` and `side_m`; made if it is not there."""
    path = folder / f"{side_m}m" / "clc.gpkg"
    if not path.is_file():
        schema = {"geometry": "MultiPolygon", "properties": {"Code_18": "str:3", "ID": "str:18"}}
        layer = {"driver": "GPKG", "layer": "clc", "crs": f"EPSG:{_CLC_EPSG}", "schema": schema}
        with atomic_write(path) as work, fiona.open(work, "w", **layer) as file:
            file.writerecords(_records(tile_square(NAME, side_m)))
    return path


def _records(square: Square) -> Iterator[dict[str, object]]:
    to_clc = Transformer.from_crs(square.epsg, _CLC_EPSG, always_xy=True)
    for number, polygon in enumerate(_partition(square)):
        outline = shapely.transform(
            polygon, lambda points: np.column_stack(to_clc.transform(points[:, 0], points[:, 1]))
        )
        properties = {"Code_18": str(_CODES[number % len(_CODES)]), "ID": f"EU-{number}"}
        yield {"geometry": mapping(shapely.MultiPolygon([outline])), "properties": properties}


def _partition(square: Square) -> np.ndarray:
    """Cells with wavy edges; neighbours share their vertices, since these are moved by a function of their place."""
    rng = np.random.default_rng(2018)
    margin_m = 0.02 * square.side_m
    box = shapely.box(*square.bounds).buffer(margin_m, join_style="mitre")
    number = max(4, int(box.area / 1e6 / _KM2_A_POLYGON))
    seeds = rng.uniform(box.bounds[:2], box.bounds[2:], (number, 2))
    cells = shapely.get_parts(shapely.voronoi_polygons(shapely.multipoints(seeds), extend_to=box))
    cells = shapely.segmentize(shapely.intersection(cells, box), 43.0)
    return np.asarray(shapely.transform(cells, _wavy))


def _wavy(points: np.ndarray) -> np.ndarray:
    x, y = points[:, 0], points[:, 1]
    east, south = 20 * np.sin(y / 31) + 9 * np.sin(x / 17), 20 * np.sin(x / 37) + 9 * np.sin(y / 19)
    return np.column_stack([x + east, y + south])
