"""Describe what the files of a form have that are no tables: members of shards, keys of a database, arrays."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.forms.source import KINDS, MAP, S1, S2
from ben_luigi.domain.given import read_bytes

_MOST_BYTES = 2**26
_COLUMNS_OF_JSON = "columns of `metadata.parquet`"
_MAPS = "reference maps: codes of the land cover"
_ARRAYS = {
    **dict.fromkeys(("s2_10m", "s2_20m", "s2_60m"), "bands of Sentinel-2"),
    "s1": "bands of Sentinel-1, dB",
    MAP: _MAPS,
    **{f"band_{group}": "names of the bands" for group in ("s2_10m", "s2_20m", "s2_60m", "s1")},
    "patch": "patch ids",
    "label": "names of the classes",
    "labels": "whether a patch has each label",
    "is_flagged": "whether there is snow, cloud or cloud shadow on it",
}
"""What the arrays of a Zarr are that are no columns of the metadata."""


def table_of(form: str, folder: Path, kinds: Iterable[str], described: Mapping[str, str]) -> str:
    """Return the table of what a form has, in Markdown; an empty text for forms that are tables themselves.

    `kinds` are the kinds of files that a patch has, `described` says what columns mean. Raise BadInput if it cannot be
    read.
    """
    has = {*kinds}
    if form == "lmdb":
        return _table("Keys of the database", ("key", "type", "what"), _keys(has)) + _WITHOUT_LABELS
    if form == "webdataset":
        return _table("Members of a patch in the tars", ("member", "type", "what"), _members(has))
    if form == "zarr":
        return _table("Arrays", ("array", "type", "dimensions", "what"), _arrays(folder, described))
    return ""


_WITHOUT_LABELS = """

Labels, splits and reference maps are not in it: they are in the dataset that it was made from, labels and splits in its
`metadata.parquet`, by `patch_id` and `s1_name`."""


def _table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = [*columns]
    lines = [heads, ["---"] * len(heads), *map(list, rows)]
    return "\n".join([f"## {title}", "", *(f"| {' | '.join(line)} |" for line in lines)])


def _keys(has: set[str]) -> Iterator[tuple[str, str, str]]:
    yield "patch id", "safetensors of uint16 (row, col)", f"bands of Sentinel-2: {_named(has, S2)}"
    if _named(has, S1):
        yield "name of the patch of Sentinel-1", "safetensors of float32 (row, col)", f"dB: {_named(has, S1)}"


def _members(has: set[str]) -> Iterator[tuple[str, str, str]]:
    yield "`<patch_id>.json`", "JSON", f"labels, split and other {_COLUMNS_OF_JSON}, and the place in UTM, metres"
    if MAP in has:
        yield "`<patch_id>.map.npy`", "uint16 (row, col)", _MAPS
    yield "`<patch_id>.s2.npz`", "uint16 (row, col) per band", f"bands of Sentinel-2: {_named(has, S2)}"
    if _named(has, S1):
        yield "`<patch_id>.s1.npz`", "float32 (row, col) per band", f"bands of Sentinel-1, dB: {_named(has, S1)}"


def _named(has: set[str], archive: str) -> str:
    return ", ".join(kind for kind in KINDS[archive] if kind in has)


def _arrays(folder: Path, described: Mapping[str, str]) -> Iterator[tuple[str, str, str, str]]:
    """Yield the arrays that the group lists, those of pixels first."""
    path = folder / "zarr.json"
    try:
        group = json.loads(read_bytes(path, _MOST_BYTES))
        found: dict[str, Any] = {
            name: node for name, node in group["consolidated_metadata"]["metadata"].items() if node["shape"]
        }
        for name in sorted(found, key=lambda name: (len(found[name]["shape"]) < 2, name)):
            shape = zip(found[name]["dimension_names"], found[name]["shape"], strict=True)
            sizes = ", ".join(f"{dimension}: {size:,}" for dimension, size in shape)
            what = _ARRAYS.get(name) or described.get(name, "")
            kind = found[name]["data_type"]
            yield f"`{name}`", kind if isinstance(kind, str) else str(kind["name"]), sizes, what
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        remedy = "export the form again, and verify it"
        raise BadInput(path, expected="a group with a list of its arrays", found=str(error), remedy=remedy) from error
