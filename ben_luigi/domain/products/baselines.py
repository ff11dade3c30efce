"""Check by their names whether products may be in one dataset: their processing baselines, and the offset of pixels.

From baseline 04.00 (25 January 2022) on, the pixels of all bands carry an offset (`BOA_ADD_OFFSET`), so that products
of both kinds cannot be mixed unless the offset is removed, or the mixture is wanted and each patch says what it has.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from ben_luigi.domain.errors import BadInput, some
from ben_luigi.domain.names import SEN2COR_BASELINE, ProductName
from ben_luigi.domain.recipe import model

WITH_OFFSET = "N0400"
"""The first baseline whose products carry an offset, as names spell it."""

_SHOWN = 5


def has_offset(name: ProductName) -> bool:
    """Return whether the pixels of a product carry an offset by its baseline.

    The name of what a user has converted does not say it.
    """
    return WITH_OFFSET <= name.baseline < SEN2COR_BASELINE


def is_allowed(name: ProductName, baselines: Collection[str]) -> bool:
    """Return whether a product has one of these processing baselines (`05.10`); without any, all are allowed."""
    return not baselines or name.processing_baseline in baselines


def problems(names: Iterable[ProductName], wanted: model.Products, source: Path) -> Iterator[BadInput]:
    """Yield what is wrong, naming the products, unless the recipe allows their baselines and offsets.

    `source` is the list or folder that they come from.
    """
    products = sorted(names)
    others = [name for name in products if not is_allowed(name, wanted.baselines)]
    if others:
        yield _refused(
            source,
            f"processing baselines {', '.join(wanted.baselines)}, as [products] baselines of the recipe says",
            others,
            "take these products out of it, or add their baselines to the recipe",
        )
    carrying = [name for name in products if has_offset(name)]
    if carrying and wanted.boa_offset == model.REFUSE_OFFSET:
        yield _refused(
            source,
            "products without an offset of their pixels, of baselines before 04.00",
            carrying,
            f'set [products] boa_offset = "{model.REMOVE_OFFSET}" or "{model.KEEP_OFFSET}" in the recipe',
        )
    if wanted.boa_offset == model.KEEP_OFFSET and not wanted.baselines and 0 < len(carrying) < len(products):
        yield _refused(
            source,
            f'products of one offset, with boa_offset = "{model.KEEP_OFFSET}"; others have none',
            carrying,
            f'set boa_offset = "{model.REMOVE_OFFSET}", or name all baselines to be mixed in [products] baselines',
        )


def _refused(source: Path, expected: str, names: list[ProductName], remedy: str) -> BadInput:
    found = some((f"{name} ({name.processing_baseline})" for name in names), _SHOWN)
    return BadInput(source, expected=expected, found=found, remedy=remedy)
