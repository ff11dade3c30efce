"""A raster may state a scale and an offset for its values: they are not applied, which is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.placement.grid import PatchGrid, Square
from ben_luigi.domain.tiles.layers import Source

GRID = PatchGrid("T", Square(300_000, 5_400_000, 1_200, 32633))


@pytest.mark.parametrize(
    ("band", "scale", "said"),
    [(None, 1.0, ""), (None, 0.01, "scale 0.01 and offset -5"), (2, 10.0, "scale 10 and offset 0")],
)
def test_values_are_those_that_are_stored_and_a_scale_is_said(
    band: int | None, scale: float, said: str, tmp_path: Path
) -> None:
    path, count = tmp_path / "a.tif", band or 1
    kind = {"driver": "GTiff", "dtype": "int16", "count": count, "height": 120, "width": 120, "crs": "EPSG:32633"}
    with rasterio.open(path, "w", transform=from_origin(300_000, 5_400_000, 10, 10), **kind) as file:
        file.write(np.full((count, 120, 120), 700, "int16"))
        file.scales = (*[1.0] * (count - 1), scale)
        file.offsets = (-5.0 if said and band is None else 0.0, *[0.0] * (count - 1))
    source = Source("dem", path, 10, "nearest", "int16", None, "[layers.dem]", band)
    assert source.unapplied_scale() == said
    assert (next(source.patches(GRID, np.array([0]))) == 700).all()


def test_a_file_that_is_no_raster_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_text("none")
    with pytest.raises(BadInput, match=r"a.tif; .*correct \[layers.dem\]"):
        Source("dem", tmp_path / "a.tif", 10, "nearest", "int16", None, "[layers.dem]").unapplied_scale()
