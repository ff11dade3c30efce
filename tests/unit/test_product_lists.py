"""Lists of products, and what the recipe allows of them, known from the names."""

from __future__ import annotations

import gzip
import re
from itertools import product as every
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.names import ProductName, TileKey
from ben_luigi.domain.products import baselines
from ben_luigi.domain.products.lists import ID, read_ids, read_list, write_list
from ben_luigi.domain.recipe.model import KEEP_OFFSET, L1C, L2A, REFUSE_OFFSET, REMOVE_OFFSET, Products
from ben_luigi.stages.product_list import by_key

BASELINES = ("N0205", "N0214", "N0301", "N0400", "N0500", "N0511", "N9999")


def name(baseline: str = "N0510", level: str = L2A, mgrs: str = "33UUP") -> ProductName:
    return ProductName.parse(f"S2A_MSI{level}_20230613T101031_{baseline}_R022_T{mgrs}_20230613T101608.SAFE")


@pytest.mark.parametrize("form", ["{0}\n", "{0.stem}\n", "product,cloud\n{0},1.5\n", '"{0}"\r\n\n', "\ufeff{0}"])
def test_a_list_has_one_name_in_each_row(tmp_path: Path, form: str) -> None:
    text = "".join(form.format(name()))
    (tmp_path / "list.csv").write_bytes(text.encode())
    (tmp_path / "list.csv.gz").write_bytes(gzip.compress(text.encode()))
    for file in ("list.csv", "list.csv.gz"):
        assert read_list(tmp_path / file, L2A) == [name()]


def test_the_published_list_is_one_too(tmp_path: Path) -> None:
    first, other = name("N0205", L1C), name("N0206", L1C, "31UGR")
    rows = [(f"S2A_MSIL2A_20170613T101031_{x}_7", one) for one in (other, first) for x in range(3)]
    text = "".join(f"{v1},{one},http://bigearth.net/{one.stem}.zip\n" for v1, one in rows)
    (tmp_path / "list.csv").write_text(text)
    assert read_list(tmp_path / "list.csv", L1C) == sorted([first, other])


@settings(deadline=None)
@given(st.sets(st.sampled_from([f"33U{a}{b}" for a in "TUVW" for b in "PQRS"]), min_size=1))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, squares: set[str]) -> None:
    path = tmp_path_factory.mktemp("lists") / "list.csv"
    names = sorted(name(mgrs=square) for square in squares)
    write_list(path, [(str(one), "1.5") for one in names], ["cloud_percent"])
    assert read_list(path, L2A) == names
    assert read_ids(path) == {}, "a list of before ids were written"
    write_list(path, [(str(one), f"id of {one.mgrs}") for one in names], [ID])
    assert read_list(path, L2A) == names
    assert read_ids(path) == {str(one): f"id of {one.mgrs}" for one in names}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("name\n", "line 1"),
        (f"{name()}\nS2A_MSIL2A_20230613\n", "line 2"),
        (f"{name()}\n{name(level=L1C)}\n", "line 2; expected: the name of an L2A product, as [products] level"),
        (f"{name()},{name()}\n", "line 1; expected: one name"),
        (f"product\n{name()}\nproduct\n", "line 3"),
        ("product\n", "expected: names of L2A products"),
        ("", "expected: names of L2A products"),
    ],
)
def test_what_is_no_name_is_told_with_its_line(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(BadInput) as error:
        read_list(tmp_path / "list.csv", L2A)
    assert found in str(error.value)


def test_offsets_follow_from_baselines_by_every_choice_of_a_recipe(tmp_path: Path) -> None:
    """Refused exactly where the dataset would have pixels of two kinds without a word."""
    for first, second, offset in every(BASELINES[:-1], BASELINES[:-1], (REFUSE_OFFSET, KEEP_OFFSET, REMOVE_OFFSET)):
        new = [int(each[1:]) >= 400 for each in (first, second)]
        for allowed in ((), tuple(f"{each[1:3]}.{each[3:]}" for each in (first, second))):
            mixed = new[0] != new[1] and not allowed
            is_refused = any(new) if offset == REFUSE_OFFSET else mixed if offset == KEEP_OFFSET else False
            wanted = Products(L2A, baselines=allowed, boa_offset=offset)
            names = [name(first), name(second, mgrs="31UGR")]
            found = [str(error) for error in baselines.problems(names, wanted, tmp_path)]
            assert len(found) == is_refused and all(re.search("N0[45]", said) for said in found)


def test_another_baseline_is_named(tmp_path: Path) -> None:
    wanted = Products(L2A, baselines=("05.10", "05.11"), boa_offset=REMOVE_OFFSET)
    assert not list(baselines.problems([name("N0510"), name("N0511")], wanted, tmp_path))
    (error,) = baselines.problems([name("N0510"), name("N0509")], wanted, tmp_path)
    assert "N0509_R022_T33UUP_20230613T101608.SAFE (05.09)" in str(error)


def test_what_a_user_has_converted_does_not_say_its_offset(tmp_path: Path) -> None:
    assert not list(baselines.problems([name("N9999"), name("N0205")], Products(L2A), tmp_path))


def test_several_datatakes_of_a_day_have_the_time_in_their_keys(tmp_path: Path) -> None:
    first, other = name(), name(mgrs="31UGR")
    later = ProductName.parse(str(first).replace("T101031", "T114531"))
    assert by_key([later, other, first], tmp_path, timed=True) == {
        "33UUP_20230613T101031": first,
        "33UUP_20230613T114531": later,
        "31UGR_20230613": other,
    }
    assert str(TileKey.parse(later.timed_key)) == "33UUP_20230613T114531"
    with pytest.raises(BadInput, match="one product a tile and day; found: more than one"):
        by_key([first, later], tmp_path, timed=False)
    with pytest.raises(BadInput, match="one product a tile and datatake"):
        by_key([first, name("N0511")], tmp_path, timed=True)
