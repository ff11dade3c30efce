"""Which tiles there are, and their ids at CDSE."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import luigi

from ben_luigi import config
from ben_luigi.domain import files, l1c, product
from ben_luigi.domain.cdse import resolve
from ben_luigi.domain.errors import BadInput, some
from ben_luigi.domain.names import ProductName
from ben_luigi.stages.prerequisites import input_origin, input_path, input_task, optional_input
from ben_luigi.stages.service import client
from ben_luigi.state.targets import MadeFile

PRIORITY = {
    name: number
    for number, name in enumerate(
        ("resolve", "download", "convert", "product", "placement", "cut", "maps", "labels", "metadata", "archive")
    )
}
"""Later stages first, so that tiles flow to the end."""


def source() -> str:
    """Where the pipeline starts: the option of [inputs] that gives the products, or `tile_names_csv` and CDSE."""
    for option in ("l2a_dir", "l1c_dir"):
        if config.given_input(option) is not None:
            return option
    return "tile_names_csv"


def tiles() -> dict[str, ProductName]:
    """The products to work on, by tile key, as far as `[dataset] tiles` selects them."""
    start = source()
    path = input_path(start)
    if start == "tile_names_csv":
        names = _names(path, path.stat().st_mtime_ns)
    elif start == "l1c_dir":
        names = tuple(l1c.find_products(path))
    else:
        names = tuple(ProductName.parse(folder.name) for folder in product.find_products(path).values())
    known = {name.tile_key: name for name in sorted(names)}
    _check(names, known, path)
    selected = config.selected_tiles()
    missing = sorted(set(selected) - set(known))
    if missing or not known:
        raise BadInput(
            path,
            expected=f"products of the tiles {some(selected)}" if missing else "products",
            found=f"none of {some(missing)}" if missing else "none",
            remedy="correct [dataset] tiles: its keys are <MGRS square>_<date>, as in 33UUP_20170613",
        )
    return {key: name for key, name in sorted(known.items()) if key in selected or not selected}


def known_tiles() -> dict[str, ProductName]:
    """`tiles()`, or none while the list of products is yet to come."""
    return tiles() if input_task(source()).complete() else {}


def _check(names: tuple[ProductName, ...], known: dict[str, ProductName], path: Path) -> None:
    twice = sorted(str(name) for name in names if known[name.tile_key] != name)
    if twice:
        raise BadInput(
            path,
            expected="one product a tile and day",
            found=f"more than one: {some(twice)}",
            remedy="remove the products that are not wanted",
        )


@lru_cache(maxsize=4)
def _names(path: Path, changed_ns: int) -> tuple[ProductName, ...]:
    return tuple(resolve.read_tile_names(path))


class OverTiles(luigi.Task):
    """A task that needs all tiles. They are known when the list of products is; if it is yet to come, while running."""

    def tile_tasks(self) -> list[luigi.Task]:
        """The tasks that must be complete for all tiles."""
        raise NotImplementedError

    def requires(self) -> Any:
        """The list of products, and what is needed of each tile as far as that is known yet."""
        return [input_task(source()), *self._known]

    @cached_property
    def _known(self) -> list[luigi.Task]:
        return self.tile_tasks() if known_tiles() else []


class ResolveTileIds(luigi.Task):
    """`bigearthnet_s2_tile_ids.csv`: the CDSE id of each product; beside it what the catalogue said of each."""

    priority = PRIORITY["resolve"]

    def requires(self) -> Any:
        """The list of products."""
        return input_task("tile_names_csv")

    def output(self) -> dict[str, MadeFile]:
        """The ids, and the products with length and checksums."""
        made_from = {
            "tile_names_csv": input_origin("tile_names_csv"),
            "tiles": config.selected_tiles(),
            "catalogue_url": config.cdse().catalogue_url,
            "accept_superseded": config.cdse().accept_superseded,
        }
        return {
            "ids": MadeFile("tiles/bigearthnet_s2_tile_ids.csv", made_from),
            "products": MadeFile("tiles/products.json", made_from),
        }

    def run(self) -> None:
        """Ask the catalogue; every product that cannot be had is named."""
        published = optional_input("published_tile_ids_csv")
        known = resolve.read_tile_ids(published) if published else None
        with client() as session:
            found = resolve.resolve(
                tiles().values(), session, known, accept_superseded=bool(config.cdse().accept_superseded)
            )
        target = self.output()
        resolve.write_states(target["ids"].file.with_name("states.csv"), found)
        resolve.require(found)
        products = {item.name.tile_key: asdict(item.product) for item in found if item.product}
        files.write_text(target["products"].file, json.dumps(products, indent=1, sort_keys=True, default=str) + "\n")
        resolve.write_tile_ids(target["ids"].file, found)
        for made in target.values():
            made.record(files.file_hash(made.file))
