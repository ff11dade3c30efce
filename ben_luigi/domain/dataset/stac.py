"""The dataset as a STAC 1.1 collection with one item a tile, made from `patches.parquet`.

    stac/collection.json
    stac/<tile>/<tile>.json

Links and assets are relative, so the folder may be moved together with the dataset.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from ben_luigi.domain.dataset.comparison import counted
from ben_luigi.domain.files import atomic_write, remove
from ben_luigi.domain.names import TileName
from ben_luigi.domain.placement.footprints import EDGES, LONGITUDE_LATITUDE, outline
from ben_luigi.domain.products.product import BANDS, RESOLUTION_M

COLLECTION = "collection.json"
LICENSE = "CDLA-Permissive-1.0"
_VERSION = "1.1.0"
_EXTENSIONS = {
    name: f"https://stac-extensions.github.io/{name}/{version}/schema.json"
    for name, version in (("projection", "v2.0.0"), ("grid", "v1.1.0"), ("file", "v2.1.0"))
}
_MEDIA_TYPES = {
    ".parquet": "application/vnd.apache.parquet",
    ".zst": "application/zstd",
    ".json": "application/json",
}
_PROVIDERS = [
    {"name": "ESA, Copernicus", "roles": ["producer", "licensor"], "url": "https://dataspace.copernicus.eu"},
    {"name": "BigEarthNet", "roles": ["processor"], "url": "https://bigearth.net"},
]
COLUMNS = (
    *("tile", "mgrs", "product", "product_id", "sensing_time", "season", "epsg", *EDGES),
    *("split", "country", "labels"),
)
"""What is needed of `patches.parquet`."""

_CORNER_EVERY_M = 12_000
Json = dict[str, Any]


def describe(patches: pa.Table, files: Mapping[str, tuple[int, str]], title: str, description: str) -> dict[str, Json]:
    """The documents of the catalogue, by path.

    `patches` has COLUMNS of the rows of `patches.parquet`. `files` gives length in bytes and sha256 of each file of the
    dataset that the collection names; they lie in the folder above.
    """
    items = {f"{item['id']}/{item['id']}.json": item for item in _items(patches)}
    return {COLLECTION: _collection(patches, list(items.values()), files, title, description), **items}


def write(documents: Mapping[str, Json], folder: Path) -> None:
    """Publish the documents in `folder`, in the place of what is there."""
    with atomic_write(folder) as work:
        for name, document in documents.items():
            path = work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text(document), encoding="utf-8")
        remove(folder)


def text(document: Json) -> str:
    """A document as it is written."""
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _items(patches: pa.Table) -> Iterator[Json]:
    tiles = patches["tile"].to_numpy()
    bounds = np.r_[np.flatnonzero(np.r_[True, tiles[1:] != tiles[:-1]]), len(tiles)].tolist()
    for first, stop in pairwise(bounds):
        yield _item(patches.slice(first, stop - first))


def _item(rows: pa.Table) -> Json:
    """The item of one tile; its geometry is the square around its patches."""
    first = rows.slice(0, 1).to_pylist()[0]
    edges = [pick(rows[name]).as_py() for pick, name in zip((pc.min, pc.min, pc.max, pc.max), EDGES, strict=True)]
    square = outline(first["epsg"], edges, LONGITUDE_LATITUDE, _CORNER_EVERY_M)
    mission = TileName.parse(first["tile"]).mission
    counts = counted(rows)
    return {
        "type": "Feature",
        "stac_version": _VERSION,
        "stac_extensions": [_EXTENSIONS["projection"], _EXTENSIONS["grid"]],
        "id": first["tile"],
        "collection": "bigearthnet-v2",
        "geometry": json.loads(shapely.to_geojson(square)),
        "bbox": list(square.bounds),
        "properties": {
            "datetime": _time(first["sensing_time"]),
            "platform": f"sentinel-{mission[1:].lower()}",
            "constellation": "sentinel-2",
            "instruments": ["msi"],
            "gsd": 10,
            "license": LICENSE,
            "proj:code": f"EPSG:{first['epsg']}",
            "proj:bbox": edges,
            "grid:code": f"MGRS-{first['mgrs']}",
            "bigearthnet:season": first["season"],
            "bigearthnet:product": first["product"],
            "bigearthnet:product_id": first["product_id"],
            "bigearthnet:patches": len(rows),
            **{f"bigearthnet:patches_by_{what}": number for what, number in counts.items()},
        },
        "links": _links("../collection.json"),
        "assets": {
            "BigEarthNet-S2": _in_archive("BigEarthNet-S2", first["tile"], "surface reflectance, 12 bands", _bands()),
            "Reference_Maps": _in_archive("Reference_Maps", first["tile"], "reference maps, CORINE Land Cover 2018"),
        },
    }


def _time(time: Any) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z"


def _links(collection: str) -> list[Json]:
    return [{"rel": rel, "href": collection, "type": "application/json"} for rel in ("root", "parent", "collection")]


def _in_archive(archive: str, tile: str, title: str, bands: list[Json] | None = None) -> Json:
    return {
        "href": f"../../{archive}.tar.zst",
        "type": _MEDIA_TYPES[".zst"],
        "title": title,
        "description": f"the tile's patches are in the folder {archive}/{tile}/ of the archive",
        "roles": ["data"],
        **({"bands": bands} if bands else {}),
    }


def _bands() -> list[Json]:
    return [{"name": band, "gsd": RESOLUTION_M[band]} for band in BANDS]


def _collection(
    patches: pa.Table, items: list[Json], files: Mapping[str, tuple[int, str]], title: str, description: str
) -> Json:
    boxes = np.array([item["bbox"] for item in items])
    times = [_time(pick(patches["sensing_time"]).as_py()) for pick in (pc.min, pc.max)]
    return {
        "type": "Collection",
        "stac_version": _VERSION,
        "stac_extensions": [_EXTENSIONS["file"], _EXTENSIONS["projection"]],
        "id": "bigearthnet-v2",
        "title": title,
        "description": description,
        "keywords": ["Sentinel-1", "Sentinel-2", "CORINE Land Cover", "multi-label classification"],
        "license": LICENSE,
        "providers": _PROVIDERS,
        "extent": {
            "spatial": {"bbox": [[*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist()]]},
            "temporal": {"interval": [times]},
        },
        "summaries": {
            "platform": sorted({item["properties"]["platform"] for item in items}),
            "proj:code": sorted({item["properties"]["proj:code"] for item in items}),
            **{f"bigearthnet:{name}": sorted(pc.unique(patches[name]).to_pylist()) for name in _SUMMARIZED},
            "bigearthnet:label": sorted(pc.unique(pc.list_flatten(patches["labels"])).to_pylist()),
        },
        "links": [
            {"rel": "root", "href": "./collection.json", "type": "application/json"},
            {"rel": "cite-as", "href": "https://doi.org/10.48550/arXiv.2407.03653"},
            *(
                {"rel": "item", "href": f"./{item['id']}/{item['id']}.json", "type": "application/geo+json"}
                for item in items
            ),
        ],
        "assets": {name: _file(name, *facts) for name, facts in sorted(files.items())},
    }


_SUMMARIZED = ("season", "split", "country")


def _file(name: str, size_bytes: int, sha256: str) -> Json:
    """A file of the dataset; its checksum is a multihash: code and length of sha256, then the hash."""
    return {
        "href": f"../{name}",
        "type": _MEDIA_TYPES[Path(name).suffix],
        "roles": ["data" if name.endswith(".zst") else "metadata"],
        "file:size": size_bytes,
        "file:checksum": f"1220{sha256}",
    }
