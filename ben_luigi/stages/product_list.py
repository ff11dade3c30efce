"""Which products there are: the 125 of the dataset, those of a list that is given, or those in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ben_luigi import config
from ben_luigi.domain import files
from ben_luigi.domain.cdse import resolve
from ben_luigi.domain.errors import BadInput, DamagedFile, some
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.placement.grid import check_squares
from ben_luigi.domain.products.published_products import read_products, require_same
from ben_luigi.stages.prerequisites import PRODUCTS, TryInput, input_path, input_task, optional_path
from ben_luigi.stages.task import Digests, PipelineTask
from ben_luigi.state.targets import MadeFile

PRIORITY = {
    name: number
    for number, name in enumerate(
        ("resolve", "download", "convert", "product", "placement", "cut", "maps", "labels", "metadata", "archive")
    )
}
"""Later stages first, so that tiles flow to the end."""


def source() -> str:
    """Return the option of [inputs] that says which products there are, where the pipeline starts.

    With both `l1c_dir` and `tile_names_csv` given, the list counts; products that the folder lacks come from CDSE.
    """
    if config.given_input("l2a_dir") is not None:
        return "l2a_dir"
    if config.given_input("l1c_dir") is not None and config.given_input("tile_names_csv") is None:
        return "l1c_dir"
    return "tile_names_csv"


def is_listed_by_us() -> bool:
    """Whether the products are those of the dataset, which the table beside the code names: no other list is given."""
    return source() == "tile_names_csv" and not config.is_sample() and config.given_input("tile_names_csv") is None


def list_task() -> PipelineTask:
    """The task that stands for the list of products."""
    return CheckProducts() if is_listed_by_us() else input_task("tile_names_csv")


class CheckProducts(PipelineTask):
    """Whether the list of version 1, where it can be had, has the products of our table, which a run takes."""

    priority = PRIORITY["resolve"]

    def requires(self) -> Any:
        """The list, if it can be had: no run waits for whoever keeps it."""
        return TryInput(option="tile_names_csv")

    def made_of(self) -> list[PipelineTask]:
        """Nothing: the products are those of the table, whatever the list says."""
        return []

    def settings(self) -> dict[str, Any]:
        """The table."""
        return {"products": files.file_hash(PRODUCTS)}

    def is_there(self) -> bool:
        """Whether it has been looked at, as far as it can be had by now."""
        try:
            return super().is_there() and (self.facts()["compared"] or optional_path("tile_names_csv") is None)
        except DamagedFile:
            return False

    def output(self) -> MadeFile:
        """What was compared."""
        return self.file("tiles/listed.json")

    def make(self) -> Digests:
        """Hold one against the other. BadInput names the products that only one has."""
        path, products = optional_path("tile_names_csv"), read_products(PRODUCTS)
        if path is not None:
            require_same(products, resolve.read_tile_names(path), path)
        proof = "equal to the list of version 1" if path is not None else "the list of version 1 cannot be had"
        sha256 = files.file_hash(PRODUCTS)
        facts = {"name": PRODUCTS.name, "sha256": sha256, "proof": proof, "compared": path is not None}
        files.write_json(self.output().file, facts)
        return {"": sha256}

    def facts(self) -> dict[str, Any]:
        """The table's name and sha256, and what it was compared with."""
        found: dict[str, Any] = self.output().read_json()
        return found


def require_list(path: Path) -> None:
    """BadInput if the list, or the folder, of products is not there."""
    if not path.exists():
        remedy = "type: ben-luigi run, which makes or fetches it"
        raise BadInput(path, expected="the list of products, or a folder of them", found="nothing there", remedy=remedy)


def all_listed() -> dict[str, ProductName]:
    """The products that the table or the given list has of the selected tiles; those in no place among them."""
    selected = tuple(config.selected_tiles())
    if is_listed_by_us():
        return _of_table(selected)
    path = input_path("tile_names_csv")
    require_list(path)
    return _listed(path, path.stat().st_mtime_ns, selected)


@lru_cache(maxsize=4)
def _of_table(selected: tuple[str, ...]) -> dict[str, ProductName]:
    return select(PRODUCTS, [product.name for product in read_products(PRODUCTS)], selected)


@lru_cache(maxsize=4)
def _listed(path: Path, changed_ns: int, selected: tuple[str, ...]) -> dict[str, ProductName]:
    """Return the products of a list, read once, since every task asks for them."""
    return select(path, tuple(resolve.read_tile_names(path)), selected)


def select(path: Path, names: Sequence[ProductName], selected: Sequence[str]) -> dict[str, ProductName]:
    """The products by tile key, as far as they are `selected`; BadInput if one of these is not among them."""
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


def _check(names: Sequence[ProductName], known: dict[str, ProductName], path: Path) -> None:
    duplicates = sorted(str(name) for name in names if known[name.tile_key] != name)
    if duplicates:
        raise BadInput(
            path,
            expected="one product a tile and day",
            found=f"more than one: {some(duplicates)}",
            remedy="remove the products that are not wanted",
        )
