"""Convert top-of-atmosphere products (L1C) to surface reflectance (L2A), and read the L2A products."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import luigi
import pandas as pd

from ben_luigi import config
from ben_luigi.domain import files, leftovers
from ben_luigi.domain.errors import BadProduct, DamagedFile, Sen2CorError
from ben_luigi.domain.placement import alignment
from ben_luigi.domain.products import l1c, product, sen2cor
from ben_luigi.domain.products.product import Product, find_product, find_products, read_product
from ben_luigi.domain.recipe.model import REFUSE_OFFSET, REMOVE_OFFSET
from ben_luigi.stages.account import FindAccount
from ben_luigi.stages.converter import STAND_IN, FindSen2Cor, executable_name, sen2cor_version
from ben_luigi.stages.download import l1c_task
from ben_luigi.stages.fetching import fetch_l2a, id_at_cdse, layers_of_l2a, told
from ben_luigi.stages.places import before_products
from ben_luigi.stages.prerequisites import GivenInput, input_path
from ben_luigi.stages.progress import Progress
from ben_luigi.stages.resolve import PRIORITY, is_from_l1c, product_of, source, source_task
from ben_luigi.stages.sample_world import made_up, side_m
from ben_luigi.stages.task import PipelineTask, TileTask
from ben_luigi.state import budget, contents
from ben_luigi.state.luigi_internals import leave_to_others
from ben_luigi.state.targets import MadeFile
from ben_luigi.state.tile_rows import TileRows

leave_to_others()


class _Made(TileTask):
    """A tile's L2A product in the data folder, in a folder of its own with a note, which is written last."""

    priority = PRIORITY["convert"]
    product = "L2A"

    def output(self) -> MadeFile:
        """Return a note that names the folder of the product, and is written last."""
        return self.file(f"l2a/{self.tile}/product.json")

    def is_there(self) -> bool:
        """Return whether the product itself exists, since its note remains when the product is removed."""
        try:
            return super().is_there() and made_product(self.tile).is_dir()
        except DamagedFile:
            return False

    def content(self) -> str:
        """Return what identifies the product: the content of its files."""
        with suppress(DamagedFile, KeyError):
            return str(_note(self.tile)["content"])
        return ""

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Surround the reading of the product. Raise DamagedFile if it has changed, so that it is made again."""
        try:
            yield
        except BadProduct as error:
            self.verify()
            raise error

    def verify(self) -> None:
        """Raise DamagedFile if the product has changed since it was made."""
        expected = self.content()
        try:
            found = contents.sha256(made_product(self.tile)) if expected else ""
        except OSError as error:
            found = str(error)
        if found != expected:
            note = self.output().file
            raise DamagedFile(note, expected=f"a product beside it with the sha256 {expected} in all", found=found)

    def _keep(self, made: Path, **facts: Any) -> None:
        """Move a product into its place by one rename, with a note that has these facts."""
        folder = self.output().file.parent
        with files.atomic_write(folder) as whole:
            whole.mkdir()
            content = contents.sha256(made)
            made.rename(whole / made.name)
            note = {"folder": made.name, **facts, "content": content}
            (whole / "product.json").write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")


class ConvertToL2A(_Made):
    """A tile's L2A product, made by Sen2Cor, in a folder of its own with the log."""

    def process_resources(self) -> dict[str, int]:
        """Return what luigid counts; where a cluster limits the conversions, it need not."""
        return {"sen2cor": 1} if config.conversions() == config.HERE else {}

    def is_left_to_others(self) -> bool:
        """Return whether this run leaves conversions to others (`luigi_internals.leave_to_others`)."""
        return config.conversions() == config.ELSEWHERE

    def requires(self) -> Any:
        """Return the tasks of the L1C product and of Sen2Cor."""
        return {"l1c": l1c_task(self.tile), "sen2cor": FindSen2Cor()}

    def settings(self) -> dict[str, Any]:
        """Return the version of Sen2Cor; if it is not installed any more, the one that made the product."""
        try:
            return {"sen2cor": sen2cor_version()}
        except Sen2CorError:
            made_by = self.output().recorded().get("made_from", {}).get("sen2cor", "")
            return {"sen2cor": "" if made_by == STAND_IN else made_by}

    def adopts(self) -> bool:
        """Return whether the installed version of Sen2Cor made the product."""
        with suppress(Sen2CorError):
            return bool(files.read_object(self.output().file).get("sen2cor") == sen2cor_version())
        return False

    def make(self) -> None:
        """Unpack and convert the product, and move the result into place by one rename.

        A failed run's output is kept.
        """
        sen2cor.require_memory(self.tile, config.sen2cor_bytes())
        folder = self.output().file.parent
        log, work = folder.with_name(f"{self.tile}.log"), leftovers.fresh(folder.with_name(f".work-{self.tile}"))
        with (source := l1c_task(self.tile)).reading():
            safe = l1c.unpack(source.product_path(), work / "l1c")
        progress = Progress(self, f"Sen2Cor on {self.tile}")
        made = sen2cor.convert(safe, executable_name(), work / "sen2cor", log, progress)
        self._keep(made, l1c=safe.name, sen2cor=sen2cor_version())
        files.remove(work)


class FetchL2A(_Made):
    """A tile's L2A product as ESA made it: what is needed of it, proven, from the sources of the user's order."""

    resources = {"cdse": 1}  # noqa: RUF012 (as Luigi declares it)
    priority = PRIORITY["download"]

    def requires(self) -> Any:
        """Return the list of products; an account, if CDSE is asked first."""
        return [source_task(), *([FindAccount()] if config.needs_account() else [])]

    def needs(self) -> list[luigi.Task]:
        """Return the check of where all products lie: nothing is fetched for a list that cannot be used."""
        return before_products()

    def made_of(self) -> list[PipelineTask]:
        """Return nothing: a complete product remains so."""
        return []

    def settings(self) -> dict[str, Any]:
        """Return the product, that it is a made-up one, and the layers for which more of it is fetched."""
        layers = [layer.name for layer in layers_of_l2a()]
        product = {"product": str(product_of(self.tile)), **made_up()}
        return {**product, **({"layers": layers} if layers else {})}

    def make(self) -> None:
        """Fetch it, in one of the slots that all workers and hosts share; what has come stays for the next attempt."""
        name, folder = product_of(self.tile), self.output().file.parent
        work = leftovers.kept(folder.with_name(f".fetch-{self.tile}"))
        with budget.slot(config.downloads_at_once()):
            report = fetch_l2a(name, work, Progress(self, f"download of {self.tile}", "B").at)
        self._keep(work / name.stem / str(name), id=id_at_cdse(name), **told(report))
        files.remove(work)


class FindL2A(TileTask):
    """A tile's L2A product in the user's folder."""

    priority = PRIORITY["convert"]
    product = "L2A"

    def requires(self) -> Any:
        """Return the task of the folder."""
        return GivenInput(option="l2a_dir")

    def needs(self) -> list[luigi.Task]:
        """Return the check of where all products lie: nothing is read of a folder that cannot be used."""
        return before_products()

    def settings(self) -> dict[str, Any]:
        """Return the product, and the signature of its files."""
        path = self._found()
        return {"product": str(product_of(self.tile)), "files": contents.signature(path) if path else ""}

    def output(self) -> MadeFile:
        """Return a note with the hash of its content."""
        return self.file(f"l2a/{self.tile}.json")

    def content(self) -> str:
        """Return what identifies the product: the content of its files."""
        with suppress(DamagedFile, KeyError):
            return str(self.output().read_object()["content"])
        return ""

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Surround the reading of the product."""
        yield

    def verify(self) -> None:
        """Do nothing: a user's own product is taken as it is."""

    def make(self) -> None:
        """Hash all of its files."""
        path = product_folder(self.tile)
        content = contents.sha256(path, Progress(self, f"reading {path.name}", "B").at)
        files.write_json(self.output().file, {"product": path.name, "content": content})

    def _found(self) -> Path | None:
        return find_products(input_path("l2a_dir")).get(self.tile)


class ReadProduct(TileTask):
    """The row of a tile's L2A product, with its metadata, once its bands have been checked."""

    priority = PRIORITY["product"]
    options = ("tile.check_extent", "tile.accept_offset")
    recipe = ("seasons", "products.boa_offset")
    code = (alignment, product)

    def requires(self) -> Any:
        """Return the task of the L2A product, converted or from the user's folder."""
        return l2a_task(self.tile)

    def settings(self) -> dict[str, Any]:
        """Return the product, and the side of its tile."""
        return {"side_m": side_m(), "product": str(product_of(self.tile))}

    def output(self) -> TileRows:
        """Return one row of `product`."""
        return self.rows("product")

    def make(self) -> None:
        """Read the metadata and the headers of the bands."""
        l2a_task(self.tile).verify()
        self.output().replace(_row(self.tile, read(self.tile)))


def product_folder(tile: str) -> Path:
    """Return the `.SAFE` folder of a tile's L2A product, once it exists."""
    if source() == "l2a_dir":
        return find_product(input_path("l2a_dir"), tile)
    return made_product(tile)


def made_product(tile: str) -> Path:
    """Return the `.SAFE` folder that a tile was converted to, or fetched as.

    It may have been removed since; its note remains.
    """
    return config.data_dir() / "l2a" / tile / str(_note(tile)["folder"])


def _note(tile: str) -> dict[str, Any]:
    made = l2a_task(tile)
    return (ConvertToL2A(tile=tile) if isinstance(made, FindL2A) else made).output().read_object()


def l2a_task(tile: str) -> ConvertToL2A | FetchL2A | FindL2A:
    """Return the task of a tile's L2A product: from the user's folder, converted, or fetched as the recipe says."""
    if source() == "l2a_dir":
        return FindL2A(tile=tile)
    return ConvertToL2A(tile=tile) if is_from_l1c() else FetchL2A(tile=tile)


def read(tile: str) -> Product:
    """Read a tile's L2A product."""
    options, recipe = config.tile(), config.recipe()
    is_default = recipe.is_default
    by = "[tile] accept_offset = true" if is_default else f'[products] boa_offset = "{REMOVE_OFFSET}" in the recipe'
    return read_product(
        product_folder(tile),
        side_m(),
        check_extent=options.check_extent,
        accept_offset=options.accept_offset if is_default else recipe.products.boa_offset != REFUSE_OFFSET,
        accepted_by=by,
    )


def removes_offset() -> bool:
    """Whether the recipe removes the offset that the pixels of newer baselines carry."""
    return config.recipe().products.boa_offset == REMOVE_OFFSET


def removed_offset(product: Product) -> int:
    """Return what is to be added to all pixels of a product: its offset where the recipe removes it, else 0."""
    return product.offset if removes_offset() else 0


def _row(tile: str, product: Product) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "tile": tile,
            "l2a_name": str(product.name),
            "folder": str(product.folder),
            "start_time": product.start_time,
            "season": alignment.season(product.name.sensing_time, config.recipe().seasons.rule),
            "baseline": product.baseline,
            **{check.lower(): result for check, result in product.quality.items()},
            "boa_offset": bool(product.boa_offsets) and not removed_offset(product),
            "epsg": product.square.epsg,
            "left_m": product.square.left,
            "top_m": product.square.top,
            "side_m": product.square.side_m,
        },
        index=[0],
    )
