"""The writers of the metadata, for tests to go through."""

from __future__ import annotations

import duckdb
import pytest

IS_OF_THE_PUBLISHED = pytest.mark.skipif(
    duckdb.__version__ != "1.0.0",
    reason="the published files were written by DuckDB 1.0.0, of which Python 3.13 has none",
)
WRITERS = ["default", pytest.param("published", marks=IS_OF_THE_PUBLISHED)]
