"""The rules of a recipe that concern several keys together: choices that contradict each other, and reserved names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.findings import nearest, shown
from ben_luigi.domain.recipe import model, nomenclature
from ben_luigi.domain.recipe.declared import RASTER_OPTION
from ben_luigi.domain.recipe.lines import Place
from ben_luigi.domain.vocabulary import PATCH_M

Values = Mapping[str, Mapping[str, Any]]
"""The valid values of a recipe by section and key; keys above the first section are in that with an empty name."""

RASTERS = (".tif", ".tiff", ".vrt")
"""Suffixes of a land cover that is a raster; others are vector files."""

_RESAMPLING = ", ".join(f'"{word}"' for word in model.RESAMPLING)
_SPDX, _SPDX_VERSION = Path(__file__).with_name("spdx_licenses.txt"), "3.27"
_OURS = ("bigearthnetv2", "bigearthnet20", "reben")
_PAPER = ("2407.03653", "clasen2024reben")


class Broken(NamedTuple):
    """A rule that is broken: the key, what was found, and what is allowed."""

    place: Place
    found: str
    allowed: str


def broken(values: Values, refused: Collection[Place], *, is_default: bool) -> Iterator[Broken]:
    """Yield the rules that the values break.

    Keys that are `refused`, since their value itself is wrong, are not in `values`: what hangs on them is not judged.
    """
    if not is_default:
        yield from _names(values)
    yield from _license(values)
    yield from _products(values)
    yield from _alignment(values, refused)
    yield from _split(values, refused)
    yield from _land_cover(values, refused)
    yield from _sentinel1(values, refused)
    yield from _layers(values, refused)


def is_reserved(name: str) -> bool:
    """Return whether a name or title is that of BigEarthNet v2, which only the default recipe may have."""
    return re.sub(r"[^a-z0-9]", "", name.lower()).startswith(_OURS)


def _names(values: Values) -> Iterator[Broken]:
    """Nothing but the default recipe may call itself BigEarthNet v2."""
    allowed = "another one: only the default recipe, unchanged, is BigEarthNet v2"
    for key in ("name", "title"):
        value = values[""].get(key, "")
        if is_reserved(value):
            yield Broken((key,), shown(value), allowed)
    if any(word in values[""].get("citation", "") for word in _PAPER):
        yield Broken(("citation",), "the paper on BigEarthNet v2", allowed)


def _license(values: Values) -> Iterator[Broken]:
    """A word that SPDX does not have would be published as a licence, with a page that does not exist."""
    said = values[""].get("license", "")
    known = _SPDX.read_text(encoding="utf-8").split()
    if said and said not in known and not model.is_own_license(said):
        near = nearest(said, known)
        found = f"{shown(said)}; did you mean {near}?" if near else shown(said)
        yield Broken(("license",), found, f"one of SPDX {_SPDX_VERSION}, or LicenseRef-NAME for another one")


def _products(values: Values) -> Iterator[Broken]:
    products = values.get("products", {})
    if {"list", "search"} <= products.keys():
        yield Broken(("products", "search"), "both list and search", "one of them")
    search = products.get("search")
    if search is None:
        return
    if search.same_as is not None:
        if search != model.Search(same_as=search.same_as, max_cloud=search.max_cloud):
            yield Broken(("products", "search"), "same_as with tiles, area, dates or per", "only max_cloud beside it")
        return
    if search.since == date.min or search.until == date.max:
        yield Broken(("products", "search"), "no from or no to", "a first and a last day, or same_as")
    if search.since > search.until:
        found = f"from {search.since} to {search.until}"
        yield Broken(("products", "search"), found, "a first day that is not after the last")
    if bool(search.tiles) == (search.area is not None):
        found = "both tiles and area" if search.tiles else "neither tiles nor area"
        yield Broken(("products", "search"), found, "one of them")


def _alignment(values: Values, refused: Collection[Place]) -> Iterator[Broken]:
    """What is aligned with v1 has its squares and its seasons."""
    patches = values.get("patches", {})
    if patches.get("keep") != model.ALIGNED:
        return
    keep = f'keep = "{model.ALIGNED}"'
    side_m = patches.get("side_m", PATCH_M)
    if side_m != PATCH_M:
        yield Broken(("patches", "side_m"), f"{side_m} with {keep}", f'{PATCH_M}, or keep = "{model.VALID}"')
    rule = values.get("seasons", {}).get("rule", model.CALENDAR)
    if rule != model.PUBLISHED and ("seasons", "rule") not in refused:
        yield Broken(("seasons", "rule"), f'"{rule}" with {keep}', f'"{model.PUBLISHED}", by which patches are aligned')


def _split(values: Values, refused: Collection[Place]) -> Iterator[Broken]:
    if ("split", "rule") in refused:
        return
    split = values.get("split", {})
    rule = split.get("rule", model.RINGS)
    needs = {model.CSV: {"file"}, model.BLOCKS: {"block_km", "seed", "shares"}}.get(rule, set())
    if rule == model.CSV and "file" not in split and ("split", "file") not in refused:
        yield Broken(("split", "rule"), '"csv" without file', "a file with the columns patch_id and split")
    for key in sorted(split.keys() - {"rule"} - needs):
        yield Broken(("split", key), f'{key} with rule = "{rule}"', f"only {', '.join(['rule', *sorted(needs)])}")


def _land_cover(values: Values, refused: Collection[Place]) -> Iterator[Broken]:
    land_cover = values.get("land_cover", {})
    path = land_cover.get("file")
    if path is not None:
        columns = [key for key in ("code", "order", "layer") if key in land_cover]
        if path == RASTER_OPTION or (isinstance(path, Path) and path.suffix.lower() in RASTERS):
            for key in columns:
                yield Broken(("land_cover", key), f"{key} with a raster", "columns of polygons only")
        elif "code" not in land_cover and ("land_cover", "code") not in refused:
            yield Broken(("land_cover", "file"), "polygons without code", "the column of their codes: code = ...")
    if "nomenclature" in land_cover:
        try:
            nomenclature.read(land_cover["nomenclature"])
        except BadInput as error:
            yield Broken(("land_cover", "nomenclature"), error.found, error.expected)


def _sentinel1(values: Values, refused: Collection[Place]) -> Iterator[Broken]:
    sentinel1 = values.get("sentinel1", {})
    source = sentinel1.get("from")
    is_other = values.get("patches", {}).get("keep", model.VALID) != model.ALIGNED
    if source == model.FROM_V1 and is_other and ("patches", "keep") not in refused:
        found = f'"{model.FROM_V1}" for patches that are not aligned with v1'
        yield Broken(("sentinel1", "from"), found, f'another source, or [patches] keep = "{model.ALIGNED}"')
    for key in (model.FROM_FOLDER, model.FROM_RASTERS):
        if source == key and key not in sentinel1 and ("sentinel1", key) not in refused:
            yield Broken(("sentinel1", "from"), f'"{key}" without {key}', f"{key} = <path>")
        if source is not None and source != key and key in sentinel1:
            yield Broken(("sentinel1", key), f'{key} with from = "{source}"', f'from = "{key}"')
    yield from _cutting_of_sentinel1(sentinel1, refused)


def _cutting_of_sentinel1(sentinel1: Mapping[str, Any], refused: Collection[Place]) -> Iterator[Broken]:
    source, pattern = sentinel1.get("from"), sentinel1.get("rasters", "")
    is_missing = "resampling" not in sentinel1 and ("sentinel1", "resampling") not in refused
    if source == model.FROM_RASTERS and is_missing:
        yield Broken(("sentinel1", "from"), f'"{source}" without resampling', f"resampling = one of {_RESAMPLING}")
    for key in ("resampling", "band"):
        if source is not None and source != model.FROM_RASTERS and key in sentinel1:
            yield Broken(("sentinel1", key), f'{key} with from = "{source}"', "only where rasters are cut")
    if source in (model.NO_SENTINEL1, model.FROM_V1) and "max_days" in sentinel1:
        yield Broken(("sentinel1", "max_days"), f'max_days with from = "{source}"', "only with a folder or rasters")
    if pattern and "{polarisation}" not in pattern:
        yield Broken(("sentinel1", "rasters"), shown(pattern), "a pattern with {polarisation}, for VV and VH")


def _layers(values: Values, refused: Collection[Place]) -> Iterator[Broken]:
    side_m = values.get("patches", {}).get("side_m", PATCH_M)
    for section, layer in values.items():
        if not section.startswith("layers."):
            continue
        place = tuple(section.split("."))
        resolution_m, nodata, path = layer.get("resolution_m"), layer.get("nodata"), layer.get("path", "")
        if resolution_m and side_m % resolution_m and ("patches", "side_m") not in refused:
            found = f"{resolution_m}, which does not divide the side of a patch, {side_m} m"
            yield Broken((*place, "resolution_m"), found, "a divisor of it")
        if nodata is not None and "dtype" in layer and not _fits(nodata, layer["dtype"]):
            yield Broken((*place, "nodata"), f'{nodata:g} with dtype = "{layer["dtype"]}"', "a number of that type")
        if "max_days" in layer and path and "{date}" not in path:
            yield Broken((*place, "max_days"), "max_days with a path without {date}", "a path with {date}")
        if path and "{" not in path:
            yield from _raster((*place, "path"), Path(path), layer.get("band"))


def _raster(place: Place, path: Path, band: int | None) -> Iterator[Broken]:
    from ben_luigi.domain.formats import rasters  # only here: it takes long to load, and most recipes have no layers

    if found := rasters.fault(path, band):
        of_several = f", or several of which band {band or 1} is taken: band = {band or 1}"
        yield Broken(place, f"{found}, in {path}", f"{rasters.EXPECTED}{of_several if 'band' in found else ''}")


_LIMITS = {
    "uint8": (0, 2**8 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "uint16": (0, 2**16 - 1),
    "int32": (-(2**31), 2**31 - 1),
}
"""The least and the greatest number of each type of whole numbers."""


def _fits(value: float, dtype: str) -> bool:
    """Return whether a number can be a pixel of a type."""
    if dtype not in _LIMITS:
        return True
    least, most = _LIMITS[dtype]
    return value == int(value) and least <= value <= most
