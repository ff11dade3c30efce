"""The cards of exported forms: they describe what is sent, and their examples run where folders are zips."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ben_luigi.domain.dataset.form import FORM_V2
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.forms.export import FORMS, export
from ben_luigi.domain.forms.source import S1, Source
from ben_luigi.domain.publishing import card
from ben_luigi.domain.publishing.package import flattened, of_dataset, of_form
from ben_luigi.domain.publishing.zenodo import metadata_of
from tests.unit.exports import SMALL
from tests.unit.test_publishing_cards import example


def test_the_example_of_a_form_in_folders_loads_where_each_is_a_zip(
    exported: Mapping[str, Path], finished: Path, pixels: Mapping[str, np.ndarray], tmp_path: Path
) -> None:
    package = of_form(exported["zarr"], finished, FORM_V2)
    fetched = tmp_path / "fetched"
    fetched.mkdir()
    for item in flattened(package, tmp_path / "work").items:
        shutil.copy(item.path, fetched / item.name)
    found: dict[str, np.ndarray] = {}
    with contextlib.chdir(fetched):
        exec(example(package, is_flat=True), found)
    assert any(np.array_equal(found["red"], band) for key, band in pixels.items() if key.endswith("_B04"))
    assert "zip" not in example(of_form(exported["parquet"], finished, FORM_V2), is_flat=True)


def test_the_card_of_a_form_describes_what_is_sent_and_nothing_else(
    exported: Mapping[str, Path], finished: Path
) -> None:
    with_maps = "with reference maps of land cover and labels"
    for name, said in {
        "lmdb": ("| patch id | safetensors of uint16 (row, col) | bands of Sentinel-2: B01, ", "| dB: VH, VV |"),
        "webdataset": ("| `<patch_id>.map.npy` | uint16 (row, col) |", "| `<patch_id>.s1.npz` |"),
        "zarr": (
            "| `s2_10m` | uint16 | patch: 6, band_s2_10m: 4, row_10m: 120, col_10m: 120 | bands of Sentinel-2 |",
            "| `country` | ",
            "| `s1` | float32 | patch: 6,",
        ),
        "parquet": ("## Columns of `",),
        "geoparquet": ("## Columns of `patches.parquet`",),
    }.items():
        package = of_form(exported[name], finished, FORM_V2)
        text = card.text(package, FORM_V2)
        assert not [words for words in said if words not in text], text
        assert "|  |" not in text  # nothing is left without words
        assert (with_maps in text) == (name != "lmdb") and "6 patches of Sentinel-2 and Sentinel-1" in text
        sent = {item.name for item in package.items}
        assert {*re.findall(r"## Columns of `(.*?)`", text)} <= sent
        assert ("labels and splits in its\n`metadata.parquet`" in text) == (name == "lmdb")
        assert package.description in metadata_of(package)["description"]


def test_arrays_that_cannot_be_listed_are_told(exported: Mapping[str, Path], finished: Path, tmp_path: Path) -> None:
    form = Path(shutil.copytree(exported["zarr"], tmp_path / "form"))
    for content in ("", "[]", "{}", '{"consolidated_metadata": {"metadata": {"a": 1}}}'):
        (form / "zarr.json").write_text(content)
        with pytest.raises(BadInput, match=r"zarr\.json; expected: a group .* next: export the form again"):
            card.text(of_form(form, finished, FORM_V2), FORM_V2)


@pytest.mark.parametrize("name", ["parquet", "geoparquet"])
def test_what_macos_leaves_beside_a_table_is_no_table(
    name: str, exported: Mapping[str, Path], finished: Path, tmp_path: Path
) -> None:
    form = Path(shutil.copytree(exported[name], tmp_path / "form"))
    expected = card.text(of_form(form, finished, FORM_V2), FORM_V2)
    for path in [*form.iterdir()]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\26\7")
    assert card.text(of_form(form, finished, FORM_V2), FORM_V2) == expected


def test_the_card_says_that_pixels_carry_an_offset(
    exported: Mapping[str, Path], finished: Path, tmp_path: Path
) -> None:
    """No form but webdataset tells it; a dataset without any says nothing of it."""
    dataset = shutil.copytree(finished, tmp_path / "dataset")
    product = "S2A_MSIL2A_20250314T134221_N0511_R024_T21HUB_20250314T170512.SAFE"
    for offset, said in ((0, False), (-1000, True)):
        tile = {"l2a_name": product, "boa_offset": offset}
        (dataset / "provenance.json").write_text(json.dumps({"tiles": {"21HUB_20250314": tile}}))
        text = card.text(of_form(exported["parquet"], dataset, FORM_V2), FORM_V2)
        assert ("subtract 1,000 from" in text) == ("_T21HUB" in text) == said


def test_sentinel1_is_named_where_it_is_sent(finished: Path, tmp_path: Path) -> None:
    """By the tags of the Hub and by what Zenodo is told, of a dataset as of a form."""
    dataset = shutil.copytree(finished, tmp_path / "dataset")
    for has_it in (True, False):
        package = of_dataset(dataset, FORM_V2)
        assert ("- sentinel-1\n" in card.front_matter(package)) == has_it
        assert ("Sentinel-2 and Sentinel-1 with" in str(metadata_of(package)["description"])) == has_it
        if has_it:
            (dataset / "BigEarthNet-S1.tar.zst").unlink()
            source = replace(Source.open(dataset), left_out=(S1,))
            export(FORMS["parquet"], source, tmp_path / "form", SMALL)
            assert "sentinel-1" not in card.front_matter(of_form(tmp_path / "form", dataset, FORM_V2))
