"""Fetch CORINE's polygons from the EEA's open service: those that meet a box, kept as a GeoPackage like CORINE's.

`Corine/CLC2018_LAEA/MapServer/0` is the access point that the product's page names; it needs no login. Whether its
vertices equal the published GeoPackage's to the last digit is not known, so what was made from it is recorded as such.
Boxes and polygons are in EPSG:3035, x and y in metres.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import fiona
import shapely

from ben_luigi.domain.answers import snippet
from ben_luigi.domain.cdse.http import plain
from ben_luigi.domain.errors import ServiceError, TransientError, some
from ben_luigi.domain.fetching.arcgis import Box, Feature, Layer
from ben_luigi.domain.fetching.asking import Asker
from ben_luigi.domain.files import atomic_write, text_hash
from ben_luigi.domain.tiles import clc, geopackage

_log = logging.getLogger(__name__)
_ID_FIELD, _FIELDS = "OBJECTID", ("ID", "Code_18", "Area_Ha")
_CLC_ID = re.compile(r"([A-Za-z]+)[-_ ]?(\d+)")
_LAYER, _DATE = "clc2018", "2020-05-20T00:00:00.000Z"
_HECTARE_M2 = 10_000
_AREA_TOLERANCE, _LEAST_HA = 0.01, 1.0
_REMEDY = (
    "run again later: what is complete is kept; or give the CLC 2018 GeoPackage "
    "(U2018_CLC2018_V2020_20u1.gpkg, after a login at land.copernicus.eu) as [inputs] clc_gpkg"
)


@dataclass(frozen=True)
class Polygon:
    """One polygon: the service's number, its ID as CORINE's GeoPackage spells it, its code, its outline (x, y)."""

    number: int
    clc_id: str
    code: int
    outline: shapely.MultiPolygon


@dataclass(frozen=True)
class Kept:
    """The note on the polygons that were kept: the service, the box, how many, and a hash of all of them.

    `other_areas` are the IDs of those whose area is more than one percent off what the service states.
    """

    service: str
    box: Box
    polygons: int
    sha256: str
    other_areas: Sequence[str]


def layer(url: str, asker: Asker) -> Layer:
    """CORINE's layer at `url`, `.../MapServer/0`."""
    return Layer(url.rstrip("/"), asker, _ID_FIELD, _FIELDS, clc.CLC_EPSG)


def fetch(
    of: Layer,
    box: Box,
    path: Path,
    *,
    subject: str,
    others: Iterable[Path] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Kept:
    """Publish the polygons that meet `box` at `path`; what `others`, kept before, have of them is not fetched again.

    `subject` says what they are for. `progress` is called with how many are there, and how many there are to be. Raises
    ServiceError when the service does not answer, or not with what it has counted; then nothing is at `path`.
    """
    found: dict[int, Polygon] = {}
    other_areas: list[str] = []
    try:
        wanted = of.ids(box)
        for other in others:
            found |= _read(other, set(wanted) - found.keys())
        shared = len(found)
        progress(shared, len(wanted))
        for page in of.features(set(wanted) - found.keys(), lambda feature: _polygon(of, feature)):
            found |= {polygon.number: polygon for polygon, _ in page}
            other_areas += [polygon.clc_id for polygon, stated_ha in page if _is_other_area(polygon, stated_ha)]
            progress(len(found), len(wanted))
    except TransientError as error:
        raise ServiceError(
            f"{subject}: {error.subject}", expected=error.expected, found=error.found, remedy=_REMEDY
        ) from error
    polygons = [found[number] for number in wanted]
    _check_place(of, polygons, box, subject)
    if other_areas:
        _log.warning("%s: the service gives another area than %s have by their outlines", subject, some(other_areas))
    _log.info("%s: %d polygons, %d of them kept for others before", subject, len(polygons), shared)
    with atomic_write(path) as work:
        _write(work, polygons)
    return Kept(plain(of.url), box, len(polygons), _digest(polygons), sorted(other_areas))


def _polygon(of: Layer, feature: Feature) -> tuple[Polygon, float]:
    """A feature as a polygon, and its area in hectares as the service states it, NaN if it does not.

    Raises TransientError if it has no rings, or is none.
    """
    values = {str(name).lower(): value for name, value in feature["properties"].items()}
    number, geometry = int(values[_ID_FIELD.lower()]), feature.get("geometry")
    identifier, code = _CLC_ID.fullmatch(str(values.get("id"))), clc.code_of(values.get("code_18"))
    subject = f"{plain(of.url)}, {_ID_FIELD} {number}, ID {values.get('id')}"
    if identifier is None or code not in clc.CODES or code is None:
        found = snippet(str(feature["properties"]))
        raise TransientError(subject, expected="an ID as EU-123 and a Code_18 of CLC 2018", found=found)
    try:
        outline = shapely.force_2d(shapely.geometry.shape(geometry)) if geometry else None
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, shapely.errors.ShapelyError) as error:
        raise TransientError(subject, expected="a polygon", found=snippet(f"none ({error})")) from error
    if outline is None or outline.is_empty:
        raise TransientError(subject, expected="a polygon", found="one without rings")
    if outline.geom_type not in ("Polygon", "MultiPolygon") or not math.isfinite(outline.area):
        raise TransientError(subject, expected="a polygon with finite coordinates", found=f"a {outline.geom_type}")
    parts = shapely.MultiPolygon([outline]) if outline.geom_type == "Polygon" else outline
    area = values.get("area_ha")
    return Polygon(number, f"{identifier[1].upper()}-{int(identifier[2])}", code, parts), (
        float(area) if isinstance(area, int | float) else math.nan
    )


def _is_other_area(polygon: Polygon, stated_ha: float) -> bool:
    """Whether an outline has lost something on its way: its area is not the one that the service states."""
    off_ha = abs(float(polygon.outline.area) / _HECTARE_M2 - stated_ha)
    return off_ha > max(_LEAST_HA, _AREA_TOLERANCE * stated_ha)


def _check_place(of: Layer, polygons: Sequence[Polygon], box: Box, subject: str) -> None:
    """ServiceError unless each polygon meets the box, as those do not that are in another CRS."""
    asked = shapely.box(*box)
    elsewhere = [one.clc_id for one in polygons if not shapely.box(*one.outline.bounds).intersects(asked)]
    if elsewhere:
        first = next(one for one in polygons if one.clc_id == elsewhere[0])
        raise ServiceError(
            f"{subject}: {plain(of.url)}",
            expected=f"polygons that meet {_rounded(box)} in EPSG:{clc.CLC_EPSG}",
            found=f"{len(elsewhere)} that do not; {first.clc_id} has the bounds {_rounded(first.outline.bounds)}",
            remedy=_REMEDY,
        )


def _rounded(bounds: Iterable[float]) -> str:
    return " ".join(f"{edge:.6g}" for edge in bounds)


def _digest(polygons: Sequence[Polygon]) -> str:
    """Tells the polygons from others, in whatever order and pages they came."""
    lines = (f"{one.clc_id} {one.code} {shapely.to_wkb(one.outline, hex=True, byte_order=1)}" for one in polygons)
    return text_hash("\n".join(sorted(lines)))


def _write(path: Path, polygons: Sequence[Polygon]) -> None:
    schema = {"geometry": "MultiPolygon", "properties": {_ID_FIELD: "int", "ID": "str:18", "Code_18": "str:3"}}
    with (
        fiona.Env(OGR_CURRENT_DATE=_DATE),
        fiona.open(path, "w", driver="GPKG", layer=_LAYER, crs=f"EPSG:{clc.CLC_EPSG}", schema=schema) as file,
    ):
        file.writerecords(
            {
                "geometry": shapely.geometry.mapping(one.outline),
                "properties": {_ID_FIELD: one.number, "ID": one.clc_id, "Code_18": str(one.code)},
            }
            for one in polygons
        )


def _read(path: Path, wanted: set[int]) -> dict[int, Polygon]:
    """The polygons with the `wanted` numbers in a file that `fetch` has made."""
    with geopackage.opened(path, "remove it, and run again") as database:
        listed = database.execute(f"SELECT {_ID_FIELD}, ID, Code_18, geom FROM {_LAYER}")
        rows = [row for row in listed if row[0] in wanted]
    outlines, _ = geopackage.polygons([row[3] for row in rows])
    pairs = zip(rows, outlines, strict=True)
    return {row[0]: Polygon(row[0], row[1], int(row[2]), outline) for row, outline in pairs}
