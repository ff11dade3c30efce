"""`scripts/bench tile`: patches and reference maps of one synthetic tile, against decoding and rasterising alone.

A full tile is made first (about 10 minutes) and kept. Five runs of everything take about an hour on two cores.
--baseline, --boa-offset and --patch-side-m measure what another recipe cuts: L2A of another baseline, other patches.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import luigi
import numpy as np
import pandas as pd
import rasterio
from rasterio.features import rasterize
from rasterio.transform import from_origin

from ben_luigi import config
from ben_luigi.commands import command
from ben_luigi.domain.files import unfinished
from ben_luigi.domain.formats import shards
from ben_luigi.domain.names import SEN2COR_BASELINE
from ben_luigi.domain.placement.grid import PATCH_M, TILE_SIDE_M, PatchGrid
from ben_luigi.domain.products.product import BANDS, Product, read_product
from ben_luigi.domain.recipe.model import KEEP_OFFSET, OF_PRODUCT, REMOVE_OFFSET
from ben_luigi.domain.tiles import clc, patches, product_layers, reference_maps, scene_classes
from ben_luigi.domain.tiles.decoding import CACHE_BYTES, Column
from ben_luigi.domain.tiles.nomenclature import read_nomenclature
from ben_luigi.domain.vocabulary import RESOLUTION_M
from ben_luigi.state import database
from benchmarks import synthetic_tile
from benchmarks.timing import pairs, report, rounds

_SEN2COR = f"{SEN2COR_BASELINE[1:3]}.{SEN2COR_BASELINE[3:]}"
PARTS = ("cut", "maps", "files", "workers", "scene")
PACKAGES = ("rasterio", "numpy", "shapely", "pyproj", "deflate", "luigi")


@dataclass(frozen=True)
class Bench:
    """A tile, its CORINE file, and a folder for what is written."""

    product: Product
    grid: PatchGrid
    clc_gpkg: Path
    out: Path
    threads: int
    in_database: bool
    offset: int = 0

    @property
    def is_default(self) -> bool:
        """Whether product and patches are as in the default recipe."""
        return self.product.name.baseline == SEN2COR_BASELINE and self.grid.patch_m == PATCH_M

    @property
    def positions(self) -> np.ndarray:
        """All patches."""
        return np.arange(self.grid.patches_a_side**2)

    def cut(self, wanted: np.ndarray, name: str = "tile") -> None:
        """What CutPatches does with patches that are aligned."""
        shard, index = self.out / f"{name}.tar", self.out / f"{name}.parquet"
        dark: list[int] = []
        valid = patches.cut(
            self.product,
            self.grid,
            wanted,
            shard,
            index,
            threads=self.threads,
            offset=self.offset,
            clipped=dark.append,
        )
        assert valid.all() and len(dark) == bool(self.offset) * len(np.unique(self.grid.columns_rows(wanted)[0]))
        if self.in_database:
            ids = pd.array(self.grid.ids(), dtype="str")[wanted]
            with database.transaction() as cursor:
                database.copy_in(cursor, "bench_valid", pd.DataFrame({"patch_id": ids, "valid": valid}))

    def cut_with_scene(self) -> None:
        """What CutPatches, ClassifyPatches and CutLayer do with the scene classification."""
        self.cut(self.positions)
        scene_classes.read(self.product.folder, self.grid)
        shard, index = self.out / "scl.tar", self.out / "scl.parquet"
        where = self.grid, self.positions, shard, index
        product_layers.cut(OF_PRODUCT["scl"], self.product.folder, *where, threads=self.threads)

    def decode(self) -> None:
        """Decode the same bands with rasterio, and nothing else."""
        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(_decode, self.product.bands.values()))

    def two(self, at_once: int) -> None:
        """Cut two tiles in processes of their own, so many at once."""
        fork = multiprocessing.get_context("fork")
        workers = [fork.Process(target=self.cut, args=(self.positions, f"tile{n}")) for n in range(2)]
        for start in range(0, 2, at_once):
            for worker in workers[start : start + at_once]:
                worker.start()
            for worker in workers[start : start + at_once]:
                worker.join()
        assert not any(worker.exitcode for worker in workers)

    def polygons(self) -> clc.Polygons:
        """The CORINE polygons of the tile."""
        return clc.read_polygons(self.clc_gpkg, self.grid.square)

    def maps(self) -> None:
        """What MakeReferenceMaps and LabelPatches do."""
        shard, index = self.out / "maps.tar", self.out / "maps.parquet"
        counts = reference_maps.make_maps(self.polygons(), self.grid, self.positions, shard, index)
        read_nomenclature(config.TRACKED_ARTIFACTS / "nomenclature.toml").labels(counts)

    def rasterize(self, polygons: clc.Polygons) -> None:
        """Burn the same polygons on the whole tile."""
        square, side_px = self.grid.square, int(self.grid.square.side_m) // 10
        with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
            rasterize(
                zip(polygons.geometries, polygons.codes.tolist(), strict=True),
                out=np.full((side_px, side_px), 999, dtype="uint16"),
                transform=from_origin(square.left, square.top, 10, 10),
            )

    def write(self, columns: Sequence[Column]) -> None:
        """Write patches that are decoded and found valid already."""
        writer = patches.PatchWriter(self.grid)
        with shards.writing(self.out / "files.tar", self.out / "files.parquet") as shard:
            for column in columns:
                writer.write(shard, column)

    def write_bare(self, columns: Sequence[Column]) -> None:
        """Hash and write the same pixels, without names and headers."""
        with (self.out / "bare").open("wb") as file:
            for pixels in (pixels for column in columns for pixels in column.pixels.values()):
                for patch in pixels:
                    hashlib.sha256(patch.data).hexdigest()
                file.write(pixels.data)
            os.fsync(file.fileno())

    def tidy(self) -> None:
        """Remove what was written, so that nobody's time goes into replacing it."""
        for path in self.out.iterdir():
            path.unlink()

    def columns(self) -> list[Column]:
        """The whole grid, with made-up pixels, the same in each column."""
        rng, side = np.random.default_rng(0), self.grid.patches_a_side
        sizes = {band: self.grid.patch_m // RESOLUTION_M[band] for band in BANDS}
        pixels = {b: rng.integers(1, 10_000, (side, px, px), dtype="uint16") for b, px in sizes.items()}
        return [Column(x, np.arange(side), pixels) for x in range(side)]


def _decode(path: Path) -> None:
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES, GDAL_NUM_THREADS=1), rasterio.open(path) as raster:
        raster.read(1)


@contextmanager
def _bench(options: argparse.Namespace) -> Iterator[Bench]:
    folder, side_m, in_database = options.folder, options.side_m, not options.no_database
    safe = synthetic_tile.product(folder, side_m, "N" + options.baseline.replace(".", ""))
    synthetic_tile.scene_classification(safe, side_m)
    clc_gpkg = synthetic_tile.land_cover(folder, side_m)
    product = read_product(safe, side_m, accept_offset=True)
    offset = product.offset if options.boa_offset == REMOVE_OFFSET else 0
    out = unfinished(folder / "out")
    out.mkdir()
    try:
        if in_database:
            luigi.configuration.get_config().set("dataset", "data_dir", str(folder))
            with database.transaction() as cursor:
                cursor.execute("DROP TABLE IF EXISTS bench_valid")
                cursor.execute("CREATE TABLE bench_valid (patch_id text, valid boolean)")
        grid = PatchGrid(product.name.tile_name, product.square, options.patch_side_m)
        yield Bench(product, grid, clc_gpkg, out, options.threads, in_database, offset)
    finally:
        shutil.rmtree(out)


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("scripts/bench tile", __doc__)
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("build/bench"),
        metavar="FOLDER",
        help="where the tile is kept; by default %(default)s",
    )
    parser.add_argument(
        "--side-m",
        type=int,
        default=TILE_SIDE_M,
        metavar="M",
        help="side of the tile in metres; by default %(default)s",
    )
    parser.add_argument(
        "--runs", type=int, default=5, metavar="N", help="of each work and of its reference, in turn; by default 5"
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="that decode one tile; by default 1")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this part; may be given several times")
    parser.add_argument("--no-database", action="store_true", help="leave out the rows of CutPatches")
    parser.add_argument(
        "--baseline",
        type=_baseline,
        default=_SEN2COR,
        metavar="NN.NN",
        help="processing baseline of the product, with an offset from 04.00 on; by default %(default)s, Sen2Cor's",
    )
    parser.add_argument(
        "--boa-offset",
        choices=(REMOVE_OFFSET, KEEP_OFFSET),
        default=REMOVE_OFFSET,
        help="what becomes of that offset; by default %(default)s",
    )
    parser.add_argument(
        "--patch-side-m",
        type=_patch_side_m,
        default=PATCH_M,
        metavar="M",
        help="side of a patch in metres, a multiple of 60; by default %(default)s",
    )
    return parser


def _baseline(text: str) -> str:
    if not re.fullmatch(r"\d\d\.\d\d", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} has not the form of 05.09")
    return text


def _patch_side_m(text: str) -> int:
    if not text.isdecimal() or int(text) <= 0 or int(text) % 60:
        raise argparse.ArgumentTypeError(f"{text!r} is not a multiple of 60")
    return int(text)


def main(argv: Sequence[str]) -> int:
    """Run the benchmark and print it."""
    options = _parser().parse_args(argv)
    options.folder.mkdir(parents=True, exist_ok=True)
    with _bench(options) as bench:
        _run(bench, options.part or PARTS, options.runs)
    return 0


def _run(bench: Bench, parts: Sequence[str], runs: int) -> None:
    every, ratios, facts = bench.positions, [], _facts(bench)
    if "cut" in parts:
        half = {"CutPatches, western half / decoding": (partial(bench.cut, every[: len(every) // 2]), 0.60)}
        all_of_ours = {
            "CutPatches, all patches / decoding": (partial(bench.cut, every), 1.08 if bench.is_default else 1.1),
            **(half if bench.is_default else {}),
        }
        ratios += rounds(bench.decode, all_of_ours, runs=runs)
    if "scene" in parts:
        work = partial(bench.cut, every)
        name = "CutPatches, shares and the layer scl / CutPatches"
        ratios.append(pairs(name, bench.cut_with_scene, work, runs=runs, at_most=1.05))
    if "maps" in parts:
        work = partial(bench.rasterize, bench.polygons())
        ratios.append(pairs("MakeReferenceMaps, labels / rasterize", bench.maps, work, runs=runs, at_most=3))
    if "workers" in parts:
        sequential, parallel = partial(bench.two, 1), partial(bench.two, 2)
        ratios += rounds(sequential, {"two workers / one after the other": (parallel, 0.55)}, runs=runs)
    if "files" in parts:
        columns = bench.columns()
        work, reference = partial(bench.write, columns), partial(bench.write_bare, columns)
        ratios.append(pairs("files into a shard / bare pixels", work, reference, runs=runs, tidy=bench.tidy))
        facts["files a second of CPU (aim: >= 50,000)"] = round(len(BANDS) * len(every) / ratios[-1].ours.cpu_s)
    report(ratios, facts, PACKAGES)


def _facts(bench: Bench) -> dict[str, object]:
    return {
        "runs are of": f"{len(bench.positions)} patches, {len(bench.polygons().codes)} polygons",
        "patch side, m": bench.grid.patch_m,
        "baseline": bench.product.name.processing_baseline,
        "offset removed": bench.offset,
        "MB of JPEG 2000": round(sum(path.stat().st_size for path in bench.product.bands.values()) / 1e6),
        "threads": bench.threads,
        "rows in the database": bench.in_database,
        "GDAL": rasterio.__gdal_version__,
        "GDAL_CACHEMAX, MB": CACHE_BYTES // 2**20,
    }
