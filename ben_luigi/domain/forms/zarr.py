"""Write and read a Zarr v3 group in shards, an array per group of bands, with consolidated metadata, for xarray.

`s2_10m`, `s2_20m`, `s2_60m` and `s1` are (patch, band, row, col), `reference_map` is (patch, row, col). A chunk is one
patch, so that patches are read in any order, and a file holds `PATCHES_A_SHARD` of them. The coordinate `patch` has the
patch ids, ascending, `label` the classes of the whole dataset, so that a class has the same number in all its subsets,
and `labels` (patch, label) tells which a patch has; the other columns of the metadata and the place (`epsg`, `left_m`,
`top_m`) are (patch). A patch without Sentinel-1 has NaN there.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ben_luigi.domain.errors import DamagedFile
from ben_luigi.domain.forms.form import Options, Shown, Steps
from ben_luigi.domain.forms.pixels import DTYPES, GROUPS, PIXEL_M, Place, pixels_of, place_of, side_px
from ben_luigi.domain.forms.source import MAP, S1, Source
from ben_luigi.domain.forms.zarr_shards import Shards, codec
from ben_luigi.domain.progress import OnFraction

if TYPE_CHECKING:
    import zarr

LIBRARIES = ("zarr>=3",)
PATCHES_A_SHARD = 256
"""50 MB, which are in memory until the shards are written."""
_ROWS_A_CHUNK = 65_536
_RADAR = "s1"
_METADATA = "zarr.json"


def write(source: Source, folder: Path, options: Options, progress: OnFraction) -> None:
    """Write the group. Memory: the packed pixels of a shard of each array, and 100 bytes per row."""
    import zarr

    root = zarr.create_group(folder, zarr_format=3, attributes=_attributes(source))
    arrays = {group: _array(root, source, folder, group) for group in _groups(source)}
    places: list[Place] = []
    steps = Steps(source, progress)
    for patch, reference_map in source.beside():
        name = str(source.rows["patch_id"][patch.row].as_py())
        _put(arrays, patch.row, pixels_of({**patch.files, MAP: reference_map}, source.form.patch_m, name))
        places.append(place_of(patch.files, name))
        steps.step()
    names = source.names(S1)
    for patch in source.patches(S1):
        _put(arrays, patch.row, pixels_of(patch.files, source.form.patch_m, names[patch.row].as_py()))
        steps.step()
    for array in arrays.values():
        array.close()
    _write_columns(root, source, places)
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


def _array(root: zarr.Group, source: Source, folder: Path, group: str) -> Shards:
    """Make the array of a group of bands, or of the reference maps, and the coordinate of its bands."""
    bands = GROUPS.get(group, ())
    first = bands[0] if bands else MAP
    side, metres, dtype = side_px(first, source.form.patch_m), PIXEL_M[first], DTYPES[first]
    inner = ([len(bands)] if bands else []) + [side, side]
    names = [f"band_{group}"] if bands else []
    if bands:
        coordinate = root.create_array(names[0], shape=(len(bands),), dtype=str, dimension_names=names)
        coordinate[:] = np.array(bands, dtype=object)
    per_shard = min(PATCHES_A_SHARD, max(1, len(source.rows)))
    shape = (len(source.rows), *inner)
    root.create_array(
        group,
        shape=shape,
        chunks=(1, *inner),
        shards=(per_shard, *inner),
        dtype=dtype,
        compressors=codec(dtype),
        fill_value=np.nan if dtype == "float32" else 0,
        dimension_names=["patch", *names, f"row_{metres}m", f"col_{metres}m"],
    )
    return Shards(folder / group, shape, dtype, per_shard)


def _write_columns(root: zarr.Group, source: Source, places: Sequence[Place]) -> None:
    """Write the metadata and places of the patches."""
    rows = source.rows
    column_of = {label: number for number, label in enumerate(source.classes)}
    has = np.zeros((len(rows), len(column_of)), dtype=bool)
    for row, found in enumerate(rows["labels"].to_pylist()):
        has[row, [column_of[label] for label in found]] = True
    _column(root, "label", np.array(source.classes, dtype=object), ["label"])
    _column(root, "labels", has, ["patch", "label"])
    for name in rows.column_names:
        if name != "labels":
            column = rows[name]
            values = column.fill_null("").to_pylist() if column.type == pa.string() else column.to_numpy()
            dtype = object if column.type == pa.string() else bool
            _column(root, "patch" if name == "patch_id" else name, np.array(values, dtype=dtype), ["patch"])
    for number, (name, kind) in enumerate((("epsg", "int32"), ("left_m", "float64"), ("top_m", "float64"))):
        _column(root, name, np.array([place[number] for place in places], dtype=kind), ["patch"])


def _column(root: zarr.Group, name: str, values: np.ndarray, dimensions: list[str]) -> None:
    dtype: Any = str if values.dtype == object else values.dtype
    chunks = (max(1, min(len(values), _ROWS_A_CHUNK)), *values.shape[1:])
    made = root.create_array(name, shape=values.shape, chunks=chunks, dtype=dtype, dimension_names=dimensions)
    made[:] = values


def read(folder: Path) -> Iterator[Shown]:
    """Yield the pixels of all arrays. Memory: a shard of one array."""
    import zarr

    try:
        root: Any = zarr.open_group(folder, mode="r")
        names = [str(name) for name in root["patch"][:]]
        has_s1 = [bool(name) for name in root["s1_name"][:]] if "s1_name" in root else [False] * len(names)
        for group in (*GROUPS, MAP):
            if group not in root:
                continue
            for start in range(0, len(names), PATCHES_A_SHARD):
                shard = root[group][start : start + PATCHES_A_SHARD]
                for row, pixels in enumerate(shard, start):
                    if group != _RADAR or has_s1[row]:
                        yield from _shown(names[row], group, pixels)
    except (OSError, ValueError, KeyError, RuntimeError, zarr.errors.BaseZarrError) as error:
        raise DamagedFile(folder, expected="a group of Zarr v3", found=str(error) or repr(error)) from error


def _shown(name: str, group: str, pixels: np.ndarray) -> Iterator[Shown]:
    if group == MAP:
        yield Shown(name, MAP, pixels)
    else:
        for band, values in zip(GROUPS[group], pixels, strict=True):
            yield Shown(name, band, values)
