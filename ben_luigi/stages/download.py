"""Fetch L1C products from the sources of the user's order, or find them in the user's folder."""

from __future__ import annotations

import logging
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
from ben_luigi.domain.products.l1c_container import UnreadableProduct
from ben_luigi.domain.sources import folder
from ben_luigi.domain.sources.outcome import Incomplete, Nowhere, Unanswered
from ben_luigi.stages.account import FindAccount
from ben_luigi.stages.fetching import Fetching
from ben_luigi.stages.places import before_products
from ben_luigi.stages.prerequisites import (
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
    known_tiles,
    product_of,
    source,
    source_task,
    tiles,
)
from ben_luigi.stages.sample_world import made_up
from ben_luigi.stages.sources import has_account, in_order
from ben_luigi.stages.task import Digests, PipelineTask, TileTask
from ben_luigi.state import budget, contents
from ben_luigi.state.snapshot import snapshot
from ben_luigi.state.targets import MadeFile, MadeProduct

_log = logging.getLogger(__name__)


class _L1C(TileTask):
    """An L1C product, verified; its report says where it is."""

    priority = PRIORITY["download"]
    product = "L1C"
    option = "tile_names_csv"

    def needs(self) -> list[luigi.Task]:
        """Return the check of where all products lie: nothing is fetched for a list that cannot be used."""
        return before_products()

    def output(self) -> dict[str, MadeFile]:
        """Return the report on the product."""
        return {"report": self.file(f"l1c/{self.tile}.json")}

    def product_path(self) -> Path:
        """Return the zip or `.SAFE` folder, once the task is complete."""
        return config.data_dir() / str(self.report()["path"])

    def report(self) -> dict[str, Any]:
        """Return what was found out about the product."""
        return self.output()["report"].read_object()

    def id(self) -> str:
        """Return the id in the report; empty if there is no report."""
        try:
            return str(self.report()["id"])
        except (KeyError, DamagedFile):
            return ""

    def content(self) -> str:
        """Return what identifies the product: its own content, wherever it is."""
        try:
            report = self.report()
            return str(report.get("content", report["sha256"]))
        except (KeyError, DamagedFile):
            return ""

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Surround the reading of the product."""
        yield

    def _write_report(self, report: dict[str, Any]) -> None:
        files.write_json(self.output()["report"].file, report)


class DownloadL1C(_L1C):
    """A tile's L1C product, complete and proven, from the first source that has it.

    From CDSE it comes as a zip, from a bucket or mirror as a folder, with each file from the first source that has it.
    A complete product is never fetched again.
    """

    resources = {"cdse": 1}  # noqa: RUF012 (as Luigi declares it)
    may_go = ("product",)

    def requires(self) -> Any:
        """Return the list of products; if CDSE is asked first, also the catalogue's answers and an account.

        So it is on the sample world, whose ids are then known whichever task runs first.
        """
        return [AskCatalogue(), FindAccount()] if config.needs_account() or config.is_sample() else [source_task()]

    def made_of(self) -> list[PipelineTask]:
        """Return nothing: a complete product remains so, even if the catalogue's answer changes."""
        return []

    def settings(self) -> dict[str, Any]:
        """Return the product, and that it is a made-up one: the sample world has products of the same names."""
        return {"product": str(product_of(self.tile)), **made_up()}

    def adopts(self) -> bool:
        """Return whether it is this product, which was verified when it arrived."""
        found = files.read_object(super().output()["report"].file)
        return bool(found.get("name") == str(product_of(self.tile)))

    def is_true(self) -> bool:
        """Return whether it arrived complete, whatever the catalogue says of other products since."""
        with snapshot():
            return self._is_made(self.may_go)

    def output(self) -> dict[str, MadeFile]:
        """Return the product, a zip or the folder around its `.SAFE`, and the report on it."""
        product = MadeProduct(f"l1c/{self.tile}.zip", f"l1c/{self.tile}", self)
        return {"product": product, **super().output()}

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Surround the reading of the product. Raise DamagedFile if it has changed, so that it is fetched again."""
        try:
            yield
        except BadProduct as error:
            expected = "the product as it came"
            raise DamagedFile(self.output()["product"].file, expected=expected, found=error.found) from error

    def make(self) -> Digests:
        """Fetch and verify it, in one of the slots that all workers and hosts share."""
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
    """A tile's L1C product in the user's folder, verified.

    Of one that is damaged, the intact files are copied to the data folder, and the others come from the next sources.
    The user's own files stay as they are.
    """

    option = "l1c_dir"

    def requires(self) -> Any:
        """Return the task of the folder."""
        return GivenInput(option="l1c_dir")

    def settings(self) -> dict[str, Any]:
        """Return the product, and the signature of its files."""
        name = product_of(self.tile)
        path = found_in(input_path("l1c_dir")).get(name)
        return {"product": str(name), "files": contents.signature(path) if path else ""}

    def is_there(self) -> bool:
        """Return whether it was verified, and whether the product that was put together from it exists."""
        return super().is_there() and ((path := self._put_together()) is None or path.exists())

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Surround the reading of the product. Raise DamagedFile if our copy has changed, so that it is made again."""
        try:
            yield
        except BadProduct as error:
            if self._put_together() is None:
                raise
            expected = "a product as it was put together"
            raise DamagedFile(self.output()["report"].file, expected=expected, found=error.found) from error

    def make(self) -> None:
        """Verify it, and repair it if it is damaged."""
        name = product_of(self.tile)
        path = found_in(input_path("l1c_dir"))[name]
        try:
            found = l1c.verify(path, name)
        except UnreadableProduct:
            raise
        except BadProduct as error:
            self._write_report(self._repaired(path, error))
            return
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

    def _put_together(self) -> Path | None:
        """Return the product in the data folder that stands for a damaged one; None if the user's is intact."""
        try:
            return self.product_path() if self.report().get("source") == folder.NAME else None
        except DamagedFile:
            return None

    def _repaired(self, path: Path, error: BadProduct) -> dict[str, Any]:
        """Return the report on the product put together from the user's and other sources.

        Raise BadProduct if none of these has what is damaged.
        """
        others = ", ".join(name for name in config.source_order() if name != folder.NAME)
        if not others:
            raise error
        _log.warning("tile %s: %s; what is not intact is taken from %s", self.tile, error, others)
        try:
            with in_order() as order, budget.slot(config.downloads_at_once()):
                zipped = config.data_dir() / f"l1c/{self.tile}.zip"
                return Fetching(self, product_of(self.tile), zipped, int(config.cdse().tries)).repair(path, order)
        except (Nowhere, Unanswered, Incomplete) as failed:
            account = "" if "cdse" not in others or has_account() else "; cdse: no account is given"
            raise BadProduct(
                error.subject,
                expected=error.expected,
                found=f"{error.found}; at other sources: {failed.found}{account}",
                remedy="give an intact product in [inputs] l1c_dir, name other sources, or run again later",
            ) from failed


def l1c_task(tile: str) -> _L1C:
    """Return the task of a tile's L1C product: from the user's folder if it is there, else from other sources."""
    own = config.given_input("l1c_dir")
    is_asked = folder.NAME in config.source_order()
    if own is not None and (source() == "l1c_dir" or (is_asked and product_of(tile) in found_in(own))):
        return FindL1C(tile=tile)
    return DownloadL1C(tile=tile)


class HashL1C(OverTiles):
    """`ben_s2_l1c_hashes.csv`, and a table of how each zip differs from the published one."""

    priority = PRIORITY["download"]

    def requires(self) -> Any:
        """Return the list of products, and products without a report.

        A product may be removed, but its report stays.
        """
        published = [TryInput(option=option) for option in ("published_tile_ids_csv", "published_l1c_hashes_csv")]
        return [source_task(), *published, *_unreported(self._known)]

    def tile_tasks(self) -> list[PipelineTask]:
        """Return the tasks of all L1C products."""
        return [l1c_task(tile) for tile in tiles()]

    def made_of(self) -> list[PipelineTask]:
        """Return the reports, and what they are compared with."""
        return [*super().made_of(), *(task for task in self.deps() if isinstance(task, TryInput))]

    def settings(self) -> dict[str, Any]:
        """Return the ids that the list gives to products: those of one that comes from elsewhere differ."""
        return {"ids": {tile: l1c_task(tile).id() for tile in known_tiles()}}

    def needs(self) -> list[luigi.Task]:
        """Return the tasks of products without a report."""
        return [*_unreported(self.tile_tasks())]

    def output(self) -> dict[str, MadeFile]:
        """Return the list of hashes, and the differences."""
        return {"hashes": self.file("tiles/ben_s2_l1c_hashes.csv"), "drift": self.file("tiles/l1c_drift.json")}

    def make(self) -> None:
        """Collect the hashes that were computed while downloading."""
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
    """Return the sha256 of each published zip by product name.

    Neither the id at CDSE, which may have changed, nor the file name, which the user chooses, identifies it.
    """
    ids, hashes = optional_path("published_tile_ids_csv"), optional_path("published_l1c_hashes_csv")
    if not ids or not hashes:
        return {}
    by_id = l1c.read_hashes(hashes)
    return {name: by_id[key] for name, key in read_tile_ids(ids).items() if key in by_id}


def _unreported(tasks: list[PipelineTask]) -> list[PipelineTask]:
    """Return the tasks whose L1C product has no report."""
    with snapshot():
        return [task for task in tasks if not task.is_true()]


def _deviation(path: Path, published_sha256: str, sha256: str) -> str:
    """Return `l1c.deviation`, or its known result for a product that is not a zip any more.

    A product with a report was intact by its own manifest when it arrived. So a zip that was removed since is not read,
    nor is a folder whose files were proven one by one.
    """
    if path.exists() and (sha256 or not path.is_relative_to(config.data_dir())):
        return l1c.deviation(path, published_sha256, sha256)
    if not sha256:
        return l1c.PROVEN
    return l1c.SAME if sha256 == published_sha256 else l1c.REPACKED
