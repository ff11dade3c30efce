"""A data folder with a store of its results, and results in them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import luigi
import pytest

from ben_luigi.state.targets import MadeFile

SIZE, BOUND = 100_000, 0.001  # GB
ONE = "patches/1.tar"
"""Ten of these files fit."""


@dataclass
class Maker:
    """The task of a result."""

    revision: int = 1
    task_family = "Make"

    def adopts(self) -> bool:
        """Not of an older version."""
        return False

    def to_str_params(self) -> dict[str, str]:
        """No parameters."""
        return {}

    def fingerprint(self) -> dict[str, int]:
        """What it is made from."""
        return {"revision": self.revision}


@dataclass
class Place:
    """A data folder and its store."""

    data: Path
    store: Path

    def made(self, relative: str, size: int = SIZE, maker: Maker | None = None) -> MadeFile:
        """A result that has just been made and recorded."""
        target = MadeFile(relative, maker or Maker())
        target.withdraw()
        target.file.parent.mkdir(parents=True, exist_ok=True)
        target.file.write_bytes(random.Random(relative).randbytes(size))
        target.record(relative)
        return target

    def used(self) -> int:
        """The bytes that are in the cache, and on their way to it."""
        return sum(path.stat().st_size for path in self.data.rglob("*") if path.suffix == ".tar")

    def here(self) -> list[str]:
        """The shards in the data folder."""
        return sorted(path.name for path in (self.data / "patches").glob("*.tar"))


def option(monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> None:
    """Set an option of [dataset] for a test."""
    section = luigi.configuration.get_config()._sections.setdefault("dataset", {})
    monkeypatch.setitem(section, name, str(value))
