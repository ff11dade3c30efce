"""Which tiles there are, and their ids at CDSE."""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import luigi

from ben_luigi import config
from ben_luigi.domain import files
from ben_luigi.domain.cdse import resolve
from ben_luigi.domain.cdse.catalogue import CatalogueProduct
from ben_luigi.domain.cdse.resolve import Resolution
from ben_luigi.domain.errors import BadInput, BadName, CdseError, some
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.products import l1c, product
from ben_luigi.stages.prerequisites import input_origin, input_path, input_task, optional_input
from ben_luigi.stages.service import client
from ben_luigi.state.targets import MadeFile

_log = logging.getLogger(__name__)
TILE = "tile key, MGRS square and sensing date, as in 33UUP_20170613"
"""What the parameter `tile` of all tasks is."""

PRIORITY = {
    name: number
    for number, name in enumerate(
        ("resolve", "download", "convert", "product", "placement", "cut", "maps", "labels", "metadata", "archive")
    )
}
"""Later stages first, so that tiles flow to the end."""


_STARTED, _RUN = time.time(), secrets.token_hex(8)
"""When this run began, and its name; workers, which are forked, know them too."""


def source() -> str:
    """Where the pipeline starts: the option of [inputs] that says which products there are.

    With both `l1c_dir` and `tile_names_csv` given, the list counts; what the folder lacks comes from CDSE.
    """
    if config.given_input("l2a_dir") is not None:
        return "l2a_dir"
    if config.given_input("l1c_dir") is not None and config.given_input("tile_names_csv") is None:
        return "l1c_dir"
    return "tile_names_csv"


def tiles() -> dict[str, ProductName]:
    """The products to work on, by tile key, as far as `[dataset] tiles` selects them."""
    start = source()
    path = input_path(start)
    if not path.exists():
        remedy = "type: scripts/run, which makes or fetches it"
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
    return {key: name for key, name in sorted(known.items()) if key in selected or not selected}


def product_of(tile: str) -> ProductName:
    """The product of a tile key; BadName if it is none of `tiles()`."""
    known = tiles()
    if tile not in known:
        raise BadName(
            f"tile {tile!r}", expected=f"one of {some(known)}", found="another", remedy="correct the tile key"
        )
    return known[tile]


def known_tiles() -> dict[str, ProductName]:
    """`tiles()`, or none while the list of products is yet to come."""
    return tiles() if input_task(source()).complete() else {}


def _check(names: Sequence[ProductName], known: dict[str, ProductName], path: Path) -> None:
    twice = sorted(str(name) for name in names if known[name.tile_key] != name)
    if twice:
        raise BadInput(
            path,
            expected="one product a tile and day",
            found=f"more than one: {some(twice)}",
            remedy="remove the products that are not wanted",
        )


def found_in(folder: Path) -> dict[ProductName, Path]:
    """The L1C products in the user's folder, looked for again when something has come or gone there."""
    return _found_in(folder, folder.stat().st_mtime_ns if folder.is_dir() else 0)


@lru_cache(maxsize=4)
def _found_in(folder: Path, changed_ns: int) -> dict[ProductName, Path]:
    return l1c.find_products(folder)


class OverTiles(luigi.Task):
    """A task that needs tiles, which are known when the list of products is: if it is yet to come, while running."""

    def tile_tasks(self) -> list[luigi.Task]:
        """The tasks of tiles that must be complete."""
        raise NotImplementedError

    def requires(self) -> Any:
        """The list of products, and what is needed of tiles as far as that is known yet."""
        return [input_task(source()), *self._known]

    @cached_property
    def _known(self) -> list[luigi.Task]:
        return self.tile_tasks() if known_tiles() else []


class AskCatalogue(luigi.Task):
    """What CDSE's catalogue says of each product, good or bad; `tiles/states.csv` is the table that people read.

    The next run asks again where it has said of a product that it cannot be had, or where a download has failed since:
    the product may have got another id.
    """

    priority = PRIORITY["resolve"]

    def requires(self) -> Any:
        """The list of products."""
        return input_task("tile_names_csv")

    def output(self) -> MadeFile:
        """Products with id, length and checksums, as JSON."""
        return MadeFile("tiles/products.json", _asked())

    def complete(self) -> bool:
        """Whether the catalogue was asked, in this run or with answers that have proved good."""
        target = self.output()
        if not target.exists():
            return False
        asked = target.file.stat().st_mtime
        # By the name too, since clocks are set back, and those of other hosts differ.
        asked_now = asked >= _STARTED or target.made_by() == _RUN
        return asked_now or not any(_doubtful(found, asked) for found in resolutions().values())

    def run(self) -> None:
        """Ask; where it does not answer, earlier answers are as good as any."""
        published = optional_input("published_tile_ids_csv")
        known = resolve.read_tile_ids(published) if published else None
        accept = bool(config.cdse().accept_superseded)
        target = self.output()
        try:
            with client() as session:
                found = resolve.resolve(tiles().values(), session, known, accept_superseded=accept)
        except CdseError as error:
            if not target.exists():
                raise
            _log.warning("what the catalogue said before is gone on with: %s", error)
            target.file.touch()
            return
        resolve.write_states(target.file.with_name("states.csv"), found)
        content = {one.name.tile_key: {**asdict(one), "name": str(one.name)} for one in found}
        files.write_text(target.file, json.dumps(content, indent=1, sort_keys=True, default=str) + "\n")
        target.record(files.file_hash(target.file), by=_RUN)


def _doubtful(found: Resolution, asked: float) -> bool:
    """Whether the answer of the time `asked`, in seconds since 1970, may be another by now."""
    err = config.data_dir() / "l1c" / f"{found.product.id}.err" if found.product else None
    return found.problem is not None or (err is not None and err.exists() and err.stat().st_mtime > asked)


def _asked() -> dict[str, Any]:
    return {
        "tile_names_csv": input_origin("tile_names_csv"),
        "tiles": config.selected_tiles(),
        "catalogue_url": config.cdse().catalogue_url,
        "accept_superseded": config.cdse().accept_superseded,
    }


def resolutions() -> dict[str, Resolution]:
    """What the catalogue said, by tile key."""
    file = AskCatalogue().output().file
    return _said(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _said(file: Path, changed_ns: int) -> dict[str, Resolution]:
    said = json.loads(file.read_text(encoding="utf-8"))
    return {tile: _resolution(one) for tile, one in said.items()}


def _resolution(said: dict[str, Any]) -> Resolution:
    kept = ("id", "name", "online", "length_bytes", "checksums", "deleted")
    product = said["product"] and CatalogueProduct(**{key: said["product"][key] for key in kept})
    return Resolution(ProductName.parse(said["name"]), said["state"], product, said["note"], said["accept_superseded"])


class ResolveTileIds(luigi.Task):
    """`bigearthnet_s2_tile_ids.csv`: the CDSE id of each product, if all of them can be had."""

    priority = PRIORITY["resolve"]

    def requires(self) -> Any:
        """What the catalogue says."""
        return AskCatalogue()

    def output(self) -> MadeFile:
        """The ids."""
        return MadeFile("tiles/bigearthnet_s2_tile_ids.csv", {**_asked(), "products": AskCatalogue().output().digest()})

    def run(self) -> None:
        """Every product that cannot be had is named, with every candidate."""
        found = resolutions().values()
        resolve.require(found)
        target = self.output()
        resolve.write_tile_ids(target.file, found)
        target.record(files.file_hash(target.file))
