"""Search CDSE's catalogue for products: squares or an area, dates, cloud, and one product per group. It needs no login.

The choice depends on the answer only: of each group the product with the least cloud, of equal ones the first by name.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

import shapely

from ben_luigi.domain.cdse.catalogue import Catalogue, CatalogueProduct, TooMany
from ben_luigi.domain.errors import BadInput, BadName, some
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.placement.alignment import season
from ben_luigi.domain.placement.footprints import LONGITUDE_LATITUDE, outline
from ben_luigi.domain.placement.grid import tile_square
from ben_luigi.domain.products import lists
from ben_luigi.domain.products.baselines import is_allowed
from ben_luigi.domain.recipe.model import CALENDAR, PER, Products, Search

_log = logging.getLogger(__name__)
COLUMNS = ("cloud_percent", lists.ID)
"""The columns of a list of found products beside that of their names."""

_UNKNOWN_CLOUD = 101.0
_REVISIT_DAYS = 2.5
"""Estimated: by two satellites every 5 days from one orbit, and many squares are seen from two."""
_TOLD_S = 60.0
_OUTLINE_M, _NEAR_DEGREES = 20_000.0, 0.01
_DEGREE_KM, _SQUARE_KM, _PITCH_KM = 111.3, 110, 100
_ATTRIBUTE = (
    "Attributes/OData.CSC.{kind}Attribute/any(att:att/Name eq '{name}' and att/OData.CSC.{kind}Attribute/Value {test})"
)
_LEVELS = {"L1C": "S2MSI1C", "L2A": "S2MSI2A"}


@dataclass(frozen=True, order=True)
class Found:
    """A product that was found, its cloud in percent, above 100 if it is unknown, and its id in the catalogue."""

    cloud_percent: float
    name: ProductName
    id: str = field(default="", compare=False)

    @property
    def row(self) -> tuple[str, ...]:
        """Its row in a list of products."""
        return str(self.name), "" if self.cloud_percent > 100 else f"{self.cloud_percent:g}", self.id


def search(catalogue: Catalogue, products: Products, season_rule: str = CALENDAR) -> list[Found]:
    """Return the chosen products of a recipe's search, by name.

    The catalogue is asked for each square or the area, month by month, and for halves of a time in which it has more
    products than it gives to one query. Raise SourceError if it does not answer, or has too many on one day, BadInput
    if there is no product of a wanted square, or of any.
    """
    wanted = products.search
    assert wanted is not None
    answers: dict[str, CatalogueProduct] = {}
    parts, told_s = list(_parts(wanted)), time.monotonic()
    for number, part in enumerate(parts):
        if time.monotonic() - told_s >= _TOLD_S:
            _log.info("searching CDSE's catalogue: %d of %d questions, %d products", number, len(parts), len(answers))
            told_s = time.monotonic()
        answers.update((one.name, one) for one in _matching(catalogue, part, products.level) if one.online)
    fitting = [one for one in map(_found, answers.values()) if one and _fits(one, wanted, products)]
    chosen = choose(fitting, wanted.per, season_rule)
    missing = sorted(set(wanted.tiles) - {one.name.mgrs for one in chosen})
    if missing or not chosen:
        raise BadInput(
            "[products] search of the recipe",
            expected=f"{products.level} products online at CDSE, {wanted.since} to {wanted.until}",
            found=f"none of {some(missing)}" if missing else f"none that fits, of {len(answers)}",
            remedy="allow other dates, more cloud or other baselines, or leave these squares out",
        )
    return chosen


def search_same(catalogue: Catalogue, products: Products, others: Collection[ProductName]) -> list[Found]:
    """Return, of each square, day and orbit of other products, the product of the recipe's level; by name.

    Of several, as after another reprocessing, it is the one with the least cloud, of equal ones the first by name.
    Raise SourceError if the catalogue does not answer, BadInput that names the others of which there is none.
    """
    wanted = products.search
    assert wanted is not None
    best: dict[Sequence[str], Found] = {}
    for other in sorted(others):
        day = other.sensing_time.date()
        answers = catalogue.matching(
            next(queries(replace(wanted, tiles=(other.mgrs,), since=day, until=day), products.level))
        )
        fitting = [one for one in map(_found, (answer for answer in answers if answer.online)) if one]
        for one in sorted(fitting):
            if _datatake(one.name) == _datatake(other) and _is_wanted(one, wanted, products):
                best.setdefault(_datatake(other), one)
    missing = sorted(str(other) for other in others if _datatake(other) not in best)
    if missing:
        raise BadInput(
            "[products] search of the recipe",
            expected=f"products of level {products.level} online at CDSE, of the same squares, days and orbits",
            found=f"none for {len(missing)} of {len(others)}: {some(missing, 3)}",
            remedy="allow other baselines or more cloud, or name in same_as a list without these",
        )
    return sorted(best.values(), key=lambda one: one.name)


def _datatake(name: ProductName) -> Sequence[str]:
    """Return what products of the same pass over a square have in common, however they were processed."""
    return name.mgrs, name.sensing[:8], name.orbit


def queries(wanted: Search, level: str) -> Iterator[str]:
    """Yield the OData filters that find all products of a search."""
    for part in _parts(wanted):
        yield _query(part, level)


def _parts(wanted: Search) -> Iterator[Search]:
    """Yield a search in parts: of each square, or of the area, one within each calendar month."""
    for place in [replace(wanted, tiles=(tile,)) for tile in wanted.tiles] or [wanted]:
        for start, end in months(wanted.since, wanted.until):
            yield replace(place, since=start, until=end - timedelta(days=1))


def _matching(catalogue: Catalogue, part: Search, level: str) -> list[CatalogueProduct]:
    """Return the products of a part, asked for in halves if they are too many for one answer."""
    try:
        return catalogue.matching(_query(part, level))
    except TooMany:
        if part.since == part.until:
            raise
    middle = part.since + (part.until - part.since) // 2
    halves = replace(part, until=middle), replace(part, since=middle + timedelta(days=1))
    return [one for half in halves for one in _matching(catalogue, half, level)]


def _query(part: Search, level: str) -> str:
    """Return the OData filter for one square, or the area, within a time."""
    place = _attribute("String", "tileId", f"eq '{part.tiles[0]}'") if part.tiles else ""
    if part.area:
        west, south, east, north = part.area
        ring = ((west, south), (east, south), (east, north), (west, north), (west, south))
        corners = ",".join(f"{longitude} {latitude}" for longitude, latitude in ring)
        place = f"OData.CSC.Intersects(area=geography'SRID=4326;POLYGON(({corners}))')"
    conditions = [
        "Collection/Name eq 'SENTINEL-2'",
        _attribute("String", "productType", f"eq '{_LEVELS[level]}'"),
        place,
        f"ContentDate/Start ge {part.since}T00:00:00.000Z",
        f"ContentDate/Start lt {part.until + timedelta(days=1)}T00:00:00.000Z",
    ]
    if part.max_cloud < 100:
        conditions.append(_attribute("Double", "cloudCover", f"le {part.max_cloud:g}"))
    return " and ".join(conditions)


def months(since: date, until: date) -> Iterator[tuple[date, date]]:
    """Yield first day and the day after the last, of the parts of calendar months in a time, both ends included."""
    start, stop = since, until + timedelta(days=1)
    while start < stop:
        following = (start.replace(day=1) + timedelta(days=32)).replace(day=1)
        yield start, min(following, stop)
        start = following


def expected(wanted: Search, season_rule: str = CALENDAR) -> int:
    """Return about how many products a search by squares or area chooses: one per square and group of sensing days.

    It is an estimate: a group may have no product that is clear enough. A square is sensed about every 2.5 days. An
    area meets squares of 110 km that lie 100 km apart; borders of UTM zones, which add some, are left out.
    """
    days = [wanted.since + timedelta(days=number) for number in range((wanted.until - wanted.since).days + 1)]
    groups = {_time_group(datetime(day.year, day.month, day.day, 12), wanted.per, season_rule) for day in days}
    times = math.ceil(len(groups) / _REVISIT_DAYS) if wanted.per == PER[3] else len(groups)
    return times * (len(wanted.tiles) or _squares_of(wanted.area or (0, 0, 0, 0)))


def _squares_of(area: tuple[float, float, float, float]) -> int:
    """Return about how many MGRS squares an area in degrees (west, south, east, north) meets."""
    west, south, east, north = area
    width_km = _DEGREE_KM * (east - west) * math.cos(math.radians((south + north) / 2))
    height_km = _DEGREE_KM * (north - south)
    return math.ceil((width_km + _SQUARE_KM) * (height_km + _SQUARE_KM) / _PITCH_KM**2)


def choose(found: Iterable[Found], per: str, season_rule: str = CALENDAR) -> list[Found]:
    """Return of each group the product with the least cloud, of equal ones the first by name; all by name."""
    best: dict[Sequence[object], Found] = {}
    for one in sorted(found):
        best.setdefault(_group(one.name, per, season_rule), one)
    return sorted(best.values(), key=lambda one: one.name)


def _group(name: ProductName, per: str, season_rule: str) -> Sequence[object]:
    """Return what the products of a group have in common."""
    return name.mgrs, *_time_group(name.sensing_time, per, season_rule)


def _time_group(at: datetime, per: str, season_rule: str) -> Sequence[object]:
    """Return what the times of a group have in common; a winter lasts into the next year."""
    tile, per_season, per_month, _ = PER
    if per == tile:
        return ()
    if per == per_season:
        which = season(at, season_rule)
        return which, at.year + (which == "winter" and at.month >= 11)
    return at.year, at.month, 0 if per == per_month else at.day


def _found(product: CatalogueProduct) -> Found | None:
    try:
        name = ProductName.parse(product.name)
    except BadName:  # the format of before December 2016, of several tiles
        return None
    return Found(_UNKNOWN_CLOUD if product.cloud_percent is None else product.cloud_percent, name, product.id)


def _fits(one: Found, wanted: Search, products: Products) -> bool:
    """Return whether a product is what was asked for: a service that ignores a part of a query does no harm."""
    in_place = one.name.mgrs in wanted.tiles if wanted.tiles else not wanted.area or _is_in(one.name, wanted.area)
    in_time = wanted.since <= one.name.sensing_time.date() <= wanted.until
    return in_place and in_time and _is_wanted(one, wanted, products)


def _is_in(name: ProductName, area: tuple[float, float, float, float]) -> bool:
    """Return whether a product's MGRS square meets an area in degrees, or nearly."""
    return bool(_outline(name).intersects(shapely.box(*area).buffer(_NEAR_DEGREES)))


def _outline(name: ProductName) -> shapely.Geometry:
    square = tile_square(name)
    return outline(square.epsg, square.bounds, LONGITUDE_LATITUDE, _OUTLINE_M)


def _is_wanted(one: Found, wanted: Search, products: Products) -> bool:
    """Return whether level, baseline and cloud of a product are as wanted, wherever and whenever it is of."""
    clear = one.cloud_percent <= wanted.max_cloud or wanted.max_cloud >= 100
    return one.name.level == products.level and clear and is_allowed(one.name, products.baselines)


def _attribute(kind: str, name: str, test: str) -> str:
    return _ATTRIBUTE.format(kind=kind, name=name, test=test)
