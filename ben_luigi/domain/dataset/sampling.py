"""Draw small samples in which every class occurs, by lots that fall the same everywhere.

Lots are the hashes of names, so one does not depend on what else there is to draw from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ben_luigi.domain.dataset.cover import greedy_cover, have
from ben_luigi.domain.dataset.metadata import FLAGS
from ben_luigi.domain.errors import BadOption


def drawn(names: Iterable[str]) -> np.ndarray:
    """Return the positions of names in the order of their SHA-256. Memory: 60 bytes per name."""
    digests = bytearray()
    for name in names:
        digests += hashlib.sha256(name.encode()).digest()
    return np.lexsort(np.frombuffer(digests, ">u8").reshape(-1, 4).T[::-1])


def sample(rows: pa.Table, seasons: pd.Series, size: int, among: np.ndarray) -> np.ndarray:
    """Return `size` of the row numbers `among`, ascending; it is deterministic, and every class of these rows occurs.

    If there is room, there is also every class in every split, and every season, and every country and flag that these
    rows have. Rows that cover most come first; the rest are drawn by the hash of the patch id. Raise BadOption if
    `size` is too small for the classes.
    """
    patch_ids = rows["patch_id"].combine_chunks()
    lot = among[drawn(patch_ids[row].as_py() for row in among.tolist())]
    labels = have(rows["labels"], pc.unique(pc.list_flatten(rows["labels"])).to_pylist())
    words = [numbered(rows[name])[0] for name in ("split", "country") if name in rows.column_names]
    words.append(pd.factorize(seasons)[0])
    flags = [rows[flag].to_numpy() for flag in FLAGS if flag in rows.column_names]
    distinct = _first_of_each(lot, [_patterns(labels), *words, *flags])
    labels = labels[distinct]
    of_split, *others = (_one_hot(column[distinct]) for column in words)
    by_split = (labels[:, :, None] & of_split[:, None, :]).reshape(len(distinct), -1)
    taken = greedy_cover(labels, [], size)
    present = labels.any(axis=0)
    if not labels[taken].any(axis=0)[present].all():
        raise BadOption(
            f"[subset] sample = {size}",
            expected=f"enough patches for all {present.sum()} classes",
            found="too few",
            remedy=f"set it to {len(greedy_cover(labels, [], len(distinct)))} or more",
        )
    every = [by_split, *others, *(flag[distinct, None] for flag in flags)]
    chosen = distinct[greedy_cover(np.concatenate(every, axis=1), taken, size)]
    rest = lot[~np.isin(lot, chosen)][: size - len(chosen)]
    return np.sort(np.r_[chosen, rest])


def numbered(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of each row's word, and the words; an empty text is that of rows without one."""
    coded = column.cast(pa.dictionary(pa.int32(), pa.string())).combine_chunks()
    words = coded.dictionary.to_pylist()
    none = words.index("") if "" in words else len(words)
    return coded.indices.fill_null(none).to_numpy(), np.array(
        [*words, *([] if none < len(words) else [""])], dtype=object
    )


def _patterns(has: np.ndarray) -> np.ndarray:
    """Return a number for each row of has (row, column), the same where it is the same."""
    return np.unique(np.packbits(has, axis=1), axis=0, return_inverse=True)[1].ravel()


def _first_of_each(lot: np.ndarray, columns: Sequence[np.ndarray]) -> np.ndarray:
    """Return the rows, by lot, whose values no row before them has: of hundreds of thousands a few thousand."""
    together = np.zeros(len(columns[0]), dtype="int64")
    for column in columns:
        together = together * (int(column.max()) + 1) + column
    first = np.unique(together[lot], return_index=True)[1]
    return np.asarray(lot[np.sort(first)])


def _one_hot(values: np.ndarray) -> np.ndarray:
    return np.asarray(values[:, None] == np.unique(values))
