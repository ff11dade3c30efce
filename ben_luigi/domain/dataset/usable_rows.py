"""Require of rows of metadata what is made of them: names that are names, words that are known, and no gaps.

A name becomes the name of a file, and a split part of one; metadata that others have written may hold anything.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ben_luigi.domain.errors import BadTable, some
from ben_luigi.domain.names import PATCH_FORM, S1_FORM, V1_FORM
from ben_luigi.domain.vocabulary import SPLITS

_NAMES = {"patch_id": PATCH_FORM, "s1_name": f"{S1_FORM}|{PATCH_FORM}", "s2v1_name": V1_FORM}
_SHOWN = 3


def require_usable(path: Path, rows: pa.Table, lacking: Collection[str] = ()) -> None:
    """Raise BadTable about `path` if a row cannot be used; columns that are `lacking` may be without a value.

    A patch may be without a partner in Sentinel-1, and `rows` may have any of the columns of the metadata.
    """
    for name in rows.column_names:
        column = rows[name]
        if name not in (*lacking, "s1_name"):
            _refuse(path, rows, column.is_null(), f"a value of {name} in each row", "none")
        if name in _NAMES:
            form = re.sub(r"\?P<\w+>", "", _NAMES[name])  # RE2 has each name of a group once
            is_name = pc.match_substring_regex(column, f"^(?:{form})$").fill_null(True)
            _refuse(path, rows, pc.invert(is_name), f"names in {name}", "others", column)
            if name == "s1_name" and "patch_id" in rows.column_names:
                of_other = pc.and_(pc.starts_with(column, "S2"), pc.not_equal(column, rows["patch_id"]))
                _refuse(path, rows, of_other, "s1_name of Sentinel-1, or the patch_id of its row", "others", column)
        elif name == "split":
            is_split = pc.is_in(column, pa.array(SPLITS))
            _refuse(path, rows, pc.invert(is_split), f"split: {some(SPLITS)}", "others", column)
        elif name == "labels" and (gaps := pc.list_flatten(column).is_null()) and pc.any(gaps).as_py():
            has_gap = np.isin(np.arange(len(rows)), pc.list_parent_indices(column).filter(gaps).to_numpy())
            _refuse(path, rows, pa.chunked_array([has_gap]), "labels without gaps", "an empty one")


def require_known_labels(path: Path, rows: pa.Table, classes: Collection[str]) -> None:
    """Raise BadTable about `path` if a patch has a label that is none of the classes."""
    unknown = sorted({*pc.unique(pc.list_flatten(rows["labels"])).to_pylist()} - {*classes})
    if unknown:
        raise _bad(path, "labels of the dataset's nomenclature", some(unknown, _SHOWN))


def _refuse(
    path: Path, rows: pa.Table, wrong: pa.ChunkedArray, expected: str, what: str, column: pa.ChunkedArray | None = None
) -> None:
    if not pc.any(wrong, min_count=0).as_py():
        return
    shown = rows["patch_id"] if column is None else column
    raise _bad(path, expected, f"{what}: {some(map(repr, shown.filter(wrong).unique().to_pylist()), _SHOWN)}")


def _bad(path: Path, expected: str, found: str) -> BadTable:
    remedy = "make or fetch the file again; ben-luigi verify on the dataset names all that is wrong"
    return BadTable(path, expected=expected, found=found, remedy=remedy)
