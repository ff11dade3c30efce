"""Serve CORINE on loopback as the EEA's open service does: an ArcGIS layer that is queried, with faults by script.

What it has are the polygons of the sample world, in EPSG:3035. It answers what the real one is documented or reported
to: counts, ids, and features by ids, at most `most` at once; and errors come as HTTP 200.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import shapely
from pyproj import Transformer
from shapely.geometry import mapping

from ben_luigi.sample.land_cover import CLC_EPSG, Parcel, land_cover, reprojected
from ben_luigi.sample.loopback import COMMON, Answer, Fault, LoopbackServer, Request
from ben_luigi.sample.scenes import SQUARES

PATH = "/arcgis/rest/services/Corine/CLC2018_LAEA/MapServer/0"
Feature = dict[str, Any]
_FIRST_ID = 1000
_BUSY = {"code": 400, "message": "Unable to complete operation.", "details": ["Unable to perform query operation."]}


def _without_rings(features: Sequence[Feature]) -> list[Feature]:
    first, *others = features
    return [{**first, "geometry": {"type": "Polygon", "coordinates": []}}, *others]


def _in_degrees(features: Sequence[Feature]) -> list[Feature]:
    to_degrees = Transformer.from_crs(CLC_EPSG, 4326, always_xy=True)
    outlines = [reprojected(shapely.geometry.shape(one["geometry"]), to_degrees) for one in features]
    return [{**one, "geometry": mapping(outline)} for one, outline in zip(features, outlines, strict=True)]


def _of_others(features: Sequence[Feature]) -> list[Feature]:
    first, *others = features
    return [{**first, "properties": {**first["properties"], "OBJECTID": 1}}, *others]


def _changed(features: Sequence[Feature]) -> list[Feature]:
    return [*features, {**features[0], "properties": {**features[0]["properties"], "Code_18": "523"}}]


PAGES: Mapping[str, Callable[[Sequence[Feature]], Sequence[Feature]]] = {
    "repeats features": lambda features: [*features, *features[:3]],
    "repeats a feature otherwise": _changed,
    "leaves features out": lambda features: features[: len(features) // 2],
    "leaves all features out": lambda features: [],
    "other features": _of_others,
    "polygon without rings": _without_rings,
    "null geometry": lambda features: [{**features[0], "geometry": None}, *features[1:]],
    "degrees": _in_degrees,
    "unknown code": lambda features: [
        {**one, "properties": {**one["properties"], "Code_18": "777"}} for one in features
    ],
    "other order": lambda features: features[::-1],
}
"""What is done to a page of features, by kind of fault."""


class EeaServer(LoopbackServer):
    """The service; `most` features come in one answer. Kinds of questions are `count`, `ids` and `features`.

    Kinds of faults: those of COMMON and PAGES, `error as 200`, `cut json`, `short` (the connection breaks off),
    `wrong count`, `some ids` (with exceededTransferLimit), `ids left out`, and `busy above 20` (large pages fail).
    """

    def __init__(self, faults: Iterable[Fault] = (), *, most: int = 1000) -> None:
        super().__init__(faults)
        self.most = most
        self.sent_ids: list[int] = []
        """The features that were sent, in that order."""
        self._sending = threading.Lock()

    @classmethod
    def failing(cls) -> EeaServer:
        """A service that answers as on a bad day: whatever can pass comes once."""
        once = ("error as 200", "cut json", "leaves features out", "repeats features", "polygon without rings")
        return cls([*(Fault(kind, "features") for kind in once), Fault("503 html", "count"), Fault("html", "ids")])

    @property
    def layer_url(self) -> str:
        """The URL of the layer."""
        return self.base_url + PATH

    def answer(self, request: Request) -> Answer:
        """Answer a query."""
        if request.path != f"{PATH}/query":
            return COMMON["404"]
        asked = request.asked
        what = "count" if "returnCountOnly" in asked else "ids" if "returnIdsOnly" in asked else "features"
        self.count(what)
        kind = self.faults.take(what)
        if kind in COMMON:
            return COMMON[kind]
        if kind == "error as 200":
            return _json({"error": _BUSY})
        answer = self._features(asked, kind) if what == "features" else self._found(asked, what, kind)
        if kind == "cut json":
            return Answer(200, answer.body[: len(answer.body) // 2])
        if kind == "short":
            return Answer(200, answer.body[: len(answer.body) // 2], stated_bytes=len(answer.body))
        return answer

    def _found(self, asked: Mapping[str, str], what: str, kind: str) -> Answer:
        box = shapely.box(*map(float, asked["geometry"].split(",")))
        found = [number for number, (outline, _) in _features().items() if outline.intersects(box)]
        if what == "count":
            return _json({"count": len(found) + (kind == "wrong count")})
        if kind == "some ids" and len(found) > 50:
            return _json({"objectIdFieldName": "OBJECTID", "objectIds": found[:50], "exceededTransferLimit": True})
        return _json({"objectIdFieldName": "OBJECTID", "objectIds": found[kind == "ids left out" :] or None})

    def _features(self, asked: Mapping[str, str], kind: str) -> Answer:
        ids = [int(number) for number in asked["objectIds"].split(",")]
        if kind == "busy above 20" and len(ids) > 20:
            return _json({"error": _BUSY})
        known = _features()
        found = sorted(number for number in ids if number in known)
        features: Sequence[Feature] = [known[number][1] for number in found[: self.most]]
        features = PAGES[kind](features) if kind in PAGES else features
        with self._sending:
            self.sent_ids += [one["properties"]["OBJECTID"] for one in features]
        crs = {"type": "name", "properties": {"name": f"EPSG:{CLC_EPSG}"}}
        answer: dict[str, Any] = {"type": "FeatureCollection", "crs": crs, "features": features}
        return _json(answer | ({"exceededTransferLimit": True} if len(found) > self.most else {}))


def _json(content: object) -> Answer:
    return Answer(200, json.dumps(content).encode(), "application/geo+json;charset=utf-8")


@lru_cache(maxsize=1)
def _features() -> dict[int, tuple[shapely.Geometry, Feature]]:
    """The outline of each polygon in EPSG:3035, and its feature, by OBJECTID."""
    to_clc = {mgrs: Transformer.from_crs(square.epsg, CLC_EPSG, always_xy=True) for mgrs, square in SQUARES.items()}
    outlines = [(parcel, reprojected(parcel.outline, to_clc[parcel.mgrs])) for parcel in land_cover()]
    return {
        number: (outline, _feature(number, parcel, outline))
        for number, (parcel, outline) in enumerate(outlines, _FIRST_ID)
    }


def _feature(number: int, parcel: Parcel, outline: shapely.MultiPolygon) -> Feature:
    """As ArcGIS writes it: a polygon with one part is no multipolygon there; and the ID as has been seen there."""
    geometry = outline.geoms[0] if len(outline.geoms) == 1 else outline
    fields = {"ID": parcel.clc_id.replace("-", "_"), "Code_18": str(parcel.code), "Area_Ha": outline.area / 10_000}
    return {
        "type": "Feature",
        "id": number,
        "geometry": mapping(geometry),
        "properties": {"OBJECTID": number, **fields},
    }
