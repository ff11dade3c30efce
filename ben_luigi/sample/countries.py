"""Write coarse, made-up borders in the format of Natural Earth's 1:110m countries: the ten of BigEarthNet and
neighbours.

The border of Belgium and Luxembourg crosses a sample tile, and so does the edge of Finland.
"""

from __future__ import annotations

import json
from pathlib import Path

# Longitude, latitude of the corners of each country, in degrees.
_BORDERS = {
    "Austria": "9.6 47.5, 9.6 47.0, 12.2 46.9, 14.6 46.4, 16.2 46.8, 17.1 47.8, 16.9 48.6, 15.0 49.0, 13.0 48.3",
    "Belgium": "2.5 51.1, 2.7 50.8, 4.2 49.9, 5.7 49.5, 5.86 50.3, 5.91 50.7, 5.9 51.2, 4.3 51.4",
    "Finland": "20.6 69.1, 23.9 66.0, 21.2 63.0, 22.9 59.9, 27.8 60.5, 29.07 63.0, 30.1 65.5, 28.5 69.8, 25.8 69.9",
    "Ireland": "-6.0 52.2, -6.1 54.0, -8.0 55.2, -10.0 54.2, -10.4 51.7, -8.2 51.7",
    "Kosovo": "20.1 42.6, 20.6 41.9, 21.7 42.3, 21.5 42.9, 20.8 43.2",
    "Lithuania": "21.1 55.9, 21.3 55.3, 22.8 54.4, 24.6 53.9, 26.6 55.6, 25.0 56.3",
    "Luxembourg": "5.7 49.5, 6.3 49.5, 6.4 50.0, 6.3 50.6, 5.91 50.7, 5.86 50.3",
    "Portugal": "-8.9 41.9, -9.5 38.7, -8.9 37.0, -7.4 37.2, -7.0 40.0, -6.3 41.6",
    "Serbia": "19.0 46.0, 19.2 44.0, 20.1 42.6, 20.8 43.2, 21.5 42.9, 21.7 42.3, 22.4 42.4, 22.6 44.6, 21.0 46.1",
    "Switzerland": "6.0 46.2, 7.0 45.9, 9.0 45.9, 10.4 46.6, 9.6 47.0, 9.6 47.5, 7.6 47.7",
    "France": "2.5 51.1, -4.6 48.5, -1.5 43.4, 3.1 42.5, 7.0 43.8, 7.0 45.9, 6.0 46.2, 7.6 47.7, 6.3 49.5, 4.2 49.9",
    "Germany": "7.6 47.7, 13.0 48.3, 12.2 50.3, 15 51, 14.2 53.9, 8.5 54.9, 7.0 53.5, 5.9 51.2, 5.91 50.7, 6.3 49.5",
    "Netherlands": "3.4 51.5, 4.3 51.4, 5.9 51.2, 7.0 53.5, 4.8 53.1",
    "Russian Federation": "27.8 60.5, 40.0 56.0, 60.0 60.0, 60.0 69.0, 28.5 69.8, 30.1 65.5, 29.07 63.0",
    "Sweden": "11.1 59.0, 13.0 55.4, 18.9 60.0, 17.2 61.0, 23.9 66.0, 20.6 69.1, 12.0 63.0",
}


def write_countries(path: Path) -> None:
    """Write the borders as GeoJSON."""
    features = [_feature(name, corners) for name, corners in sorted(_BORDERS.items())]
    _write(path, features)


def _write(path: Path, features: list[dict[str, object]]) -> None:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}, indent=1) + "\n", encoding="utf-8")


_REGIONS = {
    "Maremma": "11.0 42.2, 11.5 42.2, 11.5 43.0, 11.0 43.0",
    "Tuscia": "11.5 42.37, 12.3 42.37, 12.3 43.0, 11.5 43.0",
    "Campos": "-60.0 -36.0, -53.0 -36.0, -53.0 -30.0, -60.0 -30.0",
}
"""Made-up regions of a user's own; south-east of the first there is ground in none of them."""


def write_regions(path: Path) -> None:
    """Write regions of a user's own, with their names in the column `region`, as GeoJSON."""
    features: list[dict[str, object]] = [
        {"type": "Feature", "properties": {"region": name}, "geometry": _polygon(corners)}
        for name, corners in sorted(_REGIONS.items())
    ]
    _write(path, features)


def _feature(name: str, corners: str) -> dict[str, object]:
    return {
        "type": "Feature",
        "properties": {"featurecla": "Admin-0 country", "NAME": name, "NAME_LONG": name},
        "geometry": _polygon(corners),
    }


def _polygon(corners: str) -> dict[str, object]:
    ring = [[float(degrees) for degrees in corner.split()] for corner in corners.split(",")]
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
