"""Determine which tiles there are, and their ids at CDSE."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from difflib import get_close_matches
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import luigi

from ben_luigi import addresses, config, signals
from ben_luigi.configuration.kept import of_last, while_held
from ben_luigi.domain import files
from ben_luigi.domain.cdse import resolve
from ben_luigi.domain.cdse.catalogue import CatalogueProduct
from ben_luigi.domain.cdse.resolve import Resolution
from ben_luigi.domain.errors import (
    BadInput,
    BadName,
    DamagedFile,
    PipelineError,
    SourceError,
    some,
    without_userinfo,
)
from ben_luigi.domain.names import ProductName, TileKey
from ben_luigi.domain.products import l1c, product
from ben_luigi.stages.availability import available
from ben_luigi.stages.prerequisites import GivenInput, TryInput, input_path, optional_path
from ben_luigi.stages.product_list import PRIORITY as PRIORITY
from ben_luigi.stages.product_list import CheckProducts as CheckProducts
from ben_luigi.stages.product_list import all_listed, list_task, require_list, select
from ben_luigi.stages.product_list import expected_products as expected_products
from ben_luigi.stages.product_list import is_fetched_l1c as is_fetched_l1c
from ben_luigi.stages.product_list import is_from_l1c as is_from_l1c
from ben_luigi.stages.product_list import is_listed_by_us as is_listed_by_us
from ben_luigi.stages.product_list import is_searched as is_searched
from ben_luigi.stages.product_list import list_path as list_path
from ben_luigi.stages.product_list import source as source
from ben_luigi.stages.sample_world import is_of_sample, made_up
from ben_luigi.stages.service import client
from ben_luigi.stages.task import RUN, STARTED, Digests, PipelineTask
from ben_luigi.state import records
from ben_luigi.state.targets import MadeFile

_log = logging.getLogger(__name__)
_ASK_AGAIN_S = 86_400.0


def source_task() -> luigi.Task:
    """Return the task of the list of products, or of the folder with them; or the task that finds missing products."""
    if source() != "tile_names_csv":
        return GivenInput(option=source())
    return FindMissing() if config.dataset().allow_missing else list_task()


@while_held
def tiles() -> dict[str, ProductName]:
    """Return the products to work on, by tile key, limited to `[dataset] tiles`."""
    start = source()
    if start == "tile_names_csv":
        return _remaining(all_listed(), missing_tiles())
    path = input_path(start)
    require_list(path)
    found = found_in(path) if start == "l1c_dir" else product.find_products(path)
    return _selected(path, found, config.selected_tiles(), config.recipe().is_default)


@of_last
def _remaining(listed: dict[str, ProductName], missing: dict[str, dict[str, str]]) -> dict[str, ProductName]:
    return {tile: name for tile, name in listed.items() if tile not in missing}


@of_last
def _selected(
    path: Path, found: dict[ProductName, Path] | dict[str, Path], selected: list[str], is_default: bool
) -> dict[str, ProductName]:
    names = [key if isinstance(key, ProductName) else ProductName.parse(folder.name) for key, folder in found.items()]
    return select(path, names, selected, is_default=is_default)


@of_last
def hash_of(products: dict[str, ProductName]) -> str:
    """Return the SHA-256 of the products and their tile keys."""
    return files.text_hash("\n".join(f"{tile} {name}" for tile, name in products.items()))


def key_of(name: ProductName) -> str:
    """Return the tile key of a product, with the sensing time if there are several datatakes of its tile and day."""
    with suppress(PipelineError):  # the run reports what is wrong in the list or folder
        known = all_listed() if source() == "tile_names_csv" else tiles()
        if known.get(name.timed_key) == name:
            return name.timed_key
    return name.tile_key


_is_shared = False


def _share(*_: luigi.Task) -> None:
    """Read the list of products in the scheduling process: each process forked from it would read all of it again."""
    global _is_shared
    if _is_shared or signals.came:
        return
    with suppress(PipelineError, OSError):  # the run reports what is wrong
        start = source()
        if is_listed_by_us() or (list_path() if start == "tile_names_csv" else input_path(start)).exists():
            _is_shared = True
            hash_of(tiles())


PipelineTask.event_handler(luigi.Event.DEPENDENCY_DISCOVERED)(signals.raised_again(_share))


@while_held
def missing_tiles() -> dict[str, dict[str, str]]:
    """Return tiles that are left out, where that is allowed, since no source has their product: product and finding."""
    if not config.dataset().allow_missing or source() != "tile_names_csv":
        return {}
    file = FindMissing().output().file
    return _missing(file, file.stat().st_mtime_ns) if file.exists() else {}


@lru_cache(maxsize=1)
def _missing(file: Path, changed_ns: int) -> dict[str, dict[str, str]]:
    found = files.read_object(file)  # a damaged one is made again by the run
    return {tile: facts for tile, facts in found.items() if isinstance(facts, dict) and "product" in facts}


def product_of(tile: str) -> ProductName:
    """Return the product of a tile key. Raise BadName if it is not one of `tiles()`."""
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
    """Raise BadName if a text is not a tile key, or not one of `tiles()` as far as they are known."""
    TileKey.parse(tile)
    is_known = False
    with suppress(PipelineError):  # the run reports it
        is_known = bool(known_tiles())
    if is_known:
        product_of(tile)


@while_held
def known_tiles() -> dict[str, ProductName]:
    """Return `tiles()`, or nothing while the list of products does not exist."""
    is_known = is_listed_by_us() and not config.dataset().allow_missing
    return tiles() if is_known or source_task().complete() else {}


def found_in(folder: Path) -> dict[ProductName, Path]:
    """Return the L1C products in the user's folder, searched again when its entries change."""
    return _found_in(folder, folder.stat().st_mtime_ns if folder.is_dir() else 0)


@lru_cache(maxsize=4)
def _found_in(folder: Path, changed_ns: int) -> dict[ProductName, Path]:
    return l1c.find_products(folder)


class FindMissing(PipelineTask):
    """`tiles/missing.json`: the products that no source has, if the user allows them to be left out.

    The sources are asked again after a day. A source that does not answer may have a product, and a product that has
    arrived is not missing.
    """

    priority = PRIORITY["resolve"]
    options = ("dataset.tiles",)

    def requires(self) -> Any:
        """Return the list of products."""
        return list_task()

    def settings(self) -> dict[str, Any]:
        """Return the sources, and their world, without the passwords in URLs: this is written to a file."""
        mirrors = list(map(without_userinfo, addresses.mirrors()))
        sources = [config.source_order(), without_userinfo(addresses.google_url()), mirrors]
        return {"sources": sources, **made_up()}

    def output(self) -> MadeFile:
        """Return the tiles, each with its product and what the sources have of it."""
        return self.file("tiles/missing.json")

    def is_there(self) -> bool:
        """Return whether all products are available, or the sources were asked within a day."""
        if not super().is_there():
            return False
        file = self.output().file
        try:
            is_fresh = abs(time.time() - file.stat().st_mtime) < _ASK_AGAIN_S
            return is_fresh or not self.output().read_json()
        except DamagedFile:
            return False

    def make(self) -> None:
        """Ask for products that have not arrived yet."""
        listed = all_listed()
        wanted = [name for name in listed.values() if not _has_come(name) and not _is_given(name)]
        found = available(wanted, 0.0) if wanted else None
        nowhere = found.nowhere() if found else []
        if found and len(nowhere) == len(listed):
            raise BadInput(
                "the list of products",
                expected=f"a product that a source has, of {', '.join(found.sources)}",
                found=f"none of {len(listed)}",
                remedy="name other sources in [sources] order, or give products in [inputs] l1c_dir",
            )
        content = {
            tile: {"product": str(name), "found": f"in no place of {', '.join(found.sources)}"}
            for tile, name in listed.items()
            if found and str(name) in nowhere
        }
        for tile, facts in content.items():
            _log.warning("tile %s is left out: %s is %s", tile, facts["product"], facts["found"])
        files.write_json(self.output().file, content)


def _is_given(name: ProductName) -> bool:
    """Return whether the user has a product."""
    folder = config.given_input("l1c_dir") if "folder" in config.source_order() else None
    return folder is not None and name in found_in(folder)


class OverTiles(PipelineTask):
    """A task over tiles, which are known once the list of products exists; until then, it learns them while running."""

    def tile_tasks(self) -> list[PipelineTask]:
        """Return the tasks of tiles that must be complete."""
        raise NotImplementedError

    def requires(self) -> Any:
        """Return the list of products, and the tasks of tiles as far as they are known."""
        return [source_task(), *self._known]

    def made_of(self) -> list[PipelineTask]:
        """Return the tasks of tiles."""
        return self.tile_tasks() if known_tiles() else []

    def needs(self) -> list[luigi.Task]:
        """Return the tasks of tiles, which are known now. Raise BadName for an unknown tile."""
        tile = str(getattr(self, "tile", ""))
        if tile:
            check_tile(tile)
        return [*self.tile_tasks()]

    @cached_property
    def _known(self) -> list[PipelineTask]:
        return self.tile_tasks() if known_tiles() else []


class AskCatalogue(PipelineTask):
    """The answer of CDSE's catalogue about each product; `tiles/states.csv` is the table for people.

    The next run asks again about products that were not available, or whose download has failed since, because they may
    have got another id.
    """

    priority = PRIORITY["resolve"]
    options = ("dataset.tiles", "cdse.catalogue_url", "cdse.accept_superseded")

    def requires(self) -> Any:
        """Return the list of products, and the published ids, if they are available."""
        return [source_task(), TryInput(option="published_tile_ids_csv")]

    def settings(self) -> dict[str, Any]:
        """Return whether the catalogue is that of the sample world."""
        return made_up()

    def output(self) -> dict[str, MadeFile]:
        """Return the products with id, length and checksums, as JSON; and the table for people."""
        return {"products": self.file("tiles/products.json"), "states": self.file("tiles/states.csv")}

    def is_there(self) -> bool:
        """Return whether the catalogue was asked in this run, or its earlier answers have proved good."""
        if not super().is_there():
            return False
        target = self.output()["products"]
        asked = target.file.stat().st_mtime
        # Compare the run's name too, since clocks are set back, and those of other hosts differ.
        asked_now = asked >= STARTED or target.recorded().get("by") == RUN
        try:
            return asked_now or not any(_doubtful(found, asked) for found in resolutions().values())
        except DamagedFile:
            return False

    def remake(self, before: Mapping[str, Mapping[str, Any]]) -> Digests | None:
        """Ask the catalogue; if it does not answer, use its earlier answers."""
        path = optional_path("published_tile_ids_csv")
        known = resolve.read_tile_ids(path) if path else None
        accept = bool(config.cdse().accept_superseded)
        target = self.output()
        names = [*tiles().values(), *(ProductName.parse(facts["product"]) for facts in missing_tiles().values())]
        try:
            with client() as session:
                found = resolve.resolve(names, session, known, accept_superseded=accept)
        except SourceError as error:
            if all(self._is_as_before(target[name], before[name]) for name in target):
                _log.warning("reusing the catalogue's earlier answers: %s", error)
                target["products"].file.touch()
                return None
            if config.needs_account():
                raise
            _log.warning("using other sources than CDSE in this run: %s", error)
            found = [Resolution(name, "unanswered", None, str(error), accept) for name in names]
        asked = available(names) if {"google", "mirror"}.intersection(config.source_order()) else None
        at = {str(name): asked.words(str(name)) for name in names} if asked else {}
        resolve.write_states(target["states"].file, found, at)
        content = {key_of(one.name): {**asdict(one), "name": str(one.name)} for one in found}
        files.write_json(target["products"].file, content)
        return None

    def _is_as_before(self, target: MadeFile, recorded: Mapping[str, Any]) -> bool:
        """Return whether a file is unchanged since it was recorded, and answers the same question."""
        made = recorded.get("made_from") == self.fingerprint() and target.file.exists()
        return made and target.content() == recorded.get("digest")


def _doubtful(found: Resolution, asked: float) -> bool:
    """Return whether an answer of the time `asked`, in seconds since 1970, may have changed and matters."""
    if _has_come(found.name):
        return False
    err = config.data_dir() / "l1c" / f"{found.product.id}.err" if found.product else None
    return found.problem is not None or (err is not None and err.exists() and err.stat().st_mtime > asked)


def _has_come(name: ProductName) -> bool:
    """Return whether there is a report on a product, from any source of this world."""
    report = f"l1c/{key_of(name)}.json"
    try:
        said = json.loads((config.data_dir() / report).read_text(encoding="utf-8"))
        return bool(said["name"] == str(name)) and not is_of_sample(records.read(records.path_of(report)))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def resolutions() -> dict[str, Resolution]:
    """Return the catalogue's answers, by tile key."""
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
    """`bigearthnet_s2_tile_ids.csv`: the CDSE id of each product, if all of them are available there.

    With other sources, products that CDSE does not have any more get their published ids, as far as they are known.
    """

    priority = PRIORITY["resolve"]

    def requires(self) -> Any:
        """Return the catalogue's answers."""
        return AskCatalogue()

    def output(self) -> MadeFile:
        """Return the ids."""
        return self.file("tiles/bigearthnet_s2_tile_ids.csv")

    def make(self) -> None:
        """Write the ids.

        If CDSE is the first source, raise SourceError naming products that it lacks, with candidates.
        """
        found = resolutions().values()
        if config.needs_account():
            resolve.require(found)
        path = optional_path("published_tile_ids_csv")
        known = resolve.read_tile_ids(path) if path and not config.needs_account() else {}
        resolve.write_tile_ids(self.output().file, [one for one in found if key_of(one.name) in tiles()], known)
