"""Write the L1C products of the sample world as CDSE zips them."""

from __future__ import annotations

from pathlib import Path

from ben_luigi.sample import safe
from ben_luigi.sample.bands import BANDS
from ben_luigi.sample.landscape import Landscape
from ben_luigi.sample.safe_metadata import CHECKS, Facts, datastrip_xml, product_xml, report_xml, tile_xml
from ben_luigi.sample.scenes import Folders, Scene


def write_l1c(path: Path, landscape: Landscape) -> None:
    """Write the L1C product of a scene as a zip."""
    scene = landscape.scene
    facts = _facts(scene)
    members = {
        f"{image}.jp2": safe.jpeg2000(pixels, scene.square, BANDS[band].pixel_m)
        for (band, pixels), image in zip(landscape.reflectance().items(), _images(facts), strict=True)
    }
    members[facts.product_file] = product_xml(facts, _images(facts))
    members[f"{facts.granule}/MTD_TL.xml"] = tile_xml(facts)
    members[f"{facts.granule}/QI_DATA/MSK_CLOUDS_B00.gml"] = b'<?xml version="1.0" encoding="UTF-8"?>\n<Mask/>\n'
    members[f"{facts.datastrip}/MTD_DS.xml"] = datastrip_xml(facts)
    members |= _needed_folders(facts, scene.folders)
    members["manifest.safe"] = safe.manifest(members, scene.product.level)
    safe.write_zip(members, path, str(scene.product), scene.product.sensing_time)


def _facts(scene: Scene) -> Facts:
    return Facts(
        scene.product,
        scene.square,
        scene.absolute_orbit,
        {check: "FAILED" if check == scene.failed_check else "PASSED" for check in CHECKS},
        "A made-up product of a sample world",
    )


def _images(facts: Facts) -> list[str]:
    name = facts.name
    return [f"{facts.granule}/IMG_DATA/T{name.mgrs}_{name.sensing}_{band}" for band in BANDS]


def _needed_folders(facts: Facts, folders: Folders) -> dict[str, bytes]:
    """Return the folders that Sen2Cor needs, in the state that the scene gives them."""
    quality, auxiliary = f"{facts.datastrip}/QI_DATA/", f"{facts.granule}/AUX_DATA/"
    if folders is Folders.DROPPED:
        return {}
    if folders is Folders.ENTRIES:
        return {quality: b"", auxiliary: b""}
    reports = {f"{quality}{check}.xml": report_xml(check, result) for check, result in facts.results.items()}
    return {**reports, f"{auxiliary}AUX_ECMWFT": b"No weather in the sample world.\n"}
