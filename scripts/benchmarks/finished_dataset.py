"""A made-up finished dataset of any number of patches: as large, and as hard to compress, as the real one."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from ben_luigi.domain.dataset import metadata, sentinel1
from ben_luigi.domain.files import atomic_write
from ben_luigi.domain.formats import geotiff, shards, tarball
from ben_luigi.domain.formats.packing import FRAME_BYTES
from ben_luigi.domain.names import split_position
from ben_luigi.domain.tiles import reference_maps
from ben_luigi.domain.vocabulary import SPLITS
from benchmarks import archive

LEVEL = 6
_PATCH_M, _PIXELS = 1200, 120
_CODES = np.array([112, 211, 231, 311, 312, 324, 512], "uint16")
_EPSG = 32633


def make(folder: Path, patches_a_side: int) -> Path:
    """The dataset of a tile with so many patches a side, in `folder`; made if it is not there."""
    out = folder / f"finished-{patches_a_side}"
    if not out.is_dir():
        shard = archive.write_shard(folder, 0, patches_a_side)
        index = shards.read_index(shard.with_suffix(".parquet"))
        patch_ids = index["patch_id"].unique().to_pylist()
        s1_names = [f"S1A_IW_GRDH_1SDV_20170613T165043_33UUP_{_position(name)}" for name in patch_ids]
        with atomic_write(out) as work:
            work.mkdir()
            _pack(_members(shard, index), work / "BigEarthNet-S2.tar.zst")
            _pack(map(_map, patch_ids), work / f"{reference_maps.ARCHIVE}.tar.zst")
            _pack(map(_radar, sorted(s1_names)), work / f"{sentinel1.ARCHIVE}.tar.zst")
            for name, rows in metadata.divide(_rows(patch_ids, s1_names)).items():
                pq.write_table(rows, work / name)
    return out


def _members(shard: Path, index: pa.Table) -> Iterator[bytes]:
    """Yield the members of a shard, some patches at a time."""
    for block in shards.read_batches(shard, list(shards.batches(index, FRAME_BYTES))):
        yield bytes(block)


def _position(patch_id: str) -> str:
    return "_".join(split_position(patch_id)[1:])


def _rows(patch_ids: list[str], s1_names: list[str]) -> pa.Table:
    number = len(patch_ids)
    columns = {
        "patch_id": patch_ids,
        "labels": [["Arable land", "Pastures"]] * number,
        "split": list(itertools.islice(itertools.cycle(SPLITS), number)),
        "country": ["Austria"] * number,
        "s1_name": s1_names,
        "s2v1_name": [f"S2A_MSIL2A_20170613T101031_{_position(name)}" for name in patch_ids],
        **dict.fromkeys(metadata.FLAGS, [False] * number),
    }
    return pa.table(columns, schema=metadata.SCHEMA)


def _map(patch_id: str) -> bytes:
    codes = np.repeat(np.repeat(np.random.default_rng(list(patch_id.encode())).choice(_CODES, (6, 6)), 20, 0), 20, 1)
    data = geotiff.template(_PIXELS, 10, _EPSG, packed=True).pack(codes, 300_000.0, 5_000_000.0)
    tile = split_position(patch_id)[0]
    return _member(f"{reference_maps.ARCHIVE}/{tile}/{patch_id}/{patch_id}_reference_map.tif", data)


def _radar(name: str) -> bytes:
    rng = np.random.default_rng(list(name.encode()))
    return b"".join(_member(sentinel1.member_name(name, band), _float_tiff(rng)) for band in sentinel1.BANDS)


def _float_tiff(rng: np.random.Generator) -> bytes:
    """A TIFF of decibels: float32 whose last bits are noise."""
    pixels = rng.normal(-12, 4, (_PIXELS, _PIXELS)).astype("float32")
    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "width": _PIXELS, "height": _PIXELS}
    with MemoryFile() as file:
        with file.open(**profile, crs=f"EPSG:{_EPSG}", transform=from_origin(300_000, 5_000_000, 10, 10)) as raster:
            raster.write(pixels, 1)
        return bytes(file.read())


def _member(name: str, data: bytes) -> bytes:
    return tarball.header(name, len(data)) + data + tarball.padding(len(data))


def _pack(blocks: Iterator[bytes], path: Path) -> None:
    """Write an archive in frames of about `FRAME_BYTES`."""
    packer, waiting, total = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True), io.BytesIO(), 0
    with path.open("wb") as file:
        for block in blocks:
            waiting.write(block)
            total += len(block)
            if waiting.tell() >= FRAME_BYTES:
                file.write(packer.compress(waiting.getvalue()))
                waiting = io.BytesIO()
        file.write(packer.compress(waiting.getvalue() + tarball.end(total)))
