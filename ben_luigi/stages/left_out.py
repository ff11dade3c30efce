"""Count by reasons the patches that are not in the dataset, and raise an error if none is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ben_luigi import config
from ben_luigi.domain.errors import BadInput, some
from ben_luigi.domain.recipe.model import BLOCKS, CSV
from ben_luigi.stages.land_source import names, unlabeled_limit_option
from ben_luigi.stages.rasters import has_own_sentinel1
from ben_luigi.stages.resolve import tiles
from ben_luigi.state import database


class _Reason(NamedTuple):
    """Why patches are left out: what they are, and what can be changed about it."""

    what: str
    remedy: str


_REASONS = {
    "border": _Reason("on a border of two splits", "name larger blocks in [split]"),
    "unlisted": _Reason("that [split] file does not list", "list more patches in that file"),
    "cloud": _Reason("with more cloud and shadow than max_cloud", "raise [patches] max_cloud"),
    "sentinel1": _Reason("without Sentinel-1 on all pixels", "give Sentinel-1 of these places and days"),
    "version1": _Reason("without a patch of version 1", "list products that version 1 has patches of"),
    "hole": _Reason("with a hole", "choose products with data there"),
    "quality": _Reason("of a product that has failed a quality check", "choose another product"),
    "nothing": _Reason("without any land cover", "correct {cover} or the products"),
    "unlabelled": _Reason(
        "of which at least {limit:g} is unlabelled", "raise {option}, or give more codes a class in the nomenclature"
    ),
}
"""By the words of the query below, in the order in which a patch is asked."""

_PASSED = " AND ".join(f"{check}_quality = 'PASSED'" for check in ("general", "geometric", "radiometric", "sensor"))
_QUERY = f"""
SELECT tile, reason, count(*) AS patches FROM (
    SELECT p.tile, CASE
        WHEN l.patch_id IS NOT NULL THEN ''
        WHEN a.patch_id IS NULL AND %(without_split)s <> '' AND s.patch_id IS NULL THEN %(without_split)s
        WHEN a.patch_id IS NULL AND (c.cloud + c.shadow) / c.pixels::double precision > %(most)s THEN 'cloud'
        WHEN a.patch_id IS NULL AND %(most)s IS NOT NULL AND c.patch_id IS NULL THEN 'hole'
        WHEN a.patch_id IS NULL AND %(radar)s AND r.patch_id IS NULL THEN 'sentinel1'
        WHEN a.patch_id IS NULL THEN 'version1'
        WHEN p.valid IS NOT TRUE THEN 'hole'
        WHEN NOT ({_PASSED}) THEN 'quality'
        WHEN m.patch_id IS NULL THEN 'nothing'
        ELSE 'unlabelled' END AS reason
    FROM patch p JOIN product USING (tile)
    LEFT JOIN alignment a USING (patch_id) LEFT JOIN split s USING (patch_id) LEFT JOIN scene_class c USING (patch_id)
    LEFT JOIN sentinel1 r USING (patch_id) LEFT JOIN (SELECT DISTINCT patch_id FROM label) l USING (patch_id)
    LEFT JOIN (SELECT DISTINCT patch_id FROM clc_count WHERE code <> %(nothing)s) m USING (patch_id)
    WHERE p.tile = ANY(%(tiles)s)
) reasons WHERE reason <> '' GROUP BY tile, reason
"""


def _counts(of: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return the number of patches that are left out by tile and reason."""
    recipe = config.recipe()
    rows = database.query(
        _QUERY,
        tiles=list(of),
        without_split={BLOCKS: "border", CSV: "unlisted"}.get(recipe.split.rule, ""),
        most=recipe.patches.max_cloud,
        radar=has_own_sentinel1(),
        nothing=names().nothing,
    )
    found: dict[str, dict[str, int]] = {tile: {} for tile in of}
    for tile, reason, patches in rows.itertuples(index=False):
        found[tile][reason] = int(patches)
    return found


def _words(text: str) -> str:
    is_default = config.recipe().is_default
    cover = "[inputs] clc_gpkg" if is_default else "[land_cover] of the recipe or its file"
    return text.format(limit=config.unlabeled_limit(), option=unlabeled_limit_option(), cover=cover)


def _said(counts: Mapping[str, int]) -> str:
    return (
        ", ".join(f"{counts[reason]:,} {_words(why.what)}" for reason, why in _REASONS.items() if reason in counts)
        or "no patches"
    )


def left_out(of: Sequence[str]) -> dict[str, str]:
    """Return how many patches of each tile are not in the dataset, by reasons, in words."""
    return {tile: _said(counts) for tile, counts in _counts(of).items()}


def require_patches() -> None:
    """Raise BadInput, with the reasons of each tile, unless some patch of the dataset has a label."""
    known = list(tiles())
    labelled = "SELECT FROM label JOIN patch USING (patch_id) WHERE tile = ANY(%(tiles)s)"
    if database.query(f"SELECT EXISTS ({labelled}) AS found", tiles=known)["found"].any():
        return
    counts = _counts(known)
    reasons = [reason for reason in _REASONS if any(reason in of for of in counts.values())]
    raise BadInput(
        f"recipe {config.recipe().name}",
        expected="at least one patch with labels",
        found="none: " + some(f"{tile} ({_said(of)})" for tile, of in counts.items()),
        remedy="; ".join(_words(_REASONS[reason].remedy) for reason in reasons) or "correct the list of products",
    )
