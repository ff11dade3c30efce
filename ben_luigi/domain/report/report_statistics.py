"""Show the statistics of the bands, and the weights of the classes, as tables of figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ben_luigi.domain.dataset.statistics_parts import OVERALL, PARTS
from ben_luigi.domain.errors import some

_TILES_SHOWN = 20
FIGURES = ("mean", "standard_deviation", "minimum", "maximum")


def shown(statistics: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the template shows of the content of `statistics.json`."""
    bands = statistics["bands"]
    percents = [*next(iter(next(iter(bands.values()))["statistics"].values()))["percentiles"]]
    return {
        "orders": [", ".join(bands_of) for bands_of in statistics["band_order"].values()],
        "columns": [*(name.replace("_", " ") for name in FIGURES), *(f"{percent} %" for percent in percents)],
        "parts": [
            {"name": part, "rows": [_band(band, bands[band], part) for band in bands if _has(bands[band], part)]}
            for part in (OVERALL, *PARTS)
            if any(_has(about, part) for about in bands.values())
        ],
        "classes": [
            {"name": name, "cells": [of_class[part]["patches"] for part in PARTS], "weight": _weight(of_class)}
            for name, of_class in statistics["classes"].items()
        ],
        "of_parts": PARTS,
        "unit": bands["B02"]["unit"],
        "offset_tiles": some(statistics.get("offset_tiles", ()), _TILES_SHOWN),
    }


def _has(about: Mapping[str, Any], part: str) -> bool:
    return part in about["statistics"]


def _band(band: str, about: Mapping[str, Any], part: str) -> dict[str, Any]:
    found = about["statistics"][part]
    values = [*(found[name] for name in FIGURES), *found["percentiles"].values()]
    return {"band": band, "pixel_m": about["pixel_m"], "pixels": found["pixels"], "figures": [*map(_figure, values)]}


def _figure(value: float) -> str:
    is_whole = isinstance(value, int) or (float(value).is_integer() and abs(value) >= 100)
    return f"{value:,.0f}" if is_whole else f"{value:,.2f}"


def _weight(of_class: Mapping[str, Any]) -> str:
    weight = of_class[OVERALL]["positive_weight"]
    return "none" if weight is None else f"{weight:,.2f}"
