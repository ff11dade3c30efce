"""L1C products: from the sources that the user's order names, or from a folder that the user has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import luigi

from ben_luigi import config
from ben_luigi.domain import files
from ben_luigi.domain.cdse.resolve import read_tile_ids
from ben_luigi.domain.errors import BadProduct, DamagedFile
from ben_luigi.domain.products import l1c
from ben_luigi.stages.fetching import Fetching
from ben_luigi.stages.prerequisites import (
    FindAccount,
    GivenInput,
    TryInput,
    input_path,
    optional_path,
)
from ben_luigi.stages.progress import Progress, report_bytes
from ben_luigi.stages.resolve import (
    PRIORITY,
    AskCatalogue,
    OverTiles,
    found_in,
    product_of,
    source,
    source_task,
    tiles,
)
from ben_luigi.stages.sources import in_order
from ben_luigi.stages.task import Digests, PipelineTask, TileTask
from ben_luigi.state import budget, contents
from ben_luigi.state.snapshot import snapshot
from ben_luigi.state.targets import MadeFile, MadeProduct


class _L1C(TileTask):
    """An L1C product, verified; its report says where it is."""

    priority = PRIORITY["download"]
    product = "L1C"
    option = "tile_names_csv"

    def output(self) -> dict[str, MadeFile]:
        """The report on the product."""
        return {"report": self.file(f"l1c/{self.tile}.json")}

    def product_path(self) -> Path:
        """The zip or `.SAFE` folder, once the task is complete."""
        return config.data_dir() / str(self.report()["path"])

    def report(self) -> dict[str, Any]:
        """What was found out about the product."""
        found: dict[str, Any] = self.output()["report"].read_json()
        return found

    def content(self) -> str:
        """What tells the product: its own content, wherever it is."""
        try:
            report = self.report()
            return str(report.get("content", report["sha256"]))
        except (KeyError, DamagedFile):
            return ""

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around what reads the product."""
        yield

    def _write_report(self, report: dict[str, Any]) -> None:
        files.write_json(self.output()["report"].file, report)


class DownloadL1C(_L1C):
    """A tile's L1C product from the first source that has it, whole and proven. A complete one is never fetched again.

    From CDSE it comes as a zip, from a bucket or mirror as a folder, each file from the first source that has it whole.
    """

    resources = {"cdse": 1}  # noqa: RUF012 (as Luigi declares it)
    may_go = ("product",)

    def requires(self) -> Any:
        """The list of products; where CDSE is asked first, what its catalogue says of it, and an account."""
        return [AskCatalogue(), FindAccount()] if config.needs_account() else [source_task()]

    def made_of(self) -> list[PipelineTask]:
        """What proves it comes with it: another answer of the catalogue does not make a complete product less so."""
        return []

    def settings(self) -> dict[str, Any]:
        """The product."""
        return {"product": str(product_of(self.tile))}

    def adopts(self) -> bool:
        """If it is this product: it was verified when it came."""
        file = super().output()["report"].file
        return file.is_file() and json.loads(file.read_text(encoding="utf-8")).get("name") == str(product_of(self.tile))

    def is_true(self) -> bool:
        """Whether it came whole: whatever the catalogue says of other products by now."""
        with snapshot():
            return self._is_made(self.may_go)

    def output(self) -> dict[str, MadeFile]:
        """The product, a zip or the folder around its `.SAFE`, and the report on it."""
        product = MadeProduct(f"l1c/{self.tile}.zip", f"l1c/{self.tile}", self)
        return {"product": product, **super().output()}

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around what reads the product: DamagedFile if it is not what came, so that it comes again."""
        try:
            yield
        except BadProduct as error:
            expected = "the product as it came"
            raise DamagedFile(self.output()["product"].file, expected=expected, found=error.found) from error

    def make(self) -> Digests:
        """Fetch and verify, in one of the slots that all workers and hosts share."""
        options = config.cdse()
        left = budget.tries_left(self.tile, int(options.tries), timedelta(hours=float(options.cool_down_h)))
        with in_order() as order, budget.slot(config.downloads_at_once()):
            report = Fetching(self, product_of(self.tile), self._zip, left).run(order)
        budget.clear(self.tile)
        report_bytes(self, report["length_bytes"])
        self._write_report(report)
        return {"product": str(report["content"])}

    @property
    def _zip(self) -> Path:
        return config.data_dir() / f"l1c/{self.tile}.zip"


class FindL1C(_L1C):
    """A tile's L1C product in the folder that the user gives, verified."""

    option = "l1c_dir"

    def requires(self) -> Any:
        """The folder."""
        return GivenInput(option="l1c_dir")

    def settings(self) -> dict[str, Any]:
        """The product, and its files as the file system tells."""
        name = product_of(self.tile)
        path = found_in(input_path("l1c_dir")).get(name)
        return {"product": str(name), "files": contents.signature(path) if path else ""}

    def make(self) -> None:
        """Verify it."""
        name = product_of(self.tile)
        path = found_in(input_path("l1c_dir"))[name]
        found = l1c.verify(path, name)
        sha256 = contents.sha256(path, Progress(self, f"reading {path.name}", "B").at)
        self._write_report(
            {
                "path": str(path),
                "name": str(name),
                "id": path.stem,
                "sha256": sha256 if path.is_file() else "",
                "content": sha256,
                "not_verified": [*found.unlisted, *found.left_out],
            }
        )


def l1c_task(tile: str) -> _L1C:
    """The task that provides a tile's L1C product: from the user's folder if it is there, else from other sources."""
    folder = config.given_input("l1c_dir")
    is_asked = "folder" in config.source_order()
    if folder is not None and (source() == "l1c_dir" or (is_asked and product_of(tile) in found_in(folder))):
        return FindL1C(tile=tile)
    return DownloadL1C(tile=tile)


class HashL1C(OverTiles):
    """`ben_s2_l1c_hashes.csv`, and beside it how each zip differs from the published one."""

    priority = PRIORITY["download"]

    def requires(self) -> Any:
        """The list of products, and those on which there is no report yet: a product may go, its report stays."""
        published = [TryInput(option=option) for option in ("published_tile_ids_csv", "published_l1c_hashes_csv")]
        return [source_task(), *published, *_unreported(self._known)]

    def tile_tasks(self) -> list[PipelineTask]:
        """All L1C products."""
        return [l1c_task(tile) for tile in tiles()]

    def made_of(self) -> list[PipelineTask]:
        """The reports, and what they are compared with."""
        return [*super().made_of(), *(task for task in self.deps() if isinstance(task, TryInput))]

    def needs(self) -> list[luigi.Task]:
        """Those on which there is no report yet."""
        return [*_unreported(self.tile_tasks())]

    def output(self) -> dict[str, MadeFile]:
        """The list of hashes, and the differences."""
        return {"hashes": self.file("tiles/ben_s2_l1c_hashes.csv"), "drift": self.file("tiles/l1c_drift.json")}

    def make(self) -> None:
        """Collect the hashes that were taken while downloading."""
        tasks = [l1c_task(tile) for tile in tiles()]
        reports = [task.report() for task in tasks]
        rows = [(report["id"], report["sha256"]) for report in reports if report["sha256"]]
        l1c.write_hashes(self.output()["hashes"].file, rows)
        published = _published_hashes()
        deviation = {
            task.tile: _deviation(task.product_path(), published[report["name"]], report["sha256"])
            if report["name"] in published
            else l1c.UNKNOWN
            for task, report in zip(tasks, reports, strict=True)
        }
        files.write_json(self.output()["drift"].file, deviation)


def _published_hashes() -> dict[str, str]:
    """sha256 of each published zip by the name of its product: its id at CDSE may have changed, and a file is called
    as its owner likes.
    """
    ids, hashes = optional_path("published_tile_ids_csv"), optional_path("published_l1c_hashes_csv")
    if not ids or not hashes:
        return {}
    by_id = l1c.read_hashes(hashes)
    return {name: by_id[key] for name, key in read_tile_ids(ids).items() if key in by_id}


def _unreported(tasks: list[PipelineTask]) -> list[PipelineTask]:
    """The tasks whose L1C product has no report."""
    with snapshot():
        return [task for task in tasks if not task.is_true()]


def _deviation(path: Path, published_sha256: str, sha256: str) -> str:
    """As `l1c.deviation`; what came was intact by its own manifest then, or there were no report.

    So a zip that is gone since is not looked at, nor a folder whose files were proven one by one.
    """
    if path.exists() and (sha256 or not path.is_relative_to(config.data_dir())):
        return l1c.deviation(path, published_sha256, sha256)
    if not sha256:
        return l1c.PROVEN
    return l1c.SAME if sha256 == published_sha256 else l1c.REPACKED
