"""Query the OData catalogue: products by name, in pages, deleted products, reprocessed ones. It needs no login."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ben_luigi.domain.cdse.http import Client, again, log_failure, plain
from ben_luigi.domain.errors import BadName, PermanentError, TransientError
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.products.l1c_container import PRODUCT_BYTES

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DIGEST = {"MD5": re.compile(r"[0-9a-f]{32}"), "BLAKE3": re.compile(r"[0-9a-f]{64}")}
_NAMES_A_REQUEST = 200
_PAGE = 1000
_MOST_PAGES = 100
_MOST_ANSWERS = 10_000
"""The most that `$skip` takes: CDSE refuses to go on beyond it."""
_SHOWN = 200
_REPROCESSED = "N0500"
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class TooMany(PermanentError):
    """More products fit a query than the catalogue gives in answer to one."""


def is_id(text: str) -> bool:
    """Return whether `text` is a UUID in lower case, as product ids are."""
    return _ID.fullmatch(text) is not None


@dataclass(frozen=True)
class CatalogueProduct:
    """A product as the catalogue describes it. `length_bytes` None and a missing checksum mean unknown."""

    id: str
    name: str
    online: bool = True
    length_bytes: int | None = None
    checksums: Mapping[str, str] = field(default_factory=dict, hash=False)
    published: datetime = _LONG_AGO
    deleted: str = ""
    cloud_percent: float | None = None

    @classmethod
    def parse(cls, record: object) -> CatalogueProduct:
        """Read one OData record. Raise TransientError if it is not a product; doubtful values count as unknown."""
        fields = record if isinstance(record, dict) else {}
        key, name, length = str(fields.get("Id")).lower(), fields.get("Name"), fields.get("ContentLength")
        if not is_id(key) or not isinstance(name, str):
            raise TransientError("CDSE catalogue", expected="products with Id and Name", found=repr(record)[:_SHOWN])
        cause = ", ".join(str(fields[word])[:_SHOWN] for word in ("DeletionDate", "DeletionCause") if fields.get(word))
        return cls(
            id=key,
            name=name,
            online=fields.get("Online") is not False,
            # CDSE states 0 for some products that are online; it means unknown.
            length_bytes=length if type(length) is int and 0 < length <= PRODUCT_BYTES else None,
            checksums=dict(_checksums(fields.get("Checksum"))),
            published=_time(fields.get("PublicationDate")),
            deleted=cause,
            cloud_percent=_cloud_percent(fields.get("Attributes")),
        )


def _checksums(entries: object) -> Iterator[tuple[str, str]]:
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict):
            algorithm, value = str(entry.get("Algorithm")).upper(), str(entry.get("Value")).lower()
            if algorithm in _DIGEST and _DIGEST[algorithm].fullmatch(value):
                yield algorithm, value


def _cloud_percent(attributes: object) -> float | None:
    """Return the attribute `cloudCover`, which answers have only if attributes are asked for; None if it is unknown."""
    for entry in attributes if isinstance(attributes, list) else ():
        if isinstance(entry, dict) and entry.get("Name") == "cloudCover":
            value = entry.get("Value")
            if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 100:
                return float(value)
    return None


def _time(text: object) -> datetime:
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return _LONG_AGO
    return time.replace(tzinfo=time.tzinfo or UTC)


def parse_page(body: bytes) -> tuple[list[CatalogueProduct], str]:
    """Return the products of one page, and the address of the next page or "". Raise TransientError."""
    try:
        page = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise TransientError("CDSE catalogue", expected="JSON", found=f"{body[:80]!r} ({len(body)} bytes)") from error
    if not isinstance(page, dict) or not isinstance(page.get("value"), list):
        raise TransientError("CDSE catalogue", expected="an object with a list 'value'", found=repr(body[:80]))
    following = page.get("@odata.nextLink")
    products = [CatalogueProduct.parse(record) for record in page["value"]]
    return products, following if isinstance(following, str) else ""


@dataclass(frozen=True)
class Catalogue:
    """Queries to the catalogue of one service. All of them raise SourceError."""

    client: Client

    def by_names(self, names: Iterable[str]) -> list[CatalogueProduct]:
        """Return products with one of `names`, by one request per 200 names; unknown names are left out."""
        wanted = list(names)
        # Without $top a page has 20 products, and the rest would need a request per page; 1000 is the most.
        url = f"{self._base}/Products/OData.CSC.FilterList?$top={_PAGE}"
        found = []
        for start in range(0, len(wanted), _NAMES_A_REQUEST):
            asked = [{"Name": name} for name in wanted[start : start + _NAMES_A_REQUEST]]
            found += self._pages("POST", url, json={"FilterProducts": asked})
        return [product for product in found if product.name in set(wanted)]

    def by_name(self, name: str) -> list[CatalogueProduct]:
        """Return products with exactly this name."""
        return self._exactly(name, "Products")

    def deleted(self, name: str) -> list[CatalogueProduct]:
        """Return deleted products with exactly this name; `deleted` says when and why."""
        return self._exactly(name, "DeletedProducts")

    def _exactly(self, name: str, entity: str) -> list[CatalogueProduct]:
        products = self._pages("GET", f"{self._base}/{entity}", params={"$filter": f"Name eq '{name}'"})
        return [product for product in products if product.name == name]

    def reprocessed(self, name: ProductName) -> list[CatalogueProduct]:
        """Return online products of the same datatake and tile, of baseline 05.00 and later, latest baseline first."""
        start = f"{name.mission}_MSI{name.level}_{name.sensing}_"
        query = f"Collection/Name eq 'SENTINEL-2' and startswith(Name,'{start}') and contains(Name,'_T{name.mgrs}_')"
        found = []
        for product in self._pages("GET", f"{self._base}/Products", params={"$filter": query}):
            try:
                other = ProductName.parse(product.name)
            except BadName:
                continue
            same = (other.mission, other.level, other.sensing, other.orbit, other.mgrs)
            if same == (name.mission, name.level, name.sensing, name.orbit, name.mgrs) and product.online:
                found.append((other.baseline, product.published, product.id, product))
        return [product for baseline, *_, product in sorted(found, reverse=True) if baseline >= _REPROCESSED]

    def matching(self, query: str) -> list[CatalogueProduct]:
        """Return all products for which an OData filter holds, with their cloud; in the order of sensing.

        Raise TooMany if these are more than the catalogue gives.
        """
        params = {"$filter": query, "$orderby": "ContentDate/Start asc", "$top": str(_PAGE), "$expand": "Attributes"}
        return self._pages("GET", f"{self._base}/Products", params=params)

    @property
    def _base(self) -> str:
        return self.client.service.catalogue_url

    def _pages(self, method: str, url: str, **what: Any) -> list[CatalogueProduct]:
        """Return all pages of an answer, up to the last, or to the first without anything new. Raise TooMany."""
        found: dict[str, CatalogueProduct] = {}
        for _ in range(_MOST_PAGES):
            products, following = self._page(method, url, what)
            new = [product for product in products if product.id not in found]
            found.update((product.id, product) for product in new)
            if not following or not new:
                return list(found.values())
            if len(found) > _MOST_ANSWERS:
                raise TooMany(
                    plain(url),
                    expected=f"at most {_MOST_ANSWERS:,} products, as many as CDSE gives to one query",
                    found="more",
                    remedy="search a smaller area, fewer squares, or with less cloud",
                )
            # The address of the next page contains the query; a POST needs its body again.
            url, what = following, {key: value for key, value in what.items() if key != "params"}
        raise TransientError(plain(url), expected=f"at most {_MOST_PAGES} pages", found="more")

    def _page(self, method: str, url: str, what: Mapping[str, Any]) -> tuple[list[CatalogueProduct], str]:
        client = self.client
        return again(client.patience, lambda: parse_page(client.fetch(method, url, **what)), log_failure)
