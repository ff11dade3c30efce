"""Collect the versions of all software that can change a byte of the dataset."""

from __future__ import annotations

import platform
from importlib.metadata import version

import pyproj
import rasterio
import shapely
import zstandard

PROVENANCE = "provenance.json"
"""The file of the dataset that records them, with each tile's products and counts."""

_PACKAGES = ("deflate", "fiona", "luigi", "numpy", "pandas", "pyarrow", "pyproj", "rasterio", "shapely", "zstandard")


def software(project_version: str) -> dict[str, str]:
    """Return the versions of this project, Python, packages, and the C libraries that write bytes or move vertices."""
    return {
        "ben_luigi": project_version,
        "Python": platform.python_version(),
        "GDAL": str(rasterio.__gdal_version__),
        "GEOS": str(shapely.geos_version_string),
        "PROJ": str(pyproj.proj_version_str),
        "libzstd": ".".join(str(number) for number in zstandard.ZSTD_VERSION),
        **{package: version(package) for package in _PACKAGES},
    }
