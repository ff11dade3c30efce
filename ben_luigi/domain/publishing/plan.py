"""Say what would be published, before anything is sent."""

from __future__ import annotations

from collections.abc import Iterator

from ben_luigi.domain.errors import printable
from ben_luigi.domain.forms.form import NOTE
from ben_luigi.domain.publishing.package import Item, Package, names_when_flat
from ben_luigi.domain.publishing.service import GB, Service

_MOST_LINES = 20
"""Files of a folder that are listed one by one; of more, their number and length are given."""


def lines(service: Service, package: Package, *, replaces: bool = False) -> Iterator[str]:
    """Yield what would be sent, and where to: title, licence, each file with its length, the limits of the service."""
    about = package.about
    yield f"to       {service.name}: {service.place}"
    yield f"title    {printable(package.title)}"
    yield f"version  {printable(about.version)}"
    yield f"licence  {printable(about.license)}"
    yield f"from     {package.folder}"
    yield from (f"{item.size_bytes:>19,}  {printable(item.name)}" for item in _at_top(package))
    for folder, items in _folders(package).items():
        size_bytes = sum(item.size_bytes for item in items)
        packed = f", packed as {folder}.zip" if service.is_flat else ""
        if packed or len(items) > _MOST_LINES:
            yield f"{size_bytes:>19,}  {printable(folder)}/: {len(items):,} files{packed}"
        else:
            yield from (f"{item.size_bytes:>19,}  {printable(item.name)}" for item in items)
    yield from (f"not sent: {printable(what)}" for what in package.left_out)
    if replaces:
        yield "replaced: files there that have another content"
        if package.form:
            yield f"removed: files there that the {NOTE} there lists, and that this form does not have"
    number = len(names_when_flat(package)) if service.is_flat else len(package.items)
    yield f"{number:,} files, {package.size_bytes / GB:,.3f} GB ({package.size_bytes:,} bytes)"
    if limits := str(service.limits):
        yield f"{service.name} takes at most {limits}"


def check(service: Service, package: Package) -> None:
    """Raise BadInput if the package is over the limits of the service, or is empty."""
    names = names_when_flat(package) if service.is_flat else [item.name for item in package.items]
    service.limits.check(f"{package.folder} for {service.name}", names, package)


def _at_top(package: Package) -> list[Item]:
    return [item for item in package.items if "/" not in item.name]


def _folders(package: Package) -> dict[str, list[Item]]:
    found: dict[str, list[Item]] = {}
    for item in package.items:
        if "/" in item.name:
            found.setdefault(item.name.partition("/")[0], []).append(item)
    return found
