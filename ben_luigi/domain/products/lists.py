"""Read and write lists of products: CSV files with the name of one product in each row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from ben_luigi.domain import given
from ben_luigi.domain.errors import BadInput, BadName
from ben_luigi.domain.files import write_text
from ben_luigi.domain.names import ProductName, is_v1_name

COLUMN, ID = "product", "id"
"""The columns of the names and of their ids at CDSE, if the list has a header."""

_SHOWN = 120


def read_list(path: Path, level: str) -> list[ProductName]:
    """Return the distinct names of products of a `level`, L1C or L2A, in a list; sorted.

    One value of each row is the name of a product, with or without `.SAFE`; the first row may be a header with
    the column `product`. The list is plain, `.bz2` or `.gz`. Raise BadInput, naming file and line.
    """
    found: set[ProductName] = set()
    seen: set[str] = set()
    try:
        for number, row in enumerate(given.lines(path), start=1):
            values = [value.strip(' "') for value in row.split(",")]
            if not any(values) or (number == 1 and COLUMN in values):
                continue
            # The published list has the names of v1 patches and links beside those of products.
            names = [value for value in values if "_MSIL" in value and "/" not in value and not is_v1_name(value)]
            if len(names) != 1:
                raise _bad_line(path, number, f"one name of an {level} product", row)
            if names[0] not in seen:
                seen.add(names[0])
                found.add(_parsed(path, number, names[0], level))
    except (OSError, ValueError) as error:
        raise BadInput(path, expected="a text that can be read", found=str(error), remedy="correct the list") from error
    if not found:
        raise BadInput(path, expected=f"names of {level} products", found="none", remedy="put one name into each row")
    return sorted(found)


def write_list(path: Path, rows: Iterable[Sequence[str]], others: Sequence[str] = ()) -> None:
    """Write a list that `read_list` reads: rows of a name and of values of `others`, further columns."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[COLUMN, *others], *rows])
    write_text(path, text.getvalue())


def read_ids(path: Path) -> dict[str, str]:
    """Return the ids of products at CDSE by name, as far as a list that `write_list` has written has them."""
    rows = csv.DictReader(given.lines(path))
    return {row[COLUMN]: row[ID] for row in rows if row.get(COLUMN) and row.get(ID)}


def _parsed(path: Path, number: int, text: str, level: str) -> ProductName:
    try:
        name = ProductName.parse(text if text.endswith(".SAFE") else f"{text}.SAFE")
    except BadName as error:
        raise _bad_line(path, number, f"the name of an {level} product", text) from error
    if name.level != level:
        raise _bad_line(path, number, f"the name of an {level} product, as [products] level of the recipe says", text)
    return name


def _bad_line(path: Path, number: int, expected: str, found: str) -> BadInput:
    remedy = "correct the list"
    return BadInput(f"{path}, line {number}", expected=expected, found=repr(found[:_SHOWN]), remedy=remedy)
