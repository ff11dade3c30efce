"""Which products there are: the 125 of the dataset, those of a list or a search, or those in a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ben_luigi import config
from ben_luigi.configuration.kept import while_held
from ben_luigi.domain import files
from ben_luigi.domain.cdse import resolve, search
from ben_luigi.domain.cdse.catalogue import Catalogue
from ben_luigi.domain.errors import BadInput, DamagedFile, some
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.placement.grid import check_squares
from ben_luigi.domain.products import lists
from ben_luigi.domain.products.published_products import read_products, require_same
from ben_luigi.domain.recipe.model import L2A
from ben_luigi.stages.prerequisites import (
    PRODUCTS,
    MakeSampleWorld,
    TryInput,
    input_path,
    input_task,
    optional_path,
)
from ben_luigi.stages.sample_world import made_up
from ben_luigi.stages.service import client
from ben_luigi.stages.task import Digests, PipelineTask
from ben_luigi.state import recipes
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


def is_from_l1c() -> bool:
    """Whether products are converted by Sen2Cor: neither in the folder of L2A products, nor L2A ones of the recipe."""
    return source() != "l2a_dir" and config.recipe().products.level != L2A


def is_fetched_l1c() -> bool:
    """Whether the products are L1C ones of a list or a search, which sources have."""
    return source() == "tile_names_csv" and is_from_l1c()


def is_searched() -> bool:
    """Whether the recipe searches for its products."""
    return source() == "tile_names_csv" and config.recipe().products.search is not None


def is_listed_by_us() -> bool:
    """Whether the products are those of the dataset, which the table beside the code names: no other list is given."""
    is_given = config.is_sample() or config.given_input("tile_names_csv") is not None
    return source() == "tile_names_csv" and not is_given and not is_searched()


def list_task() -> PipelineTask:
    """The task that stands for the list of products."""
    if is_searched():
        return SearchProducts()
    return CheckProducts() if is_listed_by_us() else input_task("tile_names_csv")


def expected_products() -> int | None:
    """Return about how many products there will be, before a run has looked at them; None if nothing tells it.

    A list that is there has not been hashed yet; a search has not been asked. Raise BadInput if a list cannot be used.
    """
    if selected := config.selected_tiles():
        return len(selected)
    wanted = config.recipe().products.search if is_searched() else None
    if wanted is not None and wanted.same_as is None:
        return search.expected(wanted, config.recipe().seasons.rule)
    if wanted is not None and _is_like_ours():
        return len(read_products(PRODUCTS))
    path = input_path("tile_names_csv")
    if wanted is not None and path.exists():
        return len(set(resolve.read_tile_names(path)))
    is_list = source() == "tile_names_csv" and wanted is None and list_path().exists()
    return len(all_listed()) if is_list else None


def list_path() -> Path:
    """Return the path of the list of products, unless it is our own table; a search has written it."""
    return SearchProducts().output().file if is_searched() else input_path("tile_names_csv")


class SearchProducts(PipelineTask):
    """`tiles/products.csv`: the answer of CDSE's catalogue to the recipe's search, with the cloud of each product.

    It is fixed: the catalogue is asked again only if the search is changed, so that a rerun makes the same dataset.
    """

    priority = PRIORITY["resolve"]
    recipe = ("products.search", "products.level", "products.baselines", "seasons")

    def requires(self) -> Any:
        """Return the list of products that others are searched for like; on the sample world, also that world."""
        return [*([MakeSampleWorld()] if config.is_sample() else []), *self._like()]

    def made_of(self) -> list[PipelineTask]:
        """Return that list."""
        return self._like()

    def settings(self) -> dict[str, Any]:
        """Return whether the catalogue is that of the sample world."""
        return made_up()

    def output(self) -> MadeFile:
        """Return the list."""
        return self.file("tiles/products.csv")

    def make(self) -> None:
        """Ask the catalogue, month by month, or day by day of the other list."""
        recipe = config.recipe()
        wanted = recipe.products.search
        with client() as session:
            catalogue = Catalogue(session)
            if wanted is not None and wanted.same_as is not None:
                found = search.search_same(catalogue, recipe.products, _others())
            else:
                found = search.search(catalogue, recipe.products, recipe.seasons.rule)
        lists.write_list(self.output().file, [one.row for one in found], search.COLUMNS)

    def _like(self) -> list[PipelineTask]:
        wanted = config.recipe().products.search
        is_like = wanted is not None and wanted.same_as is not None and not _is_like_ours()
        return [input_task("tile_names_csv")] if is_like else []


def _is_like_ours() -> bool:
    """Whether products like those of the dataset are searched for, and no list of them is given: ours has them."""
    return not config.is_sample() and config.given_input("tile_names_csv") is None


def _others() -> list[ProductName]:
    """Return the products of the list that others are searched for like."""
    if _is_like_ours():
        return [product.name for product in read_products(PRODUCTS)]
    return resolve.read_tile_names(input_path("tile_names_csv"))


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
        return self.output().read_object()


def require_list(path: Path) -> None:
    """BadInput if the list, or the folder, of products is not there."""
    if not path.exists():
        remedy = f"type: ben-luigi run{recipes.option()}, which makes or fetches it"
        raise BadInput(path, expected="the list of products, or a folder of them", found="nothing there", remedy=remedy)


@while_held
def all_listed() -> dict[str, ProductName]:
    """The products that the table or the given list has of the selected tiles; those in no place among them."""
    selected = tuple(config.selected_tiles())
    products, is_default = config.recipe().products, config.recipe().is_default
    if is_listed_by_us():
        return _of_table(selected, is_default)
    path = list_path()
    require_list(path)
    return _listed(path, path.stat().st_mtime_ns, selected, products.level, is_default)


@lru_cache(maxsize=4)
def _of_table(selected: tuple[str, ...], is_default: bool) -> dict[str, ProductName]:
    names = [product.name for product in read_products(PRODUCTS)]
    return select(PRODUCTS, names, selected, is_default=is_default)


@lru_cache(maxsize=4)
def _listed(
    path: Path, changed_ns: int, selected: tuple[str, ...], level: str, is_default: bool
) -> dict[str, ProductName]:
    """Return the products of a list, read once, since every task asks for them."""
    names = resolve.read_tile_names(path) if is_default else lists.read_list(path, level)
    return select(path, tuple(names), selected, is_default=is_default)


def select(
    path: Path, names: Sequence[ProductName], selected: Sequence[str], *, is_default: bool
) -> dict[str, ProductName]:
    """The products by tile key, as far as they are `selected`; BadInput if one of these is not among them.

    BadInput, too, if they lie south of the equator, and the recipe is the default one, which does not allow that.
    """
    known = by_key(names, path, timed=not is_default)
    wanted = set(selected)
    missing = sorted(wanted - set(known))
    if missing or not known:
        raise BadInput(
            path,
            expected=f"products of the tiles {some(selected)}" if missing else "products",
            found=f"none of {some(missing)}" if missing else "none",
            remedy="correct [dataset] tiles: its keys are <MGRS square>_<date>, as in 33UUP_20170613",
        )
    chosen = {key: name for key, name in sorted(known.items()) if key in wanted or not wanted}
    check_squares(chosen.values(), path, southern=not is_default)
    return chosen


def by_key(names: Iterable[ProductName], path: Path, *, timed: bool) -> dict[str, ProductName]:
    """Return products by tile key.

    Where a tile has several datatakes of a day, their keys have the sensing time if `timed`. Raise BadInput for
    several products of a tile and day, or if `timed` of a tile and datatake.
    """
    by_day = Counter(name.tile_key for name in set(names))
    keys = {
        name: name.timed_key if timed and by_day[name.tile_key] > 1 else name.tile_key for name in sorted(set(names))
    }
    uses = Counter(keys.values())
    duplicates = [str(name) for name, key in keys.items() if uses[key] > 1]
    if duplicates:
        raise BadInput(
            path,
            expected=f"one product a tile and {'datatake' if timed else 'day'}",
            found=f"more than one: {some(duplicates)}",
            remedy="remove the products that are not wanted",
        )
    return {key: name for name, key in keys.items()}
