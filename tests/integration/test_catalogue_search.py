"""A search of the catalogue over HTTP: complete over pages, by what the server knows of squares, areas and cloud."""

from __future__ import annotations

import uuid
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from ben_luigi.domain.cdse.catalogue import Catalogue, TooMany
from ben_luigi.domain.cdse.http import Client
from ben_luigi.domain.cdse.search import search
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.recipe.model import L2A, Products, Search
from ben_luigi.sample.cdse_faults import Fault, Record
from ben_luigi.sample.cdse_server import CdseServer
from tests.integration.source_world import QUICK

START = datetime(2023, 5, 30, 10, 10, 31)
SQUARES = ("32TQM", "32TPM", "21HUB")


def record(time: datetime, mgrs: str, cloud: float) -> Record:
    text = f"S2B_MSIL2A_{time:%Y%m%dT%H%M%S}_N0510_R022_T{mgrs}_20260101T000000.SAFE"
    start = f"{time:%Y-%m-%dT%H:%M:%S}.026000Z"
    return {
        "Id": str(uuid.uuid5(uuid.NAMESPACE_URL, text)),
        "Name": text,
        "ContentDate": {"Start": start},
        "Cloud": cloud,
    }


RECORDS = [
    record(START + timedelta(days=day), mgrs, (day * 7 + place) % 50)
    for day in range(40)
    for place, mgrs in enumerate(SQUARES)
]


def names(wanted: Search, folder: Path, *faults: Fault) -> tuple[list[ProductName], int]:
    with CdseServer(RECORDS, folder, faults) as server:
        catalogue = Catalogue(Client(server.service, QUICK))
        found = search(catalogue, Products(L2A, search=wanted))
        assert server.counts["token"] == 0, "a search needs no account"
        return [one.name for one in found], server.counts["catalogue"]


def expected(squares: tuple[str, ...], first: date, last: date, most: float) -> list[ProductName]:
    """The products that fit, one of a day, as the records say."""
    fitting = [ProductName.parse(str(one["Name"])) for one in RECORDS if float(one["Cloud"]) <= most]
    return sorted(one for one in fitting if one.mgrs in squares and first <= one.sensing_time.date() <= last)


def test_all_pages_are_read(tmp_path: Path) -> None:
    wanted = Search(date(2023, 6, 1), date(2023, 6, 30), ("32TQM", "21HUB"), max_cloud=30, per="tile and day")
    fitting = expected(("32TQM", "21HUB"), wanted.since, wanted.until, 30)
    assert len(fitting) > 30
    assert names(wanted, tmp_path) == (fitting, 2)
    pages = Fault("catalogue", "small pages")
    found, asked = names(wanted, tmp_path, *[pages] * 100)
    assert found == fitting and asked >= len(fitting) / 2


def test_an_area_has_the_squares_that_it_touches(tmp_path: Path) -> None:
    """South of the equator, too; 32TQM and 32TPM are neighbours."""
    days = date(2023, 6, 1), date(2023, 7, 5)
    for area, squares in (
        ((11.5, 42.0, 11.6, 42.1), ("32TQM", "32TPM")),
        ((11.9, 42.0, 12.0, 42.1), ("32TQM",)),
        ((-58.6, -34.8, -58.4, -34.6), ("21HUB",)),
    ):
        wanted = Search(*days, area=area, per="tile and day")
        assert names(wanted, tmp_path)[0] == expected(squares, *days, 100), area


def test_a_time_with_more_products_than_one_answer_may_have_is_halved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A day of them cannot be halved: the area is too large."""
    wanted = Search(date(2023, 6, 1), date(2023, 6, 30), area=(11.5, 42.0, 11.6, 42.1), per="tile and day")
    monkeypatch.setattr("ben_luigi.domain.cdse.search._TOLD_S", 0)
    monkeypatch.setattr("ben_luigi.domain.cdse.catalogue._MOST_ANSWERS", 20)
    pages = [Fault("catalogue", "small pages", None)]
    with caplog.at_level("INFO"):
        found, _ = names(wanted, tmp_path, *pages)
    assert found == expected(("32TQM", "32TPM"), wanted.since, wanted.until, 100) and len(found) > 20
    assert "searching CDSE's catalogue: 0 of 1 questions, 0 products" in caplog.text
    monkeypatch.setattr("ben_luigi.domain.cdse.catalogue._MOST_ANSWERS", 0)
    monkeypatch.setattr("ben_luigi.sample.cdse_server._SMALL_PAGE", 1)
    with pytest.raises(TooMany, match="next: search a smaller area"):
        names(wanted, tmp_path, *pages)
