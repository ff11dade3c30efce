"""Ask which sources have which products, and keep the answers for a while.

The plan, `states.csv` and the list of missing tiles use them.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ben_luigi import addresses, config
from ben_luigi.domain import files, network
from ben_luigi.domain.cdse import http
from ben_luigi.domain.cdse.catalogue import Catalogue
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.sources.availability import HEAD_S, PATIENCE, Availability, ask
from ben_luigi.stages.service import client
from ben_luigi.stages.sources import in_order

_FRESH_S, _FRESH_IN_PART_S = 3600.0, 300.0
"""Seconds that answers are valid: those of all sources, and those where a source has not answered."""


def available(products: Sequence[ProductName], fresh_s: float = _FRESH_S) -> Availability:
    """Return what the sources have of `products`: the kept answers if they are newer than `fresh_s`, else new ones.

    This takes a minute at most and raises nothing; the answers are kept in the data folder, if it exists.
    """
    key = files.text_hash(json.dumps([config.source_order(), addresses.google_url(), addresses.mirrors()]))
    kept = _kept(key)
    lasts_s = fresh_s if kept and not kept.problems else min(fresh_s, _FRESH_IN_PART_S)
    is_fresh = kept is not None and abs(time.time() - kept.asked_at) < lasts_s
    if kept and is_fresh and all(str(product) in kept.states for product in products):
        return replace(kept, states={str(product): kept.states[str(product)] for product in products})
    with in_order(PATIENCE, HEAD_S) as order, client() as own, _quietly():
        session = replace(own, patience=PATIENCE, session=network.session(HEAD_S))
        catalogue = Catalogue(session) if order.cdse else None
        found = ask(list(products), [*order.before, *order.after], catalogue)
    if config.data_dir().is_dir() and not found.is_offline:
        files.write_json(_path(), {**asdict(found), "of": key})
    return found


@contextmanager
def _quietly() -> Iterator[None]:
    """Suppress one warning per failed question; the caller reports which source does not answer."""
    log = logging.getLogger(http.__name__)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def _path() -> Path:
    return config.data_dir() / "tiles" / "availability.json"


def _kept(key: str) -> Availability | None:
    """Return the earlier answers of the same sources, if they can be read."""
    try:
        facts: dict[str, Any] = json.loads(_path().read_text(encoding="utf-8"))
        if facts.pop("of") != key:
            return None
        return Availability(**facts)
    except (OSError, ValueError, TypeError, KeyError):
        return None
