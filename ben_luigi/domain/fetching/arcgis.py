"""Query a layer of an ArcGIS map server (ArcGIS REST API, "Query (Map Service/Layer)"), in spite of its traps.

What meets a box is counted first, then named by ids, then fetched by ids in pages whose size follows their bytes. An
error comes as HTTP 200 with `{"error": {"code", "message", "details"}}`. A page that leaves features out, whatever it
says in `exceededTransferLimit`, has the rest asked for again; one that repeats a feature must repeat it as it was. So a
result is complete by count and by ids, or it is an error.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ben_luigi.domain.answers import snippet
from ben_luigi.domain.cdse.http import again, log_failure, plain
from ben_luigi.domain.errors import TransientError, some
from ben_luigi.domain.fetching.asking import Asker

_log = logging.getLogger(__name__)
Box = tuple[float, float, float, float]
"""West, south, east, north in the CRS that is asked for."""
Feature = Mapping[str, Any]
"""A GeoJSON feature: `properties`, with the layer's id among them, and `geometry`."""

T = TypeVar("T")
MOST_FEATURES = 1000
"""ArcGIS' usual maxRecordCount."""

_FIRST_FEATURES = 100
_PAGE_BYTES = 4_000_000
"""A page is to have about so much: single polygons of CORINE may have several MB."""
_DEEPEST = 6


@dataclass(frozen=True)
class Layer:
    """A layer at `url`, `.../MapServer/0`: `id_field` is its id, an integer, `fields` are others that are fetched."""

    url: str
    asker: Asker
    id_field: str
    fields: Sequence[str]
    epsg: int

    def ids(self, box: Box) -> list[int]:
        """The ids of all features that meet a box, ascending: as many as the service counts. Raises TransientError."""
        return again(self.asker.patience, lambda: self._ids(box), log_failure)

    def features(self, ids: Iterable[int], read: Callable[[Feature], T]) -> Iterator[list[T]]:
        """What `read` makes of the features with these ids, each once, page by page in ascending order of ids.

        `read` raises TransientError if a feature cannot be used. Raises TransientError, which names what is missing.
        """
        left, size = sorted(set(ids)), _FIRST_FEATURES
        while left:
            page, size = self._page(left, size, read)
            left = left[len(page) :]
            yield page

    def _page(self, left: Sequence[int], size: int, read: Callable[[Feature], T]) -> tuple[list[T], int]:
        """The first of these features, in a page of at most `size`, which shrinks while it fails; and the next size."""
        sizes = [min(size, len(left))]

        def ask() -> tuple[list[T], int]:
            return self._asked(left[: sizes[-1]], read)

        def failed(error: TransientError, pause_s: float | None) -> None:
            log_failure(error, pause_s)
            sizes.append(max(1, sizes[-1] // 4))

        page, length = again(self.asker.patience, ask, failed)
        fitting = int(_PAGE_BYTES / max(1, length / len(page)))
        return page, max(1, min(MOST_FEATURES, 2 * sizes[-1], fitting))

    def _asked(self, ids: Sequence[int], read: Callable[[Feature], T]) -> tuple[list[T], int]:
        """The features with exactly these ids, in their order, and how many bytes came for them."""
        found: dict[int, T] = {}
        length = 0
        while missing := [one for one in ids if one not in found]:
            features, came = self._some_of(missing)
            length += came
            if not features:
                raise self._wrong(f"features {some(missing)}", "an answer without them")
            found |= {one: read(feature) for one, feature in features.items()}
        return [found[one] for one in ids], length

    def _some_of(self, ids: Sequence[int]) -> tuple[dict[int, Feature], int]:
        """Those of the features that one answer has, by id."""
        asked = {"objectIds": ",".join(map(str, ids)), "outFields": ",".join((self.id_field, *self.fields))}
        answer, length = self._query({**asked, "outSR": str(self.epsg), "returnGeometry": "true"}, "geojson")
        features = answer.get("features")
        if not isinstance(features, list):
            raise self._wrong("a list of features", snippet(json.dumps(answer)))
        found: dict[int, Feature] = {}
        for feature in features:
            number = self._id(feature)
            if number not in ids:
                raise self._wrong(f"only the features {some(ids, 3)}", f"{self.id_field} {number} among them")
            if found.setdefault(number, feature) != feature:
                raise self._wrong("one feature for each id", f"two of {self.id_field} {number}, which differ")
        return found, length

    def _id(self, feature: Any) -> int:
        properties = feature.get("properties") if isinstance(feature, dict) else None
        number = properties.get(self.id_field) if isinstance(properties, dict) else None
        if type(number) is not int:
            raise self._wrong(f"features with an integer {self.id_field}", snippet(json.dumps(feature)))
        return number

    def _ids(self, box: Box, depth: int = 0) -> list[int]:
        """Count, and ask for as many ids; where the service lists no more at once, quarter by quarter of the box."""
        of_box = {
            "geometry": ",".join(map(repr, box)),
            "geometryType": "esriGeometryEnvelope",
            "inSR": str(self.epsg),
            "spatialRel": "esriSpatialRelIntersects",
        }
        answer, _ = self._query({**of_box, "returnCountOnly": "true"}, "json")
        count = answer.get("count")
        if type(count) is not int or count < 0:
            raise self._wrong("a count", snippet(json.dumps(answer)))
        answer, _ = self._query({**of_box, "returnIdsOnly": "true"}, "json")
        ids = answer.get("objectIds", answer) or []  # null where there is none
        if not isinstance(ids, list) or any(type(one) is not int for one in ids):
            raise self._wrong("a list of ids", snippet(json.dumps(answer)))
        found = set(ids)
        if len(found) < count and answer.get("exceededTransferLimit") is True and depth < _DEEPEST:
            found |= {one for quarter in _quarters(box) for one in self._ids(quarter, depth + 1)}
        if len(found) != count:
            raise self._wrong(f"{count:,} ids, as were counted", f"{len(found):,} ids")
        return sorted(found)

    def _query(self, asked: Mapping[str, str], form: str) -> tuple[dict[str, Any], int]:
        """The answer to one question, and its bytes. Raises TransientError: ArcGIS says 400 when it is busy, too."""
        body = self.asker.post(f"{self.url}/query", {"where": "1=1", **asked, "f": form})
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise self._wrong("JSON", snippet(body) or "an empty answer")
        if "error" in answer:
            raise self._wrong("an answer", f"HTTP 200 with an error in it: {_message(answer['error'])}")
        return answer, len(body)

    def _wrong(self, expected: str, found: str) -> TransientError:
        return TransientError(plain(self.url), expected=expected, found=found)


def _message(error: Any) -> str:
    """The message of an error, on one line: code, message, details."""
    if not isinstance(error, dict):
        return snippet(str(error))
    details = error.get("details")
    words = [error.get("code"), error.get("message"), *(details if isinstance(details, list) else [details])]
    return snippet(" ".join(str(word) for word in words if word)) or "no message"


def _quarters(box: Box) -> Iterator[Box]:
    west, south, east, north = box
    x, y = (west + east) / 2, (south + north) / 2
    yield from ((west, south, x, y), (x, south, east, y), (west, y, x, north), (x, y, east, north))
