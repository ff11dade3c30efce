"""Return the files of the sample world's products as a bucket or a mirror has them: content by key."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from ben_luigi.domain.names import ProductName

PREFIX = {"L1C": "tiles", "L2A": "L2/tiles"}


def key_of(product: ProductName, path: str = "") -> str:
    """Return the key of a product's file in Google's public bucket."""
    return "/".join([PREFIX[product.level], *product.mgrs_parts, str(product), path])


def objects_of(zips: Iterable[Path]) -> dict[str, bytes]:
    """Return what Google's bucket has of products that CDSE provides as `zips`.

    Empty folders are missing; there are markers of folders, and a quicklook beside the product's own files.
    """
    found: dict[str, bytes] = {}
    for path in zips:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}
        found |= bucket_objects({name.partition("/")[2]: content for name, content in members.items()}, _top(members))
    return found


def bucket_objects(members: Mapping[str, bytes], product: ProductName) -> dict[str, bytes]:
    """Return the objects of one product, given its members by path."""
    found = {key_of(product, path): content for path, content in members.items() if not path.endswith("/")}
    folders = {path.rpartition("/")[0] for path in members if "/" in path}
    markers = {key_of(product, f"{folder}_$folder$"): b"folder" for folder in folders}
    quick_look = key_of(product, f"{product.stem}-ql.jpg")
    return {**found, **markers, quick_look: b"\xff\xd8\xff\xd9"}


def _top(members: Mapping[str, bytes]) -> ProductName:
    return ProductName.parse(next(iter(members)).partition("/")[0])
