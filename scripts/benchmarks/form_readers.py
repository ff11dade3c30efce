"""How a person loads patches from each form: in order, shuffled, one band alone, and some patches alone.

Each takes the folder of the form and yields the arrays of a patch, S2 and S1, as its usual reader gives them.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import rasterio

from ben_luigi.domain.dataset.sentinel1 import BANDS as RADAR
from ben_luigi.domain.forms.pixels import DTYPES
from ben_luigi.domain.forms.zarr import PATCHES_A_SHARD
from ben_luigi.domain.products.product import BANDS

BAND = "B04"
Arrays = list[np.ndarray]
_ALL = (*BANDS, *RADAR)
_PAGE_BYTES = 4096


@dataclass(frozen=True)
class Reader:
    """Functions of a folder: patches in order and shuffled by a generator, one band of all, patches by number."""

    in_order: Callable[[Path], Iterator[Arrays]]
    shuffled: Callable[[Path, np.random.Generator], Iterator[Arrays]]
    band: Callable[[Path], Iterator[Arrays]]
    some: Callable[[Path, Sequence[int]], Iterator[Arrays]]
    mapped_bytes: Callable[[Path, str, Sequence[int]], int] | None = None
    """How many bytes of `band` or `some` are read, where the file is mapped, which no counter of reads sees."""


def _tiffs(folder: Path) -> list[tuple[Path, Path]]:
    rows = pq.read_table(folder / "metadata.parquet", columns=["patch_id", "s1_name"]).to_pylist()
    found = []
    for row in rows:
        patch, s1 = row["patch_id"], row["s1_name"]
        tile, acquisition = patch.rsplit("_", 2)[0], s1.rsplit("_", 3)[0]
        found.append((folder / "BigEarthNet-S2" / tile / patch, folder / "BigEarthNet-S1" / acquisition / s1))
    return found


def _open(path: str | Path) -> np.ndarray:
    with rasterio.open(path) as raster:
        return np.asarray(raster.read(1))


def _patch(pair: tuple[Path, Path]) -> Arrays:
    s2, s1 = pair
    return [_open(s2 / f"{s2.name}_{band}.tif") for band in BANDS] + [_open(s1 / f"{s1.name}_{b}.tif") for b in RADAR]


def _permuted(items: Sequence[Any], rng: np.random.Generator) -> list[Any]:
    return [items[number] for number in rng.permutation(len(items)).tolist()]


TIFFS = Reader(
    lambda folder: map(_patch, _tiffs(folder)),
    lambda folder, rng: map(_patch, _permuted(_tiffs(folder), rng)),
    lambda folder: ([_open(s2 / f"{s2.name}_{BAND}.tif")] for s2, _ in _tiffs(folder)),
    lambda folder, rows: (_patch(_tiffs(folder)[row]) for row in rows),
)


def _samples(folder: Path, buffer: int = 0) -> Iterator[Arrays]:
    import webdataset

    shards = sorted(map(str, folder.glob("*.tar")))
    opened = webdataset.WebDataset(shards, shardshuffle=False)
    for sample in (opened.shuffle(buffer) if buffer else opened).decode():
        yield [sample["s2.npz"][band] for band in BANDS] + [sample["s1.npz"][band] for band in RADAR]


def _by_index(folder: Path, rows: Sequence[int]) -> Iterator[Arrays]:
    import tarfile

    index = pq.read_table(folder / "index.parquet").to_pylist()
    for row in rows:
        place = index[row]
        with (folder / place["shard"]).open("rb") as file:
            file.seek(place["offset"])
            with tarfile.open(fileobj=io.BytesIO(file.read(place["size"])), mode="r:") as tar:
                files = {one.name.partition(".")[2]: tar.extractfile(one) for one in tar}
                loaded = [np.load(files[kind]) for kind in ("s2.npz", "s1.npz")]  # type: ignore[arg-type]
                yield [each[name] for each in loaded for name in each.files]


WEBDATASET = Reader(
    _samples,
    lambda folder, rng: _samples(folder, 100),
    lambda folder: ([arrays[BANDS.index(BAND)]] for arrays in _samples(folder)),
    _by_index,
)


def _values(folder: Path, pick: Callable[[list[tuple[bytes, bytes]]], list[tuple[bytes, bytes]]]) -> Iterator[Arrays]:
    """S2 and S1 of pairs of keys; here both sort alike."""
    import lmdb
    from safetensors.numpy import load

    with lmdb.open(str(folder), readonly=True, lock=False) as environment, environment.begin(buffers=True) as found:
        for keys in pick(_pairs(found)):
            yield [values for key in keys for values in load(bytes(found.get(key))).values()]


def _pairs(transaction: Any) -> list[tuple[bytes, bytes]]:
    keys = [bytes(key) for key in transaction.cursor().iternext(values=False)]
    return list(zip(keys[len(keys) // 2 :], keys[: len(keys) // 2], strict=True))


def _one_value(folder: Path) -> Iterator[Arrays]:
    import lmdb
    from safetensors.numpy import load

    with lmdb.open(str(folder), readonly=True, lock=False) as environment, environment.begin(buffers=True) as found:
        for key, _ in _pairs(found):
            yield [load(bytes(found.get(key)))[BAND]]


def _mapped(folder: Path, what: str, rows: Sequence[int]) -> int:
    """The pages of the values that are read: of both archives for patches, of S2 for a band."""
    import lmdb

    with lmdb.open(str(folder), readonly=True, lock=False) as environment, environment.begin(buffers=True) as found:
        pairs = _pairs(found)
        keys = [key for key, _ in pairs] if what == "band" else [key for row in rows for key in pairs[row]]
        return sum(-(-len(found.get(key)) // _PAGE_BYTES) * _PAGE_BYTES for key in keys)


LMDB = Reader(
    lambda folder: _values(folder, lambda pairs: pairs),
    lambda folder, rng: _values(folder, lambda pairs: _permuted(pairs, rng)),
    _one_value,
    lambda folder, rows: _values(folder, lambda pairs: [pairs[row] for row in rows]),
    _mapped,
)


def _decoded(value: Any, stored: pa.DataType, dtype: str) -> np.ndarray:
    if pa.types.is_binary(stored):
        with rasterio.MemoryFile(value) as file, file.open() as raster:
            return np.asarray(raster.read(1))
    pixels = np.frombuffer(value, dtype) if isinstance(value, bytes) else np.asarray(value)
    return pixels.reshape(math.isqrt(len(pixels)), -1)


def _groups(folder: Path, bands: Sequence[str]) -> Iterator[Callable[[], list[Arrays]]]:
    """A function per row group, which reads and decodes it."""
    for path in sorted(folder.glob("*-*.parquet")):
        file = pq.ParquetFile(path)
        for number in range(file.num_row_groups):
            yield lambda file=file, number=number: _of_group(file, number, bands)  # type: ignore[misc]


def _of_group(file: pq.ParquetFile, number: int, bands: Sequence[str]) -> list[Arrays]:
    frame = file.read_row_group(number, columns=list(bands)).to_pandas()
    columns = []
    for band in bands:
        stored, dtype = file.schema_arrow.field(band).type, DTYPES[band]
        columns.append([_decoded(value, stored, dtype) for value in frame[band]])
    return [list(row) for row in zip(*columns, strict=True)]


def _of_groups(groups: Sequence[Callable[[], list[Arrays]]], rng: np.random.Generator | None) -> Iterator[Arrays]:
    for read in groups if rng is None else _permuted(groups, rng):
        rows = read()
        yield from rows if rng is None else _permuted(rows, rng)


def _rows_of_groups(folder: Path, rows: Sequence[int]) -> Iterator[Arrays]:
    """By the number of each row; a row costs the chunks of its group."""
    start = 0
    for read, length in zip(_groups(folder, _ALL), _lengths(folder), strict=True):
        wanted = [row - start for row in rows if start <= row < start + length]
        if wanted:
            group = read()
            yield from (group[row] for row in wanted)
        start += length


def _lengths(folder: Path) -> list[int]:
    files = [pq.read_metadata(path) for path in sorted(folder.glob("*-*.parquet"))]
    return [each.row_group(number).num_rows for each in files for number in range(each.num_row_groups)]


PARQUET = Reader(
    lambda folder: _of_groups(list(_groups(folder, _ALL)), None),
    lambda folder, rng: _of_groups(list(_groups(folder, _ALL)), rng),
    lambda folder: _of_groups(list(_groups(folder, [BAND])), None),
    _rows_of_groups,
)


def _assets(folder: Path) -> list[dict[str, Any]]:
    return [row["assets"] for row in pq.read_table(folder / "patches.parquet", columns=["assets"]).to_pylist()]


def _at(folder: Path, assets: dict[str, Any], bands: Sequence[str] = _ALL) -> Arrays:
    return [_open(f"/vsisubfile/{a['offset']}_{a['size']},{folder / a['href']}") for a in map(assets.get, bands) if a]


GEOPARQUET = Reader(
    lambda folder: (_at(folder, assets) for assets in _assets(folder)),
    lambda folder, rng: (_at(folder, assets) for assets in _permuted(_assets(folder), rng)),
    lambda folder: (_at(folder, assets, [BAND]) for assets in _assets(folder)),
    lambda folder, rows: (_at(folder, _assets(folder)[row]) for row in rows),
)


def _arrays(folder: Path) -> list[Any]:
    import zarr

    root = zarr.open_group(folder, mode="r")
    return [root[name] for name in ("s2_10m", "s2_20m", "s2_60m", "s1")]


def _in_shards(folder: Path) -> Iterator[Arrays]:
    arrays = _arrays(folder)
    for start in range(0, arrays[0].shape[0], PATCHES_A_SHARD):
        shards = [array[start : start + PATCHES_A_SHARD] for array in arrays]
        yield from ([shard[row] for shard in shards] for row in range(len(shards[0])))


def _by_number(folder: Path, rows: Sequence[int]) -> Iterator[Arrays]:
    arrays = _arrays(folder)
    yield from ([array[row] for array in arrays] for row in rows)


def _all_numbers(folder: Path) -> list[int]:
    return list(range(_arrays(folder)[0].shape[0]))


ZARR = Reader(
    _in_shards,
    lambda folder, rng: _by_number(folder, _permuted(_all_numbers(folder), rng)),
    lambda folder: ([band] for band in _arrays(folder)[0][:, 2]),
    _by_number,
)

READERS = {
    "webdataset": WEBDATASET,
    "lmdb": LMDB,
    "parquet": PARQUET,
    "parquet, arrays": PARQUET,
    "parquet, raw": PARQUET,
    "geoparquet": GEOPARQUET,
    "zarr": ZARR,
    "unpacked TIFFs": TIFFS,
}
