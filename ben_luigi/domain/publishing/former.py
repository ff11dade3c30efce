"""Find what an earlier publication of a form has left at its place, by the `form.json` that lies there."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ben_luigi.domain.forms.form import NOTE
from ben_luigi.domain.given import is_hidden
from ben_luigi.domain.publishing.package import Package, flat_name
from ben_luigi.domain.publishing.service import Service

_MOST_BYTES = 2**26


def others(service: Service, package: Package) -> list[str]:
    """Return the names of the files at a place that are not in the package, without hidden ones, which are no data."""
    return [name for name in service.others(package.items) if not is_hidden(name)]


def left(service: Service, package: Package) -> list[str]:
    """Return which of those the form that was published there before lists as its own.

    None if the package is no form: a dataset and a form may lie beside each other.
    """
    notes = [item for item in package.items if item.name == NOTE]
    held = service.held(notes).get(NOTE) if notes else None
    if held is None or not 0 < held.size_bytes <= _MOST_BYTES:
        return []
    listed = _listed(service.read(NOTE))
    names = {flat_name(name) for name in listed} if service.is_flat else {*listed}
    return [name for name in others(service, package) if name in names]


def _listed(note: bytes) -> Sequence[str]:
    """Return the files that a note lists; none if it is another file, or one from before they were listed."""
    try:
        return [str(name) for name in dict(json.loads(note)["files"])]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
