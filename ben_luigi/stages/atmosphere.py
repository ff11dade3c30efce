"""From top-of-atmosphere products (L1C) to surface reflectance (L2A), and what the L2A product says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import luigi
import pandas as pd

from ben_luigi import config
from ben_luigi.domain import files
from ben_luigi.domain.placement import alignment
from ben_luigi.domain.products import l1c, sen2cor
from ben_luigi.domain.products.product import Product, find_product, read_product
from ben_luigi.stages.derived import Derived
from ben_luigi.stages.download import l1c_task
from ben_luigi.stages.prerequisites import FindSen2Cor, GivenInput, executable_name, input_path, sen2cor_version, side_m
from ben_luigi.stages.progress import Progress
from ben_luigi.stages.resolve import PRIORITY, TILE, product_of, source
from ben_luigi.state.schema import PRODUCT
from ben_luigi.state.targets import MadeFile, TileRows


class ConvertToL2A(luigi.Task):
    """A tile's L2A product, made by Sen2Cor, in a folder of its own with the log."""

    resources = {"sen2cor": 1}  # noqa: RUF012 (as Luigi declares it)

    tile = luigi.Parameter(description=TILE)
    priority = PRIORITY["convert"]

    def requires(self) -> Any:
        """The L1C product, and Sen2Cor."""
        return {"l1c": l1c_task(str(self.tile)), "sen2cor": FindSen2Cor()}

    def output(self) -> MadeFile:
        """A note that says which folder the product is, published last."""
        return MadeFile(f"l2a/{self.tile}/product.json")

    def complete(self) -> bool:
        """Whether the product is there, not only the note, which stays when the product goes."""
        return self.output().exists() and made_product(str(self.tile)).is_dir()

    def run(self) -> None:
        """Unpack, convert, and move the result into place in one rename. What a failure leaves is kept."""
        target = self.output()
        folder = target.file.parent
        work, log = folder.with_name(f".work-{self.tile}"), folder.with_name(f"{self.tile}.log")
        files.remove(work)
        safe = l1c.unpack(l1c_task(str(self.tile)).product_path(), work / "l1c")
        progress = Progress(self, f"Sen2Cor on {self.tile}")
        made = sen2cor.convert(safe, executable_name(), work / "sen2cor", log, progress)
        files.remove(folder)
        with files.published(folder) as whole:
            whole.mkdir()
            made.rename(whole / made.name)
            note = {"folder": made.name, "l1c": safe.name, "sen2cor": sen2cor_version()}
            (whole / "product.json").write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
        files.remove(work)
        target.record(made.name)


class ReadProduct(Derived):
    """The row of a tile's L2A product: what its metadata say, once its bands have been found in order."""

    tile = luigi.Parameter(description=TILE)
    priority = PRIORITY["product"]

    def requires(self) -> Any:
        """The L2A product: converted, or in the folder that the user gives."""
        return l2a_task(str(self.tile))

    def output(self) -> TileRows:
        """One row of `product`."""
        return TileRows(PRODUCT, self.get_task_family(), str(self.tile), {**tile_settings(str(self.tile))})

    def make(self) -> None:
        """Read the metadata and the headers of the bands."""
        self.output().replace(_row(str(self.tile), read(str(self.tile))))


def tile_settings(tile: str) -> dict[str, Any]:
    """What everything of a tile is made from: the settings that its products are read by."""
    return {"side_m": side_m(), "check_extent": config.tile().check_extent, "product": str(product_of(tile))}


def product_folder(tile: str) -> Path:
    """The `.SAFE` folder of a tile's L2A product, once it is there."""
    if source() == "l2a_dir":
        return find_product(input_path("l2a_dir"), tile)
    return made_product(tile)


def made_product(tile: str) -> Path:
    """The `.SAFE` folder that a tile was converted to; it may be gone since, the note that names it stays."""
    folder = config.data_dir() / "l2a" / tile
    note = json.loads((folder / "product.json").read_text(encoding="utf-8"))
    return folder / str(note["folder"])


def l2a_task(tile: str) -> luigi.Task:
    """The task that provides a tile's L2A product: from the user's folder, or converted."""
    return GivenInput(option="l2a_dir") if source() == "l2a_dir" else ConvertToL2A(tile=tile)


def read(tile: str) -> Product:
    """A tile's L2A product."""
    options = config.tile()
    return read_product(
        product_folder(tile), side_m(), check_extent=options.check_extent, accept_offset=options.accept_offset
    )


def _row(tile: str, product: Product) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "tile": tile,
            "l2a_name": str(product.name),
            "folder": str(product.folder),
            "start_time": product.start_time,
            "season": alignment.season(product.name.sensing_time),
            "baseline": product.baseline,
            **{check.lower(): result for check, result in product.quality.items()},
            "boa_offset": bool(product.boa_offsets),
            "epsg": product.square.epsg,
            "left_m": product.square.left,
            "top_m": product.square.top,
            "side_m": product.square.side_m,
        },
        index=[0],
    )
