"""Strings looked up in parts by hash, against Python's own dictionaries and counters."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ben_luigi.domain.formats import strings

# Lengths on both sides of a word of eight bytes, and NULs, by which a shorter string must not equal a longer one.
STRINGS = st.lists(st.text("ab\0é", max_size=20), max_size=40)


def _chunked(values: list[str], rows: int) -> pa.ChunkedArray:
    """Chunks of so many rows that are slices of one array, so that they do not begin where its buffers do."""
    whole = pa.array(["before", *values], pa.string()).slice(1)
    return pa.chunked_array([whole.slice(first, rows) for first in range(0, len(values), rows)], pa.string())


@pytest.fixture(params=["as it is", "small parts", "all hashes equal"])
def _hashing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "small parts":
        monkeypatch.setattr(strings, "_PART", 4)
    if request.param == "all hashes equal":
        monkeypatch.setattr(strings, "_hashes", lambda values, *_: np.full(len(values), 7, "uint64"))


@pytest.mark.usefixtures("_hashing")
@settings(deadline=None)
@given(STRINGS, STRINGS, STRINGS, st.integers(1, 9))
def test_strings_are_found_where_they_are_first(values: list[str], one: list[str], two: list[str], rows: int) -> None:
    sets = [one + values[::2], two]
    expected = [[its.index(value) if value in its else -1 for value in values] for its in sets]
    found = strings.find(_chunked(values, rows), *[_chunked(its, rows) for its in sets])
    assert [positions.tolist() for positions in found] == expected


@pytest.mark.usefixtures("_hashing")
@settings(deadline=None)
@given(STRINGS, st.integers(1, 9))
def test_each_further_occurrence_is_a_duplicate(values: list[str], rows: int) -> None:
    expected = sorted((Counter(values) - Counter(set(values))).elements(), key=str.encode)
    assert strings.duplicates(_chunked(values, rows)).to_pylist() == expected


def test_names_that_differ_in_one_digit_have_different_hashes() -> None:
    """As v1 names do: were hashes equal, each of them would be compared as a string."""
    names = [f"S2A_MSIL2A_20170613T{time}_{x}_{y}" for time in (101031, 101032) for x in range(90) for y in range(90)]
    assert len(set(strings._hashes(pa.chunked_array([names])))) == len(names)
