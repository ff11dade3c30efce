"""Write the report on a finished dataset: one folder of pages that need neither a network nor a server.

`index.html` describes the dataset, `tiles/<tile>.html` each tile, with its pictures in `tiles/<tile>/`; the search
reads `data/`. `statistics.html` has the statistics of bands and classes. `times.html` shows how long the tasks took,
where that was recorded. The same inputs give the same bytes, except for `times.html`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ben_luigi.domain import files
from ben_luigi.domain.dataset.metadata import FLAGS
from ben_luigi.domain.dataset.statistics_parts import STATISTICS
from ben_luigi.domain.placement.grid import SPLITS
from ben_luigi.domain.progress import OnFraction, ignore_fraction
from ben_luigi.domain.report import rendering, report_search, report_statistics, report_tiles, report_times, report_twin
from ben_luigi.domain.report import report_words as words
from ben_luigi.domain.report.report_counts import Counts, examples
from ben_luigi.domain.report.report_leakage import read_leakage
from ben_luigi.domain.report.report_tiles import Tile
from ben_luigi.domain.report.report_words import Sources

_TEMPLATES = Path(__file__).with_name("templates")
_ASSETS = ("report.css", "report.js")


def write_report(folder: Path, sources: Sources, progress: OnFraction = ignore_fraction) -> None:
    """Write the report to `folder`, which need not exist. Memory: the metadata's rows, and 20 bytes per row."""
    rows = sources.rows.sort_by("patch_id")
    counts = Counts.of(rows, sources.nomenclature.classes, sources.countries)
    pages = _Pages(folder, sources)
    tiles = []
    for number, (tile, at) in enumerate(_by_tile(sources.tiles, rows["patch_id"]), start=1):
        own = rows.slice(at.start, at.stop - at.start)
        has_flags = FLAGS[0] in own.column_names
        flagged = pc.or_(own[FLAGS[0]], own[FLAGS[1]]).to_pylist() if has_flags else [False] * len(own)
        tile = tile.with_flags(own["patch_id"].to_pylist(), flagged)
        pages.write_tile(tile, own, counts.labels[at])
        tiles.append(tile)
        progress(number / len(sources.tiles))
    pages.write_index(tiles, rows, counts)


def _by_tile(tiles: Sequence[Tile], patch_ids: pa.ChunkedArray) -> list[tuple[Tile, slice]]:
    """Return the tiles in the order of their keys, each with its slice of the ascending patch ids."""
    names = pc.replace_substring_regex(patch_ids, r"_\d+_\d+$", "").combine_chunks().dictionary_encode()
    starts = np.searchsorted(names.indices.to_numpy(), np.arange(len(names.dictionary) + 1))
    rows_of = {name: slice(*starts[at : at + 2].tolist()) for at, name in enumerate(names.dictionary.to_pylist())}
    return [(tile, rows_of.get(tile.name.tile_name, slice(0, 0))) for tile in sorted(tiles, key=lambda tile: tile.key)]


class _Pages:
    """Write the pages and the files that they show."""

    def __init__(self, folder: Path, sources: Sources) -> None:
        self._folder = folder
        self._sources = sources
        self._keys = sorted(tile.key for tile in sources.tiles)
        self._shown: list[dict[str, Any]] = []
        self._states = report_tiles.states_of(is_v2=sources.form.about.is_v2)
        self._land_cover = "CORINE" if sources.form.about.is_v2 else "the land cover"
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        self._templates.filters.update(
            number=lambda value: f"{value:,}",
            figure=lambda text: f"{int(text):,}" if text.isdigit() and len(text) < 12 else text,
            day=lambda time: f"{time.day} {time:%B %Y}",
            css=lambda colour: "#{:02x}{:02x}{:02x}".format(*colour),
            shade=lambda fraction: f"background:rgb(var(--shade)/{fraction:.2f})" if fraction >= 0.005 else "",
            setting=_setting,
        )

    def write_tile(self, tile: Tile, rows: pa.Table, labels: np.ndarray) -> None:
        """Write the page of a tile, its pictures, and its script for the search."""
        patch_ids = rows["patch_id"].to_pylist()
        chosen = report_tiles.shown(tile, patch_ids, labels)
        for name, data in report_tiles.overviews(tile):
            self._write(f"tiles/{tile.key}/{name}", data)
        for name, data in report_tiles.quicklooks(tile, chosen, self._sources.colours):
            self._write(f"tiles/{tile.key}/{name}", data)
        self._write(
            f"data/{tile.key}.js",
            report_search.tile_script(tile, rows, labels, chosen, self._sources.countries).encode(),
        )
        shown = [words.example(tile, patch_id, has_map, rows) for patch_id, has_map in chosen.items()]
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

    def write_index(self, tiles: Sequence[Tile], rows: pa.Table, counts: Counts) -> None:
        """Write the first page."""
        sources = self._sources
        leakage = read_leakage(sources.leakage) if sources.leakage else None
        self._write("data/index.js", self._index_script(tiles, counts).encode())
        for name in _ASSETS:
            self._write(f"assets/{name}", (_TEMPLATES / name).read_bytes())
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

    def _render(self, name: str, template: str, **values: Any) -> None:
        sources = self._sources
        common = {
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
        }
        self._write(name, self._templates.get_template(template).render(common | values).encode())

    def _write(self, name: str, data: bytes) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _setting(value: object) -> str:
    """Return a setting in words: yes or no, a text, or several by name."""
    if isinstance(value, dict):
        return "; ".join(f"{name} = {_setting(said)}" for name, said in value.items()) or "none"
    return {"True": "yes", "False": "no"}.get(str(value), str(value))
