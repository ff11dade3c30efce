"""Which tiles there are, and their ids at CDSE."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from difflib import get_close_matches
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import luigi

from ben_luigi import config
from ben_luigi.domain import files
from ben_luigi.domain.cdse import resolve
from ben_luigi.domain.cdse.catalogue import CatalogueProduct
from ben_luigi.domain.cdse.resolve import Resolution
from ben_luigi.domain.errors import BadInput, BadName, CdseError, DamagedFile, PipelineError, some
from ben_luigi.domain.names import ProductName, TileKey
from ben_luigi.domain.placement.grid import check_squares
from ben_luigi.domain.products import l1c, product
from ben_luigi.stages.prerequisites import GivenInput, TryInput, input_path, input_task, optional_path
from ben_luigi.stages.service import client
from ben_luigi.stages.task import RUN, STARTED, Digests, PipelineTask
from ben_luigi.state.targets import MadeFile

_log = logging.getLogger(__name__)
PRIORITY = {
    name: number
    for number, name in enumerate(
        ("resolve", "download", "convert", "product", "placement", "cut", "maps", "labels", "metadata", "archive")
    )
}
"""Later stages first, so that tiles flow to the end."""


def source() -> str:
    """Where the pipeline starts: the option of [inputs] that says which products there are.

    With both `l1c_dir` and `tile_names_csv` given, the list counts; what the folder lacks comes from CDSE.
    """
    if config.given_input("l2a_dir") is not None:
        return "l2a_dir"
    if config.given_input("l1c_dir") is not None and config.given_input("tile_names_csv") is None:
        return "l1c_dir"
    return "tile_names_csv"


def source_task() -> luigi.Task:
    """The task that brings the list of products, or the folder with them."""
    return input_task(source()) if source() == "tile_names_csv" else GivenInput(option=source())


def tiles() -> dict[str, ProductName]:
    """The products to work on, by tile key, as far as `[dataset] tiles` selects them."""
    start = source()
    path = input_path(start)
    if not path.exists():
        remedy = "type: ben-luigi run, which makes or fetches it"
        raise BadInput(path, expected="the list of products, or a folder of them", found="nothing there", remedy=remedy)
    if start == "tile_names_csv":
        return _listed(path, path.stat().st_mtime_ns, tuple(config.selected_tiles()))
    if start == "l1c_dir":
        names = tuple(found_in(path))
    else:
        names = tuple(ProductName.parse(folder.name) for folder in product.find_products(path).values())
    return _selected(path, names, config.selected_tiles())


@lru_cache(maxsize=4)
def _listed(path: Path, changed_ns: int, selected: tuple[str, ...]) -> dict[str, ProductName]:
    """The products of a list, read once, since they are asked for by every task."""
    return _selected(path, tuple(resolve.read_tile_names(path)), selected)


def _selected(path: Path, names: Sequence[ProductName], selected: Sequence[str]) -> dict[str, ProductName]:
    known = {name.tile_key: name for name in sorted(names)}
    _check(names, known, path)
    missing = sorted(set(selected) - set(known))
    if missing or not known:
        raise BadInput(
            path,
            expected=f"products of the tiles {some(selected)}" if missing else "products",
            found=f"none of {some(missing)}" if missing else "none",
            remedy="correct [dataset] tiles: its keys are <MGRS square>_<date>, as in 33UUP_20170613",
        )
    chosen = {key: name for key, name in sorted(known.items()) if key in selected or not selected}
    check_squares(chosen.values(), path)
    return chosen


def product_of(tile: str) -> ProductName:
    """The product of a tile key; BadName if it is none of `tiles()`."""
    known = tiles()
    if tile not in known:
        near = get_close_matches(tile, known, n=1)
        raise BadName(
            f"tile {tile}",
            expected=f"one of {some(known)}",
            found=f"none of that name; did you mean {near[0]}?" if near else "none of that name",
            remedy="correct the tile key; [dataset] tiles says which tiles count",
        )
    return known[tile]


def check_tile(tile: str) -> None:
    """BadName if it is no tile key, or none of `tiles()` as far as they are known."""
    TileKey.parse(tile)
    is_known = False
    with suppress(PipelineError):  # the run says it
        is_known = bool(known_tiles())
    if is_known:
        product_of(tile)


def known_tiles() -> dict[str, ProductName]:
    """`tiles()`, or none while the list of products is yet to come."""
    return tiles() if source_task().complete() else {}


def _check(names: Sequence[ProductName], known: dict[str, ProductName], path: Path) -> None:
    duplicates = sorted(str(name) for name in names if known[name.tile_key] != name)
    if duplicates:
        raise BadInput(
            path,
            expected="one product a tile and day",
            found=f"more than one: {some(duplicates)}",
            remedy="remove the products that are not wanted",
        )


def found_in(folder: Path) -> dict[ProductName, Path]:
    """The L1C products in the user's folder, looked for again when something has come or gone there."""
    return _found_in(folder, folder.stat().st_mtime_ns if folder.is_dir() else 0)


@lru_cache(maxsize=4)
def _found_in(folder: Path, changed_ns: int) -> dict[ProductName, Path]:
    return l1c.find_products(folder)


class OverTiles(PipelineTask):
    """A task that needs tiles, which are known when the list of products is: if it is yet to come, while running."""

    def tile_tasks(self) -> list[PipelineTask]:
        """The tasks of tiles that must be complete."""
        raise NotImplementedError

    def requires(self) -> Any:
        """The list of products, and what is needed of tiles as far as that is known yet."""
        return [source_task(), *self._known]

    def made_of(self) -> list[PipelineTask]:
        """What is needed of tiles."""
        return self.tile_tasks() if known_tiles() else []

    def needs(self) -> list[luigi.Task]:
        """What is needed of tiles, now that they are known; BadName if the one that is asked for is none of them."""
        tile = str(getattr(self, "tile", ""))
        if tile:
            check_tile(tile)
        return [*self.tile_tasks()]

    @cached_property
    def _known(self) -> list[PipelineTask]:
        return self.tile_tasks() if known_tiles() else []


class AskCatalogue(PipelineTask):
    """What CDSE's catalogue says of each product, good or bad; `tiles/states.csv` is the table that people read.

    The next run asks again where it has said of a product that it cannot be had, or where a download has failed since:
    the product may have got another id.
    """

    priority = PRIORITY["resolve"]
    options = ("dataset.tiles", "cdse.catalogue_url", "cdse.accept_superseded")

    def requires(self) -> Any:
        """The list of products, and the ids that were published, if they can be had."""
        return [input_task("tile_names_csv"), TryInput(option="published_tile_ids_csv")]

    def output(self) -> dict[str, MadeFile]:
        """Products with id, length and checksums, as JSON; and the table for people."""
        return {"products": self.file("tiles/products.json"), "states": self.file("tiles/states.csv")}

    def is_there(self) -> bool:
        """Whether the catalogue was asked, in this run or with answers that have proved good."""
        if not super().is_there():
            return False
        target = self.output()["products"]
        asked = target.file.stat().st_mtime
        # By the name too, since clocks are set back, and those of other hosts differ.
        asked_now = asked >= STARTED or target.recorded().get("by") == RUN
        try:
            return asked_now or not any(_doubtful(found, asked) for found in resolutions().values())
        except DamagedFile:
            return False

    def remake(self, before: Mapping[str, Mapping[str, Any]]) -> Digests | None:
        """Ask; where it does not answer, earlier answers are as good as any."""
        path = optional_path("published_tile_ids_csv")
        known = resolve.read_tile_ids(path) if path else None
        accept = bool(config.cdse().accept_superseded)
        target = self.output()
        try:
            with client() as session:
                found = resolve.resolve(tiles().values(), session, known, accept_superseded=accept)
        except CdseError as error:
            if not all(self._is_as_before(target[name], before[name]) for name in target):
                raise
            _log.warning("what the catalogue said before is gone on with: %s", error)
            target["products"].file.touch()
            return None
        resolve.write_states(target["states"].file, found)
        content = {one.name.tile_key: {**asdict(one), "name": str(one.name)} for one in found}
        files.write_json(target["products"].file, content)
        return None

    def _is_as_before(self, target: MadeFile, recorded: Mapping[str, Any]) -> bool:
        """Whether a file is that which was recorded, and an answer to the question of now."""
        made = recorded.get("made_from") == self.fingerprint() and target.file.exists()
        return made and target.content() == recorded.get("digest")


def _doubtful(found: Resolution, asked: float) -> bool:
    """Whether the answer of the time `asked`, in seconds since 1970, may be another by now."""
    err = config.data_dir() / "l1c" / f"{found.product.id}.err" if found.product else None
    return found.problem is not None or (err is not None and err.exists() and err.stat().st_mtime > asked)


def resolutions() -> dict[str, Resolution]:
    """What the catalogue said, by tile key."""
    file = AskCatalogue().output()["products"].file
    return _read(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _read(file: Path, changed_ns: int) -> dict[str, Resolution]:
    answer = AskCatalogue().output()["products"].read_json()
    return {tile: _resolution(one) for tile, one in answer.items()}


def _resolution(answer: dict[str, Any]) -> Resolution:
    kept = ("id", "name", "online", "length_bytes", "checksums", "deleted")
    product = answer["product"] and CatalogueProduct(**{key: answer["product"][key] for key in kept})
    return Resolution(
        ProductName.parse(answer["name"]), answer["state"], product, answer["note"], answer["accept_superseded"]
    )


class ResolveTileIds(PipelineTask):
    """`bigearthnet_s2_tile_ids.csv`: the CDSE id of each product, if all of them can be had."""

    priority = PRIORITY["resolve"]

    def requires(self) -> Any:
        """What the catalogue says."""
        return AskCatalogue()

    def output(self) -> MadeFile:
        """The ids."""
        return self.file("tiles/bigearthnet_s2_tile_ids.csv")

    def make(self) -> None:
        """Every product that cannot be had is named, with every candidate."""
        found = resolutions().values()
        resolve.require(found)
        resolve.write_tile_ids(self.output().file, found)
