"""What a dataset was made with: the versions of everything that can change a byte."""

from __future__ import annotations

import platform
from importlib.metadata import version

import pyproj
import rasterio
import shapely
import zstandard

PROVENANCE = "provenance.json"
"""The file of the dataset that tells it, with each tile's products and counts."""

_PACKAGES = ("deflate", "fiona", "luigi", "numpy", "pandas", "pyarrow", "pyproj", "rasterio", "shapely", "zstandard")


def software(project_version: str) -> dict[str, str]:
    """Versions of this project, of Python, of the C libraries that write bytes or move vertices, and of packages."""
    return {
        "ben_luigi": project_version,
        "Python": platform.python_version(),
        "GDAL": str(rasterio.__gdal_version__),
        "GEOS": str(shapely.geos_version_string),
        "PROJ": str(pyproj.proj_version_str),
        "libzstd": ".".join(str(number) for number in zstandard.ZSTD_VERSION),
        **{package: version(package) for package in _PACKAGES},
    }
