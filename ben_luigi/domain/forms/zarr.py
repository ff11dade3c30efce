"""Write and read a Zarr v3 group in shards, an array per group of bands, with consolidated metadata, for xarray.

`s2_10m`, `s2_20m`, `s2_60m` and `s1` are (patch, band, row, col), `reference_map` is (patch, row, col). A chunk is one
patch, so that patches are read in any order, and a file holds `PATCHES_A_SHARD` of them. The coordinate `patch` has the
patch ids, ascending, `label` the classes of the nomenclature, so that a class has the same number in all its subsets,
and `labels` (patch, label) tells which a patch has; the other columns of the metadata and the place (`epsg`, `left_m`,
`top_m`) are (patch). A patch without Sentinel-1 has NaN there.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from ben_luigi.domain.bounded import read_json
from ben_luigi.domain.dataset.cover import have
from ben_luigi.domain.errors import DamagedFile
from ben_luigi.domain.forms.form import Difference, Options, Shown, Steps, Truth
from ben_luigi.domain.forms.pixels import DTYPES, GROUPS, PIXEL_M, Places, pixels_in, place_in, side_px
from ben_luigi.domain.forms.source import MAP, S1, Source
from ben_luigi.domain.forms.zarr_shards import Shards, codec, shard_path
from ben_luigi.domain.progress import OnFraction

if TYPE_CHECKING:
    import zarr

LIBRARIES = ("zarr>=3",)
PATCHES_A_SHARD = 256
"""Of the usual size, they are 50 MB in all arrays."""
_ROWS_A_CHUNK = 65_536
_RADAR = "s1"
_METADATA = "zarr.json"


def write(source: Source, folder: Path, options: Options, progress: OnFraction) -> None:
    """Write the group. Memory: 16 MB and a patch of packed pixels of each array, and 100 bytes per row."""
    with _settled():
        _write_group(source, folder, progress)


@contextmanager
def _settled() -> Iterator[None]:
    """Wait, if the block is ended by an error or a signal, until Zarr's own thread writes no more files."""
    from zarr.core.sync import sync

    async def others() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*tasks, return_exceptions=True)

    try:
        yield
    except BaseException:
        sync(others())
        raise


def _write_group(source: Source, folder: Path, progress: OnFraction) -> None:
    import zarr

    root = zarr.create_group(folder, zarr_format=3, attributes=_attributes(source))
    arrays = {group: _array(root, source, folder, group) for group in _groups(source)}
    places = Places(len(source.rows))
    steps = Steps(source, progress)
    for patch, reference_map in source.beside():
        name = str(source.rows["patch_id"][patch.row].as_py())
        _put(arrays, patch.row, pixels_in(source, {**patch.files, MAP: reference_map}, name))
        places.note(patch.row, place_in(source, patch.files, name))
        steps.step()
    names = source.names(S1)
    for patch in source.patches(S1):
        _put(arrays, patch.row, pixels_in(source, patch.files, names[patch.row].as_py()))
        steps.step()
    for array in arrays.values():
        array.close()
    for column in _columns(source, places):
        _write_column(root, column)
    with warnings.catch_warnings():
        # Version 3 of the specification does not know consolidated metadata yet; zarr-python and xarray do.
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(root.store)


def _groups(source: Source) -> list[str]:
    return [group for group in (*GROUPS, MAP) if group != _RADAR or _has_s1(source)]


def _put(arrays: Mapping[str, Shards], row: int, pixels: Mapping[str, np.ndarray]) -> None:
    """Put pixels of a patch into the arrays of which they are."""
    for group, array in arrays.items():
        bands = GROUPS.get(group)
        if bands is None:
            if group in pixels:
                array.put(row, pixels[group])
        elif bands[0] in pixels:
            array.put(row, np.stack([pixels[band] for band in bands]))


def _has_s1(source: Source) -> bool:
    return S1 in source.archives


def _attributes(source: Source) -> dict[str, str]:
    about = source.form.about
    return {"title": f"{about.name} {about.version}", "license": about.license}


def _shape(source: Source, group: str) -> tuple[tuple[int, ...], list[str]]:
    """Return the shape of the array of a group of bands, or of the reference maps, and the names of its dimensions."""
    bands = GROUPS.get(group, ())
    first = bands[0] if bands else MAP
    side, metres = side_px(first, source.form.patch_m), PIXEL_M[first]
    names = [f"band_{group}"] if bands else []
    shape = (len(source.rows), *([len(bands)] if bands else []), side, side)
    return shape, ["patch", *names, f"row_{metres}m", f"col_{metres}m"]


def _array(root: zarr.Group, source: Source, folder: Path, group: str) -> Shards:
    """Make the array of a group of bands, or of the reference maps, and the coordinate of its bands."""
    bands = GROUPS.get(group, ())
    first = bands[0] if bands else MAP
    dtype = DTYPES[first]
    if bands:
        coordinate = root.create_array(
            f"band_{group}", shape=(len(bands),), dtype=str, dimension_names=[f"band_{group}"]
        )
        coordinate[:] = np.array(bands, dtype=object)
    per_shard = min(PATCHES_A_SHARD, max(1, len(source.rows)))
    shape, dimensions = _shape(source, group)
    inner = shape[1:]
    root.create_array(
        group,
        shape=shape,
        chunks=(1, *inner),
        shards=(per_shard, *inner),
        dtype=dtype,
        compressors=codec(dtype),
        fill_value=np.nan if dtype == "float32" else 0,
        dimension_names=dimensions,
    )
    return Shards(folder / group, shape, dtype, per_shard)


class _Column(NamedTuple):
    """An array of metadata: its name, its values, texts as objects or as Arrow has them, and its dimensions."""

    name: str
    values: np.ndarray | pa.ChunkedArray
    dimensions: list[str]


def _objects(values: np.ndarray | pa.ChunkedArray) -> np.ndarray:
    """Return the values, texts as objects: of all rows they take four times the memory that they take in Arrow."""
    if isinstance(values, np.ndarray):
        return values
    return np.array(values.cast(pa.string()).fill_null("").to_pylist(), dtype=object)


def _columns(source: Source, places: Places) -> Iterator[_Column]:
    """Yield the metadata and places of the patches."""
    rows = source.rows
    yield _Column("label", np.array(source.classes, dtype=object), ["label"])
    yield _Column("labels", have(rows["labels"], source.classes), ["patch", "label"])
    for name in rows.column_names:
        if name != "labels":
            column = rows[name]
            values = column.to_numpy().astype(bool) if pa.types.is_boolean(column.type) else column
            yield _Column("patch" if name == "patch_id" else name, values, ["patch"])
    for name, values in (("epsg", places.epsg), ("left_m", places.left_m), ("top_m", places.top_m)):
        yield _Column(name, values, ["patch"])


def _write_column(root: zarr.Group, column: _Column) -> None:
    values, first = column.values, _objects(column.values[:1])
    dtype: Any = str if first.dtype == object else first.dtype
    shape = (len(values), *first.shape[1:])
    chunks = (max(1, min(len(values), _ROWS_A_CHUNK)), *first.shape[1:])
    made = root.create_array(column.name, shape=shape, chunks=chunks, dtype=dtype, dimension_names=column.dimensions)
    for start in range(0, len(values), chunks[0]):
        made[start : start + chunks[0]] = _objects(values[start : start + chunks[0]])


def read(folder: Path) -> Iterator[Shown]:
    """Yield the pixels of all arrays. Memory: a shard of one array, a chunk of a column, and 60 bytes per patch.

    Raise DamagedFile about a shard or column.
    """
    import zarr

    try:
        root: Any = zarr.open_group(folder, mode="r")
    except _damage() as error:
        raise _damaged(folder / _METADATA, error) from error
    chunks = [pa.array(values.astype(object), pa.string()) for values in _chunks_of(root, folder, "patch")]
    names = pa.concat_arrays(chunks)
    has_s1 = np.zeros(len(names), dtype=bool)
    if "s1_name" in root:
        has_s1 = np.concatenate([values != "" for values in _chunks_of(root, folder, "s1_name")])
    for group in (*GROUPS, MAP):
        if group not in root:
            continue
        is_there = has_s1 if group == _RADAR else np.ones(len(names), dtype=bool)
        for start in range(0, len(names), PATCHES_A_SHARD):
            shard = _read_shard(root, folder, group, start, bool(is_there[start : start + PATCHES_A_SHARD].any()))
            for row, pixels in enumerate(shard, start):
                # Where there is no file, all pixels are NaN.
                if is_there[row] or not np.isnan(pixels).all():
                    yield from _shown(names[row].as_py(), group, pixels)


def _read_shard(root: Any, folder: Path, group: str, start: int, is_there: bool) -> np.ndarray:
    """Return the pixels of the patches of the shard that begins with a row; `is_there` tells that it must exist."""
    path = folder / group
    try:
        array = root[group]
        path = shard_path(path, array.shape, start // PATCHES_A_SHARD)
        if is_there and not path.is_file():  # Zarr would take it for a shard of fill values
            raise FileNotFoundError("no such file")
        pixels: np.ndarray = array[start : start + PATCHES_A_SHARD]
    except _damage() as error:
        raise _damaged(path, error) from error
    return pixels


def _values(root: Any, folder: Path, name: str, rows: slice) -> np.ndarray:
    """Return values of a column, texts as NumPy's strings: of all rows they take four times the memory of Arrow's.

    Raise DamagedFile about its array.
    """
    try:
        values: np.ndarray = root[name][rows]
    except _damage() as error:
        raise _damaged(folder / name, error) from error
    return values


def _chunks_of(root: Any, folder: Path, name: str) -> Iterator[np.ndarray]:
    """Yield a column chunk by chunk, one at least. Raise DamagedFile about its array."""
    for start in count(0, _ROWS_A_CHUNK):
        values = _values(root, folder, name, slice(start, start + _ROWS_A_CHUNK))
        yield values
        if len(values) < _ROWS_A_CHUNK:
            return


def _damage() -> tuple[type[Exception], ...]:
    """Return what Zarr raises about damaged files."""
    import zarr

    return OSError, ValueError, KeyError, TypeError, RuntimeError, zarr.errors.BaseZarrError


def _damaged(path: Path, error: Exception) -> DamagedFile:
    found = str(error).partition(". Stored:")[0] or repr(error)  # what follows are bytes, of no use to a person
    return DamagedFile(path, expected="a part of a group of Zarr v3", found=found, remedy="fetch or export it again")


def _shown(name: str, group: str, pixels: np.ndarray) -> Iterator[Shown]:
    if group == MAP:
        yield Shown(name, MAP, pixels)
    else:
        for band, values in zip(GROUPS[group], pixels, strict=True):
            yield Shown(name, band, values)


def check(truth: Truth, folder: Path) -> Iterator[Difference]:
    """Yield what the columns, coordinates and metadata say otherwise than the dataset.

    Memory: a chunk of a column. Raise DamagedFile.
    """
    import zarr

    source = truth.source
    try:
        root: Any = zarr.open_group(folder, mode="r", use_consolidated=False)
        if dict(root.attrs) != _attributes(source):
            yield Difference(_METADATA, "other title or licence than the dataset")
        expected = set()
        for column in chain(_bands(source), _columns(source, truth.places)):
            expected.add(column.name)
            yield from _check_column(root, folder, source, column)
        for group in _groups(source):
            expected.add(group)
            yield from _check_array(root, group, DTYPES[GROUPS.get(group, (MAP,))[0]], *_shape(source, group))
        for name in sorted({path.parent.name for path in folder.glob(f"*/{_METADATA}")} - expected):
            yield Difference(f"{name}/{_METADATA}", "an array that the dataset does not give")
        yield from _check_consolidated(folder, sorted(expected))
    except _damage() as error:
        raise _damaged(folder / _METADATA, error) from error


def _bands(source: Source) -> Iterator[_Column]:
    """Yield the coordinates of bands."""
    for group in _groups(source):
        if group in GROUPS:
            yield _Column(f"band_{group}", np.array(GROUPS[group], dtype=object), [f"band_{group}"])


def _check_column(root: Any, folder: Path, source: Source, column: _Column) -> Iterator[Difference]:
    name, first, dimensions = column.name, _objects(column.values[:1]), column.dimensions
    differs = list(_check_array(root, name, first.dtype, (len(column.values), *first.shape[1:]), dimensions))
    yield from differs
    if differs:
        return
    for start in range(0, len(column.values), _ROWS_A_CHUNK):
        rows = slice(start, start + _ROWS_A_CHUNK)
        expected = _objects(column.values[rows])
        unequal = _values(root, folder, name, rows) != expected
        for row in np.flatnonzero(unequal.reshape(len(unequal), -1).any(axis=1)).tolist():
            is_of_patch = dimensions[0] == "patch"
            patch = source.rows["patch_id"][start + row].as_py() if is_of_patch else str(expected[row])
            yield Difference(name, f"other {name} than in the dataset", patch)


def _check_array(
    root: Any, name: str, dtype: np.dtype[Any] | str, shape: tuple[int, ...], dimensions: list[str]
) -> Iterator[Difference]:
    file = f"{name}/{_METADATA}"
    if name not in root:
        yield Difference(file, "missing")
        return
    array = root[name]
    is_text = np.dtype(dtype) == object
    if array.shape != shape or (not is_text and array.dtype != np.dtype(dtype)):
        yield Difference(file, f"an array of {array.dtype} {array.shape}, where the dataset gives {dtype} {shape}")
    if list(array.metadata.dimension_names or ()) != dimensions:
        yield Difference(file, "other dimensions than the dataset gives", ", ".join(dimensions))
    if name in (*GROUPS, MAP) and not np.array_equal(array.fill_value, np.nan if array.dtype.kind == "f" else 0, True):
        yield Difference(file, "another value for pixels that are not there")


def _check_consolidated(folder: Path, names: list[str]) -> Iterator[Difference]:
    """Compare what readers take for the metadata of all arrays with what the arrays have."""
    consolidated = read_json(folder / _METADATA)["consolidated_metadata"]["metadata"]
    for name in names:
        file = folder / name / _METADATA
        if file.is_file() and consolidated.get(name) != read_json(file):
            yield Difference(_METADATA, "other metadata than in the folder of the array", name)
    for name in sorted({*consolidated} - {*names}):
        yield Difference(_METADATA, "an array that the dataset does not give", name)
