"""Which files of a product are needed: of L1C all but what is only to be looked at, of L2A the bands and the metadata.

Of an L2A product that is about half: each band at its own resolution, the scene classification (SCL) and the metadata.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from ben_luigi.domain.names import ProductName
from ben_luigi.domain.products import l1c, manifest
from ben_luigi.domain.products.layer_files import is_file_of
from ben_luigi.domain.recipe.model import Layer
from ben_luigi.domain.vocabulary import RESOLUTION_M

_LAYERS = {**RESOLUTION_M, "SCL": 20}
_IMAGES = {
    layer: re.compile(rf"GRANULE/[^/]+/IMG_DATA/R{pixel_m}m/[^/]+_{layer}_{pixel_m}m\.jp2")
    for layer, pixel_m in _LAYERS.items()
}
_METADATA = re.compile(r"MTD_MSIL2A\.xml|GRANULE/[^/]+/MTD_TL\.xml|DATASTRIP/[^/]+/MTD_DS\.xml")


def is_needed(product: ProductName, path: str, layers: Iterable[Layer] = ()) -> bool:
    """Return whether a file, by its path in the `.SAFE`, is needed, by itself or for `layers` that are taken."""
    if product.level == "L1C":
        return l1c.is_needed(path)
    is_image = any(each.fullmatch(path) for each in _IMAGES.values())
    return is_image or _METADATA.fullmatch(path) is not None or any(is_file_of(layer, path) for layer in layers)


def lacking(product: ProductName, listed: Collection[str], layers: Iterable[Layer] = ()) -> list[str]:
    """Return what every product has, or must have for `layers`, and a manifest that lists these files lacks."""
    if product.level == "L1C":
        return l1c.lacking(list(listed), dict.fromkeys(listed))[0]
    images = [f"layer {layer}" for layer, form in _IMAGES.items() if not any(map(form.fullmatch, listed))]
    more = [f"layer {layer.name}" for layer in layers if not any(is_file_of(layer, path) for path in listed)]
    return [*images, *more, *(name for name in ("MTD_MSIL2A.xml",) if name not in listed)]


def left_out(
    product: ProductName, listed: Mapping[str, object], there: Collection[str], layers: Iterable[Layer] = ()
) -> tuple[str, ...]:
    """Return the files of a manifest that are not there; of L2A only needed ones, since most are not fetched."""
    absent = set(listed).difference(there) - {manifest.NAME}
    return tuple(sorted(path for path in absent if product.level == "L1C" or is_needed(product, path, layers)))
