"""Searching the catalogue: what is asked, what fits, and which product of a group is chosen."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from random import Random
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ben_luigi.domain.cdse.catalogue import Catalogue, CatalogueProduct
from ben_luigi.domain.cdse.search import Found, choose, expected, months, queries, search, search_same
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.recipe.model import L2A, PER, Products, Search

DAYS = st.dates(date(2016, 1, 1), date(2027, 1, 1))
IDS = Random(5)


def name(time: datetime, mgrs: str = "32TQM", baseline: str = "N0510", mission: str = "S2A") -> ProductName:
    return ProductName.parse(f"{mission}_MSIL2A_{time:%Y%m%dT%H%M%S}_{baseline}_R022_T{mgrs}_20260101T000000.SAFE")


@given(DAYS, st.integers(0, 900))
def test_every_day_is_asked_for_once_and_no_answer_covers_more_than_a_month(since: date, length: int) -> None:
    until = since + timedelta(days=length)
    parts = list(months(since, until))
    days = [start + timedelta(days=number) for start, end in parts for number in range((end - start).days)]
    assert days == [since + timedelta(days=number) for number in range(length + 1)]
    assert all(
        (start.year, start.month) == ((last := end - timedelta(days=1)).year, last.month) for start, end in parts
    )


found = st.builds(
    Found,
    st.sampled_from([0.0, 3.5, 40.0, 101.0]),
    st.builds(
        name,
        st.datetimes(datetime(2022, 1, 1), datetime(2024, 12, 31)),
        st.sampled_from(["32TQM", "21HUB"]),
        st.sampled_from(["N0509", "N0510"]),
        st.sampled_from(["S2A", "S2B"]),
    ),
)


@settings(max_examples=30, deadline=None)
@given(DAYS, st.integers(0, 400), st.sampled_from(PER))
def test_as_many_products_are_expected_as_are_chosen_of_a_product_each_day(since: date, length: int, per: str) -> None:
    """Of days at noon: with one product a day and square, all groups of the search have one."""
    until = since + timedelta(days=length)
    days = [datetime(since.year, since.month, since.day, 12) + timedelta(days=number) for number in range(length + 1)]
    chosen = choose((Found(0, name(day, mgrs)) for day in days for mgrs in ("32TQM", "21HUB")), per)
    wanted = Search(since, until, ("32TQM", "21HUB"), per=per)
    assert expected(wanted) == (2 * -(-2 * len(days) // 5) if per == "tile and day" else len(chosen))


def test_an_area_is_expected_to_have_as_many_squares_as_a_country_has() -> None:
    """Luxembourg has 3 squares by ESA's list, Sicily 12; Denmark's box, with its sea, about 40."""
    areas = {(5.7, 49.4, 6.5, 50.2): (2, 5), (12.4, 36.6, 15.7, 38.3): (9, 18), (8, 54.5, 12.8, 57.8): (20, 45)}
    for area, (least, most) in areas.items():
        assert least <= expected(Search(date(2024, 1, 1), date(2024, 12, 31), area=area, per="tile")) <= most


@given(st.lists(found, max_size=40), st.sampled_from(PER), st.randoms())
def test_of_each_group_the_clearest_is_chosen_whatever_the_order(all_of: list[Found], per: str, random: Random) -> None:
    """Against groups as one would name them, and the least of each by comparison of all pairs."""

    def group(one: Found) -> str:
        time = one.name.sensing_time
        winter = f"{time.year + (time.month == 12)} winter"
        seasons = {0: winter, 1: f"{time.year} spring", 2: f"{time.year} summer", 3: f"{time.year} fall"}
        within = {
            "tile": "",
            "tile and season": seasons[time.month % 12 // 3],
            "tile and month": f"{time:%Y-%m}",
            "tile and day": f"{time:%Y-%m-%d}",
        }
        return f"{one.name.mgrs} {within[per]}"

    chosen = choose(all_of, per)
    shuffled = list(all_of)
    random.shuffle(shuffled)
    assert choose(shuffled, per) == chosen
    assert sorted(map(group, chosen)) == sorted({group(one) for one in all_of})
    for one in chosen:
        others = [other for other in all_of if group(other) == group(one)]
        assert not [other for other in others if other.cloud_percent < one.cloud_percent]
        assert not [other for other in others if other.cloud_percent == one.cloud_percent and other.name < one.name]


class Answers:
    """A catalogue that answers every query with everything."""

    def __init__(self, *products: CatalogueProduct) -> None:
        self.asked: list[str] = []
        self._products = products

    def matching(self, query: str) -> list[CatalogueProduct]:
        self.asked.append(query)
        return list(self._products)


def listed(of: ProductName | str, cloud: float | None = 1.0, *, online: bool = True) -> CatalogueProduct:
    return CatalogueProduct(str(IDS.random()), str(of), online, cloud_percent=cloud)


WANTED = Search(date(2023, 6, 1), date(2023, 7, 31), ("32TQM",), max_cloud=10, per="tile and month")
FIRST, LAST = name(datetime(2023, 6, 1)), name(datetime(2023, 7, 31, 23, 59, 59))


def test_what_a_careless_service_adds_does_not_count() -> None:
    others = (
        listed(name(datetime(2023, 6, 5), "32TPM")),
        listed(name(datetime(2023, 8, 1))),
        listed(name(datetime(2023, 6, 5), baseline="N0400")),
        listed(str(name(datetime(2023, 6, 5))).replace("MSIL2A", "MSIL1C")),
        listed(name(datetime(2023, 6, 6)), 10.5),
        listed(name(datetime(2023, 6, 7)), None),
        listed(name(datetime(2023, 6, 8)), 0.0, online=False),
        listed("S2A_OPER_PRD_MSIL1C_PDMC_20160613T101031"),
    )
    last, first = listed(LAST, 10.0), listed(FIRST, 0.5)
    answers = Answers(*others, last, first)
    chosen = search(cast(Catalogue, answers), Products(L2A, search=WANTED, baselines=("05.10",)))
    assert chosen == [Found(0.5, FIRST), Found(10.0, LAST)]
    assert [one.row for one in chosen] == [(str(FIRST), "0.5", first.id), (str(LAST), "10", last.id)]
    assert len(answers.asked) == 2 and answers.asked == list(queries(WANTED, L2A))


def test_a_square_without_a_product_is_named() -> None:
    answers = Answers(listed(FIRST))
    wanted = Search(WANTED.since, WANTED.until, ("32TQM", "21HUB", "33UUP"))
    with pytest.raises(BadInput, match="none of 21HUB, 33UUP"):
        search(cast(Catalogue, answers), Products(L2A, search=wanted))
    with pytest.raises(BadInput, match="none that fits, of 1"):
        search(
            cast(Catalogue, answers), Products("L1C", search=Search(WANTED.since, WANTED.until, area=(9, 44, 10, 45)))
        )


def test_of_an_area_only_squares_that_meet_it_count() -> None:
    """Whatever part of a query the service ignores."""
    inside, outside = listed(FIRST), listed(name(datetime(2023, 6, 5), "33UUP"))
    wanted = Search(WANTED.since, WANTED.until, area=(11.5, 42.0, 11.6, 42.1))
    chosen = search(cast(Catalogue, Answers(inside, outside)), Products(L2A, search=wanted))
    assert [one.name for one in chosen] == [FIRST]


def test_a_query_has_the_documented_form() -> None:
    wanted = Search(date(2023, 6, 15), date(2023, 6, 20), area=(10.9, 44.25, 11.6, 44.7), max_cloud=12.5)
    (query,) = queries(wanted, L2A)
    assert query.split(" and ", 1)[0] == "Collection/Name eq 'SENTINEL-2'"
    for part in (
        "att/Name eq 'productType' and att/OData.CSC.StringAttribute/Value eq 'S2MSI2A'",
        "OData.CSC.Intersects(area=geography'SRID=4326;POLYGON((10.9 44.25,",
        ",11.6 44.25,11.6 44.7,10.9 44.7,10.9 44.25))')",
        "ContentDate/Start ge 2023-06-15T00:00:00.000Z and ContentDate/Start lt 2023-06-21T00:00:00.000Z",
        "att/Name eq 'cloudCover' and att/OData.CSC.DoubleAttribute/Value le 12.5)",
    ):
        assert part in query


LIKE = Products(L2A, search=Search(same_as="tile_names_csv", max_cloud=20), baselines=("05.00", "05.10"))
MORNING, NOON = datetime(2018, 2, 4, 9, 41, 59), datetime(2018, 2, 4, 11, 22, 3)
OLD = [
    ProductName.parse(f"S2B_MSIL1C_{time:%Y%m%dT%H%M%S}_N0206_{orbit}_T{mgrs}_20180204T115809.SAFE")
    for time, orbit, mgrs in ((MORNING, "R036", "35VNJ"), (NOON, "R037", "35VNJ"), (MORNING, "R036", "35VPK"))
]


def again(old: ProductName, **other: str) -> ProductName:
    """The same datatake, processed anew."""
    return replace(old, **{"level": "L2A", "baseline": "N0500", "discriminator": "20230815T101500", **other})


def test_products_like_others_are_of_the_same_square_day_and_orbit() -> None:
    """Of a tile that is sensed twice a day, too; the first reprocessing of several that are as clear."""
    chosen = [again(OLD[0]), again(OLD[1], baseline="N0510"), again(OLD[2])]
    answers = Answers(
        listed(again(OLD[0], sensing="20180207T094159")),
        listed(again(OLD[0], baseline="N0206"), 0.0),
        listed(again(OLD[0], level="L1C"), 0.0),
        listed(again(OLD[0], baseline="N0510")),
        listed(again(OLD[1]), 1.0, online=False),
        listed(again(OLD[2], mgrs="35VPJ"), 0.0),
        *map(listed, chosen),
    )
    found = search_same(cast(Catalogue, answers), LIKE, OLD)
    assert [one.name for one in found] == sorted(chosen)
    assert len(answers.asked) == len(OLD) and all("ContentDate/Start ge 2018-02-04T" in one for one in answers.asked)


def test_products_without_their_like_are_named() -> None:
    answers = Answers(listed(again(OLD[0]), 30.0), listed(again(OLD[1])))
    with pytest.raises(BadInput, match=f"none for 2 of 3: {OLD[0]}, {OLD[2]}"):
        search_same(cast(Catalogue, answers), LIKE, OLD)
