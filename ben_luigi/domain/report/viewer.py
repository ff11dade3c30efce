"""Write the viewer, a page that shows patches by label, country, split and flag, in any combination of bands.

`viewer.html` is opened as a file, and needs neither a network nor a server. `viewer/patches.js` has what is known of
the patches, `viewer/files.js` the hashes of their files, which is loaded once they are asked for. `viewer/<patch
id>.webp` has all bands of a patch as a sheet, `viewer/<patch id>.png` its reference map. The pictures are files, and
not in the page, since so only those of the patches that are looked at are loaded, and as three quarters of the bytes.
The same inputs give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ben_luigi.domain.dataset.metadata import FLAGS
from ben_luigi.domain.formats.tiffheader import read_pixels
from ben_luigi.domain.names import MAP_SUFFIX, tile_name_of
from ben_luigi.domain.placement.grid import SPLITS
from ben_luigi.domain.products.product import BOA_ADD_OFFSET
from ben_luigi.domain.progress import OnFraction, ignore_fraction
from ben_luigi.domain.report import bands, pages, rendering
from ben_luigi.domain.report.report_counts import examples
from ben_luigi.domain.report.report_words import File
from ben_luigi.domain.vocabulary import MOST_VIEWED, RESOLUTION_M

PAGE, FOLDER, STYLES = "viewer.html", "viewer", "assets"
ASSETS = ("report.css", "viewer.css", "viewer.js")
MAP = MAP_SUFFIX.removeprefix("_")


@dataclass(frozen=True)
class ViewedPatch:
    """A patch of the viewer: its row of the metadata, and its pixels (row, col) by kind of file.

    Bands of Sentinel-2 are reflectance * 10,000, VV and VH in dB, the reference map in codes. `files` are its TIFFs;
    `page` is the page of the report that shows it.
    """

    row: Mapping[str, Any]
    pixels: Mapping[str, np.ndarray]
    files: Sequence[File] = ()
    page: str = ""

    @classmethod
    def of_tiffs(
        cls, row: Mapping[str, Any], tiffs: Mapping[str, bytes], *, boa_offset: bool = False, page: str = ""
    ) -> ViewedPatch:
        """Return the patch that has these TIFFs, by kind of file: `B02`, `reference_map`, `VV`.

        `boa_offset` tells whether the pixels of Sentinel-2 carry BOA_ADD_OFFSET. Raise BadInput if one is damaged.
        """
        names = {kind: f"{row['s1_name' if kind in (bands.VV, bands.VH) else 'patch_id']}_{kind}.tif" for kind in tiffs}
        pixels = {kind: read_pixels(data, names[kind]) for kind, data in tiffs.items()}
        if boa_offset:
            pixels = without_offset(pixels)
        hashed = [file_of(names[kind], data) for kind, data in sorted(tiffs.items())]
        return cls(row, pixels, hashed, page)


def without_offset(pixels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the pixels of a patch, by kind of file, with those of Sentinel-2 as they are without BOA_ADD_OFFSET."""
    reflectance = {band: pixels[band].astype("int32") + BOA_ADD_OFFSET for band in RESOLUTION_M if band in pixels}
    return {**pixels, **reflectance}


@dataclass(frozen=True)
class About:
    """What a viewer says of its dataset: classes, countries, side of a patch, and colours of the map by code.

    `of` is how many patches the dataset has, `code_names` are the names of the codes, `nothing` is the code of ground
    without land cover, `files` are those of the dataset, where no report lists them, and `words` what the report's own
    pages say in head and foot.
    """

    of: int
    classes: Sequence[str]
    countries: Sequence[str]
    patch_m: int
    has_radar: bool
    colours: Mapping[int, tuple[int, int, int]]
    code_names: Mapping[int, str]
    nothing: int
    words: Mapping[str, Any]
    files: Sequence[File] = ()


def file_of(name: str, data: bytes) -> File:
    """Return length and hashes of the bytes of a file."""
    return File(name, len(data), hashlib.sha256(data).hexdigest(), hashlib.md5(data, usedforsecurity=False).hexdigest())


def chosen(rows: Sequence[Mapping[str, Any]], most: int = MOST_VIEWED) -> list[int]:
    """Return up to `most` rows of the metadata, ascending: they show every label, country, split, flag and tile."""
    sets = [_properties(row) for row in rows]
    known = sorted({each for of_row in sets for each in of_row})
    has = np.array([[each in of_row for each in known] for of_row in sets], dtype=bool)
    return examples(has.reshape(len(rows), len(known)), most)


def _properties(row: Mapping[str, Any]) -> set[tuple[str, str]]:
    found = {("label", name) for name in row["labels"]} | {("flag", flag) for flag in FLAGS if row.get(flag)}
    found |= {("split", row["split"]), ("tile", tile_name_of(row["patch_id"]))}
    return found | ({("country", row["country"])} if row.get("country") else set())


def write_viewer(
    folder: Path,
    about: About,
    patches: Iterable[ViewedPatch],
    progress: OnFraction = ignore_fraction,
    most: int = MOST_VIEWED,
) -> int:
    """Write the page and its files to `folder`; return the number of patches. Memory: a patch, and 3 KB per patch.

    `most` is how many patches there are at most, to report the progress.
    """
    at = bands.cells(about.patch_m, has_radar=about.has_radar)
    described, hashed = [], {}
    for number, patch in enumerate(patches, start=1):
        patch_id = str(patch.row["patch_id"])
        shown = _shown(patch.pixels)
        pages.write(folder, f"{FOLDER}/{patch_id}.webp", rendering.webp(bands.sheet(shown, at)))
        if MAP in patch.pixels:
            codes = bands.nearest(patch.pixels[MAP], at["B02"].side)
            pages.write(folder, f"{FOLDER}/{patch_id}.png", rendering.map_png(codes, about.colours))
        described.append(_described(patch, about))
        hashed[patch_id] = [[file.name, file.size, file.sha256, file.md5] for file in patch.files]
        progress(min(1.0, number / most))
    views = bands.views(has_radar=about.has_radar)
    _write_scripts(folder, about, described, hashed, views, at)
    for name in ASSETS:
        pages.write(folder, f"{STYLES}/{name}", (pages.TEMPLATES / name).read_bytes())
    values = {"about": about, "views": views, "count": len(described), "map_view": bands.MAP, "splits": SPLITS}
    said = {"curves": bands.curves(has_radar=about.has_radar), "has_flags": _has_flags(described)}
    page = pages.environment().get_template(PAGE).render({**about.words, **values, **said})
    pages.write(folder, PAGE, page.encode())
    return len(described)


def _shown(pixels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    shown = {band: bands.shown_reflectance(band, pixels[band]) for band in RESOLUTION_M if band in pixels}
    has_radar = bands.VV in pixels and bands.VH in pixels
    return {**shown, **(bands.shown_radar(pixels[bands.VV], pixels[bands.VH]) if has_radar else {})}


def _has_flags(described: Sequence[Mapping[str, Any]]) -> bool:
    return any("flags" in patch for patch in described)


def _described(patch: ViewedPatch, about: About) -> dict[str, Any]:
    """Return what the page knows of a patch, in numbers where it has the words."""
    row = patch.row
    said: dict[str, Any] = {
        "id": row["patch_id"],
        "labels": sorted(list(about.classes).index(name) for name in row["labels"]),
        "split": SPLITS.index(row["split"]),
        "map": MAP in patch.pixels,
        "radar": bands.VV in patch.pixels,
    }
    said |= {"country": row["country"]} if row.get("country") else {}
    said |= {"flags": sum(bool(row[flag]) << at for at, flag in enumerate(FLAGS))} if FLAGS[0] in row else {}
    said |= {"s1": row["s1_name"]} if row.get("s1_name") else {}
    return {**said, **({"page": patch.page} if patch.page else {})}


def _write_scripts(
    folder: Path,
    about: About,
    described: Sequence[Mapping[str, Any]],
    hashed: Mapping[str, Any],
    views: Sequence[bands.View],
    at: Mapping[str, bands.Cell],
) -> None:
    known = {
        "classes": list(about.classes),
        "countries": [name for name in about.countries if any(patch.get("country") == name for patch in described)],
        "splits": list(SPLITS),
        "side": at["B02"].side,
        "cells": at,
        "views": {view.key: {"name": view.name, "bands": view.bands} for view in views},
        "patches": described,
    }
    for name, content in (("patches", known), ("files", hashed)):
        text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
        pages.write(folder, f"{FOLDER}/{name}.js", f"viewer.{name}({text});\n".encode())
