"""Resolve product names to CDSE ids: from the list of v1 patches to `bigearthnet_s2_tile_ids.csv`.

The catalogue's answer about a name is its *state*; people read the table of them:

    exact       the id is the published one
    found       one id, and no published one to compare it with
    moved       same name, other id than the published one
    superseded  only a reprocessed product of the same datatake and tile (baseline 05.00 and later)
    offline     listed, but not available through any API
    deleted     deleted by CDSE; the note says when and why
    gone        neither in the catalogue nor among the deleted products
    ambiguous   several ids, and no rule that chooses
    unanswered  no answer for this name, though for others; the next run asks again
"""

from __future__ import annotations

import csv
import io
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from ben_luigi.domain import given
from ben_luigi.domain.cdse.catalogue import Catalogue, CatalogueProduct, is_id
from ben_luigi.domain.cdse.http import Client
from ben_luigi.domain.errors import BadInput, BadName, PermanentError, SourceError, some
from ben_luigi.domain.files import write_text
from ben_luigi.domain.names import ProductName

_log = logging.getLogger(__name__)
_HEADER = ["tile", "id"]
_TO_BE_HAD = {"exact", "found", "moved"}
_REPEAT_PAUSE_S = 5
_UNANSWERED_IN_A_ROW = 3


@dataclass(frozen=True)
class Resolution:
    """The catalogue's answer about one product name; `product` is the one to use, or the one that is not available."""

    name: ProductName
    state: str
    product: CatalogueProduct | None = None
    note: str = ""
    accept_superseded: bool = False

    @property
    def usable(self) -> bool:
        """Whether `product` can be downloaded, and may stand for the name."""
        return self.state in _TO_BE_HAD or (self.state == "superseded" and self.accept_superseded)

    @property
    def problem(self) -> SourceError | None:
        """Return why the product is not available; None if it is."""
        if self.usable:
            return None
        remedy = {
            "superseded": "set [cdse] accept_superseded, or give the original in [inputs] l1c_dir",
            "ambiguous": "ask CDSE support which one is right, or give the product in [inputs] l1c_dir",
            "unanswered": "run again later",
        }
        return PermanentError(
            f"product {self.name}",
            expected="one product of this name online at CDSE",
            found=f"{self.state}: {self.note}" if self.note else self.state,
            remedy=remedy.get(self.state, "give the product in [inputs] l1c_dir, or ask CDSE support"),
        )


def read_tile_names(path: Path) -> list[ProductName]:
    """Return the distinct L1C product names, sorted, of rows `v1 patch name,product name,URL` (CSV, no header).

    The list is plain, `.bz2` or `.gz`. Raise BadInput, naming file and line.
    """
    seen: dict[str, ProductName] = {}
    try:
        for number, row in enumerate(given.lines(path), start=1):
            fields = row.split(",")
            if len(fields) != 3:
                raise _bad_line(path, number, "v1 patch name,product name,URL", repr(row[:120]))
            if fields[1] not in seen:
                seen[fields[1]] = _l1c(path, number, fields[1])
    except (OSError, ValueError) as error:
        raise BadInput(path, expected="a text that can be read", found=str(error), remedy="fetch it again") from error
    if not seen:
        raise BadInput(path, expected="a row for each v1 patch", found="an empty file", remedy="fetch it again")
    return sorted(seen.values())


def _l1c(path: Path, number: int, text: str) -> ProductName:
    try:
        name = ProductName.parse(text)
    except BadName as error:
        raise _bad_line(path, number, "the name of an L1C product", error.subject[:200]) from error
    if name.level != "L1C":
        raise _bad_line(path, number, "the name of an L1C product", str(name))
    return name


def _bad_line(path: Path, number: int, expected: str, found: str) -> BadInput:
    return BadInput(f"{path}, line {number}", expected=expected, found=found, remedy="fetch the file again")


def resolve(
    names: Iterable[ProductName],
    client: Client,
    published: Mapping[str, str] | None = None,
    *,
    accept_superseded: bool = False,
) -> list[Resolution]:
    """Ask the catalogue for `names`; return one resolution for each, in their order.

    `published` has the published id of a name. Raise SourceError only if the catalogue does not answer at all; a
    failure for a single name does not affect the others.
    """
    wanted, published = list(names), published or {}
    catalogue = Catalogue(client)
    listed = _listed(catalogue, [str(name) for name in wanted])
    resolutions, unanswered_in_a_row = [], 0
    for name in wanted:
        try:
            found = _resolve_one(catalogue, name, published.get(str(name), ""), listed.get(str(name), []))
            unanswered_in_a_row = 0
        except SourceError as error:
            unanswered_in_a_row += 1
            if unanswered_in_a_row == min(_UNANSWERED_IN_A_ROW, len(wanted)):
                raise
            found = Resolution(name, "unanswered", None, str(error))
        resolutions.append(replace(found, accept_superseded=accept_superseded))
    return resolutions


def _resolve_one(catalogue: Catalogue, name: ProductName, known: str, listed: list[CatalogueProduct]) -> Resolution:
    candidates = _confirmed(catalogue, str(name), known, listed)
    return _choose(name, candidates, known) if candidates else _missing(name, catalogue)


def _listed(catalogue: Catalogue, names: Sequence[str]) -> Mapping[str, list[CatalogueProduct]]:
    """Return products by name, as far as one query for all of them answers it."""
    listed: dict[str, list[CatalogueProduct]] = defaultdict(list)
    try:
        for product in catalogue.by_names(names):
            listed[product.name].append(product)
    except SourceError as error:
        _log.warning("CDSE does not answer for all names at once, asking name by name: %s", error)
    return listed


def _confirmed(catalogue: Catalogue, name: str, known: str, listed: list[CatalogueProduct]) -> list[CatalogueProduct]:
    """Return products of a name.

    An answer without the name, or without its published id, counts only when it repeats.
    """
    if known in [product.id for product in listed] or (listed and not known):
        return listed
    asked = _asked_again(catalogue, lambda: [*listed, *catalogue.by_name(name)])
    return list({product.id: product for product in asked}.values())


def _asked_again(catalogue: Catalogue, ask: Callable[[], list[CatalogueProduct]]) -> list[CatalogueProduct]:
    """Return the catalogue's answer; an empty one only if it repeats."""
    if found := ask():
        return found
    time.sleep(min(_REPEAT_PAUSE_S, catalogue.client.patience.pause_s(1)))
    return ask()


def _choose(name: ProductName, candidates: list[CatalogueProduct], known: str) -> Resolution:
    """Choose among products of one name: the published id if it is available, else the online one published last."""
    others = sorted(product.id for product in candidates)
    online = [product for product in candidates if product.online]
    published = next((product for product in candidates if product.id == known), None)
    if published and (published.online or not online):
        also = f"also listed as {some(i for i in others if i != known)}" if len(others) > 1 else ""
        return Resolution(name, "exact" if published.online else "offline", published, also)
    ranked = sorted(online or candidates, key=lambda product: (product.published, product.id))
    last = ranked[-1]
    if not online:
        return Resolution(name, "offline", last, f"listed as {some(others)}")
    if len(ranked) > 1 and ranked[-2].published == last.published:
        listed = some(f"{product.id} (published {product.published:%Y-%m-%dT%H:%M:%SZ})" for product in ranked)
        return Resolution(name, "ambiguous", None, f"candidates {listed}")
    notes = [f"published as {known}" + ", which is offline" * bool(published)] if known else []
    if len(others) > 1:
        notes.append(f"the online one published last of {some(others)}")
    return Resolution(name, "moved" if known else "found", last, "; ".join(notes))


def _missing(name: ProductName, catalogue: Catalogue) -> Resolution:
    """Resolve a name without a product: reprocessed, deleted or gone."""
    deleted = _asked_again(catalogue, lambda: catalogue.deleted(str(name)))
    note = "; ".join(f"{product.id} deleted {product.deleted}".rstrip() for product in deleted)
    for product in _asked_again(catalogue, lambda: catalogue.reprocessed(name)):
        return Resolution(name, "superseded", product, "; ".join(filter(None, [f"by {product.name}", note])))
    return Resolution(name, "deleted" if deleted else "gone", deleted[0] if deleted else None, note)


def require(resolutions: Iterable[Resolution]) -> None:
    """Raise SourceError naming each product that is not available, and why."""
    problems = [problem for resolution in resolutions if (problem := resolution.problem)]
    if len(problems) == 1:
        raise problems[0]
    if problems:
        found = some((f"{problem.subject}: {problem.found}" for problem in problems), most=len(problems))
        raise PermanentError(
            f"{len(problems)} products", expected=problems[0].expected, found=found, remedy=problems[0].remedy
        )


def write_tile_ids(path: Path, resolutions: Iterable[Resolution], known: Mapping[str, str] | None = None) -> None:
    """Write `tile,id` of the usable resolutions, sorted by tile. Raise BadInput for a duplicate tile or id.

    The tile is the name of the product that is used: for a superseded one, that of the reprocessed one. For a product
    that is not usable, the id is the `known` one, if there is one.
    """
    rows = []
    for one in resolutions:
        if one.usable and one.product:
            rows.append((one.product.name, one.product.id))
        elif str(one.name) in (known or {}):
            rows.append((str(one.name), (known or {})[str(one.name)]))
    rows.sort()
    _check_unique(path, rows)
    write_text(path, _csv([_HEADER, *rows]))


def read_tile_ids(path: Path) -> dict[str, str]:
    """Return the id of each product name in `bigearthnet_s2_tile_ids.csv`. Raise BadInput, naming file and line."""
    rows: list[tuple[str, str]] = []
    try:
        for number, (name, key) in given.rows(path, _HEADER):
            if not is_id(key):
                raise _bad_line(path, number, "a product name and a UUID in lower case", repr([name[:100], key[:100]]))
            _l1c(path, number, name)
            rows.append((name, key))
    except (OSError, ValueError) as error:
        expected = f"a CSV with the header {','.join(_HEADER)}"
        raise BadInput(path, expected=expected, found=str(error), remedy="make or fetch it again") from error
    _check_unique(path, rows)
    return dict(rows)


def _check_unique(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    for column, word in enumerate(_HEADER):
        values = sorted(row[column] for row in rows)
        duplicates = {value for value, following in pairwise(values) if value == following}
        if duplicates:
            raise BadInput(
                path,
                expected=f"each {word} once",
                found=f"twice: {some(sorted(duplicates))}",
                remedy="remove the file, and run again: it is made again",
            )


def write_states(path: Path, resolutions: Iterable[Resolution], sources: Mapping[str, str] | None = None) -> None:
    """Write the table for people: `tile,state,id,note,sources`, sorted by tile.

    `sources` has, by name, which sources have the product; without an entry, CDSE has it or not.
    """
    at = sources or {}
    rows = sorted(
        (
            str(one.name),
            one.state,
            one.product.id if one.product else "",
            one.note,
            at.get(str(one.name), "cdse" if one.usable else "none"),
        )
        for one in resolutions
    )
    write_text(path, _csv([["tile", "state", "id", "note", "sources"], *rows]))


def _csv(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
