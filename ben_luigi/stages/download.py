"""L1C products: from CDSE, or from a folder that the user has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import luigi

from ben_luigi import config
from ben_luigi.domain import files
from ben_luigi.domain.cdse.catalogue import CatalogueProduct
from ben_luigi.domain.cdse.download import Download
from ben_luigi.domain.cdse.http import Client
from ben_luigi.domain.cdse.resolve import read_tile_ids
from ben_luigi.domain.cdse.token import Tokens
from ben_luigi.domain.errors import BadProduct, DamagedFile
from ben_luigi.domain.products import l1c
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
    resolutions,
    source,
    source_task,
    tiles,
)
from ben_luigi.stages.service import client, patience, tokens
from ben_luigi.stages.task import Digests, PipelineTask, TileTask
from ben_luigi.state import budget, contents
from ben_luigi.state.snapshot import snapshot
from ben_luigi.state.targets import MadeFile


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
    """The zip of a tile's L1C product from CDSE, whole and verified. A complete one is never fetched again."""

    resources = {"cdse": 1}  # noqa: RUF012 (as Luigi declares it)
    may_go = ("zip",)

    def requires(self) -> Any:
        """What the catalogue says of it, and an account."""
        return [AskCatalogue(), FindAccount()]

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
        """The zip, and the report on it."""
        return {"zip": self.file(f"l1c/{self.tile}.zip"), **super().output()}

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around what reads the product: DamagedFile if it is not what came, so that it comes again."""
        try:
            yield
        except BadProduct as error:
            expected = "the product as it came"
            raise DamagedFile(self.output()["zip"].file, expected=expected, found=error.found) from error

    def make(self) -> Digests:
        """Download and verify, in one of the places that all workers and hosts share."""
        tile, options = self.tile, config.cdse()
        left = budget.tries_left(tile, int(options.tries), timedelta(hours=float(options.cool_down_h)))
        with client() as session, budget.slot(config.downloads_at_once()):
            report = self._download(session, tokens(session), left).run()
        budget.clear(tile)
        report_bytes(self, report.length_bytes)
        self._write_report({**asdict(report), "path": f"l1c/{tile}.zip", "content": report.sha256})
        return {"zip": report.sha256}

    def _download(self, session: Client, access: Tokens, tries: int) -> Download:
        tile, product, target = self.tile, self._product(), self.output()["zip"].file
        target.parent.mkdir(parents=True, exist_ok=True)
        progress = Progress(self, f"download of {tile}", "B")
        limit_mb_s = float(config.cdse().bandwidth_mb_s)
        return Download(
            product,
            target,
            session,
            access,
            err=target.with_name(f"{product.id}.err"),
            patience=replace(patience(), tries=tries),
            rate_bytes_s=limit_mb_s * 1e6 / config.downloads_at_once() or None,
            progress=progress.at,
            failed=lambda error: budget.note_failure(tile, str(error)),
        )

    def _product(self) -> CatalogueProduct:
        found = resolutions()[self.tile]
        if found.problem:
            raise found.problem
        assert found.product is not None
        return found.product


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
    """The task that provides a tile's L1C product: from the user's folder where it is there, else from CDSE."""
    folder = config.given_input("l1c_dir")
    if folder is not None and (source() == "l1c_dir" or product_of(tile) in found_in(folder)):
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
    """As `l1c.drift`; a zip that is gone was intact by its own manifest when it came, or there were no report."""
    if path.exists():
        return l1c.deviation(path, published_sha256, sha256)
    return l1c.SAME if sha256 == published_sha256 else l1c.REPACKED
