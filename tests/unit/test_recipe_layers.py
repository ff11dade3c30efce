"""What a recipe may say of layers and Sentinel-1; everything that is wrong is said at once."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from ben_luigi.config import TRACKED_ARTIFACTS
from ben_luigi.domain.recipe import parts, reading, template
from ben_luigi.domain.recipe.model import Layer, Recipe, Sentinel1
from ben_luigi.stages import layers as stage

LAYER = (
    '[layers.{name}]\npath = "{path}"\nresolution_m = {resolution_m}\nresampling = "{resampling}"\ndtype = "{dtype}"\n'
)
RIGHT = {"name": "dem", "path": "dem_{tile}.tif", "resolution_m": 20, "resampling": "average", "dtype": "int16"}


def _read(folder: Path, *sections: str) -> tuple[object, list[str]]:
    text = template.text("my-region", TRACKED_ARTIFACTS).partition("[sentinel1]")[0]
    (folder / "mine.toml").write_text(text + "\n".join(sections), encoding="utf-8")
    recipe, findings = reading.check(folder / "mine.toml", TRACKED_ARTIFACTS, "mine.toml")
    return recipe, [str(one).partition(": ")[2] for one in findings]


def _layer(**changed: object) -> str:
    more = {key: changed.pop(key) for key in ("nodata", "max_days", "band") if key in changed}
    return LAYER.format(**{**RIGHT, **changed}) + "".join(f"{key} = {value}\n" for key, value in more.items())


def test_layers_and_rasters_of_sentinel1_are_read(tmp_path: Path) -> None:
    radar = '[sentinel1]\nfrom = "rasters"\nrasters = "s1/{tile}_{polarisation}.tif"\nresampling = "bilinear"\n'
    cover = _layer(name="cover", dtype="uint8", nodata=255, path="{date}.tif", max_days=3)
    recipe, said = _read(tmp_path, radar, _layer(), cover)
    assert said == []
    assert recipe.sentinel1 == Sentinel1("rasters", f"{tmp_path}/s1/{{tile}}_{{polarisation}}.tif", "bilinear", 6)  # type: ignore[attr-defined]
    assert recipe.layers == (  # type: ignore[attr-defined]
        Layer("dem", f"{tmp_path}/dem_{{tile}}.tif", 20, "average", "int16"),
        Layer("cover", f"{tmp_path}/{{date}}.tif", 20, "average", "uint8", 255.0, 3),
    )


WRONG: dict[str, tuple[dict[str, object], str]] = {
    "resolution": ({"resolution_m": 7}, "resolution_m: found 7, which does not divide the side of a patch, 1200 m"),
    "too fine": ({"resolution_m": 4}, "resolution_m: found 4; allowed: a whole number from 5"),
    "resampling": ({"resampling": "bilinaer"}, "resampling: found 'bilinaer'; allowed: \"nearest\""),
    "type": ({"dtype": "float16"}, "dtype: found 'float16'"),
    "nodata": ({"dtype": "uint8", "nodata": -1}, 'nodata: found -1 with dtype = "uint8"'),
    "part of a number": ({"nodata": 0.5}, 'nodata: found 0.5 with dtype = "int16"'),
    "field": (
        {"path": "{square}.tif"},
        "path: found '{square}.tif'; allowed: the path of a file, or a pattern with {tile}",
    ),
    "file": ({"path": "dme.tif"}, "path: found nothing at"),
    "band": ({"band": 0}, "band: found 0; allowed: a whole number from 1"),
    "days": ({"max_days": 3}, "max_days: found max_days with a path without {date}"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_layer_is_said(what: str, tmp_path: Path) -> None:
    changed, said = WRONG[what]
    recipe, findings = _read(tmp_path, _layer(**changed))
    assert recipe is None and len(findings) == 1
    assert findings[0].startswith(f"[layers.dem] {said}"), findings


def test_a_raster_that_cannot_be_cut_is_said_with_all_else(tmp_path: Path) -> None:
    """No CRS, several bands, no raster at all: before anything starts, and together."""
    place = {"driver": "GTiff", "width": 2, "height": 2, "dtype": "int16", "transform": from_origin(0, 1, 1, 1)}
    for name, more in (("nowhere", {"count": 1}), ("two", {"count": 2, "crs": "EPSG:4326"})):
        with rasterio.open(tmp_path / f"{name}.tif", "w", **place, **more) as file:
            file.write(np.ones((file.count, 2, 2), "int16"))
    (tmp_path / "text.tif").write_text("text")
    names = ("nowhere", "two", "text")
    _, said = _read(tmp_path, *(_layer(name=name, path=f"{name}.tif") for name in names), _layer(resampling="nearst"))
    assert [line.partition(",")[0] for line in said[:2]] == [
        "[layers.nowhere] path: found no CRS",
        "[layers.two] path: found 2 bands",
    ]
    assert said[2].startswith("[layers.text] path: found ") and "not recognized" in said[2]
    assert said[3].startswith("[layers.dem] resampling: found 'nearst'") and len(said) == 4


def test_a_band_of_several_is_named(tmp_path: Path) -> None:
    """It is checked with the raster; without a value it does not count among what older results were made from."""
    place = {"driver": "GTiff", "width": 2, "height": 2, "dtype": "int16", "transform": from_origin(0, 1, 1, 1)}
    with rasterio.open(tmp_path / "two.tif", "w", count=2, crs="EPSG:4326", **place) as file:
        file.write(np.ones((2, 2, 2), "int16"))
    radar = '[sentinel1]\nfrom = "rasters"\nrasters = "{polarisation}.tif"\nresampling = "nearest"\nband = 2\n'
    recipe, said = _read(tmp_path, radar, _layer(path="two.tif", band=2))
    assert said == [] and isinstance(recipe, Recipe) and (recipe.sentinel1.band, recipe.layers[0].band) == (2, 2)
    default = replace(recipe, layers=())
    made_from = [parts.differing(one, default, ["layers"])["recipe"]["layers"][0] for one in _with_bands(recipe)]
    assert made_from[0]["band"] == 2 and "band" not in made_from[1]
    assert "of which band 3 is taken" in _read(tmp_path, _layer(path="two.tif", band=3))[1][0]
    refused = _read(tmp_path, '[sentinel1]\nfrom = "none"\nband = 2\n')[1]
    assert len(refused) == 1 and refused[0].startswith('[sentinel1] band: found band with from = "none"')


def _with_bands(recipe: Recipe) -> list[Recipe]:
    return [replace(recipe, layers=(replace(recipe.layers[0], band=band),)) for band in (2, None)]


def test_a_name_twice_is_said_with_its_line(tmp_path: Path) -> None:
    recipe, said = _read(tmp_path, _layer(), _layer())
    assert recipe is None and "twice" in said[0] and "line" in said[0]


RADAR = {
    "no polarisation": ('rasters = "a_{tile}.tif"\nresampling = "nearest"', "rasters: found '"),
    "no resampling": ('rasters = "{polarisation}.tif"', 'from: found "rasters" without resampling'),
    "no rasters": ('resampling = "nearest"', 'from: found "rasters" without rasters'),
}


@pytest.mark.parametrize("what", RADAR)
def test_wrong_rasters_of_sentinel1_are_said(what: str, tmp_path: Path) -> None:
    text, said = RADAR[what]
    _, findings = _read(tmp_path, f'[sentinel1]\nfrom = "rasters"\n{text}\n')
    assert len(findings) == 1 and findings[0].startswith(f"[sentinel1] {said}"), findings


def test_keys_of_rasters_are_refused_elsewhere(tmp_path: Path) -> None:
    _, said = _read(tmp_path, '[sentinel1]\nfrom = "none"\nresampling = "nearest"\nmax_days = 3\n')
    assert [line.partition(";")[0] for line in said] == [
        '[sentinel1] resampling: found resampling with from = "none"',
        '[sentinel1] max_days: found max_days with from = "none"',
    ]


OTHERWISE = {"resolution_m": 60, "resampling": "nearest", "dtype": "int32", "nodata": -1.0, "band": 2}


def test_a_layer_is_cut_again_wherever_its_section_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which raster it is, its hash tells. A section without band leaves the record as it was before there was one."""
    monkeypatch.setattr(stage._Cutting, "settings", lambda task: {})
    of_rasters = {field.name for field in fields(Layer)} - {"name", "of_product", "bands", "path", "max_days"}
    assert OTHERWISE.keys() == of_rasters
    dem = Layer("dem", "dem.tif", 20, "average", "int16", 0.0)
    said = []
    for changed in ({}, *({name: value} for name, value in OTHERWISE.items())):
        found = replace(dem, **changed)  # type: ignore[arg-type]
        monkeypatch.setattr(stage, "layer_named", lambda name, found=found: found)
        said.append(stage.CutLayer(tile="33UUP_20170613", layer="dem").settings())
    assert "band" not in said[0] and all(other != said[0] for other in said[1:])
