"""The dataset as a STAC 1.1 collection with one item a tile, made from `patches.parquet`.

    stac/collection.json
    stac/<tile>/<tile>.json

All links and assets are relative, so the folder may be moved together with the dataset. That goes for the self links,
too, which STAC would rather have absolute: nobody knows where the dataset will lie.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pystac
import shapely

from ben_luigi.domain.dataset.about import V2
from ben_luigi.domain.dataset.comparison import counted
from ben_luigi.domain.dataset.form import FORM_V2, Form
from ben_luigi.domain.dataset.sentinel1 import BANDS as S1_BANDS
from ben_luigi.domain.files import atomic_write
from ben_luigi.domain.names import ProductName, TileName, s1_tile, tile_keys
from ben_luigi.domain.placement.footprints import EDGES, LONGITUDE_LATITUDE, bounding_box, common_box, outline
from ben_luigi.domain.products.product import BANDS
from ben_luigi.domain.recipe.model import Layer
from ben_luigi.domain.tiles.layers import archive_of
from ben_luigi.domain.vocabulary import RESOLUTION_M

COLLECTION = "collection.json"
LICENSE = V2.license
_EXTENSIONS = {
    name: f"https://stac-extensions.github.io/{name}/{version}/schema.json"
    for name, version in (("projection", "v2.0.0"), ("grid", "v1.1.0"), ("file", "v2.1.0"), ("eo", "v2.0.0"))
}
_MEDIA_TYPES = {
    ".parquet": "application/vnd.apache.parquet",
    ".zst": "application/zstd",
    ".json": "application/json",
    ".csv": "text/csv",
    ".md": "text/markdown",
    ".toml": "application/toml",
    ".cff": "application/yaml",
    "": "text/plain",
}
_COMMON_NAMES = {
    "B01": "coastal",
    "B02": "blue",
    "B03": "green",
    "B04": "red",
    "B05": "rededge071",
    "B06": "rededge075",
    "B07": "rededge078",
    "B08": "nir",
    "B8A": "nir08",
    "B09": "nir09",
    "B11": "swir16",
    "B12": "swir22",
}
"""What the extension `eo` (2.0.0) calls the bands of Sentinel-2."""

COLUMNS = (
    *("tile", "mgrs", "product", "product_id", "sensing_time", "season", "epsg", *EDGES),
    *("split", "country", "labels", "s1_name"),
)
"""What is needed of `patches.parquet`; another recipe may be without country and S1 name."""
_OF_RECIPE = ("country", "s1_name")

_CORNER_EVERY_M = 12_000
_S1_PIXEL_M = 10
Json = dict[str, Any]


def columns(form: Form) -> list[str]:
    """Return those of COLUMNS that a dataset has."""
    return [name for name in COLUMNS if name not in _OF_RECIPE or name in form.columns]


def describe(
    patches: pa.Table,
    files: Mapping[str, tuple[int, str]],
    title: str,
    description: str,
    form: Form = FORM_V2,
    *,
    has_report: bool,
    keys: Mapping[str, str] | None = None,
) -> dict[str, Json]:
    """Return the documents of the catalogue, by path.

    The report has its pictures by the `keys` of the tiles, by tile name, as `provenance.json` states them: which key
    has the sensing time depends on all products, also on those without a patch. Others are as their names say.
    """
    names = [TileName.parse(name) for name in pc.unique(patches["tile"]).to_pylist()]
    items = list(_items(patches, form, {**tile_keys(names), **(keys or {})} if has_report else {}))
    documents = {f"{item.id}/{item.id}.json": _document(item, f"./{item.id}.json") for item in items}
    collection = _collection(patches, items, files, title, description, form)
    return {COLLECTION: _document(collection, f"./{COLLECTION}"), **documents}


def keys_of(tiles: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the keys of tiles, by tile name, by their entries in `provenance.json`; without those that are none."""
    found = {}
    for facts in tiles:
        name, key = ProductName.parse(str(facts["l2a_name"])), facts.get("tile")
        if key in (name.tile_key, name.timed_key):
            found[name.tile_name] = str(key)
    return found


def _document(described: pystac.Item | pystac.Collection, href: str) -> Json:
    """Return the JSON of an item or a collection at `href`."""
    document: Json = described.to_dict(include_self_link=False, transform_hrefs=False)
    kind = pystac.MediaType.GEOJSON if isinstance(described, pystac.Item) else pystac.MediaType.JSON
    # Not pystac's own link, which would be made absolute.
    document["links"].append({"rel": "self", "href": href, "type": str(kind)})
    return document


def write(documents: Mapping[str, Json], folder: Path) -> None:
    """Publish the documents in `folder`, in the place of what is there."""
    with atomic_write(folder) as work:
        for name, document in documents.items():
            path = work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text(document), encoding="utf-8")


def text(document: Json) -> str:
    """Return the text of a document as it is written."""
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _items(patches: pa.Table, form: Form, pictured: Mapping[str, str]) -> Iterator[pystac.Item]:
    """Yield the items of the tiles; `pictured` has the keys by which the report has their pictures, if there is one."""
    tiles = patches["tile"].to_numpy()
    bounds = np.r_[np.flatnonzero(np.r_[True, tiles[1:] != tiles[:-1]]), len(tiles)].tolist()
    for first, stop in pairwise(bounds):
        yield _item(patches.slice(first, stop - first), form, pictured.get(tiles[first], ""))


def _item(rows: pa.Table, form: Form, pictured: str) -> pystac.Item:
    """Return the item of one tile; its geometry is the square around its patches.

    `pictured` is the tile's key, by which the report has its pictures; empty without a report.
    """
    first = rows.slice(0, 1).to_pylist()[0]
    edges = [pick(rows[name]).as_py() for pick, name in zip((pc.min, pc.min, pc.max, pc.max), EDGES, strict=True)]
    square = outline(first["epsg"], edges, LONGITUDE_LATITUDE, _CORNER_EVERY_M)
    tile = TileName.parse(first["tile"])
    item = pystac.Item(
        first["tile"],
        geometry=json.loads(shapely.to_geojson(square)),
        bbox=list(bounding_box(square)),
        datetime=first["sensing_time"],
        properties={
            "platform": f"sentinel-{tile.mission[1:].lower()}",
            "constellation": "sentinel-2",
            "instruments": ["msi"],
            "gsd": 10,
            "license": form.about.license,
            "proj:code": f"EPSG:{first['epsg']}",
            "proj:bbox": edges,
            "grid:code": f"MGRS-{first['mgrs']}",
            "bigearthnet:season": first["season"],
            "bigearthnet:product": first["product"],
            "bigearthnet:product_id": first["product_id"],
            "bigearthnet:patches": len(rows),
            **{f"bigearthnet:patches_by_{what}": number for what, number in counted(rows).items()},
        },
        stac_extensions=[_EXTENSIONS[name] for name in ("projection", "grid", "eo")],
        collection=form.about.name,
        assets={**_data(rows, form), **(_thumbnail(pictured) if pictured else {})},
    )
    for rel in (pystac.RelType.ROOT, pystac.RelType.PARENT, pystac.RelType.COLLECTION):
        item.add_link(pystac.Link(rel, f"../{COLLECTION}", pystac.MediaType.JSON))
    return item


def _data(rows: pa.Table, form: Form) -> dict[str, pystac.Asset]:
    """Return the assets of a tile's patches in the archives."""
    tile = rows["tile"][0].as_py()
    s2_bands = [{"name": band, "gsd": RESOLUTION_M[band], "eo:common_name": _COMMON_NAMES[band]} for band in BANDS]
    maps = "reference maps, CORINE Land Cover 2018" if form.about.is_v2 else "reference maps of land cover"
    return {
        **(_sentinel1(rows) if form.has_sentinel1 else {}),
        "BigEarthNet-S2": _in_archive("BigEarthNet-S2", [tile], "surface reflectance, 12 bands", s2_bands),
        "Reference_Maps": _in_archive("Reference_Maps", [tile], maps),
        **{archive_of(layer.name): _layer(layer, tile) for layer in form.layers},
    }


def _layer(layer: Layer, tile: str) -> pystac.Asset:
    """Return the asset of a further layer; `data_type` and `nodata` are common metadata of STAC 1.1."""
    nodata: Json = {} if layer.nodata is None else {"nodata": layer.nodata}
    sizes = layer.bands or layer.kinds
    bands = [{"name": name, "gsd": pixel_m, "data_type": layer.dtype, **nodata} for name, pixel_m in sizes.items()]
    title = f"{layer.name}, a further layer, {layer.of_product or layer.resampling}"
    return _in_archive(archive_of(layer.name), [tile], title, bands)


def _sentinel1(rows: pa.Table) -> dict[str, pystac.Asset]:
    tiles = sorted({s1_tile(name) for name in rows["s1_name"].to_pylist()})
    bands = [{"name": band, "gsd": _S1_PIXEL_M} for band in S1_BANDS]
    return {"BigEarthNet-S1": _in_archive("BigEarthNet-S1", tiles, "radar backscatter, 2 polarisations", bands)}


def _in_archive(archive: str, folders: Sequence[str], title: str, bands: list[Json] | None = None) -> pystac.Asset:
    listed = ", ".join(f"{archive}/{folder}/" for folder in folders)
    where = "the folder" if len(folders) == 1 else "the folders"
    return pystac.Asset(
        f"../../{archive}.tar.zst",
        title=title,
        description=f"the tile's patches are in {where} {listed} of the archive",
        media_type=_MEDIA_TYPES[".zst"],
        roles=["data"],
        extra_fields={"bands": bands} if bands else {},
    )


def _thumbnail(key: str) -> dict[str, pystac.Asset]:
    href = f"../../report/tiles/{key}/rgb.webp"
    return {"thumbnail": pystac.Asset(href, title="true colour", media_type="image/webp", roles=["thumbnail"])}


def _collection(
    patches: pa.Table,
    items: list[pystac.Item],
    files: Mapping[str, tuple[int, str]],
    title: str,
    description: str,
    form: Form,
) -> pystac.Collection:
    about = form.about
    box = common_box(np.array([item.bbox for item in items]))
    times = [pick(patches["sensing_time"]).as_py() for pick in (pc.min, pc.max)]
    collection = pystac.Collection(
        about.name,
        title=title,
        description=description,
        extent=pystac.Extent(pystac.SpatialExtent([box]), pystac.TemporalExtent([times])),
        stac_extensions=[_EXTENSIONS[name] for name in ("file", "projection")],
        keywords=_keywords(form),
        license=about.license,
        providers=_providers(about.is_v2),
        summaries=pystac.Summaries(
            {
                "platform": sorted({item.properties["platform"] for item in items}),
                "proj:code": sorted({item.properties["proj:code"] for item in items}),
                **{
                    f"bigearthnet:{name}": sorted(pc.unique(patches[name]).drop_null().to_pylist())
                    for name in _SUMMARIZED
                    if name in patches.column_names
                },
                "bigearthnet:label": sorted(pc.unique(pc.list_flatten(patches["labels"])).to_pylist()),
            }
        ),
        assets={name: _file(name, *facts) for name, facts in sorted(files.items())},
    )
    collection.clear_links()
    collection.add_link(pystac.Link(pystac.RelType.ROOT, f"./{COLLECTION}", pystac.MediaType.JSON))
    if about.is_v2:
        collection.add_link(pystac.Link("cite-as", "https://doi.org/10.48550/arXiv.2407.03653"))
    for item in items:
        href = f"./{item.id}/{item.id}.json"
        collection.add_link(pystac.Link(pystac.RelType.ITEM, href, pystac.MediaType.GEOJSON))
    return collection


def _keywords(form: Form) -> list[str]:
    radar = ["Sentinel-1"] if form.has_sentinel1 else []
    return [
        *radar,
        "Sentinel-2",
        "CORINE Land Cover" if form.about.is_v2 else "land cover",
        "multi-label classification",
    ]


_SUMMARIZED = ("season", "split", "country")


def _providers(is_v2: bool) -> list[pystac.Provider]:
    roles = pystac.ProviderRole
    esa = pystac.Provider(
        "ESA, Copernicus", roles=[roles.PRODUCER, roles.LICENSOR], url="https://dataspace.copernicus.eu"
    )
    makers = pystac.Provider("BigEarthNet", roles=[roles.PROCESSOR], url="https://bigearth.net")
    return [esa, makers] if is_v2 else [esa]


def _file(name: str, size_bytes: int, sha256: str) -> pystac.Asset:
    """Return a file of the dataset; its checksum is a multihash: code and length of sha256, then the hash."""
    return pystac.Asset(
        f"../{name}",
        media_type=_MEDIA_TYPES[Path(name).suffix],
        roles=["data" if name.endswith(".zst") else "metadata"],
        extra_fields={"file:size": size_bytes, "file:checksum": f"1220{sha256}"},
    )
