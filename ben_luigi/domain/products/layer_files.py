"""Find the files of the layers that a product has besides the twelve bands."""

from __future__ import annotations

import re
from pathlib import Path

from ben_luigi.domain import given
from ben_luigi.domain.errors import BadProduct, some
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.recipe.model import OF_PRODUCT, Layer

_WHERE = "[layers] of_product"
_IMAGES, _QUALITY = ("GRANULE", "*", "IMG_DATA"), ("GRANULE", "*", "QI_DATA")
# Sen2Cor before 2.5 named its probabilities otherwise.
_PLACES: dict[str, tuple[tuple[str, ...], ...]] = {
    "scl": ((*_IMAGES, "R20m", "*_SCL_20m.jp2"),),
    "aot": ((*_IMAGES, "R20m", "*_AOT_20m.jp2"),),
    "wvp": ((*_IMAGES, "R20m", "*_WVP_20m.jp2"),),
    "cloud_probability": ((*_QUALITY, "MSK_CLDPRB_20m.jp2"), (*_QUALITY, "*_CLD_20m.jp2")),
    "snow_probability": ((*_QUALITY, "MSK_SNWPRB_20m.jp2"), (*_QUALITY, "*_SNW_20m.jp2")),
    **{f"l1c_{band}": ((*_IMAGES, f"*_{band}.jp2"),) for band in OF_PRODUCT["l1c"].bands},
}
"""Where the file of each kind is in a product, as patterns of the parts of its path."""


def find(layer: Layer, folder: Path) -> dict[str, Path]:
    """Return the file of each kind of a layer in a product's folder.

    Raise BadProduct if one is missing, or the folder cannot be listed.
    """
    found, lacking = {}, []
    try:
        for kind in layer.kinds:
            paths = next((paths for place in _PLACES[kind] if (paths := given.find(folder, *place))), [])
            if len(paths) == 1:
                found[kind] = paths[0]
            else:
                lacking.append(_PLACES[kind][0][-1])
    except OSError as error:
        raise BadProduct(
            folder, expected="a folder that can be read", found=str(error), remedy=remedy(layer)
        ) from error
    if lacking:
        raise BadProduct(
            f"{ProductName.parse(folder.name).tile_key}: {folder.name}",
            expected=f"one file of each kind of the layer {layer.name}",
            found=f"no, or more than one, {some(lacking, 3)}",
            remedy=remedy(layer),
        )
    return found


def has_none(layer: Layer, folder: Path) -> bool:
    """Return whether a product's folder has no file of a layer at all. Raise OSError if it cannot be listed."""
    return not any(given.find(folder, *place) for kind in layer.kinds for place in _PLACES[kind])


def is_file_of(layer: Layer, path: str) -> bool:
    """Return whether a path in a product is that of a file of a layer."""
    return any(
        re.fullmatch("/".join(re.escape(part).replace(r"\*", "[^/]*") for part in place), path)
        for kind in layer.kinds
        for place in _PLACES[kind]
    )


def remedy(layer: Layer) -> str:
    """Return what to do about a product whose file of a layer is missing or damaged."""
    return f"convert or fetch the product again, leave {layer.name} out of {_WHERE}, or set [layers] missing = skip"
