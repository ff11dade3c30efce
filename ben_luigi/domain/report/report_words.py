"""Collect the inputs of the report, and the values that its templates show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ben_luigi.domain.dataset.comparison import NOT_COMPARABLE, Published
from ben_luigi.domain.dataset.form import FORM_V2, Form
from ben_luigi.domain.dataset.metadata import FLAGS
from ben_luigi.domain.names import PatchId
from ben_luigi.domain.products.product import QUALITY_RESULTS
from ben_luigi.domain.report import report_map
from ben_luigi.domain.report.report_tiles import Pictured, Tile
from ben_luigi.domain.report.report_times import TaskTime
from ben_luigi.domain.tiles.nomenclature import UNLABELED_LIMIT, Nomenclature


@dataclass(frozen=True)
class File:
    """A file of the dataset, or the tar inside of an archive: bytes and hexadecimal hashes."""

    name: str
    size: int
    sha256: str
    md5: str


@dataclass(frozen=True)
class Sources:
    """The inputs of the report.

    `rows` are those of both metadata files; `comparison` and `provenance` the content of the files with these names;
    the comparison and the `published` figures are None for another recipe than the default one, which has a `title`;
    `findings` counts what is unusual about v1 patches; `leakage` is `split_leakage.csv`, if it exists; `times` is how
    long tasks took, as far as that was recorded; `twin` is the comparison of pixels with another dataset, if any;
    `recipe` is what another recipe says, in words; `statistics` is the content of `statistics.json`, if it exists;
    `dataset` is the folder of the dataset, whose archive of Sentinel-1 is shown, if there is one; `unlabeled_limit` is
    the part of a map without classes from which a patch has no labels.
    """

    tiles: Sequence[Tile]
    rows: pa.Table
    nomenclature: Nomenclature
    colours: Mapping[int, tuple[int, int, int]]
    countries_geojson: Path | None
    published: Published | None
    comparison: Mapping[str, Any] | None
    provenance: Mapping[str, Any]
    files: Sequence[File]
    findings: Mapping[str, int]
    leakage: Path | None = None
    twin: pa.Table | None = None
    statistics: Mapping[str, Any] | None = None
    times: Sequence[TaskTime] = ()
    world: str = ""
    title: str = ""
    recipe: Mapping[str, str] = field(default_factory=dict)
    form: Form = FORM_V2
    dataset: Path | None = None
    unlabeled_limit: float = UNLABELED_LIMIT

    @property
    def is_sample(self) -> bool:
        """Whether it is of the sample world."""
        return bool((self.comparison or {}).get("world", self.world) == "sample")

    @property
    def countries(self) -> tuple[str, ...]:
        """The countries that patches may lie in, by the recipe; if it takes all of a file, those that are met."""
        names = self.form.countries.names
        if "country" not in self.rows.column_names:
            return ()
        return names or tuple(sorted(set(self.rows["country"].drop_null().to_pylist())))


def rows(
    names: Sequence[str],
    table: np.ndarray,
    published: Mapping[str, Sequence[int]],
    codes: Mapping[str, Sequence[int]] | None = None,
) -> list[dict[str, Any]]:
    """Return the rows of a table of splits; `most` is the largest total, whose bar has the full width."""
    most = int(table.sum(axis=1).max(initial=1))
    return [
        {
            "name": name,
            "codes": (codes or {}).get(name, []),
            "parts": parts.tolist(),
            "all": int(parts.sum()),
            "most": most,
            "published": sum(published[name]) if name in published else None,
        }
        for name, parts in zip(names, table, strict=True)
    ]


def example(tile: Tile, patch_id: str, pictured: Pictured, rows: pa.Table) -> dict[str, Any]:
    """Return which pictures of a patch there are, and the text below them."""
    at = pc.index(rows["patch_id"], patch_id).as_py()
    row = rows.slice(at, 1).to_pylist()[0] if at >= 0 else {"labels": [], "split": "", **dict.fromkeys(FLAGS, False)}
    flagged = any(row.get(flag) for flag in FLAGS)
    place = PatchId.parse(patch_id).position
    has_radar = bool(pictured.s1_name)
    shown = {"tile": tile.key, "place": place, "has_map": pictured.has_map, "has_radar": has_radar}
    return {**shown, "flagged": flagged, **row}


def facts(tile: Tile) -> list[tuple[str, str]]:
    """Return the facts of a tile's page, in words."""
    longitude, latitude = report_map.centre(tile.square)
    facts, l1c, fetched = tile.facts, tile.facts.get("l1c", {}), delivered(tile.facts)
    square = tile.square
    facts = {
        "L2A product": facts["l2a_name"],
        "sensing time": facts["start_time"],
        "baseline": facts["baseline"],
        "made by": f"Sen2Cor {facts['sen2cor']}" if facts.get("sen2cor") else "",
        "quality": ", ".join(f"{check.split('_')[0].lower()} {facts[check.lower()]}" for check in QUALITY_RESULTS),
        "upper-left corner": f"{square.left:.0f} m E, {square.top:.0f} m N, EPSG:{square.epsg}",
        "side": f"{square.side_m:.0f} m",
        "middle": f"{latitude}° N, {longitude}° E",
        "L1C product": l1c.get("name", ""),
        "from": came_from(fetched),
        "CDSE id": l1c.get("id", ""),
        "at CDSE": " ".join(word for word in (l1c.get("state", ""), l1c.get("note", "")) if word),
        "sha256 of the L1C zip": l1c.get("sha256", ""),
        "verified by": _listed(fetched.get("verified_by", "")),
        "not verified": _listed(fetched.get("not_verified", "")),
        "written patches": f"{tile.written:,}",
        "reference maps": f"{facts['reference_maps']:,}",
    }
    return [(name, str(value)) for name, value in facts.items() if value]


def delivered(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is known of the product that a source delivered: the L1C one, or the L2A one as ESA made it."""
    known: Mapping[str, Any] = facts.get("l1c") or facts.get("l2a") or {}
    return known


def came_from(l1c: Mapping[str, Any]) -> str:
    """Return the sources of a product, such as `google (61 files), cdse (1 file)`; for a zip, its source."""
    counts = l1c.get("sources", {})
    files = ", ".join(f"{source} ({count:,} file{'s' * (count != 1)})" for source, count in counts.items())
    return files or str(l1c.get("source", ""))


def _listed(said: object) -> str:
    return ", ".join(map(str, said)) if isinstance(said, list) else str(said)


def lead(sources: Sources) -> str:
    """Return a sentence that says what the dataset is."""
    if not sources.form.about.is_v2:
        made_up = " Its ground is made up: it is of the sample world." if sources.is_sample else ""
        return f"{sources.title}, version {sources.form.about.version}: recipe.toml says how it was made.{made_up}"
    if sources.is_sample:
        return "The sample world: everything is made up but the names, and nothing of it is the published BigEarthNet."
    return "Sentinel-1 and Sentinel-2 patches of 1200 m with land-cover maps and labels, rebuilt from their sources."


def sections(leakage: bool, published: bool = True, twin: bool = False) -> list[tuple[str, str]]:
    """Return anchor and title of each section of the first page."""
    return [
        ("map", "Map"),
        ("tiles", "Tiles"),
        ("patches", "Patches"),
        ("labels", "Labels"),
        ("together", "Classes together"),
        ("missing", "What is missing"),
        *([("published", "Published run")] if published else []),
        *([("twin", "Beside its twin")] if twin else []),
        *([("leakage", "Overlap between splits")] if leakage else []),
        ("files", "Checksums"),
        ("provenance", "Provenance"),
        ("legend", "Legend"),
    ]


def europe(tiles: Sequence[Tile], sources: Sources) -> dict[str, Any] | None:
    """Return the outlines, and one mark per square; None for another recipe if a tile lies outside of the map.

    Tiles of one square share their mark, and it shows the best of them.
    """
    if not all(report_map.shows(tile.square) for tile in tiles) and not sources.form.about.is_v2:
        return None
    path, wanted = sources.countries_geojson, sources.form.countries
    marks = []
    for mgrs, group in groupby(tiles, key=lambda tile: tile.name.mgrs):
        of_square = list(group)
        best = min(of_square, key=lambda tile: ("labelled", "failed", "empty").index(tile.standing))
        dates = ", ".join(f"{tile.name.sensing_time:%Y-%m-%d} ({tile.labelled:,} patches)" for tile in of_square)
        marks.append(
            {
                "key": of_square[0].key,
                "standing": best.standing,
                "at": report_map.mark(of_square[0].square),
                "dates": len(of_square),
                "title": f"{mgrs}: {dates}",
            }
        )
    return {
        "width": report_map.WIDTH,
        "height": report_map.HEIGHT,
        "outlines": report_map.outlines(path, sources.countries, wanted) if path is not None else [],
        "marks": marks,
        "enlarged": any(report_map.enlarged(tile.square) for tile in tiles),
    }


def notes(tiles: Sequence[Tile], sources: Sources) -> list[str]:
    """Return sentences about what else is missing or unusual."""
    without = [tile.key for tile in tiles if not tile.labelled]
    odd = {tile.key: tile.facts.get("l1c", {}).get("state", "found") for tile in tiles}
    notes = [f"Tiles without a patch in the dataset: {', '.join(without)}."] if without else []
    notes += [f"Tile {key} at CDSE: {state}." for key, state in odd.items() if state not in ("", "found")]
    repaired = {tile.key: delivered(tile.facts).get("repaired", {}) for tile in tiles}
    level = {tile.key: "L1C" if tile.facts.get("l1c") else "L2A" for tile in tiles}
    notes += [
        f"Tile {key}: {path.rpartition('/')[2]} of its {level[key]} product is from {source}; elsewhere it is not, or "
        "damaged."
        for key, paths in repaired.items()
        for path, source in paths.items()
    ]
    missing = sources.provenance.get("missing", {})
    notes += [f"Tile {key} is left out: {facts['product']} is {facts['found']}." for key, facts in missing.items()]
    notes += [
        f"Tile {tile.key} has no layer {layer}, which its product lacks."
        for tile in tiles
        for layer in tile.facts.get("lacks", ())
    ]
    notes += [f"{count:,} times: {finding}." for finding, count in sources.findings.items()]
    present = set(pc.list_flatten(sources.rows["labels"]).unique().to_pylist())
    absent = [name for name in sources.nomenclature.classes if name not in present]
    return notes + ([f"Classes that no patch has: {'; '.join(absent)}."] if absent else [])


def compared(comparison: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return how many lines of the comparison are in each state, and the lines, folded by reason.

    Lines that are not comparable for the same reason share one entry of `compared_folded`.
    """
    lines = comparison["compared"] if comparison is not None else []
    states = [line["state"] for line in lines]
    of_reason: dict[str, list[str]] = {}
    for line in lines:
        if line["state"] == NOT_COMPARABLE and line["note"]:
            of_reason.setdefault(line["note"], []).append(line["what"])
    folded = {note: names for note, names in of_reason.items() if len(names) > 1}
    return {
        "compared_states": [(state, states.count(state)) for state in dict.fromkeys(states)],
        "compared_lines": [line for line in lines if line["state"] != NOT_COMPARABLE or line["note"] not in folded],
        "compared_folded": list(folded.items()),
    }
