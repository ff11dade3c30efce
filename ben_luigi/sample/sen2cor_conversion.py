"""Make an L2A product from an L1C product, without any physics: what the stand-in for Sen2Cor does.

It subtracts from each band the light of its darkest pixel (assumed to reflect 1 %); its aerosol, water vapour and
probabilities are made up from brightness. All of its output calls it a STAND-IN.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import rasterio

from ben_luigi.domain.names import ProductName
from ben_luigi.domain.placement.grid import Square
from ben_luigi.sample import safe
from ben_luigi.sample.bands import BANDS, coarser
from ben_luigi.sample.safe_metadata import CHECKS, Facts, datastrip_xml, product_xml, report_xml, tile_xml
from ben_luigi.sample.surface import atmosphere, probabilities, scene_classes, surface_of

_PIXELS_M = (10, 20, 60)


class StopError(Exception):
    """Sen2Cor's message before it stops with exit code 1."""


def convert(source: Path, folder: Path) -> None:
    """Write directly to the product's own name, as Sen2Cor does: if it is stopped, half a product is left there."""
    name = ProductName.parse(source.name)
    print(f"Product version: 14.5. Operation mode: TOOLBOX. Processing baseline: {name.baseline[1:]}.", flush=True)
    if any(folder.glob(f"{name.converted().tile_name}_*.SAFE")):
        raise StopError("AttributeError: 'bool' object has no attribute 'SPACECRAFT_NAME'")
    for parent, child in (("DATASTRIP", "QI_DATA"), ("GRANULE", "AUX_DATA")):
        if not all((part / child).is_dir() for part in (source / parent).iterdir()):
            raise StopError("[CRITICAL]  L2A_Config: 3181   Error in creating L2A User Product")
    toa, square = _read_images(source)
    print("Progress[%]: 30.00 : STAND-IN, images read", flush=True)
    facts = _facts(source, name.converted(), square)
    surface = {band: surface_of(pixels) for band, pixels in toa.items()}
    images = {
        f"{facts.granule}/IMG_DATA/R{pixel_m}m/T{name.mgrs}_{name.sensing}_{layer}_{pixel_m}m": (pixels, pixel_m)
        for pixel_m, layer, pixels in _layers(surface)
    }
    members = {f"{image}.jp2": safe.jpeg2000(pixels, square, size) for image, (pixels, size) in images.items()}
    for mask, pixels in probabilities(surface).items():
        members[f"{facts.granule}/QI_DATA/MSK_{mask}_20m.jp2"] = safe.jpeg2000(pixels, square, 20)
    print("Progress[%]: 90.00 : STAND-IN, images written", flush=True)
    members[facts.product_file] = product_xml(facts, images)
    members[f"{facts.granule}/MTD_TL.xml"] = tile_xml(facts)
    members[f"{facts.datastrip}/MTD_DS.xml"] = datastrip_xml(facts)
    for check, result in facts.results.items():
        members[f"{facts.datastrip}/QI_DATA/{check}.xml"] = report_xml(check, result)
    members["manifest.safe"] = safe.manifest(members, facts.name.level)
    safe.write_folder(members, folder / str(facts.name))


def _read_images(source: Path) -> tuple[dict[str, np.ndarray], Square]:
    """Return the pixels of each band but B10, which shows no surface, and the ground that they cover."""
    pixels = {}
    for band in sorted(BANDS.keys() - {"B10"}):
        (path,) = source.glob(f"GRANULE/*/IMG_DATA/*_{band}.jp2")
        with rasterio.Env(GDAL_NUM_THREADS="ALL_CPUS"), rasterio.open(path) as raster:
            pixels[band] = raster.read(1)
            west, south, _, north = raster.bounds
            square = Square(west, north, north - south, raster.crs.to_epsg())
    return pixels, square


def _facts(source: Path, name: ProductName, square: Square) -> Facts:
    """Return the quality results and the orbit of the L1C product."""
    root = ElementTree.parse(source / "MTD_MSIL1C.xml").getroot()
    (granule,) = (source / "GRANULE").iterdir()
    return Facts(
        name,
        square,
        int(granule.name.split("_")[2].removeprefix("A")),
        {check: root.findtext(f".//{check}_FLAG", "FAILED") for check in CHECKS},
        "Made by a STAND-IN for Sen2Cor: no atmospheric physics in it",
    )


def _layers(surface: dict[str, np.ndarray]) -> Iterator[tuple[int, str, np.ndarray]]:
    """Yield the content of a Sen2Cor product: (pixel size in metres, name, pixels).

    All but B08 in coarser copies too.
    """
    for pixel_m in _PIXELS_M:
        bands = {
            band: coarser(pixels, pixel_m // BANDS[band].pixel_m).astype("uint16")
            for band, pixels in surface.items()
            if BANDS[band].pixel_m <= pixel_m and (band != "B08" or pixel_m == BANDS[band].pixel_m)
        }
        yield from ((pixel_m, band, pixels) for band, pixels in bands.items())
        if pixel_m > 10:
            yield pixel_m, "SCL", scene_classes(bands)
        yield from ((pixel_m, layer, pixels) for layer, pixels in atmosphere(bands["B02"]).items())
