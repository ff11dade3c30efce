"""Write the L2A products of the sample world as CDSE zips them, and the catalogue of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ben_luigi.sample import safe
from ben_luigi.sample.bands import BANDS, coarser
from ben_luigi.sample.catalogue import entry, entry_with_file
from ben_luigi.sample.l2a_scenes import OFFSET, Cloud, L2AScene, others
from ben_luigi.sample.landscape import Landscape
from ben_luigi.sample.layout import World
from ben_luigi.sample.safe_metadata import CHECKS, Facts, datastrip_xml, product_xml, report_xml, tile_xml
from ben_luigi.sample.surface import atmosphere, probabilities, scene_classes, surface_of

_CLOUD, _SHADOW = 9, 3
_BRIGHT = 6_000
_SHADOW_M = 600
_SCL_M = 20


def write_l2a(path: Path, scene: L2AScene, ground: Landscape) -> None:
    """Write the product of a scene as a zip: each band at its own resolution, and its other layers of 20 m."""
    facts = Facts(
        scene.product,
        scene.square,
        scene.absolute_orbit,
        dict.fromkeys(CHECKS, "PASSED"),
        "A made-up product of a sample world",
        boa_offset=OFFSET,
    )
    name = scene.product
    layers = {
        f"{facts.granule}/IMG_DATA/R{pixel_m}m/T{name.mgrs}_{name.sensing}_{layer}_{pixel_m}m": (pixels, pixel_m)
        for layer, pixel_m, pixels in _layers(scene, ground)
    }
    members = {f"{image}.jp2": safe.jpeg2000(pixels, scene.square, size) for image, (pixels, size) in layers.items()}
    members |= {
        f"{facts.granule}/QI_DATA/MSK_{mask}_20m.jp2": safe.jpeg2000(pixels, scene.square, _SCL_M)
        for mask, pixels in probabilities(_surface(ground)).items()
    }
    members[facts.product_file] = product_xml(facts, layers)
    members[f"{facts.granule}/MTD_TL.xml"] = tile_xml(facts)
    members[f"{facts.datastrip}/MTD_DS.xml"] = datastrip_xml(facts)
    for check, result in facts.results.items():
        members[f"{facts.datastrip}/QI_DATA/{check}.xml"] = report_xml(check, result)
    members["manifest.safe"] = safe.manifest(members, name.level)
    safe.write_zip(members, path, str(name), name.sensing_time)


def _layers(scene: L2AScene, ground: Landscape) -> Iterator[tuple[str, int, np.ndarray]]:
    """Yield name, pixel size in metres and pixels (row, col) of each band, and of the scene classification."""
    surface = _surface(ground)
    at_20_m = {
        band: coarser(surface[band], _SCL_M // BANDS[band].pixel_m).astype("uint16")
        for band in ("B03", "B04", "B8A", "B11")
    }
    classes = scene_classes(at_20_m)
    if scene.cloud:
        classes = _clouded(classes, scene.cloud)
    yield "SCL", _SCL_M, classes
    yield from ((layer, _SCL_M, pixels) for layer, pixels in atmosphere(at_20_m["B03"]).items())
    for band, pixels in surface.items():
        pixel_m = BANDS[band].pixel_m
        seen = np.where(scene.cloud.covers(pixel_m), _BRIGHT, pixels) if scene.cloud else pixels
        yield band, pixel_m, np.where(pixels > 0, seen.astype("int32") - OFFSET, 0).astype("uint16")


def _surface(ground: Landscape) -> dict[str, np.ndarray]:
    return {band: surface_of(pixels) for band, pixels in ground.reflectance().items() if band != "B10"}


def _clouded(classes: np.ndarray, cloud: Cloud) -> np.ndarray:
    """Return scene classes with a cloud and its shadow."""
    hidden = np.where(cloud.covers(_SCL_M, _SHADOW_M), _SHADOW, classes)
    return np.where(classes == 0, 0, np.where(cloud.covers(_SCL_M), _CLOUD, hidden)).astype("uint8")


def write_l2a_catalogue(world: World, scenes: Iterable[L2AScene]) -> None:
    """Write the catalogue of the products in `world`, with others that have no file and that none should take."""
    chosen = list(scenes)
    entries = [entry_with_file(scene.product, world) | {"Cloud": scene.cloud_percent} for scene in chosen]
    entries += [entry(product) | {"Cloud": cloud} for product, cloud in others(chosen)]
    entries.sort(key=lambda each: str(each["Name"]))
    world.catalogue.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
