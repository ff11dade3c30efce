"""Ask which sources have which products, before anything is fetched, in parallel and within a minute.

A source that fails for one product after the other is not asked any more; what it has is then unknown.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from ben_luigi.domain.cdse.catalogue import Catalogue
from ben_luigi.domain.cdse.http import Patience
from ben_luigi.domain.errors import PipelineError
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.products import manifest
from ben_luigi.domain.sources.source import Source

HAS, LACKS, OFFLINE, SILENT = "has it", "does not have it", "has it offline", "does not answer"
PATIENCE = Patience(tries=2, waits=2, first_pause_s=0.5, longest_pause_s=5, connect_timeout_s=5, read_timeout_s=10)
HEAD_S = 15.0
"""Seconds that the head of an answer may take here."""
_WITHIN_S = 50.0
_AT_ONCE = 16
_MOST_FAILURES = 3


@dataclass(frozen=True)
class Availability:
    """What each source has, by product name and source, and when it was asked, in seconds since 1970."""

    asked_at: float
    states: Mapping[str, Mapping[str, str]]
    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def sources(self) -> list[str]:
        """The sources that were asked, in their order."""
        return list(dict.fromkeys(source for states in self.states.values() for source in states))

    @property
    def is_offline(self) -> bool:
        """Whether no source has answered for any product."""
        states = [state for of_product in self.states.values() for state in of_product.values()]
        return bool(states) and set(states) == {SILENT}

    def having(self, source: str) -> list[str]:
        """Return the products that a source has."""
        return [name for name, states in self.states.items() if states.get(source) == HAS]

    def only_at(self, source: str) -> list[str]:
        """Return the products that no other source has."""
        return [name for name in self.having(source) if list(self.states[name].values()).count(HAS) == 1]

    def nowhere(self) -> list[str]:
        """Return the products that no source has, provided that all of them have answered."""
        return [
            name for name, states in self.states.items() if states and not {HAS, SILENT}.intersection(states.values())
        ]

    def words(self, name: str) -> str:
        """Return the sources of a product, such as `google, cdse`, or why they are unknown."""
        states = self.states.get(name, {})
        having = [source for source, state in states.items() if state == HAS]
        others = [f"{source} {state}" for source, state in states.items() if state in (SILENT, OFFLINE)]
        return ", ".join([*having, *others]) or ("none" if states else "not asked")


@dataclass
class _Asking:
    """The answers so far, collected by several threads."""

    states: dict[str, dict[str, str]]
    problems: dict[str, str] = field(default_factory=dict)
    _failures: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def one(self, source: Source, product: ProductName) -> None:
        """Ask whether a source has a product."""
        if self._failures[source.name] >= _MOST_FAILURES:
            return
        try:
            listing = source.listing(product)
        except PipelineError as error:
            self._failed(source.name, error)
            return
        with self._lock:
            self._failures[source.name] = 0
            self.states[str(product)][source.name] = HAS if listing and manifest.NAME in listing.files else LACKS

    def all_at_cdse(self, catalogue: Catalogue) -> None:
        """Ask CDSE for all products by one query."""
        try:
            found = catalogue.by_names(self.states)
        except PipelineError as error:
            self._failed("cdse", error)
            return
        with self._lock:
            for name, states in self.states.items():
                listed = [product for product in found if product.name == name]
                online = any(product.online for product in listed)
                states["cdse"] = HAS if online else OFFLINE if listed else LACKS

    def _failed(self, source: str, error: PipelineError) -> None:
        with self._lock:
            self._failures[source] += 1
            self.problems.setdefault(source, error.found or error.subject)


def ask(
    products: Sequence[ProductName],
    sources: Sequence[Source],
    catalogue: Catalogue | None = None,
    within_s: float = _WITHIN_S,
) -> Availability:
    """Ask all sources for all products, and CDSE's catalogue if it is given.

    Answers that take longer than `within_s` are unknown. Nothing is raised: `problems` says why a source has not
    answered.
    """
    names = [source.name for source in sources] + (["cdse"] if catalogue else [])
    asking = _Asking({str(product): dict.fromkeys(names, SILENT) for product in products})
    pool = ThreadPoolExecutor(_AT_ONCE, "ask")
    try:
        under_way = [pool.submit(asking.all_at_cdse, catalogue)] if catalogue else []
        under_way += [pool.submit(asking.one, source, product) for product in products for source in sources]
        wait(under_way, timeout=within_s)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return Availability(time.time(), {name: dict(states) for name, states in asking.states.items()}, asking.problems)
