"""Read BigEarthNet-S2 v1.0 as its users have it, and make the two kinds of files that the pipeline needs of it.

A patch is a folder with `<name>_<band>.tif` and `<name>_labels_metadata.json`, which has its place, its product and its
labels of 43 classes. From these come `bigearthnet_v1_spatial_<epsg>.parquet`, one per UTM zone, with which patches are
aligned, and `bigearthnet_v1_labels.parquet`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import pyproj.exceptions
import shapely

from ben_luigi.domain import given
from ben_luigi.domain.bounded import read_json
from ben_luigi.domain.dataset.sentinel1 import SAME_PLACE_M
from ben_luigi.domain.errors import BadInput, some
from ben_luigi.domain.formats.tiffheader import TiffHeader, read_header
from ben_luigi.domain.names import is_v1_name
from ben_luigi.domain.placement.alignment import v1_sensing_times
from ben_luigi.domain.placement.grid import PATCH_M
from ben_luigi.domain.progress import OnFraction, ignore_fraction
from ben_luigi.domain.tiles.nomenclature import Nomenclature

LABELS = "bigearthnet_v1_labels.parquet"
LABELS_SCHEMA = pa.schema(
    [
        ("patch_name", pa.string()),
        ("labels", pa.list_(pa.field("element", pa.string()))),
        ("tile_source", pa.string()),
        ("acquisition_date", pa.timestamp("ms", tz="UTC")),
    ]
)
SPATIAL_SCHEMA = pa.schema(
    [
        pa.field("patch_name", pa.string(), nullable=False),
        pa.field("sensing_time", pa.timestamp("ms", tz="+00:00")),
        pa.field("geom", pa.binary()),
    ]
)
_JSON_BYTES, _TIFF_BYTES = 2**20, 2**24
_CORNERS = ("ulx", "uly", "lrx", "lry")
_THREADS = 8
_AT_ONCE = 1000
_REMEDY = "extract BigEarthNet-S2 v1.0 again, and point [inputs] v1_s2_dir at the folder that holds its patch folders"


class V1Patch(NamedTuple):
    """The content of a patch's JSON: upper-left corner in metres of `epsg`, labels, L1C product, time (UTC)."""

    name: str
    epsg: int
    left: float
    top: float
    labels: list[str]
    product: str
    acquired: datetime


def extract(folder: Path, out: Path, progress: OnFraction = ignore_fraction) -> int:
    """Write the files named above from the patches in `folder` to the folder `out`; return the number of patches.

    Raise BadInput naming patches whose JSON is missing or malformed, or whose TIFF lies elsewhere than the JSON says;
    one TIFF per product is checked. `progress` receives the fraction that has been read.
    """
    names = [path.name for path in given.entries(folder) if path.name.startswith("S2") and path.is_dir()]
    wrong = [name for name in names if not is_v1_name(name)]
    if wrong:
        raise BadInput(
            folder,
            expected="folders with names of v1 patches",
            found=some(wrong),
            remedy="take these folders out of it",
        )
    if not names:
        raise BadInput(folder, expected="folders of v1 patches, S2x_MSIL2A_...", found="none", remedy=_REMEDY)
    patches = _read_all(folder, names, progress)
    _check_tiffs(folder, patches)
    epsg = np.array([patch.epsg for patch in patches])
    for zone in np.unique(epsg).tolist():
        of_zone = [patches[row] for row in np.flatnonzero(epsg == zone)]
        corners = np.array([(patch.left, patch.top) for patch in of_zone])
        write_spatial(out, zone, [patch.name for patch in of_zone], corners)
    columns = ([patch[field] for patch in patches] for field in (0, 4, 5, 6))
    table = pa.table([pa.array(c, f.type) for c, f in zip(columns, LABELS_SCHEMA, strict=True)], schema=LABELS_SCHEMA)
    pq.write_table(table, out / LABELS, compression="zstd")
    return len(patches)


def write_spatial(folder: Path, epsg: int, names: Sequence[str], corners: np.ndarray) -> None:
    """Write `bigearthnet_v1_spatial_<epsg>.parquet`; `corners` (patch; left, top) are in metres."""
    left, top = corners.T
    right, bottom = left + PATCH_M, top - PATCH_M
    rings = np.stack([left, top, left, bottom, right, bottom, right, top], axis=1).reshape(-1, 4, 2)
    squares = shapely.multipolygons(shapely.polygons(rings)[:, None])
    geometry = {
        "encoding": "WKB",
        "crs": pyproj.CRS.from_epsg(epsg).to_json_dict(),
        "bbox": list(shapely.total_bounds(squares)),
        "orientation": "counterclockwise",
        "geometry_types": ["MultiPolygon"],
    }
    geo = {"version": "1.0.0", "primary_column": "geom", "columns": {"geom": geometry}}
    schema = SPATIAL_SCHEMA.with_metadata({"geo": json.dumps(geo, separators=(",", ":"))})
    path = folder / f"bigearthnet_v1_spatial_{epsg}.parquet"
    patch_names = pa.array(names, pa.string())
    times = v1_sensing_times(patch_names, str(path)).astype("datetime64[ms]")
    columns = [patch_names, pa.array(times, SPATIAL_SCHEMA.field("sensing_time").type), shapely.to_wkb(squares)]
    pq.write_table(pa.table(columns, schema=schema), path)


def _read_all(folder: Path, names: list[str], progress: Callable[[float], None]) -> list[V1Patch]:
    """Read the patches in order; by threads, since the files are small and the disk may be slow."""

    def read(first: int) -> list[V1Patch | BadInput]:
        return [_read(folder, name) for name in names[first : first + _AT_ONCE]]

    found: list[V1Patch | BadInput] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for batch in pool.map(read, range(0, len(names), _AT_ONCE)):
            found += batch
            progress(len(found) / len(names))
    wrong = [one for one in found if isinstance(one, BadInput)]
    if wrong:
        subjects = some(f"{error.subject} ({error.found})" for error in wrong)
        raise BadInput(folder, expected=wrong[0].expected, found=f"not so: {subjects}", remedy=_REMEDY)
    return [one for one in found if isinstance(one, V1Patch)]


def _read(folder: Path, name: str) -> V1Patch | BadInput:
    path = folder / name / f"{name}_labels_metadata.json"
    try:
        return _patch(name, read_json(path, _JSON_BYTES))
    except (OSError, ValueError, KeyError, TypeError, OverflowError, pyproj.exceptions.CRSError) as error:
        expected = "<name>_labels_metadata.json with labels, coordinates, projection, tile_source, acquisition_date"
        return BadInput(name, expected=expected, found=f"{type(error).__name__}: {error}", remedy=_REMEDY)


def _patch(name: str, fields: dict[str, Any]) -> V1Patch:
    left, top, right, bottom = (float(fields["coordinates"][corner]) for corner in _CORNERS)
    if (right - left, top - bottom) != (PATCH_M, PATCH_M):
        raise ValueError(f"a patch of {right - left:g} m x {top - bottom:g} m")
    labels, product = fields["labels"], fields["tile_source"]
    if not isinstance(labels, list) or not all(isinstance(text, str) for text in (product, *labels)):
        raise TypeError("labels and tile_source that are no texts")
    for text in (product, *labels):
        text.encode()  # JSON allows lone surrogates (RFC 8259, 8.2), which UTF-8 does not
    acquired = datetime.fromisoformat(fields["acquisition_date"])
    return V1Patch(name, _epsg(fields["projection"]), left, top, labels, product, acquired)


@lru_cache(maxsize=256)
def _epsg(projection: str) -> int:
    """Return the EPSG code of a UTM zone from its WKT."""
    epsg = pyproj.CRS.from_wkt(projection).to_epsg()
    if epsg is None or not 32600 < epsg <= 32660:
        raise ValueError(f"projection {projection[:40]}..., no UTM zone of the northern hemisphere")
    return int(epsg)


def _check_tiffs(folder: Path, patches: list[V1Patch]) -> None:
    """Raise BadInput if the first patch of a product lies elsewhere by its TIFF, if that exists, than by its JSON."""
    for patch in {patch.product: patch for patch in reversed(patches)}.values():
        path = folder / patch.name / f"{patch.name}_B02.tif"
        if given.kind(path) != given.NOTHING:
            header = _read_header(path)
            apart_m = max(abs(header.left - patch.left), abs(header.top - patch.top))
            if header.epsg != patch.epsg or not apart_m <= SAME_PLACE_M:
                raise BadInput(
                    path,
                    expected=f"the corner that its JSON says: {patch.left:g}, {patch.top:g} in EPSG:{patch.epsg}",
                    found=f"{header.left:g}, {header.top:g} in EPSG:{header.epsg}",
                    remedy=_REMEDY,
                )


def _read_header(path: Path) -> TiffHeader:
    try:
        data = given.read_bytes(path, _TIFF_BYTES)
    except (OSError, ValueError) as error:
        raise BadInput(path, expected="a GeoTIFF of a patch", found=str(error), remedy=_REMEDY) from error
    return read_header(data, path)


def compare_labels(v1: pa.Table, ours: pd.DataFrame, nomenclature: Nomenclature) -> pd.DataFrame:
    """Count for each class of CLC the patches that have it: label, in_v1, in_ours, in_both.

    `v1` is as in `bigearthnet_v1_labels.parquet`; `ours` has the class counts (v1_name, code, pixels) of the patches to
    compare; only those that v1 has are counted.
    """
    names = v1["patch_name"].to_pandas()
    theirs = pd.DataFrame({"v1_name": names, "label": v1["labels"].to_pandas()}).explode("label")
    theirs = theirs[theirs["v1_name"].isin(ours["v1_name"])]
    mine = nomenclature.clc_labels(ours.rename(columns={"v1_name": "patch_id"})).rename(columns={"patch_id": "v1_name"})
    mine = mine[mine["v1_name"].isin(names)]
    both = theirs.merge(mine, on=["v1_name", "label"])
    tables = {"in_v1": theirs, "in_ours": mine, "in_both": both}
    counts = {what: rows["label"].value_counts() for what, rows in tables.items()}
    table = pd.DataFrame(counts, index=sorted({*nomenclature.clc.values(), *theirs["label"]})).fillna(0).astype("int64")
    return table.rename_axis("label").reset_index()
