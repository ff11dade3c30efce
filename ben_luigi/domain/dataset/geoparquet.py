"""Write `patches.parquet`: the metadata and everything else that is known of each patch, as GeoParquet 1.1.

Geometry is in longitude and latitude (OGC:CRS84, the default of GeoParquet), with a bounding-box column by which
readers filter; the square of the patch in metres of its UTM zone is there too. A patch across the 180th meridian has
two polygons, one on each side. There is one row group per tile, in the order of the patch ids.

`s2_sha256` is one hash for the patch's twelve S2 files: that of the output of `sha256sum *.tif` in its folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely

from ben_luigi.domain.dataset import metadata
from ben_luigi.domain.errors import BadTable, some
from ben_luigi.domain.files import atomic_write
from ben_luigi.domain.placement.footprints import EDGES, LONGITUDE_LATITUDE, polygons
from ben_luigi.domain.placement.grid import PATCH_M
from ben_luigi.domain.tiles.nomenclature import CLC_CODES, NO_CLC
from ben_luigi.domain.tiles.reference_maps import PIXEL_M
from ben_luigi.domain.vocabulary import SCENE_CLASSES

PATCHES = "patches.parquet"
CODES = (*CLC_CODES, NO_CLC)
MAP_PIXELS = (PATCH_M // PIXEL_M) ** 2
SHARES = tuple(f"scl_{what}" for what in SCENE_CLASSES)
"""Columns of shares, 0 to 1, by the scene classification of the product; null where it has none on the patch."""
BBOX = ("xmin", "ymin", "xmax", "ymax")

DESCRIPTIONS = {
    "patch_id": "name of the patch: its tile's L2A name, then x to the east and y to the south",
    "labels": "classes of the 19-class nomenclature on the reference map",
    "split": "train, validation or test",
    "country": "nearest of the ten countries",
    "s1_name": "name of the Sentinel-1 patch",
    "s2v1_name": "name of the patch in BigEarthNet v1",
    "contains_seasonal_snow": "whether there is seasonal snow on it",
    "contains_cloud_or_shadow": "whether there is cloud or cloud shadow on it",
    "tile": "name of the tile: the folder of the patch in the archives",
    "mgrs": "MGRS square of the tile",
    "product": "name of the Sentinel-2 product that it was made from",
    "product_id": "id of that product at the Copernicus Data Space; null where the user's own was taken, or its "
    "catalogue did not tell it",
    "sensing_time": "start of sensing, UTC",
    "season": "spring, summer, fall or winter, by BigEarthNet's rule",
    "epsg": "EPSG code of the UTM zone that the patch lies in",
    "left_m": "west edge in that zone, metres",
    "bottom_m": "south edge in that zone, metres",
    "right_m": "east edge in that zone, metres",
    "top_m": "north edge in that zone, metres",
    "s2_sha256": "sha256 of the S2 files: of what `sha256sum *.tif` prints in the patch's folder",
    "reference_map_sha256": "sha256 of the reference map",
    **{f"clc_{code}": f"part of the patch with code {code} of CORINE Land Cover 2018" for code in CLC_CODES},
    f"clc_{NO_CLC}": "part of the patch that CORINE Land Cover 2018 does not cover",
    **{
        f"scl_{what}": f"part of the patch's valid pixels that are {said} by the product's scene classification (SCL)"
        for what, said in zip(SCENE_CLASSES, ("cloud or cirrus", "cloud shadow", "snow or ice", "water"), strict=True)
    },
    "geometry": "square of the patch, longitude and latitude, WKB",
    "bbox": "bounds of the geometry, degrees",
}
"""The columns, in order, and their meaning."""

_TYPES = {
    **{field.name: field.type for field in metadata.SCHEMA},
    "sensing_time": pa.timestamp("ms", tz="UTC"),
    "epsg": pa.int32(),
    **dict.fromkeys(EDGES, pa.float64()),
    **{f"clc_{code}": pa.float32() for code in CODES},
    **dict.fromkeys(SHARES, pa.float32()),
    "geometry": pa.binary(),
    "bbox": pa.struct([(name, pa.float64()) for name in BBOX]),
}
ORIGIN = {"baseline": pa.field("baseline", pa.string()), "boa_offset": pa.field("boa_offset", pa.int16())}
"""Columns that follow `product_id` where products may differ."""
ORIGIN_DESCRIPTIONS = {
    "baseline": "processing baseline of that product, as 05.10",
    "boa_offset": "what is to be added to the pixels to have reflectance * 10,000; 0 if the offset was removed",
}
SCHEMA = pa.schema([(name, _TYPES.get(name, pa.string())) for name in DESCRIPTIONS])


def schema_of(columns: Sequence[str], codes: Sequence[int] = CODES, *, with_origin: bool = False) -> pa.Schema:
    """Return the schema of the file for these columns of the metadata and these codes of the land cover.

    `with_origin` adds the columns of ORIGIN. With the columns of BigEarthNet v2 and the codes of CORINE it is SCHEMA.
    """
    without = set(metadata.SCHEMA.names) - set(columns)
    first, last = (name for name in (f"clc_{CODES[0]}", f"clc_{CODES[-1]}"))
    before, after = SCHEMA.get_field_index(first), SCHEMA.get_field_index(last) + 1
    fields = [field for field in [*SCHEMA][:before] if field.name not in without]
    at = [field.name for field in fields].index("product_id") + 1
    fields[at:at] = ORIGIN.values() if with_origin else ()
    return pa.schema([*fields, *(pa.field(f"clc_{code}", pa.float32()) for code in codes), *[*SCHEMA][after:]])


@dataclass(frozen=True)
class TileSource:
    """The products of a tile: `tile` is its L2A name without processing time, `product_id` its id at CDSE, or None.

    `sensing_time` is UTC, without tzinfo; `baseline` and `boa_offset` are for the columns of ORIGIN, if it has them.
    """

    tile: str
    mgrs: str
    product: str
    product_id: str | None
    sensing_time: datetime
    baseline: str = ""
    boa_offset: int = 0


def tile_rows(
    rows: pa.Table,
    source: TileSource,
    places: pd.DataFrame,
    counts: pd.DataFrame,
    s2_index: pa.Table,
    maps_index: pa.Table,
    *,
    scene: pd.DataFrame | None = None,
    pixels: int = MAP_PIXELS,
    codes: Sequence[int] = CODES,
) -> pa.Table:
    """Return the rows of one tile's patches, whose metadata are `rows`, ascending by patch_id.

    `places` has patch_id, epsg, left_m, bottom_m, right_m, top_m, season; `counts` has patch_id, code, pixels; the
    indexes are those of the tile's shards, `pixels` the number on a reference map. `scene` has patch_id and the pixels,
    valid ones, cloud, shadow, snow and water of the patches whose scene classes are known. All of them may hold further
    patches. Raise BadTable naming patches that they lack.
    """
    ids = rows["patch_id"].combine_chunks()
    places = places.set_index("patch_id").reindex(ids.to_pandas())
    _require(ids, places["epsg"].notna().to_numpy(), "place")
    shapes = polygons(places["epsg"].to_numpy(), places[list(EDGES)].to_numpy(), LONGITUDE_LATITUDE)
    bounds = [pa.array(edge) for edge in shapely.bounds(shapes).T]
    columns = {
        **{name: rows[name].combine_chunks() for name in rows.column_names},
        **_repeated(source, len(ids)),
        "season": pa.array(places["season"], pa.string()),
        "epsg": pa.array(places["epsg"].to_numpy().astype("int32")),
        **{name: places[name].to_numpy() for name in EDGES},
        "s2_sha256": _taken(ids, folder_hashes(s2_index), "S2 files"),
        "reference_map_sha256": _taken(ids, maps_index.select(["patch_id", "sha256"]), "reference map"),
        **_fractions(ids, counts, pixels, codes),
        **_shares(ids, scene),
        "geometry": pa.array(shapely.to_wkb(shapes), pa.binary()),
        "bbox": pa.StructArray.from_arrays(bounds, list(BBOX)),
    }
    schema = schema_of(rows.column_names, codes, with_origin=bool(source.baseline))
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _repeated(source: TileSource, patches: int) -> dict[str, pa.Array]:
    """Return the columns that are the same for all patches of a tile."""
    types = {field.name: field.type for field in (*SCHEMA, *ORIGIN.values())}
    without = () if source.baseline else ORIGIN
    constant = {name: value for name, value in asdict(source).items() if name not in without}
    return {name: pa.repeat(pa.scalar(value, types[name]), patches) for name, value in constant.items()}


def folder_hashes(index: pa.Table) -> pa.Table:
    """Return patch_id and sha256 per patch of an index: the hash of what `sha256sum *.tif` prints in its folder."""
    ids = index["patch_id"].combine_chunks()
    lines = pc.binary_join_element_wise(index["sha256"], "  ", index["name"], ".tif\n", "").combine_chunks()
    text = "".join(lines.to_pylist()).encode()
    starts = np.r_[0, np.cumsum(pc.binary_length(lines).to_numpy())]
    first = np.flatnonzero(np.r_[True, pc.not_equal(ids[1:], ids[:-1]).to_numpy(False)][: len(ids)])
    bounds = pairwise([*starts[first].tolist(), len(text)])
    hashes = [hashlib.sha256(text[start:stop]).hexdigest() for start, stop in bounds]
    return pa.table({"patch_id": ids.take(pa.array(first)), "sha256": pa.array(hashes, pa.string())})


def _taken(ids: pa.Array, hashes: pa.Table, what: str) -> pa.Array:
    """Return the hash of each patch."""
    hashes = hashes.combine_chunks()
    found = hashes["sha256"].combine_chunks().take(pc.index_in(ids, value_set=hashes["patch_id"].combine_chunks()))
    _require(ids, found.is_valid().to_numpy(False), what)
    return found


def _fractions(ids: pa.Array, counts: pd.DataFrame, pixels: int, codes: Sequence[int]) -> dict[str, np.ndarray]:
    """Return, for each of `codes`, the fraction of each patch, of `pixels` pixels, that has it."""
    row = pc.index_in(pa.array(counts["patch_id"], pa.string()), value_set=ids)
    known = row.is_valid().to_numpy(False)
    column = pd.Index(codes).get_indexer(counts["code"].to_numpy()[known])
    parts = np.zeros((len(codes), len(ids)), dtype="float32")
    parts[column, row.drop_null().to_numpy()] = counts["pixels"].to_numpy()[known] / np.float32(pixels)
    _require(ids, np.asarray(parts.any(axis=0)), "class count")
    return {f"clc_{code}": part for code, part in zip(codes, parts, strict=True)}


def _shares(ids: pa.Array, scene: pd.DataFrame | None) -> dict[str, pa.Array]:
    """Return the share of each scene class on each patch, null where it is not known."""
    if scene is None:
        return {name: pa.nulls(len(ids), pa.float32()) for name in SHARES}
    found = scene.set_index("patch_id").reindex(ids.to_pandas())
    unknown = found["pixels"].isna().to_numpy()
    shares = (found[what].to_numpy("float64") / found["pixels"].to_numpy("float64") for what in SCENE_CLASSES)
    return {name: pa.array(share.astype("float32"), mask=unknown) for name, share in zip(SHARES, shares, strict=True)}


def _require(ids: pa.Array, has: np.ndarray, what: str) -> None:
    if not has.all():
        raise BadTable(
            PATCHES,
            expected=f"{what} of every patch in the metadata",
            found=f"none of {some(ids.filter(pa.array(~has)).to_pylist())}",
            remedy="remove the shards of that tile, and run again",
        )


def write(tiles: Iterable[pa.Table], path: Path, schema: pa.Schema = SCHEMA) -> None:
    """Write the rows of all tiles, given in the order of their names, as GeoParquet."""
    whole = np.array([np.inf, np.inf, -np.inf, -np.inf])
    with atomic_write(path) as work, pq.ParquetWriter(work, schema, compression="zstd", store_schema=False) as writer:
        for rows in tiles:
            writer.write_table(rows, row_group_size=max(len(rows), 1))
            box = rows["bbox"].combine_chunks()
            low, high = ([box.field(name) for name in BBOX[half : half + 2]] for half in (0, 2))
            whole[:2] = np.minimum(whole[:2], [pc.min(edge).as_py() for edge in low])
            whole[2:] = np.maximum(whole[2:], [pc.max(edge).as_py() for edge in high])
        writer.add_key_value_metadata({"geo": json.dumps(geo(whole.tolist()))})


def geo(bounds: list[float]) -> dict[str, object]:
    """Return the `geo` metadata of GeoParquet 1.1; `bounds` of all geometries are west, south, east, north.

    These are the least and greatest longitude, as are those of the column, by which readers filter: none of them knows
    boxes whose west is greater than their east.
    """
    across = bounds[::2] == [-180, 180]  # only the parts of geometries split at the 180th meridian reach both
    geometry = {
        "encoding": "WKB",
        "geometry_types": ["MultiPolygon", "Polygon"] if across else ["Polygon"],
        "orientation": "counterclockwise",
        "bbox": bounds,
        "covering": {"bbox": {name: ["bbox", name] for name in BBOX}},
    }
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": geometry}}
