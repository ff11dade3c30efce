"""Read the patches that a viewer of a folder shows: of exported WebDataset shards, or of a finished dataset.

Nothing is read but the metadata and the patches that are shown: of shards by their index, of archives made here by
their frames; archives of others are read as a stream. What is not there, as of a dataset that was fetched in part, is
not shown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ben_luigi.domain.dataset.archived import ArchivedPatches
from ben_luigi.domain.dataset.form import Form
from ben_luigi.domain.dataset.usable_rows import require_known_labels
from ben_luigi.domain.errors import BadInput, printable
from ben_luigi.domain.fanout import FanOut
from ben_luigi.domain.forms import webdataset
from ben_luigi.domain.forms.source import FLAG, MAPS, S1, S2, Source, offset_tiles
from ben_luigi.domain.given import is_hidden, listed
from ben_luigi.domain.names import tile_name_of
from ben_luigi.domain.progress import OnBytes, ignore_bytes
from ben_luigi.domain.report.rendering import spread_hues
from ben_luigi.domain.report.report_words import File
from ben_luigi.domain.report.viewer import MAP, About, ViewedPatch, chosen, without_offset
from ben_luigi.domain.tiles.layers import archive_of
from ben_luigi.domain.tiles.nomenclature import Nomenclature
from ben_luigi.domain.tiles.reference_maps import PIXEL_M
from ben_luigi.domain.vocabulary import MOST_VIEWED

_CANDIDATES = 5000
"""Most patches whose metadata are compared to choose those that are shown."""
_AT_ONCE = 16
"""So many patches are read at a time: those of one tile often share a frame."""
_CHUNK_BYTES, _CHUNKS_AHEAD = 2**20, 4

Row = dict[str, Any]
Colours = Mapping[int, tuple[int, int, int]]


@dataclass(frozen=True)
class Given:
    """What a viewer says of a folder besides its patches: see `viewer.About`."""

    nomenclature: Nomenclature
    colours: Colours
    words: Mapping[str, Any]
    files: Sequence[File] = ()

    def about(self, rows: Sequence[Row], of: int, patch_m: int, *, has_radar: bool) -> About:
        """Return what the viewer says of these of the `of` rows of the metadata."""
        names = self.nomenclature
        return About(
            of=of,
            classes=names.classes,
            countries=sorted({row["country"] for row in rows if row.get("country")}),
            patch_m=patch_m,
            has_radar=has_radar,
            colours=self.colours,
            code_names=names.clc,
            nothing=names.nothing,
            words=self.words,
            files=self.files,
        )


@dataclass(frozen=True)
class Folder:
    """What a viewer of a folder has: what is said of it, its patches, and their number."""

    about: About
    patches: Iterator[ViewedPatch]
    count: int


def is_webdataset(folder: Path) -> bool:
    """Return whether a folder has the index of exported shards."""
    return (folder / webdataset.INDEX).is_file()


def of_webdataset(folder: Path, most: int, given: Given) -> Folder:
    """Return up to `most` patches of the shards in a folder.

    The nomenclature is that of BigEarthNet v2; codes of shards with other labels have hues instead. Raise DamagedFile
    about index or shard, BadInput if none of the shards is there.
    """
    index = webdataset.read_index(folder)
    there = [name for name in index["shard"].unique().to_pylist() if (folder / name).is_file()]
    places = _spread(index.filter(pc.is_in(index["shard"], pa.array(there, pa.string()))))
    if not places:
        remedy = "fetch one of them at least"
        raise BadInput(folder, expected="the shards that its index names", found="none of them", remedy=remedy)
    rows = [webdataset.read_row(folder, place) for place in places]
    if not {name for row in rows for name in row["labels"]} <= set(given.nomenclature.classes):
        given = _of_other_recipe(folder, rows, places, given)
    sample = chosen(rows, most)
    rows, places = [rows[at] for at in sample], [places[at] for at in sample]
    patch_m = len(webdataset.read_patch(folder, places[0])[MAP]) * PIXEL_M
    about = given.about(rows, len(index), patch_m, has_radar=any(row.get("s1_name") for row in rows))
    patches = (_of_shard(folder, row, place) for row, place in zip(rows, places, strict=True))
    return Folder(about, patches, len(rows))


def _of_shard(folder: Path, row: Row, place: Row) -> ViewedPatch:
    pixels = webdataset.read_patch(folder, place)
    return ViewedPatch(row, without_offset(pixels) if row.get(webdataset.BOA_OFFSET) else pixels)


def _of_other_recipe(folder: Path, rows: Sequence[Row], places: Sequence[Row], given: Given) -> Given:
    """Return the labels of shards as classes, and hues for the codes on some of their maps: shards do not name them."""
    some = places[:: -(-len(places) // MOST_VIEWED)]
    codes = {code for place in some for code in np.unique(webdataset.read_patch(folder, place)[MAP]).tolist()}
    codes -= {given.nomenclature.nothing}
    classes = sorted({name for row in rows for name in row["labels"]})
    return replace(
        given,
        nomenclature=Nomenclature(tuple(classes), {}, dict.fromkeys(sorted(codes), "")),
        colours=spread_hues(sorted(codes)),
    )


def of_dataset(folder: Path, form: Form, most: int, given: Given) -> Folder:
    """Return up to `most` patches of the finished dataset in a folder, whose archives may be unpacked there.

    Raise BadInput if metadata cannot be read, DamagedFile or BadArchive about an archive.
    """
    source = Source.open(folder, form)
    require_known_labels(folder, source.rows, given.nomenclature.classes)
    rows = _spread(source.rows.drop_columns([FLAG]))
    rows = [rows[at] for at in chosen(rows, most)]
    has_radar = form.has_sentinel1 and _has(folder, S1)
    about = given.about(rows, len(source.rows), form.patch_m, has_radar=has_radar)
    return Folder(about, _patches(folder, rows, has_radar), len(rows))


def _spread(table: pa.Table) -> list[Row]:
    """Return the rows of a table, or of many evenly spaced ones."""
    at = np.linspace(0, len(table) - 1, min(len(table), _CANDIDATES)).round().astype(int)
    rows: list[Row] = table.take(pa.array(at)).to_pylist()
    return rows


def _has(folder: Path, archive: str) -> bool:
    return (folder / archive).is_dir() or (folder / f"{archive}.tar.zst").is_file()


def _patches(folder: Path, rows: Sequence[Row], has_radar: bool) -> Iterator[ViewedPatch]:
    offsets = offset_tiles(folder)
    with ExitStack() as stack:
        wanted = [S2, *([MAPS] if _has(folder, MAPS) else []), *([S1] if has_radar else [])]
        archives = {
            name: stack.enter_context(ArchivedPatches(folder, name, unpacked=(folder / name).is_dir()))
            for name in wanted
        }
        keys = {name: "s1_name" if name == S1 else "patch_id" for name in archives}
        for name, key in keys.items():
            archives[name].prepare(row[key] for row in rows if row.get(key))
        left = iter(rows)
        while some := list(islice(left, _AT_ONCE)):
            read = {name: archives[name].read(row[key] for row in some if row.get(key)) for name, key in keys.items()}
            for row in some:
                tiffs: dict[str, bytes] = {}
                for name, key in keys.items():
                    tiffs |= read[name].get(row.get(key) or "", {})
                yield ViewedPatch.of_tiffs(row, tiffs, boa_offset=tile_name_of(row["patch_id"]) in offsets)


def hashed(folder: Path, progress: OnBytes = ignore_bytes) -> list[File]:
    """Return length and hashes of the files of a folder, but for unpacked patches, the report and hidden files.

    Each is read once. Raise OSError if one cannot be read.
    """
    left_out = S2, MAPS, S1, "report"
    tops = [top for top in listed(folder) if top.name not in left_out and not _is_layer(top)]
    paths = [path for top in tops for path in _files(top)]
    total, done, found = sum(path.stat().st_size for path in paths), 0, []
    for path in paths:
        sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
        with path.open("rb") as file, FanOut([sha256.update, md5.update], _CHUNKS_AHEAD) as flow:
            while chunk := file.read(_CHUNK_BYTES):
                flow.put(chunk)
                size += len(chunk)
                progress(done + size, total)
            flow.finish()
        done += size
        found.append(File(printable(path.relative_to(folder).as_posix()), size, sha256.hexdigest(), md5.hexdigest()))
    return found


def _is_layer(path: Path) -> bool:
    """Return whether a path is the folder of a further layer, unpacked from its archive."""
    return path.is_dir() and path.name.startswith(archive_of(""))


def _files(path: Path) -> list[Path]:
    return (
        [path]
        if path.is_file()
        else sorted(each for each in path.rglob("*") if each.is_file() and not is_hidden(each.name))
    )
