"""Rows found by name in Arrow, against a dictionary; and samples, against greedy choice among all rows."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ben_luigi.domain.dataset import metadata, sampling
from ben_luigi.domain.dataset.cover import have
from ben_luigi.domain.errors import BadOption
from ben_luigi.domain.forms.rows_by_name import RowsByName

NAMES = st.sampled_from(["a", "b", "ba", "c", "é", "z", "zz"])


@given(st.lists(st.none() | NAMES), st.lists(NAMES | st.just("") | st.just("zzz")))
def test_rows_are_those_that_a_dictionary_has(names: list[str | None], asked: list[str]) -> None:
    rows: dict[str | None, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(name, []).append(row)
    found = RowsByName(pa.array(names, pa.string()))
    for name in [*asked, *sorted(filter(None, rows))]:
        assert sorted(found.of(name)) == rows.get(name, [])


LABELS = ["Lakes", "Moors", "Rocks", "Woods"]
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "labels": st.lists(st.sampled_from(LABELS), min_size=1, unique=True),
            "split": st.sampled_from(["train", "validation", "test"]),
            "country": st.sampled_from([None, "Italy", "Peru"]),
            "season": st.sampled_from(["fall", "winter"]),
            metadata.FLAGS[0]: st.booleans(),
            "is_kept": st.booleans(),
        }
    ),
    min_size=1,
    max_size=40,
)


@given(ROWS, st.integers(1, 20), st.booleans())
def test_a_sample_is_chosen_greedily_among_all_rows_that_are_kept(
    rows: list[dict[str, Any]], size: int, are_numbers: bool
) -> None:
    """Whether words are texts or numbers of words. Each of equal rows counts here; there, the first by lot alone."""
    rows = [{"patch_id": f"P{at}", **row} for at, row in enumerate(rows)]
    kept = [at for at, row in enumerate(rows) if row["is_kept"]] or [0]
    lot = sorted(kept, key=lambda at: hashlib.sha256(rows[at]["patch_id"].encode()).digest())

    def take(wanted: list[set[Any]], taken: list[int]) -> list[int]:
        missing = set().union(*wanted) - set().union(*(wanted[lot.index(at)] for at in taken))
        while missing and len(taken) < size:
            best = max(range(len(lot)), key=lambda place: (len(wanted[place] & missing), -place))
            taken, missing = [*taken, lot[best]], missing - wanted[best]
        return taken

    chosen = take([{*rows[at]["labels"]} for at in lot], [])
    everything = {label for at in kept for label in rows[at]["labels"]}
    table = pa.Table.from_pylist(rows, pa.schema([*metadata.SCHEMA, ("season", pa.string())]))
    table = table.select(["patch_id", "labels", "split", "country", metadata.FLAGS[0]])
    if are_numbers:
        word = pa.dictionary(pa.int32(), pa.string())
        types = {"labels": pa.list_(word), "split": word, "country": word}
        table = table.cast(pa.schema([each.with_type(types.get(each.name, each.type)) for each in table.schema]))
    seasons = pd.Series([row["season"] for row in rows])
    if {label for at in chosen for label in rows[at]["labels"]} != everything:
        with pytest.raises(BadOption, match=f"all {len(everything)} classes"):
            sampling.sample(table, seasons, size, np.array(kept))
        return
    wanted = [
        {(row["split"], label) for label in row["labels"]}
        | {("country", row["country"]), row["season"], *(["flag"] if row[metadata.FLAGS[0]] else [])}
        for row in (rows[at] for at in lot)
    ]
    chosen = take(wanted, chosen)
    chosen += [at for at in lot if at not in chosen][: size - len(chosen)]
    assert sampling.sample(table, seasons, size, np.array(kept)).tolist() == sorted(chosen)


@given(st.lists(st.lists(st.sampled_from(LABELS), unique=True)), st.lists(st.sampled_from(LABELS), unique=True))
def test_which_rows_have_which_values(lists: list[list[str]], values: list[str]) -> None:
    column = pa.chunked_array([lists[:2], lists[2:]], pa.list_(pa.string()))
    assert have(column, values).tolist() == [[value in one for value in values] for one in lists]
