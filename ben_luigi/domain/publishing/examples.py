"""Give the lines of Python that load a published dataset, or one of its forms, in the folder that was fetched."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from ben_luigi.domain import given
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.formats.tables import opened
from ben_luigi.domain.forms.parquet import stored_as
from ben_luigi.domain.vocabulary import ARRAY, RAW, TIFF

UNZIP = """\
# Each folder was sent as a zip
from pathlib import Path
from zipfile import ZipFile

for path in Path().glob("*.zip"):
    with ZipFile(path) as packed:
        packed.extractall()

"""
"""What comes before an example where a service has no folders."""
_DATASET = """\
# Unpack the archive first: tar --zstd -xf BigEarthNet-S2.tar.zst
import pandas as pd
import rasterio

rows = pd.read_parquet("metadata.parquet")
patch = rows["patch_id"].iloc[0]
tile = patch.rsplit("_", 2)[0]
with rasterio.open(f"BigEarthNet-S2/{tile}/{patch}/{patch}_B04.tif") as raster:
    red = raster.read(1)
"""
_WEBDATASET = """\
# pip install webdataset
from pathlib import Path

import webdataset

shards = sorted(str(path) for path in Path().glob("*-*.tar"))
for sample in webdataset.WebDataset(shards, shardshuffle=False).decode():
    red, labels, reference_map = sample["s2.npz"]["B04"], sample["json"]["labels"], sample["map.npy"]
    break
"""
_PARQUET = """\
import io
from pathlib import Path

import pandas as pd
import rasterio

table = pd.read_parquet(sorted(Path().glob("*-*.parquet"))[0], columns=["patch_id", "labels", "B04"])
labels = list(table["labels"].iloc[0])
with rasterio.open(io.BytesIO(table["B04"].iloc[0])) as raster:
    red = raster.read(1)
"""
_PARQUET_ARRAYS = """\
from pathlib import Path

import pandas as pd

table = pd.read_parquet(sorted(Path().glob("*-*.parquet"))[0], columns=["patch_id", "labels", "B04"])
labels = list(table["labels"].iloc[0])
pixels = table["B04"].iloc[0]
red = pixels.reshape(int(len(pixels) ** 0.5), -1)
"""
_PARQUET_RAW = """\
from pathlib import Path

import numpy as np
import pandas as pd

table = pd.read_parquet(sorted(Path().glob("*-*.parquet"))[0], columns=["patch_id", "labels", "B04"])
labels = list(table["labels"].iloc[0])
pixels = np.frombuffer(table["B04"].iloc[0], "<u2")  # "<f4" of Sentinel-1
red = pixels.reshape(int(len(pixels) ** 0.5), -1)
"""
_LMDB = """\
# pip install lmdb safetensors
import lmdb
from safetensors.numpy import load

with lmdb.open(".", readonly=True, lock=False) as database, database.begin() as transaction:
    for patch_or_s1_name, value in transaction.cursor():
        bands = load(value)
        if "B04" in bands:
            red = bands["B04"]
            break
"""
_GEOPARQUET = """\
import pandas as pd
import rasterio

item = pd.read_parquet("patches.parquet").iloc[0]
band = item["assets"]["B04"]
with rasterio.open(f"/vsisubfile/{band['offset']}_{band['size']},{band['href']}") as raster:
    red = raster.read(1)
"""
_ZARR = """\
# pip install xarray zarr
import xarray

dataset = xarray.open_zarr(".", consolidated=True, chunks=None)
patch = dataset.isel(patch=0)
labels = dataset["label"].values[patch["labels"].values]
red = patch["s2_10m"].sel(band_s2_10m="B04").values
"""
_EXAMPLES = {
    "": _DATASET,
    "webdataset": _WEBDATASET,
    "lmdb": _LMDB,
    "geoparquet": _GEOPARQUET,
    "zarr": _ZARR,
}


_OF_PARQUET = {TIFF: _PARQUET, ARRAY: _PARQUET_ARRAYS, RAW: _PARQUET_RAW}


def example_of(folder: Path, form: str) -> str:
    """Return the example for a form in a folder, or for the dataset if `form` is empty.

    Each leaves the pixels of band B04 (row, col) in `red`, and the class names in `labels`, if the form has them.
    """
    return _OF_PARQUET[_pixels_of(folder)] if form == "parquet" else _EXAMPLES[form]


def _pixels_of(folder: Path) -> str:
    """Return what the columns of bands in a Parquet form hold, as `[forms] pixels` says it."""
    path = next(iter(given.find(folder, "*-*.parquet")), None)
    if path is None:
        return TIFF
    try:
        with opened(path) as table:
            return stored_as(table.schema_arrow.field("B04").type)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise BadInput(path, expected="a file of the form", found=str(error), remedy="export it again") from error
