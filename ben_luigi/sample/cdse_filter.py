"""Answer OData filters as CDSE's catalogue does: names, sensing time, place, and the attributes of products."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import shapely

from ben_luigi.domain.errors import BadName
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.placement.footprints import LONGITUDE_LATITUDE, outline
from ben_luigi.domain.placement.grid import tile_square
from ben_luigi.sample.cdse_faults import Record

Test = Callable[[Record], bool]

_PARTS = (
    r"(?P<function>startswith|contains)\(Name,'(?P<part>[^']*)'\)",
    r"(?P<field>Name|Collection/Name) eq '(?P<value>[^']*)'",
    r"Attributes/OData\.CSC\.(?P<kind>String|Double)Attribute/any\(att:att/Name eq '(?P<attribute>\w+)' "
    r"and att/OData\.CSC\.(?P=kind)Attribute/Value (?P<comparison>eq|le) (?P<wanted>'[^']*'|[\d.]+)\)",
    r"ContentDate/Start (?P<order>ge|lt) (?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)",
    r"OData\.CSC\.Intersects\(area=geography'SRID=4326;(?P<shape>POLYGON\(\([-\d., ]+\)\))'\)",
)
_CONDITION = re.compile("|".join(_PARTS))
_OUTLINE_M = 20_000.0


def tests_of(query: str) -> list[Test] | None:
    """Return the tests of a filter, conditions joined by "and"; None if the service would refuse it."""
    tests, at = [], 0
    while True:
        match = _CONDITION.match(query, at)
        if match is None:
            return None
        tests.append(_test(match))
        at = match.end()
        if at == len(query):
            return tests
        if not query.startswith(" and ", at):
            return None
        at += len(" and ")


def attributes(record: Record) -> list[dict[str, Any]]:
    """Return the attributes of a product, as `$expand=Attributes` adds them; `Cloud` of the record is its cloud."""
    name = str(record["Name"])
    # Of records that state none, some cloud that follows from the name.
    cloud = record.get("Cloud", int(hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()[:4], 16) % 1000 / 10)
    values = {
        "tileId": name[39:44],
        "productType": f"S2MSI{name[8:10]}",
        "processorVersion": f"{name[28:30]}.{name[30:32]}",
    }
    texts = [{"@odata.type": "#OData.CSC.StringAttribute", "Name": key, "Value": text} for key, text in values.items()]
    known = [{"@odata.type": "#OData.CSC.DoubleAttribute", "Name": "cloudCover", "Value": cloud}]
    return [*texts, *(known if cloud is not None else [])]


def _test(match: re.Match[str]) -> Test:
    if match["function"]:
        part, begins = match["part"], match["function"] == "startswith"
        return lambda record: str(record["Name"]).startswith(part) if begins else part in str(record["Name"])
    if match["field"]:
        # All products here are of the collection SENTINEL-2.
        return lambda record: match["value"] == ("SENTINEL-2" if "/" in match["field"] else record["Name"])
    if match["attribute"]:
        return lambda record: _compares(record, match)
    if match["order"]:
        time = datetime.fromisoformat(match["time"])
        return lambda record: (
            (datetime.fromisoformat(record["ContentDate"]["Start"]) < time) == (match["order"] == "lt")
        )
    return lambda record: _shows(str(record["Name"]), shapely.from_wkt(match["shape"]))


def _compares(record: Record, match: re.Match[str]) -> bool:
    values = [one["Value"] for one in attributes(record) if one["Name"] == match["attribute"]]
    if match["kind"] == "String":
        return values == [match["wanted"].strip("'")]
    return bool(values) and float(values[0]) <= float(match["wanted"])


def _shows(name: str, shape: shapely.Geometry) -> bool:
    try:
        square = tile_square(ProductName.parse(name))
    except BadName:
        return False
    return bool(outline(square.epsg, square.bounds, LONGITUDE_LATITUDE, _OUTLINE_M).intersects(shape))
