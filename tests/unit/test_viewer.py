"""The viewer without a browser: which patches it has, what it says of them, and its pictures, against plain numpy."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ben_luigi.domain.formats.shards import ShardReader
from ben_luigi.domain.formats.tiffheader import read_pixels
from ben_luigi.domain.names import PatchId
from ben_luigi.domain.report.report import write_report
from ben_luigi.domain.report.report_words import Sources
from ben_luigi.domain.report.viewer import ViewedPatch, chosen
from tests.unit.report_sources import COLOURS, backscatter, rows, sources, tiff
from tests.unit.test_rendering import decoded

FULL = {"B04": 0.25, "B08": 0.5, "B12": 0.4, "B09": 0.5}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """A small dataset."""
    return sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def folder(small: Sources, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its report."""
    folder = tmp_path_factory.mktemp("report")
    write_report(folder, small)
    return folder


def content(folder: Path, name: str) -> Any:
    """What a script of the viewer hands over."""
    text = (folder / "viewer" / f"{name}.js").read_text(encoding="utf-8")
    assert text.startswith(f"viewer.{name}(") and text.endswith(");\n")
    return json.loads(text[len(f"viewer.{name}(") : -3])


def cell(folder: Path, patch_id: str, band: str) -> np.ndarray:
    """The bytes of a band in the sheet of a patch."""
    left, top, side = content(folder, "patches")["cells"][band]
    picture = decoded((folder / "viewer" / f"{patch_id}.webp").read_bytes())
    return picture[top : top + side, left : left + side, 0].astype(int)


def test_it_says_of_each_patch_what_the_metadata_say(folder: Path) -> None:
    known = content(folder, "patches")
    expected = rows().sort_by("patch_id").to_pylist()
    assert [patch["id"] for patch in known["patches"]] == [row["patch_id"] for row in expected]
    for patch, row in zip(known["patches"], expected, strict=True):
        assert [known["classes"][at] for at in patch["labels"]] == sorted(row["labels"], key=known["classes"].index)
        assert known["splits"][patch["split"]] == row["split"]
        assert patch["country"] == row["country"] and patch["s1"] == row["s1_name"]
        assert patch["flags"] == row["contains_seasonal_snow"] + 2 * row["contains_cloud_or_shadow"]
        page, _, anchor = patch["page"].partition("#")
        assert f'id="{anchor}"' in (folder / page).read_text()
    assert known["countries"] == ["Belgium", "Luxembourg"]


def test_its_pictures_show_the_pixels(small: Sources, folder: Path) -> None:
    """WebP changes noise by some of 255 levels, and on average by few."""
    tile = small.tiles[0]
    for row in rows().to_pylist():
        with ShardReader(tile.patches) as shard, ShardReader(tile.maps) as maps:
            for band, full in FULL.items():
                pixels = read_pixels(shard.read(f"{row['patch_id']}_{band}")).astype(float)
                expected = 255 * np.clip(pixels / 10_000 / full, 0, 1) ** (1 / 1.5)
                assert np.abs(cell(folder, row["patch_id"], band) - expected).mean() < 6
            codes = read_pixels(maps.read(f"{row['patch_id']}_reference_map"))
        picture = decoded((folder / "viewer" / f"{row['patch_id']}.png").read_bytes())
        known = codes != 999
        assert np.array_equal(picture[:, :, 3] > 0, known)
        assert picture[known][:, :3].tolist() == [list(COLOURS[code]) for code in codes[known]]


def test_sentinel_1_stands_beside_sentinel_2(folder: Path) -> None:
    """On the page of the tile VV, VH and their ratio as one colour, VV and VH; in the viewer each by itself."""
    for row in rows().to_pylist():
        vv, vh = (np.nan_to_num(backscatter(row["s1_name"])[band], nan=-99).astype(float) for band in ("VV", "VH"))
        expected = {
            "VV": 255 * np.clip((vv + 25) / 25, 0, 1),
            "VH": 255 * np.clip((vh + 30) / 25, 0, 1),
            "VV/VH": 255 * np.clip((vv - vh) / 15, 0, 1),
        }
        place = PatchId.parse(row["patch_id"]).position
        strip = decoded((folder / "tiles" / "31UGR_20180508" / f"{place}_s1.webp").read_bytes())[:, :, :3].astype(int)
        assert strip.shape == (120, 360, 3)
        for band, pixels in expected.items():
            assert np.abs(cell(folder, row["patch_id"], band) - pixels).mean() < 4
        for at, band in ((1, "VV"), (2, "VH")):
            assert np.abs(strip[:, 120 * at : 120 * (at + 1), 1] - expected[band]).mean() < 4
        for channel, band in enumerate(expected):
            assert np.abs(strip[:, :120, channel] - expected[band]).mean() < 20  # WebP keeps a quarter of the colours
    tile = (folder / "tiles" / "31UGR_20180508.html").read_text()
    assert tile.count("_s1.webp") == 5 and "VV from -25 to 0 dB; VH from -30 to -5 dB; VV/VH from 0 to 15 dB" in tile


def test_each_file_of_a_patch_is_named_with_its_hashes(small: Sources, folder: Path) -> None:
    hashed = content(folder, "files")
    for row in rows().to_pylist():
        files = {name: facts for name, *facts in hashed[row["patch_id"]]}
        assert len(files) == 15
        with ShardReader(small.tiles[0].patches) as shard:
            data = shard.read(f"{row['patch_id']}_B8A")
        radar = tiff(backscatter(row["s1_name"])["VH"])
        for name, expected in ((f"{row['patch_id']}_B8A.tif", data), (f"{row['s1_name']}_VH.tif", radar)):
            sha256, md5 = hashlib.sha256(expected).hexdigest(), hashlib.md5(expected, usedforsecurity=False).hexdigest()
            assert files[name] == [len(expected), sha256, md5]


def test_a_dataset_without_sentinel_1_shows_none(small: Sources, tmp_path: Path) -> None:
    """And without countries and flags it does not ask for them."""
    columns = ["s1_name", "s2v1_name", "country", "contains_seasonal_snow", "contains_cloud_or_shadow"]
    write_report(tmp_path, replace(small, dataset=None, rows=small.rows.drop_columns(columns)))
    page, known = (tmp_path / "viewer.html").read_text(), content(tmp_path, "patches")
    assert not list(tmp_path.rglob("*_s1.webp")) and "VV" not in known["cells"]
    assert 'id="country"' not in page and 'id="flag"' not in page and "Sentinel-1" not in page
    assert all(patch["radar"] is False and "s1" not in patch for patch in known["patches"])
    assert len(content(tmp_path, "files")[known["patches"][0]["id"]]) == 13
    for text in (page, (tmp_path / "tiles" / "31UGR_20180508.html").read_text()):
        assert "dB" not in text


def test_the_offset_of_newer_baselines_is_taken_off() -> None:
    """Reflectance is (pixel + BOA_ADD_OFFSET) / 10,000, as ESA's product specification has it."""
    row = rows().to_pylist()[0]
    pixels = np.full((120, 120), 1700, "uint16")
    tiffs = {"B04": tiff(pixels), "VV": tiff(np.full((120, 120), -9, "float32")), "reference_map": tiff(pixels)}
    found = ViewedPatch.of_tiffs(row, tiffs, boa_offset=True).pixels
    assert [found[kind][0, 0] for kind in tiffs] == [700, -9, 1700]


def test_the_chosen_patches_show_every_property() -> None:
    """Of 400 patches, of which one alone has a label, another one a flag, and others a country, a split and a tile."""
    names = [f"S2A_MSIL2A_20180508T104031_N9999_R008_T31UGR_{at // 20:02d}_{at % 20:02d}" for at in range(400)]
    every = [
        {"patch_id": name, "labels": ["a"], "split": "train", "country": "Belgium", "contains_seasonal_snow": False}
        for name in names
    ]
    every[17]["labels"] = ["a", "b"]
    every[133]["contains_seasonal_snow"] = True
    every[201]["country"] = "Austria"
    every[280]["split"] = "test"
    every[391]["patch_id"] = names[0].replace("31UGR", "32UGR")
    found = chosen(every, 20)
    assert len(found) == 20 and found == sorted(found)
    assert {17, 133, 201, 280, 391} < set(found)
    assert chosen(every, 500) == list(range(400))
    assert chosen([], 20) == []
