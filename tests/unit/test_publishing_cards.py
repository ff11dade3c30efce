"""The card that is published with a dataset or a form, with examples that run, and what Zenodo is told."""

from __future__ import annotations

import contextlib
import re
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
import zstandard
from huggingface_hub import DatasetCard

from ben_luigi.domain.dataset.about import V2
from ben_luigi.domain.dataset.form import FORM_V2
from ben_luigi.domain.forms.export import FORMS, export
from ben_luigi.domain.forms.source import Source
from ben_luigi.domain.publishing import card
from ben_luigi.domain.publishing.package import (
    Package,
    of_dataset,
    of_form,
)
from ben_luigi.domain.publishing.zenodo import metadata_of
from ben_luigi.domain.vocabulary import ARRAY, PIXELS, RAW
from tests.unit.exports import SMALL


def test_zenodo_is_told_title_creators_licence_and_paper(shown: Package) -> None:
    told = metadata_of(shown)
    assert told["creators"][:2] == [{"name": "Clasen, Kai Norman"}, {"name": "Hackel, Leonard"}]
    assert told["creators"][4] == {"name": "Demir, Begüm"} and len(told["creators"]) == 6
    assert (told["title"], told["version"], told["license"]) == ("A small dataset", "2.0.0", "cdla-permissive-1.0")
    assert told["related_identifiers"] == [{"identifier": "arXiv:2407.03653", "relation": "isDescribedBy"}]
    own = replace(shown, about=replace(V2, citation=""))
    assert metadata_of(own)["creators"] == [{"name": "A small dataset"}]


def test_the_card_of_a_dataset_begins_with_what_the_hub_reads(shown: Package) -> None:
    read = DatasetCard(card.front_matter(shown) + card.text(shown, FORM_V2))
    told = read.data.to_dict()
    assert told["license"] == "cdla-permissive-1.0" and told["pretty_name"] == "A small dataset"
    assert told["configs"] == [{"config_name": "patches", "data_files": "patches.parquet"}]
    assert told["size_categories"] == ["n<1K"]
    assert "| `clc_111` ... `clc_999` | float | part of the patch" in read.text
    assert "| `season` | string | spring, summer, fall or winter" in read.text
    assert read.text.count("# A small dataset") == 1 and "```python" in read.text


@pytest.mark.parametrize(
    ("patches", "size"), [(10**7 - 1, "1M<n<10M"), (10_351_250, "10M<n<100M"), (10**11, "100B<n<1T"), (10**12, "n>1T")]
)
def test_the_size_of_a_dataset_is_said_as_the_hub_says_it(shown: Package, patches: int, size: str) -> None:
    read = yaml.safe_load(card.front_matter(replace(shown, patches=patches)).strip("-\n"))
    assert read["size_categories"] == [size]


def test_another_licence_is_named_as_the_hub_wants_it(shown: Package) -> None:
    own = replace(shown, about=replace(V2, license="LicenseRef-Mine", citation=""))
    read = yaml.safe_load(card.front_matter(own).strip("-\n"))
    assert (read["license"], read["license_name"]) == ("other", "licenseref-mine")
    assert read["license_link"] == "LICENSE", "SPDX has no page of it"
    own = replace(shown, about=replace(V2, license="MPL-2.0"))
    assert 'license_link: "https://spdx.org/licenses/MPL-2.0.html"' in card.front_matter(own)


def example(package: Package, *, is_flat: bool = False) -> str:
    found = re.search(r"```python\n(.*?)```", card.text(package, FORM_V2, is_flat=is_flat), re.DOTALL)
    assert found
    return found[1]


@pytest.mark.parametrize("name", [*FORMS, ARRAY, RAW])
def test_the_example_of_each_form_loads_its_pixels(
    name: str,
    exported: Mapping[str, Path],
    finished: Path,
    pixels: Mapping[str, np.ndarray],
    tmp_path: Path,
) -> None:
    """In the folder of the form, as who has fetched it does."""
    if name in PIXELS:
        folder = tmp_path / name
        export(FORMS["parquet"], Source.open(finished), folder, replace(SMALL, pixels=name))
    else:
        folder = Path(shutil.copytree(exported[name], tmp_path / name))
    found: dict[str, np.ndarray] = {}
    package = of_form(folder, finished, FORM_V2)
    with contextlib.chdir(folder):
        exec(example(package), found)
    bands = [values for key, values in pixels.items() if key.endswith("_B04")]
    assert any(np.array_equal(found["red"], band) for band in bands)
    if name not in ("lmdb", "geoparquet"):
        assert list(found["labels"]) == ["Arable land", "Pastures"]


def test_the_example_of_the_dataset_loads_its_pixels(
    finished: Path, pixels: Mapping[str, np.ndarray], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "dataset"))
    with zstandard.open(folder / "BigEarthNet-S2.tar.zst") as file, tarfile.open(fileobj=file, mode="r|") as archive:
        archive.extractall(folder)  # ours: Python 3.11.2 knows no filter
    found: dict[str, np.ndarray] = {}
    with contextlib.chdir(folder):
        exec(example(of_dataset(folder, FORM_V2)), found)
    assert any(np.array_equal(found["red"], values) for key, values in pixels.items() if key.endswith("_B04"))
