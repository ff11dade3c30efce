"""Words and numbers of the dataset, in a module without imports.

The configuration is checked against them before the modules that use them are loaded, which takes seconds.
"""

from __future__ import annotations

PATCH_M = 1200
"""Side of a patch in metres."""

LEAST_PATCH_M, MOST_PATCH_M = 60, 24_000
"""The smallest and the largest side that a recipe may give to a patch, in metres."""

LEAST_PIXEL_M, MOST_PIXEL_BYTES = 5, 4
"""The side in metres of the smallest pixel that a recipe may give to a layer, and the length of the longest one."""

MOST_PATCH_FILE_BYTES = (MOST_PATCH_M // LEAST_PIXEL_M) ** 2 * MOST_PIXEL_BYTES + 2**20
"""More than any file of a patch: its pixels, and less than 1 MiB around them."""

TILE_SIDE_M = 109_800
"""Side of a real tile in metres."""

WORLDS = ("auto", "sample", "real")
"""What `[dataset] world` may say."""

RESOLUTION_M = {
    "B01": 60,
    "B02": 10,
    "B03": 10,
    "B04": 10,
    "B05": 20,
    "B06": 20,
    "B07": 20,
    "B08": 10,
    "B09": 60,
    "B11": 20,
    "B12": 20,
    "B8A": 20,
}
"""Pixel size in metres of each of the twelve bands, in the order of their files."""

L1C_RESOLUTION_M = dict(sorted({**RESOLUTION_M, "B10": 60}.items()))
"""The same of the 13 bands of an L1C product, by name."""

PRODUCT_LAYERS = ("scl", "aot", "wvp", "cloud_probability", "snow_probability", "l1c")
"""What a product has besides the twelve bands, and a dataset may have as further layers."""

MISSING_LAYERS = ("error", "skip")
"""What becomes of a layer that a product lacks: an error, or the patches of its tile have no such layer."""

FORMS = ("webdataset", "lmdb", "parquet", "geoparquet", "zarr")
"""The forms in which a finished dataset is exported (`domain/forms/`)."""

TIFF, ARRAY, RAW = PIXELS = ("tiff", "array", "raw")
"""What a column of the form `parquet` holds: the bytes of a TIFF, its pixels as a list, or the bytes of these alone."""

MOST_VIEWED = 300
"""Most patches that the viewer of a report shows: a few pages of each label."""

S2_ARCHIVE, MAPS_ARCHIVE, S1_ARCHIVE = "BigEarthNet-S2", "Reference_Maps", "BigEarthNet-S1"
"""The archives of the dataset, and the first folders in them."""

SCENE_CLASSES = ("cloud", "shadow", "snow", "water")
"""What is counted on each patch by the scene classification (SCL) of its product."""

SPLITS = ("train", "validation", "test")

SEASONS = ("spring", "summer", "fall", "winter")

COUNTRIES = (
    "Austria",
    "Belgium",
    "Finland",
    "Ireland",
    "Kosovo",
    "Lithuania",
    "Luxembourg",
    "Portugal",
    "Serbia",
    "Switzerland",
)

SUBSET_NAME = r"[A-Za-z0-9][\w.-]*"
"""The regular expression of a subset's name, which is also the name of its folder."""

SOURCES = ("folder", "google", "mirror", "cdse")
"""Sources of products: the user's folder, Google's public bucket, the user's mirrors, CDSE."""

GOOGLE_URL = "https://storage.googleapis.com/gcp-public-data-sentinel-2"
"""The public bucket of Sentinel-2 products."""

MIRROR = r"(?=.*\{name\})https?://[^/\s{}]+/([^\s{}]|\{(zone|band|square|name)\})*"
"""The regular expression of a mirror's URL template: it contains `{name}`, and no unknown braces."""

RECIPE_OPTIONS = ("--recipe", "--dataset-recipe")
"""Arguments that name the recipe to follow."""
