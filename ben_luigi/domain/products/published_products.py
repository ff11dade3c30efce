"""Read the 125 products of the dataset: name, id at CDSE, and sha256 of the zip that the published run was made from.

These facts are in a table of our own, `tracked_artifacts/products.csv`, so that no run waits for whoever keeps the
published lists; those two lists follow from it to the byte.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ben_luigi.domain import given
from ben_luigi.domain.errors import BadInput, BadName, some
from ben_luigi.domain.names import ProductName

HEADER = ["name", "id", "sha256"]
_REMEDY = "restore it from the repository"


@dataclass(frozen=True)
class PublishedProduct:
    """An L1C product, its id at CDSE, and the sha256 of its zip."""

    name: ProductName
    id: str
    sha256: str


@lru_cache(maxsize=4)
def read_products(table: Path) -> tuple[PublishedProduct, ...]:
    """The products, by name. Raises BadInput, naming file and line."""
    found: list[PublishedProduct] = []
    try:
        for number, row in given.rows(table, HEADER):
            try:
                found.append(PublishedProduct(ProductName.parse(row[0]), row[1], row[2]))
            except BadName as error:
                expected, subject = "the name of a product", f"{table}, line {number}"
                raise BadInput(subject, expected=expected, found=row[0], remedy=_REMEDY) from error
    except (OSError, ValueError) as error:
        raise BadInput(table, expected=f"a CSV with {', '.join(HEADER)}", found=str(error), remedy=_REMEDY) from error
    return tuple(sorted(found, key=lambda product: str(product.name)))


def lists(products: Sequence[PublishedProduct]) -> dict[str, str]:
    """The two published lists by the names of their files: ids by product, and hashes by `<id>.out`."""
    by_name = [(str(product.name), product.id) for product in products]
    by_id = [(f"{product.id}.out", product.sha256) for product in products]
    return {
        "bigearthnet_s2_tile_ids.csv": _csv([("tile", "id"), *sorted(by_name)]),
        "ben_s2_l1c_hashes.csv": _csv([("name", "hash-sha256"), *sorted(by_id)]),
    }


def require_same(products: Iterable[PublishedProduct], names: Iterable[ProductName], source: Path) -> None:
    """BadInput, naming each product, unless the list at `source` has the same products as the table."""
    ours, theirs = {str(product.name) for product in products}, {str(name) for name in names}
    if ours != theirs:
        found = [
            f"{what} {some(which, 3)}"
            for what, which in (("only there", sorted(theirs - ours)), ("only in products.csv", sorted(ours - theirs)))
            if which
        ]
        raise BadInput(
            source,
            expected=f"the {len(ours)} products of tracked_artifacts/products.csv",
            found="; ".join(found),
            remedy="give it as [inputs] tile_names_csv if it is the list that you mean: then it alone counts",
        )


def _csv(rows: Iterable[tuple[str, str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
