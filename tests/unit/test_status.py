"""What `ben-luigi status` says of a store that is away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import luigi
import pytest

from ben_luigi.commands import status
from ben_luigi.domain import files
from ben_luigi.state import stored


@pytest.fixture
def store(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a store that this data folder has filled, which is not mounted."""
    folder = tmp_path_factory.mktemp("mounts") / "store"
    settings = luigi.configuration.get_config()
    settings.set("dataset", "store", f"file://{folder}")
    files.write_json(data_dir / "store.json", {"store": f"file://{folder}"})
    yield folder
    settings.remove_option("dataset", "store")
    stored._opened.cache_clear()


def test_a_store_that_is_not_mounted_is_named_with_what_follows(store: Path) -> None:
    told = status.facts()
    assert told["store"]["url"] == f"file://{store}"
    assert f"The store is away, and what lies there alone counts as missing: [dataset] store = file://{store}" in (
        status.words(told)
    )
    assert "next: mount it" in told["store"]["problem"]["text"]


def test_without_a_store_nothing_is_said_of_one(data_dir: Path) -> None:
    told = status.facts()
    assert told["store"] is None
    assert "The store" not in status.words(told)
