"""Write the report on a finished dataset: one folder of pages that need neither a network nor a server.

`index.html` describes the dataset, `tiles/<tile>.html` each tile, with its pictures in `tiles/<tile>/`; the search
reads `data/`. `viewer.html` shows some of the patches in any combination of bands. `statistics.html` has the statistics
of bands and classes. `times.html` shows how long the tasks took, where that was recorded. The same inputs give the same
bytes, except for `times.html`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ben_luigi.domain import files
from ben_luigi.domain.dataset.archived import ArchivedPatches
from ben_luigi.domain.dataset.metadata import FLAGS
from ben_luigi.domain.dataset.statistics_parts import STATISTICS
from ben_luigi.domain.placement.grid import SPLITS
from ben_luigi.domain.progress import OnFraction, ignore_fraction
from ben_luigi.domain.report import (
    bands,
    pages,
    rendering,
    report_search,
    report_statistics,
    report_tiles,
    report_times,
    report_twin,
    report_viewer,
    viewer,
)
from ben_luigi.domain.report import report_words as words
from ben_luigi.domain.report.report_counts import Counts, examples
from ben_luigi.domain.report.report_leakage import read_leakage
from ben_luigi.domain.report.report_tiles import Tile
from ben_luigi.domain.report.report_words import Sources
from ben_luigi.domain.vocabulary import S1_ARCHIVE

_ASSETS = ("report.css", "report.js")
_OF_TILES = 0.8
"""The part of the work that the tiles are; the viewer is the rest."""


def write_report(folder: Path, sources: Sources, progress: OnFraction = ignore_fraction) -> None:
    """Write the report to `folder`, which need not exist. Memory: the metadata's rows, and 20 bytes per row."""
    rows = sources.rows.sort_by("patch_id")
    counts = Counts.of(rows, sources.nomenclature.classes, sources.countries)
    has_radar = sources.dataset is not None and sources.form.has_sentinel1
    radar = ArchivedPatches(sources.dataset, S1_ARCHIVE) if sources.dataset is not None and has_radar else None
    with radar or nullcontext():
        made = _Pages(folder, sources, radar)
        tiles = []
        for number, (tile, at) in enumerate(_by_tile(sources.tiles, rows["patch_id"]), start=1):
            own = rows.slice(at.start, at.stop - at.start)
            flagged = [any(flags) for flags in _flags(own).tolist()]
            tile = tile.with_flags(own["patch_id"].to_pylist(), flagged)
            made.write_tile(tile, own, counts.labels[at], _has(own, counts, at))
            tiles.append(tile)
            progress(_OF_TILES * number / len(sources.tiles))
        made.write_viewer(tiles, len(rows), lambda part: progress(_OF_TILES + (1 - _OF_TILES) * part))
        made.write_index(tiles, rows, counts)


def _flags(rows: pa.Table) -> np.ndarray:
    """Return whether each patch has snow, and cloud or shadow: (patch, flag); without columns of them, none has."""
    columns = [rows[flag].to_numpy() for flag in FLAGS if flag in rows.column_names]
    return np.column_stack(columns) if columns else np.zeros((len(rows), len(FLAGS)), bool)


def _has(rows: pa.Table, counts: Counts, at: slice) -> np.ndarray:
    """Return which properties patches have (patch, property): classes, split, country, flags."""
    split = counts.split[at, None] == np.arange(len(SPLITS))
    country = counts.country[at, None] == np.arange(len(counts.countries))
    return np.hstack([counts.labels[at], split, country, _flags(rows)])


def _by_tile(tiles: Sequence[Tile], patch_ids: pa.ChunkedArray) -> list[tuple[Tile, slice]]:
    """Return the tiles in the order of their keys, each with its slice of the ascending patch ids."""
    names = pc.replace_substring_regex(patch_ids, r"_\d+_\d+$", "").combine_chunks().dictionary_encode()
    starts = np.searchsorted(names.indices.to_numpy(), np.arange(len(names.dictionary) + 1))
    rows_of = {name: slice(*starts[at : at + 2].tolist()) for at, name in enumerate(names.dictionary.to_pylist())}
    return [(tile, rows_of.get(tile.name.tile_name, slice(0, 0))) for tile in sorted(tiles, key=lambda tile: tile.key)]


class _Pages:
    """Write the pages and the files that they show."""

    def __init__(self, folder: Path, sources: Sources, radar: ArchivedPatches | None) -> None:
        self._folder = folder
        self._sources = sources
        self._keys = sorted(tile.key for tile in sources.tiles)
        self._shown: list[dict[str, Any]] = []
        self._viewed = 0
        self._states = report_tiles.states_of(is_v2=sources.form.about.is_v2, unlabeled_limit=sources.unlabeled_limit)
        self._land_cover = "CORINE" if sources.form.about.is_v2 else "the land cover"
        self._radar = radar
        self._templates = pages.environment()

    def write_tile(self, tile: Tile, rows: pa.Table, labels: np.ndarray, has: np.ndarray) -> None:
        """Write the page of a tile, its pictures, and its script for the search.

        `labels` (patch, class) and `has` (patch, property) tell what the patches have, which the shown ones show.
        """
        chosen = report_tiles.shown(tile, rows, has, has_radar=self._radar is not None)
        for name, data in report_tiles.overviews(tile):
            self._write(f"tiles/{tile.key}/{name}", data)
        for name, data in report_tiles.quicklooks(tile, chosen, self._sources.colours, self._radar):
            self._write(f"tiles/{tile.key}/{name}", data)
        self._write(
            f"data/{tile.key}.js",
            report_search.tile_script(tile, rows, labels, chosen, self._sources.countries).encode(),
        )
        shown = [words.example(tile, patch_id, pictured, rows) for patch_id, pictured in chosen.items()]
        self._shown += shown
        at = self._keys.index(tile.key)
        self._render(
            f"tiles/{tile.key}.html",
            "tile.html",
            root="../",
            tile=tile,
            before=self._keys[at - 1] if at else "",
            after=self._keys[at + 1] if at + 1 < len(self._keys) else "",
            side=tile.grid.patches_a_side,
            overview_px=tile.grid.patches_a_side * rendering.pixels_a_patch(tile.grid),
            cover=self._cover(tile),
            examples=shown,
            facts=words.facts(tile),
        )

    def _cover(self, tile: Tile) -> list[dict[str, Any]]:
        """Return the CLC codes by their fraction of the reference maps."""
        all_pixels = sum(tile.cover.values())
        names = self._sources.nomenclature
        return [
            {
                "code": code,
                "name": f"not covered by {self._land_cover}" if code == names.nothing else names.clc[code],
                "class": names.class_of.get(code, ""),
                "part": f"{100 * pixels / all_pixels:.1f} %",
            }
            for code, pixels in sorted(tile.cover.items(), key=lambda entry: (-entry[1], entry[0]))
        ]

    def write_viewer(self, tiles: Sequence[Tile], of: int, progress: OnFraction) -> None:
        """Write the viewer, of some of the patches that are shown on the tiles' pages."""
        labelled = [patch for patch in self._shown if patch["labels"]]
        sample = [labelled[row] for row in viewer.chosen(labelled)]
        sources = self._sources
        about = viewer.About(
            of=of,
            classes=sources.nomenclature.classes,
            countries=sources.countries,
            patch_m=sources.form.patch_m,
            has_radar=self._radar is not None,
            colours=sources.colours,
            code_names=sources.nomenclature.clc,
            nothing=sources.nomenclature.nothing,
            words={**self._common(), "root": ""},
        )
        patches = report_viewer.patches(tiles, sample, self._radar)
        self._viewed = viewer.write_viewer(self._folder, about, patches, progress, max(1, len(sample)))

    def write_index(self, tiles: Sequence[Tile], rows: pa.Table, counts: Counts) -> None:
        """Write the first page."""
        sources = self._sources
        leakage = read_leakage(sources.leakage) if sources.leakage else None
        self._write("data/index.js", self._index_script(tiles, counts).encode())
        for name in _ASSETS:
            self._write(f"assets/{name}", (pages.TEMPLATES / name).read_bytes())
        if sources.statistics is not None:
            self._write(STATISTICS, files.json_text(sources.statistics).encode())
            shown = report_statistics.shown(sources.statistics)
            self._render("statistics.html", "statistics.html", root="", shown=shown)
        if sources.times:
            self._render("times.html", "times.html", root="", times=report_times.shown(sources.times))
        in_grids = sum(len(tile.states) for tile in tiles)
        self._render(
            "index.html",
            "index.html",
            root="",
            tiles=tiles,
            lead=words.lead(sources),
            sections=words.sections(leakage is not None, sources.published is not None, sources.twin is not None),
            standing={name: sum(tile.standing == name for tile in tiles) for name in ("labelled", "failed", "empty")},
            map=words.europe(tiles, sources),
            flagged=[sum(rows[flag].to_pylist()) for flag in FLAGS if flag in rows.column_names],
            in_grids=in_grids,
            missing=report_tiles.missing(tiles, self._states),
            notes=words.notes(tiles, sources),
            leakage=leakage,
            twin=report_twin.shown(sources.twin) if sources.twin is not None else None,
            legend=self._legend(),
            examples=self._examples(),
            **self._tables(counts),
            **words.compared(sources.comparison),
        )

    def _index_script(self, tiles: Sequence[Tile], counts: Counts) -> str:
        return report_search.index_script(tiles, counts.classes, counts.countries, self._states)

    def _examples(self) -> list[dict[str, Any]]:
        """Return some of the patches shown on the tiles' pages that together have all classes."""
        classes = self._sources.nomenclature.classes
        labelled = [patch for patch in self._shown if patch["labels"]]
        labels = np.array([[name in patch["labels"] for name in classes] for patch in labelled], dtype=bool)
        return [labelled[row] for row in examples(labels.reshape(-1, len(classes)), report_tiles.EXAMPLES)]

    def _legend(self) -> list[dict[str, Any]]:
        """Return the CLC codes by class, those without a class last."""
        names = self._sources.nomenclature
        of_class = {name: [code for code in names.clc if names.class_of.get(code) == name] for name in names.classes}
        without = [code for code in names.clc if code not in names.class_of]
        return [{"name": name, "codes": codes} for name, codes in {**of_class, "UNLABELED": without}.items() if codes]

    def _tables(self, counts: Counts) -> dict[str, Any]:
        """Return the counts in the form that the templates need."""
        published = self._sources.published
        codes = {entry["name"]: entry["codes"] for entry in self._legend()}
        total = int(counts.by_split.sum())
        of_country = np.maximum(counts.country_by_split.sum(axis=1), 1)
        of_class = np.maximum(counts.co_occurrence.diagonal(), 1)
        present = np.flatnonzero(counts.country_by_split.sum(axis=1)).tolist()
        return {
            "total": total,
            "by_split": counts.by_split.tolist(),
            "published_by_split": [
                sum(row[at] for row in published.country.values()) if published else 0 for at in range(len(SPLITS))
            ],
            "per_patch": f"{counts.labels.sum() / max(total, 1):.2f}",
            "by_country": words.rows(counts.countries, counts.country_by_split, published.country if published else {}),
            "by_label": words.rows(counts.classes, counts.label_by_split, published.label if published else {}, codes),
            "countries": [counts.countries[rows_of] for rows_of in present],
            "label_by_country": [
                {
                    "name": name,
                    "codes": codes.get(name, []),
                    "cells": [{"count": int(row[at]), "part": row[at] / of_country[at]} for at in present],
                }
                for name, row in zip(counts.classes, counts.label_by_country, strict=True)
            ],
            "together": [
                {"name": name, "count": int(row[at]), "cells": (row / of_class[at]).tolist()}
                for at, (name, row) in enumerate(zip(counts.classes, counts.co_occurrence, strict=True))
            ],
        }

    def _common(self) -> dict[str, Any]:
        sources = self._sources
        return {
            "splits": SPLITS,
            "states": self._states,
            "is_v2": sources.form.about.is_v2,
            "title": "BigEarthNet v2" if sources.form.about.is_v2 else sources.title,
            "patch_m": sources.form.patch_m,
            "land_cover": self._land_cover,
            "nothing": sources.nomenclature.nothing,
            "has_sentinel1": sources.form.has_sentinel1,
            "colours": sources.colours,
            "clc": sources.nomenclature.clc,
            "published": sources.published,
            "comparison": sources.comparison,
            "provenance": sources.provenance,
            "recipe": sources.recipe,
            "files": sources.files,
            "has_times": bool(sources.times),
            "has_statistics": sources.statistics is not None,
            "sample": sources.is_sample,
            "version": sources.provenance["software"]["ben_luigi"],
            "alone": False,
            "viewed": self._viewed,
            "curves": bands.curves(has_radar=self._radar is not None),
        }

    def _render(self, name: str, template: str, **values: Any) -> None:
        self._write(name, self._templates.get_template(template).render(self._common() | values).encode())

    def _write(self, name: str, data: bytes) -> None:
        pages.write(self._folder, name, data)
