"""Files that several unit tests change, and a small finished dataset: made once, and copied for each."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import luigi
import numpy as np
import pytest

from ben_luigi.domain.dataset.about import V2
from ben_luigi.domain.dataset.form import FORM_V2
from ben_luigi.domain.dataset.verify_rules import References
from ben_luigi.domain.forms.export import FORMS, export
from ben_luigi.domain.forms.source import Source
from ben_luigi.domain.publishing.package import (
    Item,
    Package,
    of_dataset,
)
from ben_luigi.state import stored
from tests.publishing_servers import S3Server, s3
from tests.unit.exports import SMALL, files_of, pixels_of, varied_dataset
from tests.unit.geopackages import write
from tests.unit.l1c_products import NAME, make_safe, zipped
from tests.unit.publishing_places import NAMES, PART
from tests.unit.small_dataset import Dataset, write_references
from tests.unit.store_places import BOUND, Place, option


@pytest.fixture(autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty current folder: what a run has left in `data/` of the checkout is no matter of a test."""
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))


@pytest.fixture
def s3_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """S3 with an empty bucket, and an environment that names it."""
    with s3() as bucket:
        for name, value in bucket.environment().items():
            monkeypatch.setenv(name, value)
        yield bucket


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """The data folder, empty."""
    settings = luigi.configuration.get_config()
    settings.set("dataset", "data_dir", str(tmp_path))
    yield tmp_path
    settings.remove_option("dataset", "data_dir")


@pytest.fixture(scope="session")
def references(tmp_path_factory: pytest.TempPathFactory) -> References:
    """The inputs of the small dataset; not to be changed."""
    return write_references(tmp_path_factory.mktemp("references"))


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small dataset, with all that the pipeline makes; who changes it puts it right again."""
    return Dataset().write_all(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(whole, tmp_path / "dataset"))


@pytest.fixture(scope="session")
def sound_gpkg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CORINE GeoPackage; not to be changed."""
    return write(tmp_path_factory.mktemp("clc") / "sound.gpkg")


@pytest.fixture
def gpkg(sound_gpkg: Path, tmp_path: Path) -> Path:
    """A copy of it that may be changed."""
    return Path(shutil.copy(sound_gpkg, tmp_path / "clc.gpkg"))


@pytest.fixture(scope="session")
def varied() -> Dataset:
    return varied_dataset()


@pytest.fixture(scope="session")
def finished(varied: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return varied.write(tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="session")
def pixels(varied: Dataset) -> Mapping[str, np.ndarray]:
    """The pixels of each file, by its name without suffix."""
    return {Path(name).stem: pixels_of(data) for name, data in files_of(varied)}


@pytest.fixture(scope="session")
def exported(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """All forms of the dataset."""
    out = tmp_path_factory.mktemp("forms")
    for name, form in FORMS.items():
        export(form, Source.open(finished), out / name, SMALL)
    return {name: out / name for name in FORMS}


@pytest.fixture
def safe(tmp_path: Path) -> Path:
    """A product as a folder, with 13 files that pass for images."""
    return make_safe(tmp_path / "source" / str(NAME))


@pytest.fixture
def product(safe: Path, tmp_path: Path) -> Path:
    """The product as CDSE sends it."""
    return zipped(safe, tmp_path / "product.zip")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """An empty data folder with an empty store."""
    text = f"[dataset]\ndata_dir = {tmp_path}/data\nstore = file://{tmp_path}/store\ncache_gb = {BOUND}\n"
    (tmp_path / "own.cfg").write_text(text)
    option(monkeypatch, "data_dir", tmp_path / "data")
    option(monkeypatch, "store", f"file://{tmp_path}/store")
    option(monkeypatch, "cache_gb", BOUND)
    monkeypatch.setattr(stored, "_listings", {})
    monkeypatch.setattr("ben_luigi.domain.storing.filesystem._PAUSE_S", 0.001)
    (tmp_path / "data").mkdir()
    yield Place(tmp_path / "data", tmp_path / "store")


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials for moto, and no pauses in huggingface_hub."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "of-s3")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """Files of all kinds: empty, small, with a space in the name, and one of more than two parts of S3."""
    folder = tmp_path_factory.mktemp("package")
    contents = (b"free", b"words", b"", bytes(range(256)) * (2 * PART // 256 + 77), b"PAR1" * 1000)
    for name, content in zip(NAMES, contents, strict=True):
        (folder / name).write_bytes(content)
    items = tuple(Item.of(name, folder / name) for name in NAMES)
    return Package(folder, folder, "A title", V2, 6, items)


@pytest.fixture
def shown(folder: Path) -> Package:
    return of_dataset(folder, FORM_V2)
